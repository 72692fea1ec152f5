// The messages of a login: the server's Authentication requests and the client's answers, both
// directions read and written.
// Source: PostgreSQL manual, 55.7 "Message Formats" (Authentication…, SASL…, PasswordMessage).
// It must not know what a mechanism does with its data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::protocol {

/// SASL mechanisms in one AuthenticationSASL; PostgreSQL has three.
inline constexpr std::size_t sasl_mechanisms_max = 16;

struct AuthenticationOk {};
struct AuthenticationCleartextPassword {};
struct AuthenticationMd5Password {
    std::string_view salt;
};
struct AuthenticationSasl {
    std::vector<std::string_view> mechanisms;
};
struct AuthenticationSaslContinue {
    std::string_view data;
};
struct AuthenticationSaslFinal {
    std::string_view data;
};
/// Kerberos, GSSAPI, SSPI and whatever will come.
struct AuthenticationOther {
    std::uint32_t method = 0;
};

using Authentication =
    std::variant<AuthenticationOk, AuthenticationCleartextPassword, AuthenticationMd5Password,
                 AuthenticationSasl, AuthenticationSaslContinue, AuthenticationSaslFinal,
                 AuthenticationOther>;

/// Reads the body of an Authentication message ('R').
std::optional<Authentication> read_authentication(std::string_view body);

struct SaslInitialResponse {
    std::string_view mechanism;
    std::optional<std::string_view> data;  ///< nullopt: the client sent none (length -1)
};
/// Which of the messages of type 'p' it is depends on the conversation only.
std::optional<SaslInitialResponse> read_sasl_initial_response(std::string_view body);
/// PasswordMessage: one zero-terminated text. A SASLResponse is the bare body.
std::optional<std::string_view> read_password(std::string_view body);

void append_authentication_cleartext_password(std::string& out);
/// `salt` has four bytes.
void append_authentication_md5_password(std::string& out, std::string_view salt);
void append_authentication_sasl(std::string& out, const std::vector<std::string_view>& mechanisms);
void append_authentication_sasl_continue(std::string& out, std::string_view data);
void append_authentication_sasl_final(std::string& out, std::string_view data);

/// `password` must not hold a zero byte.
void append_password(std::string& out, std::string_view password);
void append_sasl_initial_response(std::string& out, const SaslInitialResponse& response);
void append_sasl_response(std::string& out, std::string_view data);

}  // namespace schemux::protocol
