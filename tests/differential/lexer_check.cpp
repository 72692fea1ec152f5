#include "tests/differential/lexer_check.h"

#include "protocol/sql_lexer.h"
#include "tests/differential/oracle.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace schemux::differential {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

constexpr std::size_t operator_bytes_max = 63;  // NAMEDATALEN - 1

std::string described(const Lexeme& lexeme) {
    return std::to_string(static_cast<int>(lexeme.kind)) + "@" + std::to_string(lexeme.begin) +
           "-" + std::to_string(lexeme.end);
}

std::string described(const std::vector<Lexeme>& lexemes) {
    std::string out;
    for (const Lexeme& lexeme : lexemes)
        out += " " + described(lexeme);
    return out;
}

// A copy without a byte behind it, for AddressSanitizer to see every step too far.
struct ExactText {
    explicit ExactText(std::string_view text) : bytes(text.begin(), text.end()) {}
    std::string_view view() const { return {bytes.data(), bytes.size()}; }
    std::vector<char> bytes;
};

// All tokens, whitespace too; nothing when a byte belongs to none or to two.
std::optional<std::vector<Token>> all_tokens(SqlLexer& lexer) {
    std::vector<Token> tokens;
    std::size_t at = lexer.position();
    while (true) {
        const Token token = lexer.next();
        if (token.begin != at) return {};
        if (token.kind == TokenKind::end) break;
        if (token.length == 0) return {};
        at = token.end();
        tokens.push_back(token);
    }
    if (at != lexer.text().size()) return {};
    return tokens;
}

std::vector<Lexeme> without_space(const std::vector<Token>& tokens) {
    std::vector<Lexeme> lexemes;
    lexemes.reserve(tokens.size());
    for (const Token& token : tokens) {
        if (token.kind != TokenKind::whitespace)
            lexemes.push_back({token.kind, token.begin, token.end()});
    }
    return lexemes;
}

std::vector<Lexeme> lexemes_of(std::string_view text, bool conforming) {
    SqlLexer lexer(text, conforming);
    return without_space(all_tokens(lexer).value_or(std::vector<Token>{}));
}

// `next_significant` and `seek` must tell what `next` told.
std::string check_other_ways(std::string_view text, bool conforming,
                             const std::vector<Token>& tokens) {
    SqlLexer lexer(text, conforming);
    for (const Token& token : tokens) {
        if (token.kind == TokenKind::whitespace || token.kind == TokenKind::line_comment ||
            token.kind == TokenKind::block_comment)
            continue;
        const Token other = lexer.next_significant();
        if (other.begin != token.begin || other.length != token.length || other.kind != token.kind)
            return "next_significant differs at " + std::to_string(token.begin);
    }
    if (lexer.next_significant().kind != TokenKind::end) return "next_significant goes on";
    const std::size_t middle = tokens.size() / 2;
    if (middle == tokens.size()) return {};
    lexer.seek(tokens[middle].begin);
    for (std::size_t i = middle; i < tokens.size(); ++i) {
        const Token other = lexer.next();
        if (other.begin != tokens[i].begin || other.length != tokens[i].length ||
            other.kind != tokens[i].kind)
            return "after seek differs at " + std::to_string(tokens[i].begin);
    }
    return {};
}

// The value of an escape is nothing that the lexer looks at, but PostgreSQL refuses some: the same
// text with only such escapes as are always allowed.
std::string without_escape_values(std::string text) {
    for (std::size_t at = 1; at < text.size(); ++at) {
        const char byte = text[at];
        const bool value = (byte | 0x20) == 'u' || byte == 'x' || (byte >= '0' && byte <= '7');
        if (value && text[at - 1] == '\\') text[at] = 'q';
    }
    return text;
}

// A literal goes on in a second part exactly if it ends earlier without its newlines.
bool goes_on(std::string text, bool conforming) {
    if ((text.front() | 0x20) == 'n') text.erase(0, 1);
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::replace(text.begin(), text.end(), '\r', ' ');
    const Scan scan = postgres_scan(without_escape_values(text), conforming);
    return scan.lexemes.empty() || scan.lexemes.front().end != text.size();
}

std::string check_details(std::string_view text, bool conforming, const Token& token) {
    const std::string own(text.substr(token.begin, token.length));
    std::uint32_t delimiter = 0;
    bool literal = false;
    switch (token.kind) {
        case TokenKind::dollar_literal:
            delimiter = static_cast<std::uint32_t>(own.find('$', 1)) + 1;
            break;
        case TokenKind::plain_literal:
        case TokenKind::escape_literal:
        case TokenKind::unicode_literal:
        case TokenKind::bit_literal:
        case TokenKind::hex_literal:
        case TokenKind::national_literal:
            literal = true;
            break;
        case TokenKind::unterminated:
            return {};
        case TokenKind::end:
        case TokenKind::whitespace:
        case TokenKind::line_comment:
        case TokenKind::block_comment:
        case TokenKind::identifier:
        case TokenKind::quoted_identifier:
        case TokenKind::unicode_identifier:
        case TokenKind::parameter:
        case TokenKind::number:
        case TokenKind::operator_text:
        case TokenKind::self:
        case TokenKind::other:
            break;
    }
    if (token.delimiter_bytes != delimiter) return "delimiter_bytes of " + own;
    bool continued = false;
    if (literal && own.find_first_of("\r\n") != std::string::npos &&
        std::count(own.begin(), own.end(), '\'') > 2)
        continued = goes_on(own, conforming || token.kind == TokenKind::unicode_literal);
    return token.continued == continued ? "" : "continued of " + own;
}

