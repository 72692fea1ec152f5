// Operators' and numbers' ends are left to tests/differential, which asks PostgreSQL's own scanner.
#include "tests/fuzz/sql_tokens.h"

#include "tests/fuzz/input.h"

#include <algorithm>

namespace schemux::fuzz {
namespace {

using protocol::Token;
using protocol::TokenKind;

constexpr std::size_t nowhere = std::string_view::npos;
constexpr std::string_view newlines = "\n\r";
constexpr std::string_view blanks = " \t\n\r\f\v";
constexpr std::string_view digits = "0123456789";
constexpr std::string_view operator_signs = "~!@#^&|`?+-*/%<>=";

bool is_one_of(char c, std::string_view set) {
    return set.find(c) != nowhere;
}

bool begins_name(char c) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return letter || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool continues_name(char c) {
    return begins_name(c) || is_one_of(c, digits) || c == '$';
}

/// `text` without what may stand between two parts of a literal, if that has a newline in it.
std::string_view behind_gap(std::string_view text) {
    const std::string_view whole = text;
    bool newline = false;
    while (!text.empty()) {
        if (text.starts_with("--")) {
            text.remove_prefix(std::min(text.find_first_of(newlines), text.size()));
        } else if (is_one_of(text.front(), blanks)) {
            newline = newline || is_one_of(text.front(), newlines);
            text.remove_prefix(1);
        } else {
            break;
        }
    }
    return newline ? text : whole;
}

struct Quoting {
    char quote = '\'';
    bool backslashes = false;  ///< \' is no end
    bool doubling = true;      ///< '' is no end
    bool parts = true;         ///< goes on behind a newline
};

/// Behind the last quote of what has its first one at `at`.
std::size_t quoted_end(std::string_view text, std::size_t at, const Quoting& how) {
    std::string_view rest = text.substr(at + 1);
    while (!rest.empty()) {
        const char c = rest.front();
        rest.remove_prefix(1);
        if (how.backslashes && c == '\\') {
            rest.remove_prefix(std::min<std::size_t>(1, rest.size()));
        } else if (c == how.quote) {
            const std::string_view behind = how.parts ? behind_gap(rest) : rest;
            const bool doubled = how.doubling && rest.starts_with(how.quote);
            const bool goes_on = behind.size() < rest.size() && behind.starts_with(how.quote);
            if (!doubled && !goes_on) return text.size() - rest.size();
            rest = doubled ? rest.substr(1) : behind.substr(1);
        }
    }
    return nowhere;
}

std::size_t block_comment_end(std::string_view text, std::size_t at) {
    std::size_t open = 0;
    while (at + 1 < text.size()) {
        const std::string_view pair = text.substr(at, 2);
        if (pair != "/*" && pair != "*/") {
            ++at;
            continue;
        }
        at += 2;
        open += pair == "/*" ? 1 : nowhere;
        if (open == 0) return at;
    }
    return nowhere;
}

/// The `$tag$` at the front of `text`, or nothing.
std::string_view dollar_tag(std::string_view text) {
    const std::size_t second = text.find('$', 1);
    if (second == nowhere) return {};
    const std::string_view name = text.substr(1, second - 1);
    const bool good = name.empty() || (begins_name(name.front()) &&
                                       std::all_of(name.begin(), name.end(), continues_name));
    return good ? text.substr(0, second + 1) : std::string_view{};
}

struct Expected {
    TokenKind kind = TokenKind::other;
    std::size_t end = nowhere;  ///< nowhere: not said here
};

Expected closed(std::string_view text, TokenKind kind, std::size_t end) {
    if (end == nowhere) return {TokenKind::unterminated, text.size()};
    return {kind, end};
}

/// What begins with a letter: a literal with a prefix, or a name.
Expected word_at(std::string_view text, std::size_t at, bool conforming) {
    const std::string_view rest = text.substr(at);
    const char letter = rest.front() >= 'a' ? rest.front() : static_cast<char>(rest.front() | 32);
    const auto literal = [&](TokenKind kind, std::size_t quote, Quoting how) {
        return closed(text, kind, quoted_end(text, at + quote, how));
    };
    if (rest.substr(1).starts_with('\'')) {
        if (letter == 'e') return literal(TokenKind::escape_literal, 1, {'\'', true, true, true});
        if (letter == 'b') return literal(TokenKind::bit_literal, 1, {'\'', false, false, true});
        if (letter == 'x') return literal(TokenKind::hex_literal, 1, {'\'', false, false, true});
        if (letter == 'n')
            return literal(TokenKind::national_literal, 1, {'\'', !conforming, true, true});
    }
    if (letter == 'u' && rest.substr(1).starts_with("&'"))
        return literal(TokenKind::unicode_literal, 2, {});
    if (letter == 'u' && rest.substr(1).starts_with("&\""))
        return literal(TokenKind::unicode_identifier, 2, {'"', false, true, false});
    const auto end = std::find_if_not(rest.begin(), rest.end(), continues_name);
    return {TokenKind::identifier, at + static_cast<std::size_t>(end - rest.begin())};
}

Expected token_at(std::string_view text, std::size_t at, bool conforming) {
    const std::string_view rest = text.substr(at);
    const char c = rest.front();
    const auto run = [&](TokenKind kind, std::size_t length) {
        return Expected{kind, at + std::min(length, rest.size())};
    };
    if (is_one_of(c, blanks)) return run(TokenKind::whitespace, rest.find_first_not_of(blanks));
    if (rest.starts_with("--")) return run(TokenKind::line_comment, rest.find_first_of(newlines));
    if (rest.starts_with("/*"))
        return closed(text, TokenKind::block_comment, block_comment_end(text, at));
    if (c == '\'')
        return closed(text, TokenKind::plain_literal,
                      quoted_end(text, at, {'\'', !conforming, true, true}));
    if (c == '"')
        return closed(text, TokenKind::quoted_identifier,
                      quoted_end(text, at, {'"', false, true, false}));
    if (begins_name(c)) return word_at(text, at, conforming);
    if (c == '$' && rest.size() > 1 && is_one_of(rest[1], digits))
        return run(TokenKind::parameter, rest.find_first_not_of(digits, 1));
    if (c == '$') {
        const std::string_view tag = dollar_tag(rest);
        if (tag.empty()) return {TokenKind::other, at + 1};
        const std::size_t second = text.find(tag, at + tag.size());
        return closed(text, TokenKind::dollar_literal,
                      second == nowhere ? nowhere : second + tag.size());
    }
    const bool point = c == '.' && rest.size() > 1;
    if (is_one_of(c, digits) || (point && is_one_of(rest[1], digits))) return {TokenKind::number};
    if (point && rest[1] == '.') return {TokenKind::operator_text, at + 2};
    if (rest.starts_with("::") || rest.starts_with(":=")) return {TokenKind::operator_text, at + 2};
    if (is_one_of(c, operator_signs)) return {TokenKind::operator_text};
    return {is_one_of(c, ",()[].;:") ? TokenKind::self : TokenKind::other, at + 1};
}

}  // namespace

void check_by_manual(std::string_view text, const Token& token, bool conforming) {
    const Expected expected = token_at(text, token.begin, conforming);
    // An operator of one sign may be a token of the grammar.
    const bool sign = expected.kind == TokenKind::operator_text && expected.end == nowhere &&
                      token.kind == TokenKind::self && token.length == 1;
    const bool good = (token.kind == expected.kind || sign) &&
                      (expected.end == nowhere || token.end() == expected.end);
    if (!good) show("token", text.substr(token.begin, token.length));
    demand(good, "a token is what the manual says");
    if (expected.kind != TokenKind::operator_text || expected.end != nowhere) return;
    const std::string_view bytes = text.substr(token.begin, token.length);
    demand(bytes.find_first_not_of(operator_signs) == nowhere && bytes.find("--") == nowhere &&
               bytes.find("/*") == nowhere,
           "an operator has signs of operators, and no comment");
}

}  // namespace schemux::fuzz
