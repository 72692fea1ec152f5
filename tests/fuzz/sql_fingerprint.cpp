#include "tests/fuzz/sql_fingerprint.h"

#include "core/fingerprint.h"
#include "core/limits.h"
#include "protocol/sql_lexer.h"
#include "tests/fuzz/input.h"

#include <string>
#include <vector>

namespace schemux::fuzz {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;
using Tokens = std::vector<Token>;

Tokens tokens_of(std::string_view text, bool conforming) {
    Tokens tokens;
    SqlLexer lexer(text, conforming);
    for (Token token = lexer.next(); token.kind != TokenKind::end; token = lexer.next())
        tokens.push_back(token);
    return tokens;
}

bool is_literal(TokenKind kind) {
    return kind == TokenKind::plain_literal || kind == TokenKind::escape_literal ||
           kind == TokenKind::unicode_literal || kind == TokenKind::bit_literal ||
           kind == TokenKind::hex_literal || kind == TokenKind::national_literal ||
           kind == TokenKind::dollar_literal;
}

/// The text with other constants in the places of its own.
std::string with_other_constants(std::string_view text, const Tokens& tokens) {
    std::string out;
    for (const Token& token : tokens) {
        if (is_literal(token.kind)) {
            out += "'other'";
        } else if (token.kind == TokenKind::number) {
            out += '7';
        } else {
            out += text.substr(token.begin, token.length);
        }
    }
    return out;
}

}  // namespace

void check_fingerprint(std::string_view text, bool conforming) {
    core::FingerprintReader reader;
    reader.read(text, conforming);
    const std::string first(reader.text());
    const std::uint64_t id = reader.id();
    demand(first.size() <= core::limits::fingerprint_bytes_max, "a fingerprint is bounded");
    const Tokens tokens = tokens_of(text, conforming);
    const bool unreadable = !tokens.empty() && tokens.back().kind == TokenKind::unterminated;
    if (text.size() > core::limits::fingerprinted_bytes_max) {
        demand(first == core::too_long_text, "what is too long is not read");
        return;
    }
    demand(unreadable == (first == core::unreadable_text), "what cannot be read has no text");
    if (unreadable) return;
    const std::string other = with_other_constants(text, tokens);
    // Some grow together with what stands beside them: '' <newline> 'x' is one literal.
    if (tokens_of(other, conforming).size() == tokens.size()) {
        reader.read(other, conforming);
        if (reader.text() != first) show("other constants", other);
        demand(reader.text() == first && reader.id() == id, "no constant has a part in it");
    }
    const bool cut = first.size() + 8 > core::limits::fingerprint_bytes_max;
    reader.read(first, conforming);
    if (reader.text() != first) show("fingerprint", first);
    demand(reader.text() == first, "a fingerprint's own is itself");
    demand(cut || reader.id() == id, "and they have one id");
}

}  // namespace schemux::fuzz
