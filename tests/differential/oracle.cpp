#include "tests/differential/oracle.h"

#include <pg_query.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

// PostgreSQL's own, exported by the library but not declared.
extern "C" {
extern __thread bool standard_conforming_strings;
extern __thread bool escape_string_warning;
void SetDatabaseEncoding(int encoding);
}

namespace schemux::differential {

namespace {

using protocol::TokenKind;

constexpr int sql_ascii = 0;
constexpr std::string_view whitespace = " \t\n\r\f";

// enum Token of the library's pg_query.proto; below 256 the token is that byte.
enum Code : std::uint64_t {
    code_identifier = 258,
    code_unicode_identifier = 259,
    code_float = 260,
    code_literal = 261,
    code_unicode_literal = 262,
    code_bits = 263,
    code_hex = 264,
    code_operator = 265,
    code_integer = 266,
    code_parameter = 267,
    code_typecast = 268,
    code_not_equals = 274,
    code_line_comment = 275,
    code_block_comment = 276,
    code_keyword = 277,  // and all above
};

struct RawScan {
    std::vector<Lexeme> lexemes;
    bool failed = false;
    std::size_t error_at = 0;
    std::size_t stopped_at = 0;  // where the token in error begins
    std::string message;
};

std::uint64_t read_varint(const char*& at) {
    std::uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(*at++);
        value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
        if (byte < 0x80) return value;
    }
}

TokenKind kind_of(std::uint64_t code, char first) {
    if (code < 256)
        return std::memchr(",()[].;:+-*/%^<>=", first, 17) != nullptr ? TokenKind::self
                                                                      : TokenKind::other;
    if (code >= code_keyword) return TokenKind::identifier;
    if (code >= code_typecast && code <= code_not_equals) return TokenKind::operator_text;
    switch (code) {
        case code_identifier:
            return first == '"' ? TokenKind::quoted_identifier : TokenKind::identifier;
        case code_unicode_identifier:
            return TokenKind::unicode_identifier;
        case code_float:
        case code_integer:
            return TokenKind::number;
        case code_literal:
            if (first == '$') return TokenKind::dollar_literal;
            return first == '\'' ? TokenKind::plain_literal : TokenKind::escape_literal;
        case code_unicode_literal:
            return TokenKind::unicode_literal;
        case code_bits:
            return TokenKind::bit_literal;
        case code_hex:
            return TokenKind::hex_literal;
        case code_operator:
            return TokenKind::operator_text;
        case code_parameter:
            return TokenKind::parameter;
        case code_line_comment:
            return TokenKind::line_comment;
        case code_block_comment:
            return TokenKind::block_comment;
        default:
            return TokenKind::end;
    }
}

// The library's answer is a protobuf: ScanResult { tokens = 2 { start = 1, end = 2, token = 4 } }.
std::vector<Lexeme> read_tokens(const char* at, std::size_t size, const std::string& text) {
    std::vector<Lexeme> lexemes;
    const char* const end = at + size;
    while (at < end) {
        const std::uint64_t tag = read_varint(at);
        const std::uint64_t value = read_varint(at);
        if (tag != (2U << 3 | 2U)) continue;
        const char* const message_end = at + value;
        Lexeme lexeme;
        std::uint64_t code = 0;
        while (at < message_end) {
            const std::uint64_t field = read_varint(at) >> 3;
            const std::uint64_t number = read_varint(at);
            if (field == 1) lexeme.begin = number;
            if (field == 2) lexeme.end = number;
            if (field == 4) code = number;
        }
        lexeme.kind = kind_of(code, text[lexeme.begin]);
        lexemes.push_back(lexeme);
    }
    return lexemes;
}

RawScan raw_scan(const std::string& text, bool conforming) {
    SetDatabaseEncoding(sql_ascii);
    standard_conforming_strings = conforming;
    escape_string_warning = false;
    const PgQueryScanResult result = pg_query_scan(text.c_str());
    RawScan scan;
    if (result.error != nullptr) {
        scan.failed = true;
        scan.message = result.error->message;
        const int position = result.error->cursorpos;
        scan.error_at = position > 0 ? static_cast<std::size_t>(position) - 1 : 0;
    } else {
        scan.lexemes = read_tokens(result.pbuf.data, result.pbuf.len, text);
    }
    pg_query_free_scan_result(result);
    return scan;
}

// A scan that failed, with the tokens before the error: those of the text up to it. An error
// inside a literal, at the very end even, leaves that one unterminated, so the same again.
RawScan scan_with_prefix(const std::string& text, bool conforming) {
    RawScan scan = raw_scan(text, conforming);
    RawScan prefix = scan;
    for (std::size_t size = text.size(); prefix.failed && size > 0;) {
        size = std::min(prefix.error_at, size - 1);
        scan.stopped_at = size;
        prefix = raw_scan(text.substr(0, size), conforming);
    }
    scan.lexemes = std::move(prefix.lexemes);
    return scan;
}

bool can_go_on(TokenKind kind) {
    return kind == TokenKind::plain_literal || kind == TokenKind::escape_literal ||
           kind == TokenKind::unicode_literal || kind == TokenKind::bit_literal ||
           kind == TokenKind::hex_literal;
}

// Rule 3, for the first place where it holds; behind it everything may read differently then.
bool blank_comments(std::string& text, const std::vector<Lexeme>& lexemes) {
    for (std::size_t i = 0; i < lexemes.size(); ++i) {
        if (!can_go_on(lexemes[i].kind)) continue;
        std::size_t next = i + 1;
        while (next < lexemes.size() && lexemes[next].kind == TokenKind::line_comment)
            ++next;
        if (next == i + 1) continue;
        const std::size_t begin = text.find_first_not_of(whitespace, lexemes[next - 1].end);
        if (begin == std::string::npos || text[begin] != '\'') continue;
        for (std::size_t comment = i + 1; comment < next; ++comment)
            std::fill(text.begin() + static_cast<std::ptrdiff_t>(lexemes[comment].begin),
                      text.begin() + static_cast<std::ptrdiff_t>(lexemes[comment].end), ' ');
        return true;
    }
    return false;
}

// Rule 4.
void mend_ends(const std::string& text, RawScan& scan) {
    for (std::size_t i = 0; i < scan.lexemes.size(); ++i) {
        Lexeme& lexeme = scan.lexemes[i];
        if (lexeme.kind != TokenKind::unicode_literal &&
            lexeme.kind != TokenKind::unicode_identifier)
            continue;
        std::size_t next = text.size();
        if (i + 1 < scan.lexemes.size())
            next = scan.lexemes[i + 1].begin;
        else if (scan.failed)
            next = scan.stopped_at;
        lexeme.end = text.find_last_not_of(whitespace, next - 1) + 1;
    }
}

bool is_national_prefix(const std::string& text, const Lexeme& lexeme) {
    return lexeme.kind == TokenKind::identifier && lexeme.end - lexeme.begin == 1 &&
           (text[lexeme.begin] | 0x20) == 'n';
}

// Rule 5.
void join_national(const std::string& text, std::vector<Lexeme>& lexemes) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < lexemes.size(); ++i) {
        const Lexeme& lexeme = lexemes[i];
        if (is_national_prefix(text, lexeme) && i + 1 < lexemes.size() &&
            lexemes[i + 1].begin == lexeme.end && lexemes[i + 1].kind == TokenKind::plain_literal) {
            lexemes[kept++] = {TokenKind::national_literal, lexeme.begin, lexemes[i + 1].end};
            ++i;
        } else {
            lexemes[kept++] = lexeme;
        }
    }
    lexemes.resize(kept);
}

