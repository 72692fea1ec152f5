// Walks the tokens of a Query's text statement by statement, with words as numbers that a switch
// can take, and notes on the way what holds for every token wherever it stands.
// It must not know what the statements mean.
#pragma once

#include "core/statement_effects.h"
#include "protocol/sql_lexer.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace schemux::core {

/// A word as a number: letter case does not count. Exact up to eight bytes; longer words are told
/// apart by their first eight and their length.
constexpr std::uint64_t word_key(std::string_view word) {
    std::uint64_t head = 0;
    for (std::size_t index = 0; index < word.size() && index < sizeof head; ++index) {
        const auto byte =
            static_cast<std::uint64_t>(static_cast<unsigned char>(word[index]) | 0x20U);
        head |= byte << (8 * index);
    }
    return word.size() <= sizeof head ? head : ~head + word.size();
}

class StatementCursor {
  public:
    StatementCursor(std::string_view text, bool standard_conforming_strings,
                    StatementEffects& effects);

    /// Goes to the next token that is neither whitespace nor comment.
    void advance();
    void skip_to_end() {
        while (!at_end())
            advance();
    }
    /// Forgets unbalanced parentheses: a new statement begins here.
    void begin_statement() { depth_ = 0; }

    /// At the end of a statement: a semicolon outside parentheses, or the end of the text.
    bool at_end() const { return at_text_end() || (depth_ == 0 && is(';')); }
    bool at_text_end() const { return token_.kind == protocol::TokenKind::end; }

    const protocol::Token& token() const { return token_; }
    std::string_view text() const { return lexer_.text_of(token_); }
    /// word_key of an unquoted identifier, else 0.
    std::uint64_t key() const { return key_; }
    bool is(char self) const { return self_ == self; }
    /// The byte of a token of one character, else 0.
    char self() const { return self_; }
    /// Open parentheses around what follows; the token `(` itself counts already.
    std::size_t depth() const { return depth_; }
    const protocol::SqlLexer& lexer() const { return lexer_; }
    /// The name that an identifier stands for, without its quotes; not folded.
    std::string_view name_of(const protocol::Token& token) const;
    bool word_is(std::string_view lower) const;

  private:
    void see_word();
    void see_literal();

    protocol::SqlLexer lexer_;
    StatementEffects& effects_;
    protocol::Token token_;
    std::uint64_t key_ = 0;
    std::size_t depth_ = 0;
    char self_ = '\0';
    bool conforming_;
};

/// Compares without regard to ASCII letter case.
bool equals_ignoring_case(std::string_view word, std::string_view lower);

}  // namespace schemux::core
