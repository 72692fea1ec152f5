#include "daemon/log_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ctime>

namespace schemux::daemon {

namespace {

bool is_continuation(std::string_view text, std::size_t at) {
    return at < text.size() && (static_cast<std::uint8_t>(text[at]) & 0xC0U) == 0x80U;
}

// Length of the valid UTF-8 sequence at `at`, 0 if there is none. RFC 3629, section 4: no overlong
// forms, no surrogates, nothing above U+10FFFF.
std::size_t sequence_length(std::string_view text, std::size_t at) {
    const auto first = static_cast<std::uint8_t>(text[at]);
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    if (!is_continuation(text, at + 1)) return 0;
    const auto second = static_cast<std::uint8_t>(text[at + 1]);
    if (first < 0xE0) return 2;
    if (!is_continuation(text, at + 2)) return 0;
    if (first == 0xE0 && second < 0xA0) return 0;
    if (first == 0xED && second > 0x9F) return 0;
    if (first < 0xF0) return 3;
    if (!is_continuation(text, at + 3)) return 0;
    if (first == 0xF0 && second < 0x90) return 0;
    if (first == 0xF4 && second > 0x8F) return 0;
    return 4;
}

void append_hex_escape(std::string& out, char byte) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto value = static_cast<std::uint8_t>(byte);
    out += "\\x";
    out += digits[value >> 4U];
    out += digits[value & 0x0FU];
}

bool is_plain_word(std::string_view text) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("_-.:/@+*%[]").find(c) != std::string_view::npos;
    };
    return !text.empty() && std::all_of(text.begin(), text.end(), plain);
}

void append_escaped_with(std::string& out, std::string_view text, bool quotes_too) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = sequence_length(text, at);
        const char c = text[at];
        const auto byte = static_cast<std::uint8_t>(c);
        // C1 controls are U+0080 to U+009F, in UTF-8 C2 80 to C2 9F; some terminals obey them.
        const bool c1 =
            length == 2 && byte == 0xC2 && static_cast<std::uint8_t>(text[at + 1]) < 0xA0;
        if (length == 0 || byte < 0x20 || byte == 0x7F) {
            if (c == '\n') {
                out += "\\n";
            } else if (c == '\t') {
                out += "\\t";
            } else {
                append_hex_escape(out, c);
            }
            ++at;
        } else if (c1) {
            append_hex_escape(out, c);
            append_hex_escape(out, text[at + 1]);
            at += 2;
        } else {
            if (c == '\\' || (quotes_too && c == '"')) out += '\\';
            out += text.substr(at, length);
            at += length;
        }
    }
}

}  // namespace

std::string shortened(std::string_view text, std::size_t max_bytes) {
    if (text.size() <= max_bytes) return std::string(text);
    std::size_t end = max_bytes;
    // At most three steps back: a sequence has no more continuation bytes.
    for (int step = 0; step < 3 && end > 0 && is_continuation(text, end); ++step)
        --end;
    return std::string(text.substr(0, end)) + "...";
}

std::string well_formed_utf8(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = sequence_length(text, at);
        if (length == 0) {
            out += "\xEF\xBF\xBD";
            ++at;
        } else {
            out += text.substr(at, length);
            at += length;
        }
    }
    return out;
}

void append_escaped(std::string& out, std::string_view text) {
    append_escaped_with(out, text, false);
}

void append_quoted_if_needed(std::string& out, std::string_view text) {
    if (is_plain_word(text)) {
        out += text;
        return;
    }
    out += '"';
    append_escaped_with(out, text, true);
    out += '"';
}

void append_number(std::string& out, double number) {
    if (!std::isfinite(number)) {
        out += "null";
        return;
    }
    std::array<char, 32> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
    out.append(buffer.data(), end.ptr);
}

void append_rfc3339(std::string& out, std::chrono::system_clock::time_point time) {
    const auto milliseconds =
        std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch().count();
    const std::time_t seconds =
        static_cast<std::time_t>((milliseconds >= 0 ? milliseconds : milliseconds - 999) / 1000);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    std::array<char, 40> buffer{};
    const std::size_t size =
        std::strftime(buffer.data(), buffer.size(), "%Y-%m-%dT%H:%M:%S", &parts);
    out.append(buffer.data(), size);
    const auto fraction = static_cast<int>(milliseconds - std::int64_t{seconds} * 1000);
    std::snprintf(buffer.data(), buffer.size(), ".%03dZ", fraction);
    out += buffer.data();
}

}  // namespace schemux::daemon
