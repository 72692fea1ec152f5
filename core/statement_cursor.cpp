#include "core/statement_cursor.h"

#include <algorithm>
#include <cstring>

namespace schemux::core {

namespace {

using protocol::Token;
using protocol::TokenKind;

constexpr std::string_view temporary_schema = "pg_temp";  // and pg_temp_N

bool names_temporary_schema(std::string_view name) {
    return name.size() >= temporary_schema.size() &&
           equals_ignoring_case(name.substr(0, temporary_schema.size()), temporary_schema);
}

// The words of datetime input that mean another moment at every evaluation.
bool contains_moving_date(std::string_view text) {
    for (std::size_t at = 0; at + 3 <= text.size(); ++at) {
        std::string_view word;
        switch (text[at] | 0x20) {
            case 'n':
                word = "now";
                break;
            case 't':
                word = at + 2 < text.size() && (text[at + 2] | 0x20) == 'd' ? "today" : "tomorrow";
                break;
            case 'y':
                word = "yesterday";
                break;
            case 'a':
                word = "allballs";
                break;
            default:
                continue;
        }
        if (equals_ignoring_case(text.substr(at, word.size()), word)) return true;
    }
    return false;
}

}  // namespace

bool equals_ignoring_case(std::string_view word, std::string_view lower) {
    return std::equal(word.begin(), word.end(), lower.begin(), lower.end(),
                      [](char left, char right) {
                          const bool upper = left >= 'A' && left <= 'Z';
                          return (upper ? static_cast<char>(left | 0x20) : left) == right;
                      });
}

StatementCursor::StatementCursor(std::string_view text, bool standard_conforming_strings,
                                 StatementEffects& effects)
    : lexer_(text, standard_conforming_strings),
      effects_(effects),
      conforming_(standard_conforming_strings) {
    advance();
}

void StatementCursor::advance() {
    token_ = lexer_.next_significant();
    key_ = 0;
    self_ = '\0';
    switch (token_.kind) {
        case TokenKind::identifier:
            see_word();
            break;
        case TokenKind::self:
            self_ = lexer_.text()[token_.begin];
            if (self_ == '(') ++depth_;
            if (self_ == ')' && depth_ > 0) --depth_;
            break;
        case TokenKind::quoted_identifier:
            if (names_temporary_schema(name_of(token_))) effects_.add(Effect::temporary);
            break;
        case TokenKind::unicode_identifier:  // its escapes could spell anything
        case TokenKind::unterminated:
            effects_.add(Effect::opaque);
            break;
        case TokenKind::plain_literal:
        case TokenKind::escape_literal:
        case TokenKind::unicode_literal:
        case TokenKind::national_literal:
        case TokenKind::dollar_literal:
            see_literal();
            break;
        case TokenKind::end:
        case TokenKind::whitespace:
        case TokenKind::line_comment:
        case TokenKind::block_comment:
        case TokenKind::bit_literal:
        case TokenKind::hex_literal:
        case TokenKind::parameter:
        case TokenKind::number:
        case TokenKind::operator_text:
        case TokenKind::other:
            break;
    }
}

void StatementCursor::see_word() {
    constexpr std::uint64_t lower_case = 0x2020202020202020U;
    const std::string_view text = lexer_.text();
    std::uint64_t head = 0;
    if (token_.begin + sizeof head <= text.size()) {
        // Eight bytes at once, the foreign ones cut off: word_key of a few instructions.
        std::memcpy(&head, text.data() + token_.begin, sizeof head);
        head = (head | lower_case);
        if (token_.length < sizeof head) head &= (std::uint64_t{1} << (8 * token_.length)) - 1;
        key_ = token_.length <= sizeof head ? head : ~head + token_.length;
    } else {
        key_ = word_key(lexer_.text_of(token_));
    }
    constexpr std::uint64_t head_mask = 0x00ffffffffffffffU;
    const std::uint64_t start = token_.length <= sizeof head ? key_ : head;
    if ((start & head_mask) == word_key(temporary_schema)) effects_.add(Effect::temporary);
}

void StatementCursor::see_literal() {
    effects_.literal = true;
    const std::string_view text = lexer_.text_of(token_);
    const bool escapes = token_.kind == TokenKind::escape_literal || !conforming_;
    // Parts and escapes could spell one of the words in pieces.
    const bool in_pieces = token_.continued || token_.kind == TokenKind::unicode_literal ||
                           (escapes && text.find('\\') != std::string_view::npos);
    if (in_pieces || contains_moving_date(text)) effects_.frozen_literal = true;
}

std::string_view StatementCursor::name_of(const Token& token) const {
    const std::string_view text = lexer_.text_of(token);
    return token.kind == TokenKind::quoted_identifier ? text.substr(1, text.size() - 2) : text;
}

bool StatementCursor::word_is(std::string_view lower) const {
    return token_.kind == TokenKind::identifier && equals_ignoring_case(text(), lower);
}

}  // namespace schemux::core
