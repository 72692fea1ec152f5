#include "core/body_tracker.h"

#include <algorithm>

namespace schemux::core {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

bool equals_word(std::string_view word, std::string_view lower) {
    return std::equal(word.begin(), word.end(), lower.begin(), lower.end(),
                      [](char left, char right) {
                          const bool upper = left >= 'A' && left <= 'Z';
                          return (upper ? static_cast<char>(left | 0x20) : left) == right;
                      });
}

std::string_view without_quotes(const Token& token, std::string_view text) {
    const bool quoted =
        token.kind == TokenKind::plain_literal || token.kind == TokenKind::quoted_identifier;
    return quoted ? text.substr(1, text.size() - 2) : text;
}

// Directly behind a template a word is the end of a table's name: `<<tables.x>>language`.
bool is_suffix(std::string_view whole_text, std::size_t at) {
    const std::string_view before = whole_text.substr(0, at);
    return before.ends_with(">>") || before.ends_with("}}");
}

// The LANGUAGE of the statement that begins at `begin`; without one it is SQL, or PL/pgSQL in DO.
bool in_sql_language(std::string_view whole_text, std::size_t begin, bool conforming) {
    SqlLexer lexer(whole_text, conforming);
    lexer.seek(begin);
    std::size_t parentheses = 0;
    bool behind_language = false;
    while (true) {
        const Token token = lexer.next_significant();
        const std::string_view text = lexer.text_of(token);
        if (token.kind == TokenKind::end || text == ";") return true;
        if (behind_language) {
            const std::string_view language = without_quotes(token, text);
            return equals_word(language, "sql") || equals_word(language, "plpgsql");
        }
        if (text == "(") ++parentheses;
        if (text == ")" && parentheses > 0) --parentheses;
        behind_language = parentheses == 0 && token.kind == TokenKind::identifier &&
                          equals_word(text, "language") && !is_suffix(whole_text, token.begin);
    }
}

}  // namespace

BodyTracker::Kind BodyTracker::routine_or_other(std::string_view word) {
    const bool routine = equals_word(word, "function") || equals_word(word, "procedure");
    return routine ? Kind::routine : Kind::other;
}

void BodyTracker::see(const Token& token, std::string_view text) {
    behind_as_ = false;
    if (token.kind == TokenKind::self && text == ";") {
        *this = {};
        begin_ = token.end();
        return;
    }
    const std::string_view word = token.kind == TokenKind::identifier ? text : std::string_view{};
    switch (kind_) {
        case Kind::start:
            kind_ = equals_word(word, "create") ? Kind::create
                    : equals_word(word, "do")   ? Kind::block
                                                : Kind::other;
            break;
        case Kind::create:
            kind_ = equals_word(word, "or") ? Kind::create_or : routine_or_other(word);
            break;
        case Kind::create_or:
            kind_ = equals_word(word, "replace") ? Kind::create_or_replace : Kind::other;
            break;
        case Kind::create_or_replace:
            kind_ = routine_or_other(word);
            break;
        case Kind::routine:
            behind_as_ = equals_word(word, "as");
            break;
        case Kind::block:
        case Kind::other:
            break;
    }
}

bool BodyTracker::expects_sql_body(std::string_view whole_text, bool standard_conforming_strings) {
    if (kind_ != Kind::block && !(kind_ == Kind::routine && behind_as_)) return false;
    if (!sql_language_)
        sql_language_ = in_sql_language(whole_text, begin_, standard_conforming_strings);
    return *sql_language_;
}

}  // namespace schemux::core
