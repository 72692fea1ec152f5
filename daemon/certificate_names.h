// Whom a certificate is for. It must not know whether it was verified.
#pragma once

#include <openssl/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace schemux::daemon {

/// Of one certificate; more are not looked at.
inline constexpr std::size_t alternative_names_max = 100;

/// The first one, as UTF-8; nullopt where there is none that could be a name.
std::optional<std::string> common_name(const X509& certificate);
/// DNS names, e-mail addresses and URIs (RFC 5280, 4.2.1.6).
std::vector<std::string> alternative_names(const X509& certificate);

}  // namespace schemux::daemon
