#include "protocol/sql_lexer.h"

#include <array>
#include <cassert>
#include <cstring>

namespace schemux::protocol {

namespace {

// What a token that starts with a byte is; the flags above tell how a running token goes on.
enum ByteClass : std::uint8_t {
    class_other,
    class_space,
    class_identifier,
    class_digit,
    class_quote,
    class_double_quote,
    class_dollar,
    class_operator,
    class_self,
    class_mask = 0x0f,
    flag_identifier = 0x10,
    flag_tag = 0x20,
    flag_operator = 0x40,
};

constexpr std::array<std::uint8_t, 256> make_classes() {
    std::array<std::uint8_t, 256> table{};
    const auto set = [&table](std::string_view bytes, int value) {
        for (const char byte : bytes)
            table[static_cast<unsigned char>(byte)] = static_cast<std::uint8_t>(value);
    };
    for (std::size_t byte = 0; byte < table.size(); ++byte) {
        const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (letter || byte == '_' || byte >= 0x80)
            table[byte] = class_identifier | flag_identifier | flag_tag;
    }
    set("0123456789", class_digit | flag_identifier | flag_tag);
    set("$", class_dollar | flag_identifier);
    // Vertical tab is a space since PostgreSQL 16; before, it starts nothing and ends in an error.
    set(" \t\n\r\f\v", class_space);
    set("'", class_quote);
    set("\"", class_double_quote);
    set("~!@#^&|`?+-*/%<>=", class_operator | flag_operator);
    set(",()[].;:", class_self);
    return table;
}

constexpr std::array<std::uint8_t, 256> classes = make_classes();

inline std::uint8_t class_of(char byte) {
    return classes[static_cast<unsigned char>(byte)];
}

inline bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

// Characters that make an operator more than a sum of SQL's own: it may then end in + or -.
inline bool frees_trailing_sign(char byte) {
    return std::memchr("~!@#^&|`?%", byte, 10) != nullptr;
}

}  // namespace

SqlLexer::SqlLexer(std::string_view text, bool standard_conforming_strings)
    : text_(text), standard_conforming_strings_(standard_conforming_strings) {
    assert(text.size() <= lexer_text_max);
}

void SqlLexer::seek(std::size_t offset) {
    assert(offset <= text_.size());
    at_ = offset;
    single_signs_until_ = 0;
}

inline Token SqlLexer::finish(TokenKind kind, std::size_t end) {
    Token token;
    token.kind = kind;
    token.begin = static_cast<std::uint32_t>(at_);
    token.length = static_cast<std::uint32_t>(end - at_);
    at_ = end;
    return token;
}

inline Token SqlLexer::scan_space() {
    std::size_t end = at_ + 1;
    while (end < text_.size() && (class_of(text_[end]) & class_mask) == class_space)
        ++end;
    return finish(TokenKind::whitespace, end);
}

Token SqlLexer::scan_line_comment() {
    std::size_t end = at_ + 2;
    while (end < text_.size() && text_[end] != '\n' && text_[end] != '\r')
        ++end;
    return finish(TokenKind::line_comment, end);
}

Token SqlLexer::scan_block_comment() {
    std::size_t depth = 1;
    std::size_t end = at_ + 2;
    while (end < text_.size()) {
        if (text_[end] == '/' && is_at(end + 1, '*')) {
            ++depth;
            end += 2;
        } else if (text_[end] == '*' && is_at(end + 1, '/')) {
            end += 2;
            if (--depth == 0) return finish(TokenKind::block_comment, end);
        } else {
            ++end;
        }
    }
    return finish(TokenKind::unterminated, text_.size());
}

inline Token SqlLexer::scan_identifier() {
    const std::size_t second = at_ + 1;
    if (second < text_.size() && (text_[second] == '\'' || text_[second] == '&')) {
        const char prefix = static_cast<char>(text_[at_] | 0x20);
        if (text_[second] == '\'') {
            if (prefix == 'e') return scan_literal(TokenKind::escape_literal, second + 1);
            if (prefix == 'b') return scan_literal(TokenKind::bit_literal, second + 1);
            if (prefix == 'x') return scan_literal(TokenKind::hex_literal, second + 1);
            if (prefix == 'n') return scan_literal(TokenKind::national_literal, second + 1);
        } else if (prefix == 'u' && is_at(second + 1, '\'')) {
            return scan_literal(TokenKind::unicode_literal, second + 2);
        } else if (prefix == 'u' && is_at(second + 1, '"')) {
            return scan_quoted_identifier(TokenKind::unicode_identifier, second + 2);
        }
    }
    std::size_t end = second;
    while (end < text_.size() && (class_of(text_[end]) & flag_identifier) != 0)
        ++end;
    return finish(TokenKind::identifier, end);
}

// Starts at a digit, or at a point that a digit follows.
Token SqlLexer::scan_number() {
    std::size_t end = at_;
    const auto skip_digits = [this, &end] {
        while (end < text_.size() && is_digit(text_[end]))
            ++end;
    };
    skip_digits();
    // `1..10` is a range of PL/pgSQL: the points are not the number's.
    if (is_at(end, '.') && !(end > at_ && is_at(end + 1, '.'))) {
        ++end;
        skip_digits();
    }
    if (end < text_.size() && (text_[end] | 0x20) == 'e') {
        std::size_t exponent = end + 1;
        if (is_at(exponent, '+') || is_at(exponent, '-')) ++exponent;
        if (exponent < text_.size() && is_digit(text_[exponent])) {
            end = exponent;
            skip_digits();
        }
    }
    return finish(TokenKind::number, end);
}

// Behind the `$tag$` that starts here, or 0.
std::size_t SqlLexer::dollar_delimiter_end() const {
    std::size_t end = at_ + 1;
    if (end < text_.size() && is_digit(text_[end])) return 0;
    while (end < text_.size() && (class_of(text_[end]) & flag_tag) != 0)
        ++end;
    return is_at(end, '$') ? end + 1 : 0;
}

Token SqlLexer::scan_dollar() {
    std::size_t end = at_ + 1;
    if (end < text_.size() && is_digit(text_[end])) {
        while (end < text_.size() && is_digit(text_[end]))
            ++end;
        return finish(TokenKind::parameter, end);
    }
    const std::size_t content = dollar_delimiter_end();
    if (content == 0) return finish(TokenKind::other, at_ + 1);
    const std::string_view delimiter = text_.substr(at_, content - at_);
    // The first occurrence ends it, whatever stands before: scan.l tries every `$` as a start.
    // memmem, not find: linear also for a long tag in a hostile text.
    const void* found =
        memmem(text_.data() + content, text_.size() - content, delimiter.data(), delimiter.size());
    if (found == nullptr) return finish(TokenKind::unterminated, text_.size());
    const auto closing = static_cast<std::size_t>(static_cast<const char*>(found) - text_.data());
    Token token = finish(TokenKind::dollar_literal, closing + delimiter.size());
    token.delimiter_bytes = static_cast<std::uint32_t>(delimiter.size());
    return token;
}

Token SqlLexer::scan_operator() {
    // The tail of an operator that lost its trailing signs below: scan.l would look at it again
    // from every sign, in quadratic time, and always find a single one.
    if (at_ < single_signs_until_) return finish(TokenKind::self, at_ + 1);
    std::size_t end = at_;
    bool may_end_in_sign = false;
    while (end < text_.size() && (class_of(text_[end]) & flag_operator) != 0) {
        const char byte = text_[end];
        if (byte == '/' && is_at(end + 1, '*')) break;
        if (byte == '-' && is_at(end + 1, '-')) break;
        if (frees_trailing_sign(byte)) may_end_in_sign = true;
        ++end;
    }
    const std::size_t full_end = end;
    if (!may_end_in_sign) {
        while (end - at_ > 1 && (text_[end - 1] == '+' || text_[end - 1] == '-'))
            --end;
        if (end < full_end) single_signs_until_ = full_end;
    }
    const bool alone = end - at_ == 1 && std::memchr("+-*/%^<>=", text_[at_], 9) != nullptr;
    return finish(alone ? TokenKind::self : TokenKind::operator_text, end);
}

inline Token SqlLexer::scan_self() {
    const char byte = text_[at_];
    const char following = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    if (byte == '.' && is_digit(following)) return scan_number();
    const bool pair = (byte == '.' && following == '.') ||
                      (byte == ':' && (following == ':' || following == '='));
    if (pair) return finish(TokenKind::operator_text, at_ + 2);
    return finish(TokenKind::self, at_ + 1);
}

Token SqlLexer::scan_quoted_identifier(TokenKind kind, std::size_t at) {
    while (true) {
        at = text_.find('"', at);
        if (at == std::string_view::npos) return finish(TokenKind::unterminated, text_.size());
        if (!is_at(at + 1, '"')) return finish(kind, at + 1);
        at += 2;
    }
}

// The next quote that is not escaped, or the end of the text.
std::size_t SqlLexer::literal_quote(std::size_t at, bool escapes) const {
    if (!escapes) {
        const std::size_t found = text_.find('\'', at);
        return found == std::string_view::npos ? text_.size() : found;
    }
    while (at < text_.size() && text_[at] != '\'')
        at += text_[at] == '\\' ? 2U : 1U;
    return at < text_.size() ? at : text_.size();
}

// A literal goes on in a further pair of quotes when only whitespace and line comments with at
// least one newline stand between. Returns what is behind that next quote, or 0.
std::size_t SqlLexer::continuation(std::size_t at) const {
    bool newline = false;
    while (at < text_.size()) {
        const char byte = text_[at];
        if (byte == '\'') return newline ? at + 1 : 0;
        if (byte == '\n' || byte == '\r') {
            newline = true;
            ++at;
        } else if ((class_of(byte) & class_mask) == class_space) {
            ++at;
        } else if (byte == '-' && is_at(at + 1, '-')) {
            while (at < text_.size() && text_[at] != '\n' && text_[at] != '\r')
                ++at;
        } else {
            return 0;
        }
    }
    return 0;
}

Token SqlLexer::scan_literal(TokenKind kind, std::size_t at) {
    const bool plain = kind == TokenKind::plain_literal || kind == TokenKind::national_literal;
    const bool escapes =
        kind == TokenKind::escape_literal || (plain && !standard_conforming_strings_);
    const bool doubling = kind != TokenKind::bit_literal && kind != TokenKind::hex_literal;
    bool continued = false;
    while (true) {
        at = literal_quote(at, escapes);
        if (at == text_.size()) {
            Token token = finish(TokenKind::unterminated, at);
            token.continued = continued;
            return token;
        }
        ++at;
        if (doubling && is_at(at, '\'')) {
            ++at;
            continue;
        }
        const std::size_t resumed = continuation(at);
        if (resumed == 0) break;
        continued = true;
        at = resumed;
    }
    Token token = finish(kind, at);
    token.continued = continued;
    return token;
}

Token SqlLexer::next() {
    if (at_ >= text_.size()) return finish(TokenKind::end, at_);
    const std::uint8_t first = class_of(text_[at_]) & class_mask;
    // The two most frequent ones by branches, which are predicted apart from each other.
    if (first == class_space) return scan_space();
    if (first == class_identifier) return scan_identifier();
    switch (first) {
        case class_digit:
            return scan_number();
        case class_quote:
            return scan_literal(TokenKind::plain_literal, at_ + 1);
        case class_double_quote:
            return scan_quoted_identifier(TokenKind::quoted_identifier, at_ + 1);
        case class_dollar:
            return scan_dollar();
        case class_operator:
            if (text_[at_] == '-' && is_at(at_ + 1, '-')) return scan_line_comment();
            if (text_[at_] == '/' && is_at(at_ + 1, '*')) return scan_block_comment();
            return scan_operator();
        case class_self:
            return scan_self();
        default:
            return finish(TokenKind::other, at_ + 1);
    }
}

Token SqlLexer::next_significant() {
    while (true) {
        while (at_ < text_.size() && (class_of(text_[at_]) & class_mask) == class_space)
            ++at_;
        const Token token = next();
        if (token.kind != TokenKind::line_comment && token.kind != TokenKind::block_comment)
            return token;
    }
}

bool is_identifier_byte(char byte) {
    return (class_of(byte) & flag_identifier) != 0;
}

bool may_contain_template(std::string_view text) {
    // Vectors of the compiler rather than of one machine: a pair is a byte equal to its follower.
    using Vector = std::uint8_t __attribute__((vector_size(16)));
    const char* data = text.data();
    std::size_t at = 0;
    while (at + sizeof(Vector) < text.size()) {
        Vector here;
        Vector following;
        std::memcpy(&here, data + at, sizeof here);
        std::memcpy(&following, data + at + 1, sizeof following);
        const auto hit = (here == following) & ((here == '{') | (here == '<'));
        std::uint64_t halves[2];
        std::memcpy(halves, &hit, sizeof halves);
        if ((halves[0] | halves[1]) != 0) return true;
        at += sizeof(Vector);
    }
    for (; at + 1 < text.size(); ++at) {
        if (data[at] == data[at + 1] && (data[at] == '{' || data[at] == '<')) return true;
    }
    return false;
}

}  // namespace schemux::protocol
