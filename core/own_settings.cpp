#include "core/own_settings.h"

#include "core/label.h"
#include "protocol/sql_lexer.h"

#include <algorithm>

namespace schemux::core {

namespace {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

/// A comment may make it longer, which then is nobody's way to ask.
constexpr std::size_t text_max = 256;

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    }
    return result;
}

}  // namespace

std::optional<std::string> own_setting_of(std::string_view text) {
    if (text.size() > text_max) return {};
    SqlLexer lexer(text);
    const auto next_word = [&lexer]() -> std::string {
        const Token token = lexer.next_significant();
        return token.kind == TokenKind::identifier ? lower(lexer.text_of(token)) : "";
    };
    if (next_word() != "show" || next_word() != "schemux") return {};
    if (lexer.text_of(lexer.next_significant()) != ".") return {};
    std::string name = next_word();
    if (name.empty()) return {};
    while (true) {
        const Token token = lexer.next_significant();
        if (token.kind == TokenKind::end) return name;
        if (lexer.text_of(token) != ";") return {};
    }
}

bool append_own_setting(std::string& sql, std::string_view name, const Service& service,
                        std::string_view version) {
    std::string value;
    if (name == "service") {
        append_ascii_literal(value, service.name);
    } else if (name == "schema") {
        append_ascii_literal(value, service.schema);
    } else if (name == "isolation") {
        append_ascii_literal(value, name_of(service.isolation));
    } else if (name == "version") {
        append_ascii_literal(value, version);
    } else if (name == "backend_pid") {
        value = "pg_catalog.pg_backend_pid()";
    } else {
        return false;
    }
    sql += "SELECT " + value + "::pg_catalog.text AS \"schemux." + std::string(name) + '"';
    return true;
}

}  // namespace schemux::core
