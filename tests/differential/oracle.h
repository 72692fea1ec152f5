// PostgreSQL 15's own scanner, as libpg_query has it, made to answer in the lexer's terms.
// Where the library differs from a server, or from what the lexer promises for all versions, the
// difference is one of the rules below, each exact; nothing else is accepted or left out:
//   1. Settings: standard_conforming_strings is PostgreSQL's own variable, set per scan. The
//      encoding is SQL_ASCII, so that error positions count bytes; the rules read no encoding.
//   2. Vertical tab is whitespace since PostgreSQL 16, in 15 a token that no grammar has: the
//      scanner is given a form feed in its place, which has always been whitespace.
//   3. The library made comments tokens and by that lost the continuation of a literal behind a
//      line comment ('a'--x<newline>'b' is 'ab' on a server): such a comment is blanked first.
//   4. The ends that it tells for U&'…' and U&"…" are wrong. A token's end is behind the last byte
//      that is no whitespace before the next one's begin.
//   5. N'…' is two tokens there, the keyword nchar and a plain literal.
// It must not know the lexer's code, only its kinds.
#pragma once

#include "protocol/sql_lexer.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::differential {

enum class ScanError {
    none,
    unterminated,      ///< literal, quoted identifier or comment
    empty_identifier,  ///< "" or U&""
    long_operator,     ///< NAMEDATALEN bytes or more
    unicode_literal,   ///< U&'…' without standard_conforming_strings
    number_junk,       ///< `1a`, refused since PostgreSQL 15
    parameter_junk,    ///< `$1a`, likewise
    unicode_escape,    ///< a bad \u in a literal, or one that needs a conversion
    nul_escape,        ///< \0 in a literal; told without a position
    other,
};

struct Lexeme {
    protocol::TokenKind kind = protocol::TokenKind::end;
    std::size_t begin = 0;
    std::size_t end = 0;

    bool operator==(const Lexeme&) const = default;
};

struct Scan {
    std::vector<Lexeme> lexemes;  ///< all but whitespace; with an error those before it
    ScanError error = ScanError::none;
    std::size_t error_at = 0;
    std::string message;
};

/// `text` has no NUL, as no text on the wire has.
Scan postgres_scan(std::string_view text, bool standard_conforming_strings);

/// Empty, or what shows that this is not the library that the rules are written for.
std::string check_oracle();

}  // namespace schemux::differential
