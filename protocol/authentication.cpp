#include "protocol/authentication.h"

#include "protocol/message_type.h"
#include "protocol/wire_reader.h"
#include "protocol/wire_writer.h"

namespace schemux::protocol {

namespace {

enum Method : std::uint32_t {
    method_ok = 0,
    method_cleartext_password = 3,
    method_md5_password = 5,
    method_sasl = 10,
    method_sasl_continue = 11,
    method_sasl_final = 12,
};

constexpr std::size_t md5_salt_bytes = 4;

void append_request(std::string& out, Method method, std::string_view data) {
    WireWriter(out)
        .begin_message(static_cast<char>(BackendMessage::authentication))
        .u32(method)
        .bytes(data)
        .end_message();
}

std::optional<Authentication> read_mechanisms(WireReader& reader) {
    AuthenticationSasl sasl;
    while (true) {
        const std::string_view name = reader.cstring();
        if (reader.failed()) return {};
        if (name.empty()) break;
        if (sasl.mechanisms.size() == sasl_mechanisms_max) return {};
        sasl.mechanisms.push_back(name);
    }
    if (!reader.finished() || sasl.mechanisms.empty()) return {};
    return sasl;
}

template <typename Message>
std::optional<Authentication> if_finished(const WireReader& reader, Message message) {
    if (!reader.finished()) return {};
    return message;
}

}  // namespace

std::optional<Authentication> read_authentication(std::string_view body) {
    WireReader reader(body);
    const std::uint32_t method = reader.u32();
    if (reader.failed()) return {};
    switch (method) {
        case method_ok:
            return if_finished(reader, AuthenticationOk{});
        case method_cleartext_password:
            return if_finished(reader, AuthenticationCleartextPassword{});
        case method_md5_password: {
            const AuthenticationMd5Password message{reader.bytes(md5_salt_bytes)};
            return if_finished(reader, message);
        }
        case method_sasl:
            return read_mechanisms(reader);
        case method_sasl_continue:
            return AuthenticationSaslContinue{reader.remaining()};
        case method_sasl_final:
            return AuthenticationSaslFinal{reader.remaining()};
        default:
            return AuthenticationOther{method};
    }
}

std::optional<SaslInitialResponse> read_sasl_initial_response(std::string_view body) {
    WireReader reader(body);
    SaslInitialResponse response;
    response.mechanism = reader.cstring();
    const std::int32_t length = reader.i32();
    if (reader.failed() || response.mechanism.empty() || length < -1) return {};
    if (length >= 0) response.data = reader.bytes(static_cast<std::size_t>(length));
    if (!reader.finished()) return {};
    return response;
}

std::optional<std::string_view> read_password(std::string_view body) {
    WireReader reader(body);
    const std::string_view password = reader.cstring();
    if (!reader.finished()) return {};
    return password;
}

void append_authentication_cleartext_password(std::string& out) {
    append_request(out, method_cleartext_password, {});
}

void append_authentication_md5_password(std::string& out, std::string_view salt) {
    append_request(out, method_md5_password, salt);
}

void append_authentication_sasl(std::string& out, const std::vector<std::string_view>& mechanisms) {
    std::string names;
    for (const std::string_view mechanism : mechanisms)
        WireWriter(names).cstring(mechanism);
    WireWriter(names).u8(0);
    append_request(out, method_sasl, names);
}

void append_authentication_sasl_continue(std::string& out, std::string_view data) {
    append_request(out, method_sasl_continue, data);
}

void append_authentication_sasl_final(std::string& out, std::string_view data) {
    append_request(out, method_sasl_final, data);
}

void append_password(std::string& out, std::string_view password) {
    WireWriter(out)
        .begin_message(static_cast<char>(FrontendMessage::password))
        .cstring(password)
        .end_message();
}

void append_sasl_initial_response(std::string& out, const SaslInitialResponse& response) {
    WireWriter writer(out);
    writer.begin_message(static_cast<char>(FrontendMessage::password)).cstring(response.mechanism);
    if (response.data) {
        writer.u32(static_cast<std::uint32_t>(response.data->size())).bytes(*response.data);
    } else {
        writer.i32(-1);
    }
    writer.end_message();
}

void append_sasl_response(std::string& out, std::string_view data) {
    WireWriter(out)
        .begin_message(static_cast<char>(FrontendMessage::password))
        .bytes(data)
        .end_message();
}

}  // namespace schemux::protocol
