// SQL text: the lexer, the template rewriter, the classification of effects, fingerprints.
// Input: two bytes of options, then the text. What must hold is said at each check.
#include "core/channel_speller.h"
#include "core/name_references.h"
#include "core/statement_effects.h"
#include "core/template_rewriter.h"
#include "core/template_syntax.h"
#include "protocol/sql_lexer.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/sql_fingerprint.h"
#include "tests/fuzz/sql_tokens.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::fuzz {
namespace {

using core::ConformingStrings;
using core::EncodingClass;
using core::LiteralTemplates;
using core::RewriteResult;
using core::TemplateContext;
using core::TemplateDelimiter;
using protocol::SqlLexer;
using protocol::Token;
using protocol::TokenKind;
using Tokens = std::vector<Token>;

const std::vector<std::string> allowed = {"other", "Shared_1"};
constexpr std::array<std::string_view, 4> schemas = {"", "app", "we\"ird", "sch\xc3\xa9ma"};

// ---- the lexer ----

Tokens tokens_of(std::string_view text, bool conforming) {
    Tokens tokens;
    SqlLexer lexer(text, conforming);
    std::size_t end = 0;
    while (true) {
        const Token token = lexer.next();
        demand(token.begin == end, "every byte belongs to one token");
        if (token.kind == TokenKind::end) break;
        demand(token.length > 0, "a token has bytes");
        end = token.end();
        demand(lexer.position() == end && end <= text.size(), "a token ends inside the text");
        tokens.push_back(token);
    }
    demand(end == text.size(), "the tokens cover the text");
    demand(lexer.next().kind == TokenKind::end, "the end is for ever");
    return tokens;
}

void check_token(std::string_view text, const Token& token) {
    const std::string_view bytes = text.substr(token.begin, token.length);
    if (token.kind == TokenKind::unterminated)
        demand(token.end() == text.size(), "unterminated runs to the end");
    if (token.kind != TokenKind::dollar_literal) {
        demand(token.delimiter_bytes == 0, "only dollar quotes have a delimiter");
        return;
    }
    const std::size_t delimiter = token.delimiter_bytes;
    demand(delimiter >= 2 && 2 * delimiter <= token.length, "both delimiters are there");
    const std::string_view open = bytes.substr(0, delimiter);
    demand(open.front() == '$' && open.back() == '$' && bytes.ends_with(open),
           "a dollar quote ends with its own tag");
    demand(bytes.find(open, delimiter) == bytes.size() - delimiter,
           "a dollar quote ends at the first of its tags");
}

void check_lexer(std::string_view text, bool conforming) {
    const Tokens tokens = tokens_of(text, conforming);
    SqlLexer significant(text, conforming);
    for (const Token& token : tokens) {
        check_token(text, token);
        check_by_manual(text, token, conforming);
        // From each boundary the lexer goes on as if it had come there itself.
        SqlLexer again(text, conforming);
        again.seek(token.begin);
        const Token same = again.next();
        demand(same.kind == token.kind && same.length == token.length,
               "a token does not depend on those before it");
        if (token.kind == TokenKind::whitespace || token.kind == TokenKind::line_comment ||
            token.kind == TokenKind::block_comment)
            continue;
        const Token next = significant.next_significant();
        demand(next.begin == token.begin && next.length == token.length && next.kind == token.kind,
               "next_significant drops whitespace and comments, nothing else");
    }
    demand(significant.next_significant().kind == TokenKind::end, "nothing significant is left");
}

// ---- the rewriter ----

/// One template that was expanded: where it was, and where its expansion is.
struct Change {
    std::size_t at = 0;
    std::size_t bytes = 0;
    std::size_t new_at = 0;
    std::size_t new_bytes = 0;
    core::Template found;
};

std::string expansion_of(const core::Template& found, std::string_view schema,
                         std::string_view quote) {
    std::string expansion;
    core::append_expansion(expansion, found, schema, quote);
    return expansion;
}

/// Finds what was expanded by laying both texts side by side; everything else must be the same.
std::vector<Change> changes_between(std::string_view text, std::string_view out,
                                    const TemplateContext& context) {
    std::vector<Change> changes;
    std::size_t at = 0;
    std::size_t new_at = 0;
    while (at < text.size()) {
        const std::string_view rest = text.substr(at);
        auto found = core::match_template(rest, TemplateDelimiter::braces);
        if (!found) found = core::match_template(rest, TemplateDelimiter::angles);
        const std::string_view there = out.substr(std::min(new_at, out.size()));
        if (found && !there.starts_with(rest.substr(0, found->bytes))) {
            std::string expansion = expansion_of(*found, context.schema, "\"");
            // In a quoted identifier the quotes are doubled.
            if (!there.starts_with(expansion) ||
                there.starts_with(expansion_of(*found, context.schema, "\"\"")))
                expansion = expansion_of(*found, context.schema, "\"\"");
            demand(there.starts_with(expansion), "a template becomes its expansion");
            demand(found->schema.empty() || found->schema == context.schema ||
                       found->schema == allowed[0] || found->schema == allowed[1],
                   "only allowed schemas are named");
            demand(rest.front() == '{' ? context.braces : context.angles,
                   "only enabled delimiters are expanded");
            changes.push_back({at, found->bytes, new_at, expansion.size(), *found});
            at += found->bytes;
            new_at += expansion.size();
            continue;
        }
        demand(!there.empty() && there.front() == rest.front(),
               "everything but the templates keeps its bytes");
        ++at;
        ++new_at;
    }
    demand(new_at == out.size(), "nothing is added");
    return changes;
}

/// Compares the tokens of a rewritten text with those of the original in which each template is
/// replaced by the tokens of its expansion.
class TokenComparison {
  public:
    TokenComparison(std::string_view text, std::string_view out, const TemplateContext& context,
                    bool conforming, const std::vector<Change>& changes)
        : text_(text), out_(out), context_(context), conforming_(conforming), changes_(changes) {}

