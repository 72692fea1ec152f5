#include "tests/differential/rewriter_check.h"

#include "core/template_rewriter.h"
#include "tests/differential/oracle.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

namespace schemux::differential {

namespace {

using core::RewriteResult;
using protocol::TokenKind;

const std::array<std::string, 1> allowed = {"other"};

struct Word {
    TokenKind kind = TokenKind::end;
    std::string text;

    bool operator==(const Word&) const = default;
};

struct Found {
    std::size_t bytes = 0;
    std::string schema;  // as named
    std::string table;
    bool point = false;
};

bool is_word_byte(char byte, bool first) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
           (!first && byte >= '0' && byte <= '9');
}

std::string take_name(std::string_view text, std::size_t& at) {
    std::string name;
    while (at < text.size() && is_word_byte(text[at], name.empty()))
        name.push_back(text[at++]);
    return name.size() <= 63 ? name : std::string();
}

// The template at the front of `text`.
std::optional<Found> find_template(std::string_view text) {
    Found found;
    if (text.starts_with("{{schema}}")) {
        found.point = text.substr(10).starts_with('.');
        found.bytes = found.point ? 11 : 10;
        return found;
    }
    const bool braces = text.starts_with("{{tables.");
    if (!braces && !text.starts_with("<<tables.")) return {};
    std::size_t at = 9;
    found.table = take_name(text, at);
    if (found.table.empty()) return {};
    if (at < text.size() && text[at] == '.') {
        ++at;
        found.schema = found.table;
        found.table = take_name(text, at);
        if (found.table.empty()) return {};
    }
    if (text.substr(at, 2) != (braces ? "}}" : ">>")) return {};
    found.bytes = at + 2;
    return found;
}

void add_words(std::vector<Word>& words, std::string_view text, const Lexeme& lexeme) {
    words.push_back(
        {lexeme.kind, std::string(text.substr(lexeme.begin, lexeme.end - lexeme.begin))});
}

void add_expansion(std::vector<Word>& words, const Found& found, std::string_view suffix,
                   std::string_view service_schema) {
    const std::string_view schema = found.schema.empty() ? service_schema : found.schema;
    if (!schema.empty()) {
        std::string quoted = "\"";
        for (const char byte : schema)
            quoted.append(byte == '"' ? 2 : 1, byte);
        words.push_back({TokenKind::quoted_identifier, quoted + '"'});
    }
    if (!found.table.empty()) {
        if (!schema.empty()) words.push_back({TokenKind::self, "."});
        words.push_back({TokenKind::identifier, found.table + std::string(suffix)});
    } else if (found.point) {
        if (!schema.empty()) words.push_back({TokenKind::self, "."});
    } else if (schema.empty()) {
        words.push_back({TokenKind::identifier, "public"});
    }
}

struct Expected {
    std::vector<Word> words;
    std::size_t templates = 0;
    bool braces = false;         // two together that are no template, in code
    bool dollar = false;         // a dollar quote with something like a template
    bool readable = true;        // to the end, for PostgreSQL
    bool long_operator = false;  // what is not may be, once `<<` is a template and not its end
};

// Where the first template of the scanned text is, with the number of lexemes before it.
struct Place {
    std::size_t lexemes = 0;
    std::size_t at = 0;
    Found found;
};

std::optional<Place> first_template(std::string_view text, const Scan& scan, Expected& expected) {
    for (std::size_t i = 0; i < scan.lexemes.size(); ++i) {
        const Lexeme& lexeme = scan.lexemes[i];
        const std::string_view own = text.substr(lexeme.begin, lexeme.end - lexeme.begin);
        std::size_t at = lexeme.begin;
        if (lexeme.kind == TokenKind::dollar_literal &&
            (own.find("{{") != own.npos || own.find("<<") != own.npos))
            expected.dollar = true;
        if (lexeme.kind == TokenKind::operator_text) {
            if (!own.ends_with("<<") || own.ends_with("<<<")) continue;
            at = lexeme.end - 2;
        } else if (lexeme.kind != TokenKind::other || !text.substr(at).starts_with("{{")) {
            continue;
        }
        if (auto found = find_template(text.substr(at))) return Place{i, at, std::move(*found)};
        if (text[at] == '{') expected.braces = true;
    }
    return {};
}

// The tokens that the text must have once rewritten. Behind a template everything is scanned anew,
// as behind any other whole token.
Expected expect(std::string_view text, bool conforming, std::string_view schema) {
    Expected expected;
    while (true) {
        const Scan scan = postgres_scan(text, conforming);
        const auto place = first_template(text, scan, expected);
        const std::size_t count = place ? place->lexemes : scan.lexemes.size();
        for (std::size_t i = 0; i < count; ++i)
            add_words(expected.words, text, scan.lexemes[i]);
        if (!place) {
            expected.readable = scan.error == ScanError::none;
            expected.long_operator = scan.error == ScanError::long_operator;
            return expected;
        }
        ++expected.templates;
        const Lexeme& last = scan.lexemes[count];
        const std::string_view head = text.substr(last.begin, place->at - last.begin);
        const Scan head_scan = postgres_scan(head, conforming);
        for (const Lexeme& lexeme : head_scan.lexemes)
            add_words(expected.words, head, lexeme);
        text.remove_prefix(place->at + place->found.bytes);
        std::size_t suffix = 0;
        if (!place->found.table.empty()) {
            while (suffix < text.size() && (is_word_byte(text[suffix], false) ||
                                            static_cast<signed char>(text[suffix]) < 0))
                ++suffix;
        }
        add_expansion(expected.words, place->found, text.substr(0, suffix), schema);
        text.remove_prefix(suffix);
    }
}

std::string shown(const std::vector<Word>& words) {
    std::string out;
    for (const Word& word : words)
        out += "|" + word.text;
    return out;
}

// Equal, or the body of a dollar quote in which the templates have been replaced in turn.
bool is_rewritten_body(const Word& before, const Word& after, bool conforming,
                       std::string_view schema, bool& unreadable);

bool same_words(const std::vector<Word>& expected, const std::vector<Word>& seen, bool conforming,
                std::string_view schema, bool& unreadable) {
    if (expected.size() != seen.size()) return false;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        if (expected[i] == seen[i]) continue;
        if (expected[i].kind != TokenKind::dollar_literal || seen[i].kind != expected[i].kind ||
            !is_rewritten_body(expected[i], seen[i], conforming, schema, unreadable))
            return false;
    }
    return true;
}

