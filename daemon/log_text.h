// Text helpers of the log writer: make any bytes safe to print, on one line, within a bound.
// They know nothing of levels, formats or events.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace schemux::daemon {

/// At most `max_bytes` of `text`, never half a UTF-8 sequence; "..." replaces what was cut.
std::string shortened(std::string_view text, std::size_t max_bytes);

/// The text with U+FFFD for every byte that is not part of valid UTF-8 (RFC 3629).
std::string well_formed_utf8(std::string_view text);

/// Appends the text with control characters (C0, DEL, C1), backslashes and bytes that are not
/// UTF-8 written as escapes, so that it stays on its line and cannot steer a terminal.
void append_escaped(std::string& out, std::string_view text);

/// As append_escaped, inside double quotes unless it is a plain word.
void append_quoted_if_needed(std::string& out, std::string_view text);

/// A JSON number; null for an infinity or NaN, which JSON cannot say.
void append_number(std::string& out, double number);

/// 2023-01-31T23:59:59.123Z
void append_rfc3339(std::string& out, std::chrono::system_clock::time_point time);

}  // namespace schemux::daemon