    /// Of the text's part [begin, end), which is [new_begin, new_end) of the new one.
    void compare(std::size_t begin, std::size_t end, std::size_t new_begin, std::size_t new_end) {
        SqlLexer lexer(text_.substr(0, end), conforming_);
        SqlLexer new_lexer(out_.substr(0, new_end), conforming_);
        lexer.seek(begin);
        new_lexer.seek(new_begin);
        while (true) {
            const std::size_t at = lexer.position();
            if (next_ < changes_.size() && changes_[next_].at == at) {
                take_expansion(lexer, new_lexer);
                continue;
            }
            const Token token = lexer.next();
            if (token.kind == TokenKind::end) break;
            const bool hit = next_ < changes_.size() && changes_[next_].at < token.end();
            if (hit && token.kind == TokenKind::operator_text) {
                // `a=<<tables.x>>`: the lexer takes the first three signs for one operator.
                expect_bytes(new_lexer, text_.substr(at, changes_[next_].at - at));
                lexer.seek(changes_[next_].at);
                continue;
            }
            const std::size_t first = next_;
            std::size_t growth_new = token.length;
            std::size_t last = next_;
            while (last < changes_.size() && changes_[last].at < token.end()) {
                growth_new += changes_[last].new_bytes;
                growth_new -= changes_[last].bytes;
                ++last;
            }
            const Token same = new_lexer.next();
            demand(same.kind == token.kind, "a token keeps its kind");
            demand(same.length == growth_new, "a token ends where it ended");
            demand(same.delimiter_bytes == token.delimiter_bytes, "a dollar quote keeps its tag");
            const bool body = token.kind == TokenKind::dollar_literal && last > first &&
                              context_.literals != LiteralTemplates::all;
            if (body) {
                compare(token.begin + token.delimiter_bytes, token.end() - token.delimiter_bytes,
                        same.begin + same.delimiter_bytes, same.end() - same.delimiter_bytes);
                demand(next_ == last, "a body's templates lie in the body");
            }
            next_ = last;
        }
        demand(new_lexer.next().kind == TokenKind::end, "no token is added");
    }

  private:
    void expect_bytes(SqlLexer& lexer, std::string_view bytes) const {
        std::size_t left = bytes.size();
        while (left > 0) {
            const Token token = lexer.next();
            demand(token.kind != TokenKind::end && token.length <= left,
                   "what stands before a template is not joined with it");
            left -= token.length;
        }
    }

    void take_expansion(SqlLexer& lexer, SqlLexer& new_lexer) {
        const Change& change = changes_[next_++];
        std::size_t end = change.at + change.bytes;
        const std::string_view schema =
            change.found.schema.empty() ? context_.schema : change.found.schema;
        const bool table = change.found.kind == core::Template::Kind::table;
        const bool prefix = change.found.kind == core::Template::Kind::schema_prefix;
        if (!schema.empty()) {
            expect(new_lexer, TokenKind::quoted_identifier, "the schema is one quoted identifier");
            if (table || prefix) expect(new_lexer, TokenKind::self, "a point follows the schema");
        } else if (!table && !prefix) {
            expect(new_lexer, TokenKind::identifier, "without a schema it is public");
        }
        if (table) {
            // A suffix belongs to the name.
            std::size_t length = change.found.table.size();
            const std::string_view limit = lexer.text();
            while (end < limit.size() && protocol::is_identifier_byte(limit[end])) {
                ++end;
                ++length;
            }
            const Token name = new_lexer.next();
            demand(name.kind == TokenKind::identifier && name.length == length,
                   "the table with its suffix is one identifier");
        }
        lexer.seek(end);
    }

