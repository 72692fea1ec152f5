// Templates in random texts: what must hold for every one of them.
#include "core/template_rewriter.h"
#include "protocol/sql_lexer.h"
#include "tests/core/rewriter_support.h"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace rewriter_tests;

std::string random_sql(std::mt19937& random, std::size_t pieces_max) {
    constexpr std::string_view pieces[] = {"'",
                                           "''",
                                           "\"",
                                           "$$",
                                           "$a$",
                                           "$",
                                           "--",
                                           "/*",
                                           "*/",
                                           "+",
                                           "*",
                                           "<",
                                           "{",
                                           "}",
                                           "\n",
                                           " ",
                                           " ",
                                           "e'",
                                           "u&",
                                           "n'",
                                           "\\",
                                           "ab",
                                           "1",
                                           ".",
                                           "$1",
                                           "(",
                                           ")",
                                           ";",
                                           ",",
                                           "DO ",
                                           "CREATE FUNCTION f() ",
                                           "AS ",
                                           "\xc3\xa9",
                                           ">",
                                           ">>",
                                           "}}",
                                           "tables.x",
                                           "schema"};
    std::string text;
    const std::size_t count = random() % pieces_max;
    for (std::size_t i = 0; i < count; ++i)
        text += pieces[random() % std::size(pieces)];
    return text;
}

TEST(TemplateRewriter, RandomTextsWithoutDelimitersAreUnchanged) {
    std::mt19937 random(2);
    int tried = 0;
    while (tried < 20'000) {
        const std::string text = random_sql(random, 20);
        if (text.find("{{") != std::string::npos || text.find("<<") != std::string::npos) continue;
        ++tried;
        TemplateContext context = with_literals(static_cast<LiteralTemplates>(random() % 3));
        context.standard_conforming_strings = static_cast<ConformingStrings>(random() % 3);
        ASSERT_EQ(rewritten(text, context), "=") << text;
    }
}

// The tokens of a text with `{{tables.x}}` as one of its own kind, or of a rewritten one.
std::vector<std::string> tokens_of(std::string_view text) {
    protocol::SqlLexer lexer(text);
    std::vector<std::string> tokens;
    while (true) {
        const protocol::Token token = lexer.next();
        if (token.kind == protocol::TokenKind::end) return tokens;
        tokens.emplace_back(lexer.text_of(token));
    }
}

TEST(TemplateRewriter, ASplicedTemplateMovesNoOtherToken) {
    // Put a template anywhere: if it is expanded, the text's tokens are those of the same text
    // with a name written in its place by hand, and of its two halves.
    std::mt19937 random(3);
    int expanded = 0;
    for (int round = 0; round < 40'000; ++round) {
        const std::string front = random_sql(random, 8);
        const std::string back = random_sql(random, 8);
        if ((front + back).find("{{") != std::string::npos ||
            (front + back).find("<<") != std::string::npos || front.ends_with("{") ||
            front.ends_with("<"))
            continue;
        if ((front + back).find("DO ") != std::string::npos ||
            (front + back).find("AS ") != std::string::npos)
            continue;
        const std::string text = front + "{{tables.t}}" + back;
        std::string out;
        if (rewrite_templates(text, with_schema(), out, nullptr).outcome != Outcome::rewritten)
            continue;
        ++expanded;
        ASSERT_EQ(out, front + "\"app\".t" + back);
        // With the template set apart by a space on both sides, or by its suffix on none.
        std::vector<std::string> expected = tokens_of(front);
        for (const char* part : {"\"app\"", "."})
            expected.emplace_back(part);
        std::vector<std::string> tail = tokens_of("t" + back);
        expected.insert(expected.end(), tail.begin(), tail.end());
        ASSERT_EQ(tokens_of(out), expected) << text;
        // What follows the name and its suffix reads as it did behind the template.
        const std::vector<std::string> original = tokens_of(back);
        const bool suffix = !back.empty() && protocol::is_identifier_byte(back.front());
        if (!suffix) {
            tail.erase(tail.begin());
            ASSERT_EQ(tail, original) << text;
        }
    }
    EXPECT_GT(expanded, 3'000);
}

TEST(TemplateRewriter, RandomTextsEndInEveryOutcomeAndNeverInAnother) {
    std::mt19937 random(4);
    std::array<int, 3> seen{};
    for (int round = 0; round < 40'000; ++round) {
        std::string text = random_sql(random, 10);
        text += random() % 2 != 0 ? "{{tables.t}}" : "<<tables.other.t>>";
        text += random_sql(random, 10);
        TemplateContext context = with_literals(static_cast<LiteralTemplates>(random() % 3));
        context.standard_conforming_strings = static_cast<ConformingStrings>(random() % 3);
        std::string out;
        PositionMap map;
        const RewriteResult result = rewrite_templates(text, context, out, &map);
        ++seen[static_cast<std::size_t>(result.outcome)];
        EXPECT_EQ(result.outcome == Outcome::rewritten, !out.empty());
        EXPECT_EQ(result.outcome == Outcome::error, result.error.has_value());
        if (result.error) {
            EXPECT_LE(result.error->position, text.size() + 1);
            EXPECT_GE(result.error->position, 1U);
        }
    }
    for (const int count : seen)
        EXPECT_GT(count, 1'000);
}

}  // namespace
}  // namespace schemux::core
