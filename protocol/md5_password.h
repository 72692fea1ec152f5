// PostgreSQL's md5 password authentication: what a PasswordMessage holds when the server asked for
// md5, and what a server keeps of a password. Weak by today's measure; here for those that have
// nothing else.
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

/// As PostgreSQL tells them from passwords: "md5" and 32 lower-case hexadecimal digits.
bool is_md5_hash(std::string_view secret);
/// What pg_authid keeps: "md5" and md5(password, user).
std::optional<std::string> md5_hash(std::string_view user, std::string_view password);
/// What a client that knows the password answers, from what is kept of it.
std::optional<std::string> md5_answer(std::string_view hash, std::string_view salt);

}  // namespace schemux::protocol
