// Addresses of clients, for people.
#pragma once

#include <string>

namespace schemux::daemon {

/// Of 4 or 16 bytes in network order; empty for anything else.
std::string ip_text(const std::string& bytes);

}  // namespace schemux::daemon
