// ErrorResponse and NoticeResponse: fields to bytes and back.
// Every field is optional when reading: a hostile server may leave out any of them.
// Source: PostgreSQL manual, 55.8 "Error and Notice Message Fields".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::protocol {

enum class Severity : std::uint8_t { error, fatal, warning, notice };

std::string_view name_of(Severity severity);

/// What schemux says itself; owned text, since it outlives the message that caused it.
struct ErrorFields {
    Severity severity = Severity::error;
    std::string sqlstate;
    std::string message;
    std::string detail;
    std::string hint;
    std::uint32_t position = 0;  ///< 1-based, in characters of the client's query; 0 = none

    friend bool operator==(const ErrorFields&, const ErrorFields&) = default;
};

inline ErrorFields make_error(std::string_view sqlstate, std::string message,
                              Severity severity = Severity::error) {
    ErrorFields fields;
    fields.severity = severity;
    fields.sqlstate = sqlstate;
    fields.message = std::move(message);
    return fields;
}

/// Appends one ErrorResponse (or, for warning and notice severities, NoticeResponse) to `out`.
void append_error(std::string& out, const ErrorFields& fields);

/// What is looked at in a message of the server; views into its body, empty where absent.
struct ErrorView {
    std::string_view severity;  ///< field V, never translated; S where V is absent
    std::string_view sqlstate;
    std::string_view message;
    std::string_view detail;
    std::string_view hint;
    std::optional<std::uint32_t> position;

    /// The server ends the session with it.
    bool is_last_word() const { return severity == "FATAL" || severity == "PANIC"; }
};

/// Reads the body of an ErrorResponse or NoticeResponse; nullopt when its framing is broken.
std::optional<ErrorView> read_error(std::string_view body);

/// Appends a copy of the message with another position field ('P'), everything else byte for byte.
/// `body` must be one that `read_error` accepts. A position of 0 leaves the field out.
void append_with_position(std::string& out, char type, std::string_view body,
                          std::uint32_t position);

}  // namespace schemux::protocol