std::size_t shifted(std::size_t at, std::size_t from) {
    return at >= from ? at + 1 : at;
}

// Checks that one byte inserted into the text moves the lexer's tokens and changes none, and goes
// on with the text that has it. For texts that PostgreSQL refuses before it has read them all.
std::string check_mended(std::string_view text, bool conforming, std::size_t at, char inserted) {
    std::string mended(text);
    mended.insert(at, 1, inserted);
    std::vector<Lexeme> expected = lexemes_of(text, conforming);
    for (Lexeme& lexeme : expected) {
        lexeme.begin = shifted(lexeme.begin, at);
        lexeme.end = shifted(lexeme.end, at + 1);
    }
    const std::vector<Lexeme> seen = lexemes_of(mended, conforming);
    if (seen != expected)
        return "with a byte at " + std::to_string(at) + ":" + described(seen) + "\n  instead of  " +
               described(expected);
    return check_lexer(mended, conforming);
}

// The longest number that starts at `begin`, as before PostgreSQL 15: the longest that is one
// alone. (With two points behind its digits it is no junk.)
std::size_t number_end(std::string_view text, std::size_t begin) {
    std::size_t longest = begin;
    const std::size_t limit = text.find_first_not_of("0123456789.eE+-", begin);
    const std::size_t last = limit == std::string_view::npos ? text.size() : limit;
    for (std::size_t end = begin + 1; end <= last; ++end) {
        const Scan scan = postgres_scan(text.substr(begin, end - begin), true);
        if (scan.error == ScanError::none && scan.lexemes.size() == 1 &&
            scan.lexemes.front() == Lexeme{TokenKind::number, 0, end - begin})
            longest = end;
    }
    return longest;
}

std::string check_without_escapes(std::string_view text, bool conforming, const std::string& here) {
    const std::string other = without_escape_values(std::string(text));
    return other == text ? here : check_lexer(other, conforming);
}

// What the lexer has at the place where PostgreSQL refuses the text.
std::string check_error(std::string_view text, bool conforming, const Scan& scan,
                        const Lexeme& mine) {
    const std::string here = scan.message + ", the lexer has " + described(mine);
    const bool inside =
        scan.error == ScanError::unicode_escape || scan.error == ScanError::nul_escape;
    if (!inside && mine.begin != scan.error_at) return here;
    switch (scan.error) {
        case ScanError::unterminated:
            return mine.kind == TokenKind::unterminated && mine.end == text.size() ? "" : here;
        case ScanError::empty_identifier: {
            const bool plain = text[mine.begin] == '"';
            if (mine.kind != (plain ? TokenKind::quoted_identifier : TokenKind::unicode_identifier))
                return here;
            return check_mended(text, conforming, mine.end - 1, 'a');
        }
        case ScanError::long_operator:
            return mine.kind == TokenKind::operator_text &&
                           mine.end - mine.begin > operator_bytes_max
                       ? ""
                       : here;
        case ScanError::unicode_literal: {
            // As far as it would be one with the setting on.
            const Scan other =
                postgres_scan(without_escape_values(std::string(text.substr(mine.begin))), true);
            if (other.error == ScanError::unterminated && other.error_at == 0)
                return mine.kind == TokenKind::unterminated ? "" : here;
            return !other.lexemes.empty() && mine.kind == TokenKind::unicode_literal &&
                           mine.end == mine.begin + other.lexemes.front().end
                       ? ""
                       : here;
        }
        case ScanError::number_junk:
            if (mine.kind != TokenKind::number || mine.end != number_end(text, mine.begin))
                return here;
            return check_mended(text, conforming, mine.end, ' ');
        case ScanError::parameter_junk:
            if (mine.kind != TokenKind::parameter ||
                text.find_first_not_of("0123456789", mine.begin + 1) != mine.end)
                return here;
            return check_mended(text, conforming, mine.end, ' ');
        case ScanError::unicode_escape:
            if (mine.begin > scan.error_at || mine.end < scan.error_at) return here;
            return check_without_escapes(text, conforming, here);
        case ScanError::nul_escape:
            return check_without_escapes(text, conforming, here);
        case ScanError::none:
        case ScanError::other:
            break;
    }
    return here;
}

}  // namespace

std::string check_lexer(std::string_view text, bool conforming) {
    const ExactText exact(text);
    SqlLexer lexer(exact.view(), conforming);
    const auto tokens = all_tokens(lexer);
    if (!tokens) return "a byte belongs to no token, or to two";
    const std::vector<Lexeme> mine = without_space(*tokens);
    const Scan scan = postgres_scan(text, conforming);
    const std::vector<Lexeme>& theirs = scan.lexemes;
    const bool same = mine.size() >= theirs.size() &&
                      std::equal(theirs.begin(), theirs.end(), mine.begin()) &&
                      (scan.error != ScanError::none || mine.size() == theirs.size());
    if (!same)
        return "lexer" + described(mine) + "\n  PostgreSQL" + described(theirs) + " " +
               scan.message;
    if (scan.error != ScanError::none) {
        if (mine.size() == theirs.size()) return scan.message + ", and the lexer has nothing there";
        const std::string wrong = check_error(text, conforming, scan, mine[theirs.size()]);
        if (!wrong.empty()) return wrong;
    }
    for (const Token& token : *tokens) {
        const std::string wrong = check_details(text, conforming, token);
        if (!wrong.empty()) return wrong;
    }
    const bool pair = text.find("{{") != text.npos || text.find("<<") != text.npos;
    if (protocol::may_contain_template(exact.view()) != pair) return "may_contain_template";
    return check_other_ways(exact.view(), conforming, *tokens);
}

}  // namespace schemux::differential
