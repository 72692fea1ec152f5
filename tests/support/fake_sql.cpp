#include "tests/support/fake_sql.h"

#include "core/position_map.h"
#include "protocol/sql_lexer.h"

#include <algorithm>

namespace schemux::fake {

using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;

namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

}  // namespace

Words words_of(std::string_view text) {
    Words words;
    SqlLexer lexer(text);
    while (true) {
        const Token token = lexer.next_significant();
        if (token.kind == TokenKind::end) return words;
        const std::string_view bytes = lexer.text_of(token);
        words.push_back(token.kind == TokenKind::identifier ? lower(bytes) : std::string(bytes));
    }
}

std::vector<std::string> statements_of(std::string_view text) {
    std::vector<std::string> statements;
    SqlLexer lexer(text);
    std::size_t begin = 0;
    std::size_t end = 0;
    std::size_t depth = 0;
    while (true) {
        const Token token = lexer.next_significant();
        const std::string_view bytes = lexer.text_of(token);
        if (bytes == "(") ++depth;
        if (bytes == ")" && depth > 0) --depth;
        const bool over = token.kind == TokenKind::end || (bytes == ";" && depth == 0);
        if (!over) {
            if (end == begin) begin = token.begin;
            end = token.end();
            continue;
        }
        if (end > begin) statements.emplace_back(text.substr(begin, end - begin));
        if (token.kind == TokenKind::end) return statements;
        begin = end = token.end();
    }
}

bool names_statement(const Words& words) {
    return !words.empty() &&
           (words[0] == "prepare" || words[0] == "execute" || words[0] == "deallocate");
}

std::optional<std::string> prepared_text(std::string_view text) {
    SqlLexer lexer(text);
    while (true) {
        const Token token = lexer.next_significant();
        if (token.kind == TokenKind::end) return {};
        if (token.kind != TokenKind::identifier || lower(lexer.text_of(token)) != "as") continue;
        const Token first = lexer.next_significant();
        if (first.kind == TokenKind::end) return {};
        return std::string(text.substr(first.begin));
    }
}

bool has_word(const Words& words, std::string_view word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

namespace {

/// E'…' as the core writes it.
std::string unescaped(std::string_view word) {
    std::string out;
    for (std::size_t i = 2; i + 1 < word.size(); ++i) {
        if (word[i] == '\\' && word[i + 1] == 'x') {
            out += static_cast<char>(std::stoi(std::string(word.substr(i + 2, 2)), nullptr, 16));
            i += 3;
        } else {
            out += word[i];
            if (word[i] == '\'') ++i;
        }
    }
    return out;
}

}  // namespace

std::string unquoted(std::string_view word) {
    if (word.size() > 2 && word.substr(0, 2) == "E'") return unescaped(word);
    if (word.size() < 2 || (word.front() != '"' && word.front() != '\'')) return std::string(word);
    std::string out;
    for (std::size_t i = 1; i + 1 < word.size(); ++i) {
        out += word[i];
        if (word[i] == word.front()) ++i;
    }
    return out;
}

bool ends_transaction(const Words& words) {
    return !words.empty() && (words[0] == "commit" || words[0] == "end" || words[0] == "rollback" ||
                              words[0] == "abort");
}

bool returns_rows(const Words& words) {
    if (words.empty()) return false;
    for (const std::string_view first :
         {"select", "values", "show", "table", "with", "execute", "explain", "fetch"}) {
        if (words[0] == first) return true;
    }
    return has_word(words, "returning");
}

bool asks_for_features(std::string_view text) {
    return text.starts_with("SELECT pg_catalog.concat( CASE WHEN EXISTS(");
}

std::vector<std::pair<std::string, std::string>> set_configs(const Words& words) {
    std::vector<std::pair<std::string, std::string>> found;
    for (std::size_t i = 0; i + 6 < words.size(); ++i) {
        const bool call = words[i] == "set_config" && words[i + 1] == "(" && words[i + 3] == "," &&
                          words[i + 5] == "," && words[i + 6] == "false";
        if (call) found.emplace_back(lower(unquoted(words[i + 2])), unquoted(words[i + 4]));
    }
    return found;
}

std::vector<std::string> listed_values(const Words& words) {
    std::vector<std::string> values;
    bool inside = false;
    for (const std::string& word : words) {
        if (word == "values") inside = true;
        if (word == "l") inside = false;
        if (inside && word.find('\'') != word.npos) values.push_back(unquoted(word));
    }
    return values;
}

std::uint32_t position_of(std::string_view text, std::string_view word) {
    SqlLexer lexer(text);
    while (true) {
        const Token token = lexer.next_significant();
        if (token.kind == TokenKind::end) return 0;
        if (token.kind != TokenKind::identifier || lower(lexer.text_of(token)) != word) continue;
        const std::size_t before =
            core::count_characters(text.substr(0, token.begin), core::EncodingClass::utf8);
        return static_cast<std::uint32_t>(before + 1);
    }
}

bool is_broken(std::string_view text) {
    SqlLexer lexer(text);
    while (true) {
        const Token token = lexer.next_significant();
        if (token.kind == TokenKind::end) return false;
        if (token.kind == TokenKind::other || token.kind == TokenKind::unterminated) return true;
    }
}

Failure broken_layout() {
    return {"08P01", "invalid message format"};
}

Failure missing_statement(std::string_view name) {
    if (name.empty()) return {"26000", "unnamed prepared statement does not exist"};
    return {"26000", "prepared statement \"" + std::string(name) + "\" does not exist"};
}

Failure missing_portal(std::string_view name) {
    return {"34000", "portal \"" + std::string(name) + "\" does not exist"};
}

Failure aborted_transaction() {
    return {"25P02",
            "current transaction is aborted, commands ignored until end of transaction block"};
}

}  // namespace schemux::fake
