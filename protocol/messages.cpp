#include "protocol/messages.h"

#include "protocol/message_header.h"
#include "protocol/wire_reader.h"
#include "protocol/wire_writer.h"

#include <cassert>

namespace schemux::protocol {

namespace {

constexpr std::uint32_t cancel_request_code = 1234U << 16 | 5678U;

void begin(WireWriter& writer, FrontendMessage type) {
    writer.begin_message(static_cast<char>(type));
}
void begin(WireWriter& writer, BackendMessage type) {
    writer.begin_message(static_cast<char>(type));
}

void append_named(std::string& out, FrontendMessage type, NamedKind kind, std::string_view name) {
    WireWriter writer(out);
    begin(writer, type);
    writer.u8(static_cast<std::uint8_t>(kind)).cstring(name).end_message();
}

}  // namespace

std::optional<TransactionStatus> transaction_status(char wire) {
    switch (wire) {
        case 'I':
            return TransactionStatus::idle;
        case 'T':
            return TransactionStatus::in_transaction;
        case 'E':
            return TransactionStatus::failed;
        default:
            return {};
    }
}

std::optional<ParseView> read_parse(std::string_view body) {
    WireReader reader(body);
    ParseView view;
    view.name = reader.cstring();
    view.text = reader.cstring();
    view.types = reader.remaining();
    const std::size_t count = reader.u16();
    reader.bytes(count * sizeof(std::uint32_t));
    if (!reader.finished()) return {};
    return view;
}

std::optional<BindPrefix> read_bind_prefix(std::string_view body) {
    WireReader reader(body);
    BindPrefix prefix;
    prefix.portal = reader.cstring();
    prefix.statement = reader.cstring();
    prefix.prefix_bytes = reader.position();
    if (reader.failed()) return {};
    return prefix;
}

std::optional<NamedView> read_named(std::string_view body) {
    WireReader reader(body);
    const char kind = static_cast<char>(reader.u8());
    const std::string_view name = reader.cstring();
    if (!reader.finished() || (kind != 'S' && kind != 'P')) return {};
    return NamedView{kind == 'S' ? NamedKind::statement : NamedKind::portal, name};
}

namespace {

constexpr std::string_view bad_string = "invalid string in message";
constexpr std::string_view bad_end = "invalid message format";

std::string fault_in_named(std::string_view command, std::string_view body) {
    if (body.empty()) return "no data left in message";
    WireReader reader(body);
    const std::uint8_t kind = reader.u8();
    reader.cstring();
    if (reader.failed()) return std::string(bad_string);
    if (!reader.finished()) return std::string(bad_end);
    return "invalid " + std::string(command) + " message subtype " + std::to_string(kind);
}

}  // namespace

std::string fault_in(FrontendMessage type, std::string_view body) {
    WireReader reader(body);
    switch (type) {
        case FrontendMessage::close:
            return fault_in_named("CLOSE", body);
        case FrontendMessage::describe:
            return fault_in_named("DESCRIBE", body);
        case FrontendMessage::parse:
            reader.cstring();
            reader.cstring();
            if (reader.failed()) break;
            reader.bytes(reader.u16() * sizeof(std::uint32_t));
            return reader.failed() ? "insufficient data left in message" : std::string(bad_end);
        case FrontendMessage::query:
            reader.cstring();
            if (reader.failed()) break;
            return std::string(bad_end);
        case FrontendMessage::bind:
            break;
        case FrontendMessage::copy_data:
        case FrontendMessage::copy_done:
        case FrontendMessage::copy_fail:
        case FrontendMessage::execute:
        case FrontendMessage::flush:
        case FrontendMessage::function_call:
        case FrontendMessage::password:
        case FrontendMessage::sync:
        case FrontendMessage::terminate:
            return std::string(bad_end);
    }
    return std::string(bad_string);
}

std::optional<std::string_view> read_text(std::string_view body) {
    WireReader reader(body);
    const std::string_view text = reader.cstring();
    if (!reader.finished()) return {};
    return text;
}

std::optional<ParameterStatusView> read_parameter_status(std::string_view body) {
    WireReader reader(body);
    ParameterStatusView view;
    view.name = reader.cstring();
    view.value = reader.cstring();
    if (!reader.finished()) return {};
    return view;
}

std::optional<BackendKeyView> read_backend_key_data(std::string_view body) {
    WireReader reader(body);
    BackendKeyView view;
    view.pid = reader.u32();
    view.secret = reader.remaining();
    if (reader.failed() || view.secret.size() < 4 || view.secret.size() > 256) return {};
    return view;
}

std::optional<std::vector<std::optional<std::string_view>>> read_data_row(std::string_view body) {
    WireReader reader(body);
    const std::size_t count = reader.u16();
    std::vector<std::optional<std::string_view>> columns;
    for (std::size_t i = 0; i < count && !reader.failed(); ++i) {
        const std::int32_t length = reader.i32();
        if (length < -1) return {};
        if (length == -1) {
            columns.emplace_back();
        } else {
            columns.emplace_back(reader.bytes(static_cast<std::size_t>(length)));
        }
    }
    if (!reader.finished()) return {};
    return columns;
}

void append_authentication_ok(std::string& out) {
    WireWriter writer(out);
    begin(writer, BackendMessage::authentication);
    writer.u32(0).end_message();
}

void append_backend_key_data(std::string& out, std::uint32_t pid, std::string_view secret) {
    WireWriter writer(out);
    begin(writer, BackendMessage::backend_key_data);
    writer.u32(pid).bytes(secret).end_message();
}

void append_bind_header(std::string& out, std::string_view portal, std::string_view statement,
                        std::size_t tail_bytes) {
    const std::size_t length =
        sizeof(std::uint32_t) + portal.size() + 1 + statement.size() + 1 + tail_bytes;
    assert(length <= large_message_max);
    WireWriter writer(out);
    writer.u8(static_cast<std::uint8_t>(FrontendMessage::bind));
    writer.u32(static_cast<std::uint32_t>(length)).cstring(portal).cstring(statement);
}

void append_cancel_request(std::string& out, std::uint32_t pid, std::string_view secret) {
    WireWriter(out).begin_untyped().u32(cancel_request_code).u32(pid).bytes(secret).end_message();
}

void append_close(std::string& out, NamedKind kind, std::string_view name) {
    append_named(out, FrontendMessage::close, kind, name);
}

void append_command_complete(std::string& out, std::string_view tag) {
    WireWriter writer(out);
    begin(writer, BackendMessage::command_complete);
    writer.cstring(tag).end_message();
}

void append_describe(std::string& out, NamedKind kind, std::string_view name) {
    append_named(out, FrontendMessage::describe, kind, name);
}

void append_execute(std::string& out, std::string_view portal) {
    constexpr std::uint32_t all_rows = 0;
    WireWriter writer(out);
    begin(writer, FrontendMessage::execute);
    writer.cstring(portal).u32(all_rows).end_message();
}

void append_negotiate_protocol_version(std::string& out, std::uint32_t newest_minor,
                                       const std::vector<std::string>& unknown_options) {
    WireWriter writer(out);
    begin(writer, BackendMessage::negotiate_protocol_version);
    // The server sends the whole version number here since 9.3 (the manual says "minor").
    writer.u32(3U << 16 | newest_minor).u32(static_cast<std::uint32_t>(unknown_options.size()));
    for (const std::string& option : unknown_options)
        writer.cstring(option);
    writer.end_message();
}

void append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
    WireWriter writer(out);
    begin(writer, BackendMessage::parameter_status);
    writer.cstring(name).cstring(value).end_message();
}

void append_parse(std::string& out, std::string_view name, std::string_view text,
                  std::string_view types) {
    WireWriter writer(out);
    begin(writer, FrontendMessage::parse);
    writer.cstring(name).cstring(text).bytes(types).end_message();
}

void append_query(std::string& out, std::string_view text) {
    WireWriter writer(out);
    begin(writer, FrontendMessage::query);
    writer.cstring(text).end_message();
}

void append_copy_fail(std::string& out, std::string_view why) {
    WireWriter writer(out);
    begin(writer, FrontendMessage::copy_fail);
    writer.cstring(why).end_message();
}

void append_ready_for_query(std::string& out, TransactionStatus status) {
    WireWriter writer(out);
    begin(writer, BackendMessage::ready_for_query);
    writer.u8(static_cast<std::uint8_t>(status)).end_message();
}

void append_empty(std::string& out, char type) {
    WireWriter(out).begin_message(type).end_message();
}

}  // namespace schemux::protocol