bool is_rewritten_body(const Word& before, const Word& after, bool conforming,
                       std::string_view schema, bool& unreadable) {
    const std::size_t tag = before.text.find('$', 1) + 1;
    if (after.text.substr(0, tag) != before.text.substr(0, tag)) return false;
    const auto body = [tag](const Word& word) {
        return word.text.substr(tag, word.text.size() - 2 * tag);
    };
    const Expected expected = expect(body(before), conforming, schema);
    const std::string seen = body(after);
    const Scan scan = postgres_scan(seen, conforming);
    if (!expected.readable || scan.error != ScanError::none) {
        unreadable = true;  // the server would refuse it when the body is run
        return true;
    }
    std::vector<Word> words;
    for (const Lexeme& lexeme : scan.lexemes)
        add_words(words, seen, lexeme);
    return (expected.templates > 0 || expected.dollar) &&
           same_words(expected.words, words, conforming, schema, unreadable);
}

}  // namespace

RewriterVerdict check_rewriter(std::string_view text, bool conforming, std::string_view schema) {
    core::TemplateContext context;
    context.schema = schema;
    context.allowed_schemas = allowed;
    context.standard_conforming_strings =
        conforming ? core::ConformingStrings::on : core::ConformingStrings::off;
    std::string out;
    const RewriteResult result = core::rewrite_templates(text, context, out, nullptr);
    if (text.find("{{") == text.npos && text.find("<<") == text.npos)
        return {result.outcome == RewriteResult::Outcome::unchanged ? "" : "changed", false};
    const Expected expected = expect(text, conforming, schema);
    switch (result.outcome) {
        case RewriteResult::Outcome::unchanged:
            return {expected.templates == 0 ? "" : "a template in code is left as it is", false};
        case RewriteResult::Outcome::error:
            if (expected.templates > 0 || expected.braces || expected.dollar || !expected.readable)
                return {};
            return {"refused: " + result.error->message, false};
        case RewriteResult::Outcome::rewritten:
            break;
    }
    const Scan scan = postgres_scan(out, conforming);
    if (scan.error != ScanError::none || !expected.readable) {
        // What can be read on both sides of an error is read alike by the lexer's own check.
        const bool both = scan.error != ScanError::none && !expected.readable;
        return {both || expected.long_operator
                    ? ""
                    : "readable on one side only: " + out + " " + scan.message,
                false};
    }
    std::vector<Word> seen;
    for (const Lexeme& lexeme : scan.lexemes)
        add_words(seen, out, lexeme);
    if (expected.templates == 0 && !expected.dollar) return {"rewritten without a template", false};
    bool unreadable = false;
    if (!same_words(expected.words, seen, conforming, schema, unreadable))
        return {"rewritten  " + shown(seen) + "\n  instead of " + shown(expected.words), false};
    return {"", !unreadable};
}

}  // namespace schemux::differential
