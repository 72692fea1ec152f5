// PostgreSQL's md5 password authentication, the client's side: what a PasswordMessage holds when
// the server asked for md5. Weak by today's measure; here for servers that still ask for it.
// Source: PostgreSQL manual, 55.2.1 "Start-up" (AuthenticationMD5Password).
// It must not know when md5 is acceptable: that is the caller's business.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace schemux::protocol {

/// "md5" and 32 hexadecimal digits: md5(md5(password, user), salt).
/// nullopt when OpenSSL has no MD5 (a FIPS policy may forbid it).
std::optional<std::string> md5_password(std::string_view user, std::string_view password,
                                        std::string_view salt);

}  // namespace schemux::protocol
