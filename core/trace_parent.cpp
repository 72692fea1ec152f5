#include "core/trace_parent.h"

#include "protocol/sql_lexer.h"

#include <algorithm>
#include <cstddef>

namespace schemux::core {

namespace {

constexpr std::string_view key = "traceparent='";
constexpr std::size_t value_bytes = 55;  // 00-<32>-<16>-<2>

std::optional<unsigned> hex_digit(char byte) {
    if (byte >= '0' && byte <= '9') return static_cast<unsigned>(byte - '0');
    if (byte >= 'a' && byte <= 'f') return static_cast<unsigned>(byte - 'a' + 10);
    return {};
}

/// sqlcommenter writes values as in a URL.
std::string decoded(std::string_view text) {
    std::string value;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] == '%' && at + 2 < text.size()) {
            const auto lower = [](char byte) {
                return byte >= 'A' && byte <= 'F' ? static_cast<char>(byte | 0x20) : byte;
            };
            const auto high = hex_digit(lower(text[at + 1]));
            const auto low = hex_digit(lower(text[at + 2]));
            if (!high || !low) return {};
            value += static_cast<char>(*high * 16 + *low);
            at += 2;
        } else {
            value += text[at];
        }
    }
    return value;
}

bool is_id(std::string_view text) {
    const bool hex = std::all_of(text.begin(), text.end(),
                                 [](char byte) { return hex_digit(byte).has_value(); });
    return hex && text.find_first_not_of('0') != text.npos;
}

bool is_valid(std::string_view value) {
    if (value.size() != value_bytes || !value.starts_with("00-")) return false;
    return value[35] == '-' && value[52] == '-' && is_id(value.substr(3, 32)) &&
           is_id(value.substr(36, 16)) && hex_digit(value[53]) && hex_digit(value[54]);
}

std::optional<std::string> find_in_comment(std::string_view comment) {
    constexpr std::string_view ahead = "*, \t\r\n";
    for (std::size_t at = comment.find(key); at != comment.npos; at = comment.find(key, at + 1)) {
        if (at == 0 || ahead.find(comment[at - 1]) == ahead.npos) continue;
        const std::size_t begin = at + key.size();
        const std::size_t end = comment.find('\'', begin);
        if (end == comment.npos || end - begin > 3 * value_bytes) continue;
        std::string value = decoded(comment.substr(begin, end - begin));
        if (is_valid(value)) return value;
    }
    return {};
}

}  // namespace

std::optional<std::string> find_trace_parent(std::string_view text,
                                             bool standard_conforming_strings) {
    protocol::SqlLexer lexer(text, standard_conforming_strings);
    while (true) {
        const protocol::Token token = lexer.next();
        if (token.kind == protocol::TokenKind::end) return {};
        if (token.kind != protocol::TokenKind::block_comment) continue;
        if (auto found = find_in_comment(lexer.text_of(token))) return found;
    }
}

}  // namespace schemux::core
