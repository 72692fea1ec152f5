#include "core/deallocate.h"

#include "core/statement_cursor.h"
#include "protocol/sql_lexer.h"

namespace schemux::core {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

namespace {

/// The longest text looked at: keyword, PREPARE, a quoted name, comments of some length.
constexpr std::size_t text_max = 1'024;

std::optional<std::string> name_of(const Token& token, std::string_view text) {
    std::string name;
    if (token.kind == TokenKind::identifier) {
        for (const char c : text)
            name.push_back(c >= 'A' && c <= 'Z' ? char(c + 32) : c);
        return name;
    }
    if (token.kind != TokenKind::quoted_identifier || text.size() < 2) return {};
    const std::string_view inside = text.substr(1, text.size() - 2);
    for (std::size_t at = 0; at < inside.size(); ++at) {
        name.push_back(inside[at]);
        if (inside[at] == '"') ++at;  // doubled
    }
    return name;
}

}  // namespace

std::optional<std::string> deallocated_name(std::string_view text,
                                            bool standard_conforming_strings) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || (text[first] | 0x20) != 'd' || text.size() > text_max) {
        return {};
    }
    SqlLexer lexer(text, standard_conforming_strings);
    Token token = lexer.next_significant();
    const auto is_word = [&](std::string_view word) {
        return token.kind == TokenKind::identifier &&
               equals_ignoring_case(lexer.text_of(token), word);
    };
    if (!is_word("deallocate")) return {};
    token = lexer.next_significant();
    if (is_word("prepare")) token = lexer.next_significant();
    if (is_word("all")) return {};
    const std::optional<std::string> name = name_of(token, lexer.text_of(token));
    token = lexer.next_significant();
    while (token.kind == TokenKind::self && lexer.text_of(token) == ";") {
        token = lexer.next_significant();
    }
    return token.kind == TokenKind::end ? name : std::nullopt;
}

}  // namespace schemux::core
