// The events of the log that speak of statements: slow_query and lease_held. Each service has its
// own bound of how many there are, or shares it with few others.
// It must not know what is slow or long: core's relay says that.
#pragma once

#include "core/relay.h"

#include <cstdint>
#include <string>

namespace schemux::daemon {

/// The id of a statement's fingerprint: 16 hexadecimal digits.
std::string fingerprint_text(std::uint64_t id);
/// Those that nobody was told of yet.
void log_slow_calls(core::Relay& relay);
/// If its client has had a backend for long.
void log_long_lease(core::Relay& relay);

}  // namespace schemux::daemon