ScanError error_of(const std::string& message) {
    constexpr struct {
        std::string_view beginning;
        ScanError error = ScanError::other;
    } known[] = {
        {"unterminated ", ScanError::unterminated},
        {"zero-length delimited identifier", ScanError::empty_identifier},
        {"operator too long", ScanError::long_operator},
        {"unsafe use of string constant with Unicode escapes", ScanError::unicode_literal},
        {"trailing junk after numeric literal", ScanError::number_junk},
        {"trailing junk after parameter", ScanError::parameter_junk},
        {"invalid Unicode", ScanError::unicode_escape},
        {"conversion between UTF8 and SQL_ASCII", ScanError::unicode_escape},
        {"invalid byte sequence for encoding", ScanError::nul_escape},
    };
    for (const auto& one : known) {
        if (message.starts_with(one.beginning)) return one.error;
    }
    return ScanError::other;
}

}  // namespace

Scan postgres_scan(std::string_view text, bool conforming) {
    std::string given(text);
    std::replace(given.begin(), given.end(), '\v', '\f');  // rule 2
    RawScan raw = scan_with_prefix(given, conforming);
    while (blank_comments(given, raw.lexemes))
        raw = scan_with_prefix(given, conforming);
    mend_ends(given, raw);
    // Rule 5 for a literal that is in error: its prefix is no token of its own.
    if (raw.failed && !raw.lexemes.empty() && given[raw.stopped_at] == '\'' &&
        is_national_prefix(given, raw.lexemes.back()) && raw.lexemes.back().end == raw.stopped_at) {
        if (raw.error_at == raw.stopped_at) --raw.error_at;
        raw.lexemes.pop_back();
    }
    Scan scan;
    join_national(given, raw.lexemes);
    scan.lexemes = std::move(raw.lexemes);
    if (raw.failed) {
        scan.error = error_of(raw.message);
        scan.error_at = raw.error_at;
        scan.message = std::move(raw.message);
    }
    return scan;
}

std::string check_oracle() {
    const auto tokens = [](std::string_view text, bool conforming) {
        return postgres_scan(text, conforming).lexemes.size();
    };
    const auto error = [](std::string_view text, bool conforming) {
        return postgres_scan(text, conforming).error;
    };
    // A server's answers, PostgreSQL 15.
    if (tokens("'\\''", false) != 1 || error("'\\''", true) != ScanError::unterminated)
        return "standard_conforming_strings has no effect";
    if (postgres_scan("\xc3\xa9 'x", true).error_at != 3) return "error positions are not bytes";
    if (tokens("'a'--x\n'b'", true) != 1 || tokens("E'a' --x\r--y\n\t'\\'b'", true) != 1)
        return "a literal does not go on behind a comment";
    if (tokens("'a'/**/\n'b'", true) != 3) return "a literal goes on behind a block comment";
    if (tokens("n'a'--\n'b' x", true) != 2) return "a national literal does not go on";
    if (error("U&'a'", false) != ScanError::unicode_literal) return "U& is not refused";
    if (error("1a", true) != ScanError::number_junk) return "numbers are those of another version";
    const Scan unicode = postgres_scan("U&'a' \n 'b' x", true);
    if (unicode.lexemes.size() != 2 || unicode.lexemes[0].end != 11) return "ends of U& are wrong";
    return {};
}

}  // namespace schemux::differential
