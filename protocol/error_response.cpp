#include "protocol/error_response.h"

#include "protocol/message_type.h"
#include "protocol/wire_reader.h"
#include "protocol/wire_writer.h"

#include <charconv>

namespace schemux::protocol {

namespace {

void append_field(WireWriter& writer, char code, std::string_view value) {
    if (value.empty()) return;
    writer.u8(static_cast<std::uint8_t>(code)).cstring(value.substr(0, value.find('\0')));
}

std::optional<std::uint32_t> parse_position(std::string_view digits) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc{} || end != digits.data() + digits.size() || value == 0) return {};
    return value;
}

}  // namespace

std::string_view name_of(Severity severity) {
    switch (severity) {
        case Severity::error:
            return "ERROR";
        case Severity::fatal:
            return "FATAL";
        case Severity::warning:
            return "WARNING";
        case Severity::notice:
            return "NOTICE";
    }
    return "ERROR";
}

void append_error(std::string& out, const ErrorFields& fields) {
    const bool is_notice =
        fields.severity == Severity::warning || fields.severity == Severity::notice;
    const BackendMessage type =
        is_notice ? BackendMessage::notice_response : BackendMessage::error_response;
    WireWriter writer(out);
    writer.begin_message(static_cast<char>(type));
    append_field(writer, 'S', name_of(fields.severity));
    append_field(writer, 'V', name_of(fields.severity));
    append_field(writer, 'C', fields.sqlstate);
    append_field(writer, 'M', fields.message);
    append_field(writer, 'D', fields.detail);
    append_field(writer, 'H', fields.hint);
    if (fields.position != 0) append_field(writer, 'P', std::to_string(fields.position));
    writer.u8(0).end_message();
}

std::optional<ErrorView> read_error(std::string_view body) {
    ErrorView view;
    std::string_view translated_severity;
    WireReader reader(body);
    while (true) {
        const char code = static_cast<char>(reader.u8());
        if (reader.failed()) return {};
        if (code == '\0') break;
        const std::string_view value = reader.cstring();
        if (reader.failed()) return {};
        switch (code) {
            case 'S':
                translated_severity = value;
                break;
            case 'V':
                view.severity = value;
                break;
            case 'C':
                view.sqlstate = value;
                break;
            case 'M':
                view.message = value;
                break;
            case 'D':
                view.detail = value;
                break;
            case 'H':
                view.hint = value;
                break;
            case 'P':
                view.position = parse_position(value);
                break;
            default:
                break;
        }
    }
    if (!reader.finished()) return {};
    if (view.severity.empty()) view.severity = translated_severity;
    return view;
}

void append_with_position(std::string& out, char type, std::string_view body,
                          std::uint32_t position) {
    WireWriter writer(out);
    writer.begin_message(type);
    WireReader reader(body);
    while (true) {
        const char code = static_cast<char>(reader.u8());
        if (code == '\0') break;
        const std::string_view value = reader.cstring();
        if (code != 'P') {
            writer.u8(static_cast<std::uint8_t>(code)).cstring(value);
        } else if (position != 0) {
            append_field(writer, 'P', std::to_string(position));
        }
    }
    writer.u8(0).end_message();
}

}  // namespace schemux::protocol