    static void expect(SqlLexer& lexer, TokenKind kind, std::string_view property) {
        demand(lexer.next().kind == kind, property);
    }

    std::string_view text_;
    std::string_view out_;
    const TemplateContext& context_;
    bool conforming_;
    const std::vector<Change>& changes_;
    std::size_t next_ = 0;
};

void check_positions(std::string_view text, std::string_view out, const TemplateContext& context,
                     const core::PositionMap& map, const std::vector<Change>& changes) {
    const auto characters = [&context](std::string_view bytes) {
        return static_cast<std::uint32_t>(core::count_characters(bytes, context.encoding));
    };
    // Character by character only where that is certain: the text may not be valid otherwise.
    if (context.encoding != EncodingClass::single_byte && context.encoding != EncodingClass::utf8)
        return;
    std::size_t next = 0;
    std::uint32_t last = 0;
    for (std::size_t new_at = 0; new_at <= out.size(); ++new_at) {
        const bool inside = new_at < out.size() && context.encoding == EncodingClass::utf8 &&
                            (static_cast<unsigned char>(out[new_at]) & 0xc0U) == 0x80;
        if (inside) continue;
        while (next < changes.size() && changes[next].new_at + changes[next].new_bytes <= new_at)
            ++next;
        const bool replaced = next < changes.size() && changes[next].new_at <= new_at;
        std::size_t at = new_at;
        if (replaced) {
            at = changes[next].at;
        } else if (next > 0) {
            const Change& before = changes[next - 1];
            at = new_at - (before.new_at + before.new_bytes) + before.at + before.bytes;
        }
        const std::uint32_t original = map.to_original(characters(out.substr(0, new_at)) + 1);
        demand(original == characters(text.substr(0, at)) + 1,
               "a position is mapped back to its own character");
        demand(original >= last, "positions keep their order");
        last = original;
        if (new_at > 2'048) break;
    }
}

void check_rewritten(std::string_view text, std::string_view out, const TemplateContext& context,
                     const core::PositionMap& map) {
    demand(protocol::may_contain_template(text), "only a text with a delimiter is changed");
    demand(core::has_template_beginning(text, context.braces, context.angles),
           "only a text with a template is changed");
    // `{{schema}}` has ten bytes, and a schema grows to twice its quotes.
    const std::size_t growth = 4 * (context.schema.size() + 2) + 8;
    demand(out.size() <= text.size() + text.size() / 10 * growth, "the result is bounded");
    const std::vector<Change> changes = changes_between(text, out, context);
    demand(!changes.empty(), "a rewritten text has a template");
    check_positions(text, out, context, map, changes);
    const bool both = context.standard_conforming_strings == ConformingStrings::unknown;
    for (const bool conforming : {true, false}) {
        if (!both && conforming != (context.standard_conforming_strings == ConformingStrings::on))
            continue;
        TokenComparison(text, out, context, conforming, changes)
            .compare(0, text.size(), 0, out.size());
    }
    // Without a schema an expansion may be part of what looks like a template: `<<{{tables.…`.
    if (context.schema.empty()) return;
    std::string twice;
    const RewriteResult again = core::rewrite_templates(out, context, twice, nullptr);
    if (again.outcome == RewriteResult::Outcome::rewritten) show("again", twice);
    // It may be refused: what stands behind a table's name grows together with it, also LANGUAGE in
    // `<<tables.x>>0LANGUAGE c`, and what was a body of C becomes one that is looked into.
    demand(again.outcome != RewriteResult::Outcome::rewritten, "nothing is left to rewrite");
}

void check_rewriter(std::string_view text, const TemplateContext& context) {
    const std::string kept = "kept";
    std::string out = kept;
    core::PositionMap map;
    const RewriteResult result = core::rewrite_templates(text, context, out, &map);
    demand(result.error.has_value() == (result.outcome == RewriteResult::Outcome::error),
           "an error is there exactly with its outcome");
    switch (result.outcome) {
        case RewriteResult::Outcome::unchanged:
            demand(out == kept && map.empty(), "unchanged appends nothing");
            break;
        case RewriteResult::Outcome::rewritten:
            demand(out.starts_with(kept), "what was in the output stays");
            check_rewritten(text, std::string_view(out).substr(kept.size()), context, map);
            break;
        case RewriteResult::Outcome::error: {
            demand(out == kept && map.empty(), "an error appends nothing");
            const std::string& code = result.error->sqlstate;
            demand(code == "42601" || code == "42501" || code == "54000" || code == "0A000",
                   "a known error");
            demand(result.error->position <= text.size() + 1, "the position lies in the text");
            demand(result.error->message.size() < 400, "the message is short");
            demand(protocol::may_contain_template(text), "only templates are refused");
            break;
        }
    }
    // Without a map the outcome is the same.
    std::string bare;
    const RewriteResult same = core::rewrite_templates(text, context, bare, nullptr);
    demand(same.outcome == result.outcome && same.error == result.error &&
               bare == std::string_view(out).substr(kept.size()),
           "the map changes nothing");
}

// With channels of its own nothing is lost but the letter case of their names, what comes is
// bounded, and every position leads into the client's text.
void check_channels(std::string_view text, TemplateContext context) {
    constexpr std::string_view prefix = "s:";
    constexpr std::size_t added_max = 24;
    context.channel_prefix = prefix;
    context.braces = context.angles = false;
    std::string out;
    core::PositionMap map;
    const RewriteResult result = core::rewrite_templates(text, context, out, &map);
    if (result.outcome != RewriteResult::Outcome::rewritten) {
        demand(out.empty() && map.empty(), "nothing is appended");
        return;
    }
    demand(core::may_name_channel(text), "only a text with a channel's command is changed");
    demand(out.size() <= text.size() + (text.size() / 6 + 1) * added_max, "it is bounded");
    std::size_t kept = 0;
    for (const char byte : out) {
        const bool letter = kept < text.size() && text[kept] >= 'A' && text[kept] <= 'Z';
        if (kept < text.size() && (text[kept] == byte || (letter && (text[kept] | 0x20) == byte)))
            ++kept;
    }
    demand(kept == text.size(), "the client's text is all there");
    // Broken text may have a character that two tokens share; PostgreSQL refuses it as a whole.
    if (context.encoding != EncodingClass::utf8 && context.encoding != EncodingClass::single_byte)
        return;
    const std::size_t characters = core::count_characters(text, context.encoding);
    std::uint32_t last = 1;
    for (std::uint32_t at = 1; at <= core::count_characters(out, context.encoding); ++at) {
        const std::uint32_t there = map.to_original(at);
        demand(there >= last && there <= characters + 1, "positions go on, within the text");
        last = there;
    }
}

// ---- the effects ----

/// The same statements: names in capitals, line comments as spaces and block comments emptied (a
/// space for one of these could join the literals that it stands between: 'a' /**/ <newline> 'b').
std::string respelled(std::string_view text, bool conforming) {
    std::string out;
    for (const Token& token : tokens_of(text, conforming)) {
        const std::string_view bytes = text.substr(token.begin, token.length);
        if (token.kind == TokenKind::line_comment) {
            out += ' ';
        } else if (token.kind == TokenKind::block_comment) {
            out += "/**/";
        } else if (token.kind == TokenKind::identifier) {
            for (const char c : bytes)
                out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
        } else {
            out += bytes;
        }
    }
    return out;
}

void check_effects(std::string_view text, bool conforming) {
    const core::StatementEffects effects = core::classify_effects(text, conforming);
    const Copy spaced("\n" + std::string(text) + "\n");
    demand(core::classify_effects(spaced.view(), conforming) == effects,
           "space around a text has no effect");
    const Copy other(respelled(text, conforming));
    const bool same = core::classify_effects(other.view(), conforming) == effects;
    if (!same) show("respelled", other.view());
    demand(same, "letter case and comments have no effect");
    const core::NameReferences names = core::find_names(text, conforming);
    demand(names.found.empty() || effects.names_statements, "names are not found unforeseen");
    std::size_t behind = 0;
    for (const core::NameReference& name : names.found) {
        demand(name.begin >= behind, "names come in the order of the text");
        behind = name.begin + name.length;
        demand(behind <= text.size() && name.name.size() <= name.length,
               "a name is part of its text");
        if (name.use != core::NameUse::prepare) continue;
        demand(name.end >= behind && name.end <= text.size(), "PREPARE ends in its text");
    }
}

void check(Input input) {
    const std::uint8_t options = input.u8();
    const std::uint8_t choice = input.u8();
    TemplateContext context;
    context.standard_conforming_strings = static_cast<ConformingStrings>((options & 3U) % 3);
    context.literals = static_cast<LiteralTemplates>((options >> 2U & 3U) % 3);
    context.braces = (options & 16U) == 0;
    context.angles = (options & 32U) == 0;
    context.encoding = static_cast<EncodingClass>((choice & 15U) % 6);
    context.schema = schemas[choice >> 4U & 3U];
    context.allowed_schemas = allowed;
    const Copy text(input.rest());
    bool pair = false;
    for (std::size_t i = 1; i < text.view().size(); ++i) {
        const char c = text.view()[i];
        pair = pair || ((c == '{' || c == '<') && text.view()[i - 1] == c);
    }
    demand(protocol::may_contain_template(text.view()) == pair, "the fast search is right");
    check_lexer(text.view(), true);
    check_lexer(text.view(), false);
    check_rewriter(text.view(), context);
    check_channels(text.view(), context);
    check_effects(text.view(), true);
    check_effects(text.view(), false);
    check_fingerprint(text.view(), true);
    check_fingerprint(text.view(), false);
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
