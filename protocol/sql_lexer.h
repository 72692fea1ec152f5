// Splits SQL text into tokens as PostgreSQL's own scanner does (src/backend/parser/scan.l): pulled
// one at a time, iterative, O(n), no allocation. Every byte belongs to exactly one token.
// It never fails: what PostgreSQL would refuse comes out as `unterminated` or `other`, and
// PostgreSQL, which gets the text, says what is wrong.
// It must not know about templates' meaning, statements or sessions. Text under client encodings
// whose trail bytes are ASCII (SJIS, BIG5, GBK …) is not safe to lex: the caller's business.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace schemux::protocol {

enum class TokenKind : std::uint8_t {
    end,                 ///< nothing left; length 0
    whitespace,          ///< a run of it
    line_comment,        ///< `-- …` without its newline
    block_comment,       ///< nested ones belong to the outermost
    identifier,          ///< or keyword, unquoted
    quoted_identifier,   ///< "…"
    unicode_identifier,  ///< U&"…"
    plain_literal,       ///< '…': backslashes escape only without standard_conforming_strings
    escape_literal,      ///< E'…'
    unicode_literal,     ///< U&'…'
    bit_literal,         ///< B'…'
    hex_literal,         ///< X'…'
    national_literal,    ///< N'…', otherwise as plain
    dollar_literal,      ///< $tag$…$tag$
    parameter,           ///< $1
    number,         ///< without junk: in `1a` the `a` is an identifier, as before PostgreSQL 15
    operator_text,  ///< an operator, or one of the fixed ones of several characters (`::` `..`)
    self,           ///< one of ,()[].;:+-*/%^<>= alone
    other,          ///< a byte that starts nothing: `{` `}` `\` a lone `$` …
    unterminated,   ///< literal, quoted identifier or comment that runs to the end of the text
};

struct Token {
    TokenKind kind = TokenKind::end;
    bool continued = false;             ///< a literal in several parts, joined over newlines
    std::uint32_t delimiter_bytes = 0;  ///< of `$tag$`, in front and behind; dollar_literal only
    std::uint32_t begin = 0;
    std::uint32_t length = 0;

    std::uint32_t end() const { return begin + length; }
};

/// Texts are at most this long: PostgreSQL's messages are below 1 GiB.
inline constexpr std::size_t lexer_text_max = 0x7fffffff;

class SqlLexer {
  public:
    /// `standard_conforming_strings` is the session's setting; the text must outlive the lexer.
    explicit SqlLexer(std::string_view text, bool standard_conforming_strings = true);

    /// The next token of any kind; `end` for ever once the text is used up.
    Token next();
    /// The next one that is neither whitespace nor comment.
    Token next_significant();
    /// Goes on at `offset`, which must be a token boundary.
    void seek(std::size_t offset);

    std::size_t position() const { return at_; }
    std::string_view text() const { return text_; }
    std::string_view text_of(const Token& token) const {
        return text_.substr(token.begin, token.length);
    }

  private:
    Token finish(TokenKind kind, std::size_t end);
    Token scan_space();
    Token scan_identifier();
    Token scan_number();
    Token scan_dollar();
    Token scan_operator();
    Token scan_line_comment();
    Token scan_block_comment();
    Token scan_quoted_identifier(TokenKind kind, std::size_t at);
    Token scan_literal(TokenKind kind, std::size_t at);
    Token scan_self();
    std::size_t literal_quote(std::size_t at, bool escapes) const;
    std::size_t continuation(std::size_t at) const;
    std::size_t dollar_delimiter_end() const;
    bool is_at(std::size_t at, char wanted) const {
        return at < text_.size() && text_[at] == wanted;
    }

    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t single_signs_until_ = 0;
    bool standard_conforming_strings_;
};

/// Whether `{{` or `<<` occurs anywhere: without them a text has no template. memchr-class.
bool may_contain_template(std::string_view text);

/// A byte that may stand inside an unquoted identifier, behind its first one.
bool is_identifier_byte(char byte);

}  // namespace schemux::protocol
