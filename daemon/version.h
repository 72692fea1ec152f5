// The version of this build, from CMake.
#pragma once

namespace schemux::daemon {

inline constexpr const char* version = SCHEMUX_VERSION;

}  // namespace schemux::daemon
