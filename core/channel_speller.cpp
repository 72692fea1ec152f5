#include "core/channel_speller.h"

#include "core/statement_cursor.h"
#include "protocol/keyed_digest.h"

#include <algorithm>
#include <initializer_list>

namespace schemux::core {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

/// Of a service's name as it is: a channel has at most 63 bytes with it.
constexpr std::size_t plain_prefix_max = 31;

bool is_any_of(std::string_view word, std::initializer_list<std::string_view> words) {
    return std::any_of(words.begin(), words.end(),
                       [word](std::string_view one) { return equals_ignoring_case(word, one); });
}

bool is_plain(char byte) {
    const char lower = static_cast<char>(byte | 0x20);
    return (lower >= 'a' && lower <= 'z') || (byte >= '0' && byte <= '9') || byte == '_' ||
           byte == '-';
}

bool is_name(TokenKind kind) {
    return kind == TokenKind::identifier || kind == TokenKind::quoted_identifier ||
           kind == TokenKind::unicode_identifier;
}

/// A token of one character as that, else 0.
char self_of(const Token& token, std::string_view text) {
    return token.kind == TokenKind::self ? text.front() : '\0';
}

bool contains_word(std::string_view text, std::string_view lower) {
    const auto found = std::search(
        text.begin(), text.end(), lower.begin(), lower.end(),
        [](char byte, char wanted) { return static_cast<char>(byte | 0x20) == wanted; });
    return found != text.end();
}

}  // namespace

std::string channel_prefix(std::string_view service_name) {
    const bool plain = service_name.size() <= plain_prefix_max &&
                       std::all_of(service_name.begin(), service_name.end(), is_plain);
    if (plain) return std::string(service_name) + ':';
    constexpr std::string_view digits = "0123456789abcdef";
    std::string prefix;
    const protocol::Digest128 digest = protocol::keyed_digest({}, {service_name});
    for (std::size_t at = 0; at < digest.size() / 2; ++at) {
        prefix += digits[digest[at] >> 4];
        prefix += digits[digest[at] & 0xf];
    }
    // A point is in no plain name: no other service is called so.
    return prefix + ".:";
}

bool may_name_channel(std::string_view text) {
    return contains_word(text, "notify") || contains_word(text, "listen");
}

ChannelSpeller::Edit ChannelSpeller::see(const Token& token, const SqlLexer& lexer) {
    const std::string_view text = lexer.text_of(token);
    const char self = self_of(token, text);
    const Before before = before_;
    before_ = Before::other;
    if (before == Before::command && is_channel(token, lexer)) return Edit::spell;
    Edit edit = closes_call(self) ? Edit::close : Edit::none;
    if (before == Before::opening && self != ')' && self != ',' && open_calls_ < calls_max) {
        calls_[open_calls_++] = depth_;
        edit = Edit::open;
    }
    if (self != '\0') {
        see_self(self, before);
    } else if (token.kind == TokenKind::identifier) {
        see_word(text, before);
    } else if (token.kind == TokenKind::quoted_identifier && text == "\"pg_notify\"") {
        see_word("pg_notify", before);
    }
    return edit;
}

bool ChannelSpeller::closes_call(char self) {
    if (open_calls_ == 0 || calls_[open_calls_ - 1] != depth_) return false;
    if (self != ',' && self != ')') return false;
    --open_calls_;
    return true;
}

void ChannelSpeller::see_self(char self, Before before) {
    switch (self) {
        case ';':
            before_ = Before::statement;
            defines_ = false;
            depth_ = 0;
            open_calls_ = 0;
            break;
        case '(':
            ++depth_;
            if (before == Before::function) before_ = Before::opening;
            if (before == Before::rule) before_ = Before::statement;
            break;
        case ')':
            if (depth_ > 0) --depth_;
            break;
        case '.':
            before_ = before == Before::catalog ? Before::catalog_point : Before::point;
            break;
        default:
            break;
    }
}

void ChannelSpeller::see_word(std::string_view word, Before before) {
    const bool begins = before == Before::statement || before == Before::rule;
    if (begins && is_any_of(word, {"listen", "unlisten", "notify"})) {
        if (!declares_) before_ = Before::command;
        return;
    }
    if (begins) {
        defines_ = is_any_of(word, {"grant", "revoke", "drop", "comment", "alter", "security"});
        if (place_ == Place::body && is_any_of(word, {"declare"})) declares_ = true;
    }
    if (is_any_of(word, {"pg_notify"})) {
        const bool called = before != Before::point && before != Before::object && !defines_;
        if (called) before_ = Before::function;
    } else if (is_any_of(word, {"pg_catalog"})) {
        before_ = Before::catalog;
    } else if (is_any_of(word, {"function", "procedure", "routine", "table", "into"})) {
        before_ = Before::object;
    } else if (is_any_of(word, {"do", "also", "instead"})) {
        before_ = Before::rule;
    } else if (place_ == Place::body && is_any_of(word, {"begin", "then", "else", "loop"})) {
        declares_ = declares_ && !is_any_of(word, {"begin"});
        before_ = Before::statement;
    }
}

// A command of this kind ends behind the name, or goes on with a payload. In a body a column may be
// called notify, too: CASE WHEN x THEN notify END.
bool ChannelSpeller::is_channel(const Token& token, const SqlLexer& lexer) const {
    if (!is_name(token.kind)) return false;
    const bool word = token.kind == TokenKind::identifier;
    if (word && is_any_of(lexer.text_of(token), {"end", "else", "when"})) return false;
    SqlLexer ahead = lexer;
    const Token next = ahead.next_significant();
    if (next.kind == TokenKind::end) return true;
    const char self = self_of(next, ahead.text_of(next));
    return self == ';' || self == ',' || self == ')';
}

void ChannelSpeller::append_channel(std::string& out, const Token& token, std::string_view text,
                                    std::string_view prefix) {
    if (token.kind != TokenKind::identifier) {
        const std::size_t quote = text.find('"') + 1;
        out.append(text.substr(0, quote)).append(prefix).append(text.substr(quote));
        return;
    }
    out.append("\"").append(prefix);
    for (const char byte : text) {
        const bool upper = byte >= 'A' && byte <= 'Z';
        out += upper ? static_cast<char>(byte | 0x20) : byte;
    }
    out += '"';
}

void ChannelSpeller::append_opening(std::string& out, std::string_view prefix) {
    out.append("'").append(prefix).append("'::text || (");
}

}  // namespace schemux::core
