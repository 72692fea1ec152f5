// Templates: where they are expanded, to what, and above all where they are not.
#include "core/template_rewriter.h"

#include "tests/core/rewriter_support.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace rewriter_tests;

struct Case {
    std::string_view text;
    std::string_view expected;
};

void check(const std::vector<Case>& cases, const TemplateContext& context = with_schema()) {
    for (const Case& one : cases)
        EXPECT_EQ(rewritten(one.text, context), one.expected) << one.text;
}

TEST(TemplateRewriter, EveryFormWithASchema) {
    check({
        {"SELECT * FROM {{tables.users}}", "SELECT * FROM \"app\".users"},
        {"SELECT * FROM <<tables.users>>", "SELECT * FROM \"app\".users"},
        {"SELECT * FROM {{tables.Users}} u", "SELECT * FROM \"app\".Users u"},
        {"SELECT * FROM {{tables.other.users}}", "SELECT * FROM \"other\".users"},
        {"SELECT * FROM <<tables.Shared_1._x9>>", "SELECT * FROM \"Shared_1\"._x9"},
        {"SELECT * FROM {{tables.app.users}}", "SELECT * FROM \"app\".users"},
        {"CREATE SCHEMA {{schema}}", "CREATE SCHEMA \"app\""},
        {"SELECT {{schema}}.f()", "SELECT \"app\".f()"},
        {"SELECT {{schema}}.\"F\"()", "SELECT \"app\".\"F\"()"},
        {"ALTER SEQUENCE {{tables.users}}_id_seq", "ALTER SEQUENCE \"app\".users_id_seq"},
        {"SELECT {{tables.users}}.id,<<tables.o>>.id FROM {{tables.users}},<<tables.o>>",
         "SELECT \"app\".users.id,\"app\".o.id FROM \"app\".users,\"app\".o"},
        {"SELECT a=<<tables.u>>.b", "SELECT a=\"app\".u.b"},
        {"({{tables.u}})", "(\"app\".u)"},
        {"COPY {{tables.u}}(a) FROM STDIN", "COPY \"app\".u(a) FROM STDIN"},
        {"{{tables.u}}", "\"app\".u"},
    });
}

TEST(TemplateRewriter, EveryFormWithoutASchema) {
    check(
        {
            {"SELECT * FROM {{tables.users}}", "SELECT * FROM users"},
            {"SELECT * FROM <<tables.users>>", "SELECT * FROM users"},
            {"SELECT * FROM {{tables.other.users}}", "SELECT * FROM \"other\".users"},
            {"CREATE SCHEMA {{schema}}", "CREATE SCHEMA public"},
            {"SELECT {{schema}}.f()", "SELECT f()"},
            {"ALTER SEQUENCE {{tables.users}}_id_seq", "ALTER SEQUENCE users_id_seq"},
        },
        with_schema(""));
}

TEST(TemplateRewriter, QuotesInTheSchemaAreDoubled) {
    EXPECT_EQ(rewritten("TABLE {{tables.x}}", with_schema("a\"b'c$$")), "TABLE \"a\"\"b'c$$\".x");
}

TEST(TemplateRewriter, TextsWithoutTemplatesAreUnchanged) {
    for (const std::string_view text : {
             "",
             "SELECT 1",
             "SELECT 1<<2, a <<b, c<< d, 1<<tables, <<schema>>",
             "SELECT 1<<tables.x",
             "SELECT 1<<tables.x >>1, 1<< tables.x>>1, 1<<<tables.x>>1, 1<<tables.x.y.z>>1",
             "<<outer>> LOOP",
             "SELECT '{{1,2},{3,4}}'::int[]",
             "SELECT { a } b {",
             "SELECT '{\"a\":{\"b\":{{\"'",
             "SELECT '<<tables.x>>', $$ {{tables.x}} $$, \"{{tables.x}}\" -- {{tables.x}}",
             "SELECT '{{tables.x}}",
             "/* {{tables.x}} /* <<tables.x>> */ {{nope}} */ SELECT 1",
             "SELECT 'a\\' || '{{tables.x}}'",
             "INSERT INTO t VALUES ($a${{tables.x}} {{nope}}$a$)",
             "}} >> }}",
         })
        EXPECT_EQ(rewritten(text), "=") << text;
}

TEST(TemplateRewriter, NoQuotedPlaceExpandsAnyForm) {
    const std::string_view forms[] = {"{{tables.x}}",   "{{tables.other.x}}", "{{schema}}",
                                      "{{schema}}.f",   "<<tables.x>>",       "{{nope}}",
                                      "{{tables.no.x}}"};
    const std::array<std::string_view, 2> places[] = {
        {"'", "'"},      {"E'", "'"},    {"U&'", "'"},  {"B'", "'"},
        {"X'", "'"},     {"N'", "'"},    {"\"", "\""},  {"U&\"", "\""},
        {"$$", "$$"},    {"$t$", "$t$"}, {"-- ", "\n"}, {"/*", "*/"},
        {"'a'\n'", "'"}, {"E'\\'", "'"}, {"'a''", "'"}, {"/*/*", "*/*/"},
    };
    for (const auto& place : places) {
        for (const std::string_view form : forms) {
            const std::string quoted =
                std::string(place[0]) + std::string(form) + std::string(place[1]);
            EXPECT_EQ(rewritten("SELECT " + quoted), "=") << quoted;
            EXPECT_EQ(rewritten("SELECT " + quoted + " FROM {{tables.t}}"),
                      "SELECT " + quoted + " FROM \"app\".t")
                << quoted;
        }
    }
}

TEST(TemplateRewriter, UnknownTemplatesInCodeAreRefusedWithPositionAndHint) {
    for (const std::string_view form :
         {"{{ tables.users }}", "{{tables. users}}", "{{Tables.x}}", "{{tables.}}",
          "{{tables.a-b}}", "{{tables.\"x\"}}", "{{tables.tabl\xc3\xa9}}", "{{tables.a.b.c}}",
          "{{role.x}}", "{{}}", "{{tables.1x}}", "{{ schema }}", "{{schema", "{{", "{{{tables.x}}}",
          "{{tables.x}", "{{tables.{{schema}}}}",
          "{{tables.a123456789a123456789a123456789a123456789a123456789a123456789abcd}}"})
        EXPECT_EQ(rewritten("SELECT '\xe2\x82\xac', " + std::string(form)), "42601@13") << form;

    std::string out;
    const RewriteResult result =
        rewrite_templates("SELECT * FROM {{ tables.users }}", with_schema(), out, nullptr);
    ASSERT_TRUE(result.error.has_value());
    EXPECT_NE(result.error->message.find("\"{{ tables.users }}\""), std::string::npos);
    EXPECT_NE(result.error->hint.find("{{tables.NAME}}"), std::string::npos);
    EXPECT_NE(result.error->hint.find("without spaces"), std::string::npos);
}

TEST(TemplateRewriter, NamesOfSixtyThreeBytesAreTheLongest) {
    const std::string longest(63, 'a');
    EXPECT_EQ(rewritten("{{tables." + longest + "}}"), "\"app\"." + longest);
    EXPECT_EQ(rewritten("{{tables." + longest + "b}}"), "42601@1");
    EXPECT_EQ(rewritten("<<tables." + longest + "b>>"), "=");
}

TEST(TemplateRewriter, AMessageShowsNoMoreThanItsShareOfALongText) {
    std::string out;
    const std::string text = "{{" + std::string(100'000, 'x');
    const RewriteResult result = rewrite_templates(text, with_schema(), out, nullptr);
    ASSERT_TRUE(result.error.has_value());
    EXPECT_LT(result.error->message.size(), 200U);
    const std::string wide = "{{" + std::string(1, 'x') + std::string("\xc3\xa9\xc3\xa9\xc3\xa9") +
                             std::string(200, 'y');
    const RewriteResult other = rewrite_templates(wide, with_schema(), out, nullptr);
    EXPECT_NE(other.error->message.find("\xc3\xa9"), std::string::npos);
}

TEST(TemplateRewriter, SchemasThatAreNotAllowedAreRefused) {
    check({
        {"TABLE {{tables.secret.users}}", "42501@7"},
        {"TABLE <<tables.secret.users>>", "42501@7"},
        {"TABLE {{tables.OTHER.users}}", "42501@7"},
        {"TABLE {{tables.x}}, {{tables.secret.users}}", "42501@21"},
    });
}

TEST(TemplateRewriter, ExpansionsNeverJoinTheirNeighbours) {
    for (const std::string_view schema : {"app", ""}) {
        for (const std::string_view text : {"a{{tables.x}}",
                                            "1{{tables.x}}",
                                            "1.{{tables.e5}}",
                                            "$1{{tables.x}}",
                                            "_{{schema}}",
                                            "\xc3\xa9{{tables.x}}",
                                            "\"a\"{{tables.x}}",
                                            "u&{{tables.x}}",
                                            "U&{{schema}}.f",
                                            "u&<<tables.x>>",
                                            "1u&{{tables.x}}",
                                            "$u&{{tables.x}}",
                                            "{{tables.x}}{{tables.y}}",
                                            "{{schema}}{{schema}}",
                                            "{{tables.x}}<<tables.y>>",
                                            "{{tables.x}}a{{tables.y}}",
                                            "{{tables.x}}$1",
                                            "{{tables.x}}$$a$$",
                                            "{{tables.x}}_a$$b$$",
                                            "{{tables.e}}'a\\'b'",
                                            "{{tables.x}}e'a'",
                                            "{{tables.u}}&'a'",
                                            "{{tables.x}}u&\"a\"",
                                            "{{schema}}a",
                                            "{{schema}}\"a\"",
                                            "{{schema}}1",
                                            "{{schema}}.",
                                            "{{schema}}.1",
                                            "{{schema}}.{{tables.x}}",
                                            "{{schema}}.'a'",
                                            "{{schema}}.*",
                                            "{{schema}}.$1",
                                            "$${{tables.x}}"})
            EXPECT_TRUE(rewritten("SELECT " + std::string(text), with_schema(schema))
                            .starts_with(text.starts_with("$$") ? "=" : "42601@"))
                << text;
    }
    check({
        {"SELECT au&{{tables.x}}", "SELECT au&\"app\".x"},
        {"SELECT -{{tables.x}}-1", "SELECT -\"app\".x-1"},
        {"SELECT 'a'{{tables.x}}\"b\"", "SELECT 'a'\"app\".x\"b\""},
        {"SELECT {{tables.x}}/*a*/{{tables.y}}", "SELECT \"app\".x/*a*/\"app\".y"},
        {"SELECT {{tables.x}}2 'a'", "SELECT \"app\".x2 'a'"},
    });
}

TEST(TemplateRewriter, WhatFollowsASuffixIsReadAsBehindAName) {
    // On its own the suffix would start a number, and the quotes behind that a literal.
    EXPECT_EQ(rewritten("{{tables.x}}1.e5$$ {{tables.y}}"), "\"app\".x1.e5$$ \"app\".y");
    EXPECT_EQ(rewritten("<<tables.x>>1.e5$t$ <<tables.y>> $t$", with_schema("")), "x1.e5$t$ y $t$");
    EXPECT_EQ(rewritten("{{tables.x}}u&{{schema}}"), "\"app\".xu&\"app\"");
}

TEST(TemplateRewriter, BodiesOfFunctionsAndBlocksAreCode) {
    check({
        {"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1 FROM {{tables.u}}$$",
         "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1 FROM \"app\".u$$"},
        {"create or replace procedure {{schema}}.p() as $b$ BEGIN <<tables.u>>; '{{tables.u}}'; "
         "-- {{x}}\n END $b$ language 'plpgsql'",
         "create or replace procedure \"app\".p() as $b$ BEGIN \"app\".u; '{{tables.u}}'; -- "
         "{{x}}\n "
         "END $b$ language 'plpgsql'"},
        {"DO $$ BEGIN EXECUTE $q$ TABLE {{tables.u}} $q$; END $$",
         "DO $$ BEGIN EXECUTE $q$ TABLE \"app\".u $q$; END $$"},
        {"DO LANGUAGE plpgsql $${{tables.u}}$$", "DO LANGUAGE plpgsql $$\"app\".u$$"},
        {"SELECT 1; DO $${{tables.u}}$$; SELECT $${{tables.u}}$$",
         "SELECT 1; DO $$\"app\".u$$; SELECT $${{tables.u}}$$"},
        {"/* x */ CREATE /* y */ FUNCTION f(a text DEFAULT $${{schema}}$$, language text) AS "
         "$${{schema}}.g$$ LANGUAGE SQL",
         "/* x */ CREATE /* y */ FUNCTION f(a text DEFAULT $${{schema}}$$, language text) AS "
         "$$\"app\".g$$ LANGUAGE SQL"},
        {"CREATE FUNCTION f() AS $$ {{nope}} $$ LANGUAGE sql", "42601@27"},
        {"CREATE FUNCTION f() AS $$ {{nope}} $$ <<tables.x>>LANGUAGE plv8", "42601@27"},
        {"CREATE FUNCTION f() AS $$ {{nope}} $$ {{tables.x}}language plv8", "42601@27"},
        {"DO $a$ $b$ {{nope}} {{tables.x}} $b$ $a$", "DO $a$ $b$ {{nope}} \"app\".x $b$ $a$"},
        {"CREATE FUNCTION f() LANGUAGE plpython3u AS $$ {{tables.x}} {{nope}} $$", "="},
        {"CREATE FUNCTION f() AS $$ {{tables.x}} {{nope}} $$ LANGUAGE \"plv8\"", "="},
        {"CREATE VIEW v AS SELECT $${{tables.x}}$$", "="},
        {"COMMENT ON FUNCTION f() IS $${{tables.x}}$$", "="},
        {"DO $$ {{tables.secret.x}} $$", "42501@7"},
    });
}

TEST(TemplateRewriter, NestingIsBounded) {
    const auto nested = [](std::size_t depth, std::string_view inner) {
        std::string text(inner);
        for (std::size_t level = depth; level > 0; --level) {
            const std::string tag = "$t" + std::to_string(level) + "$";
            text = tag + text + tag;
        }
        return "DO " + text;
    };
    EXPECT_NE(rewritten(nested(template_depth_max, "{{tables.x}}")).find("\"app\".x"),
              std::string::npos);
    EXPECT_TRUE(rewritten(nested(template_depth_max + 1, "{{tables.x}}")).starts_with("54000@"));
    EXPECT_EQ(rewritten(nested(template_depth_max + 1, "SELECT 1")), "=");
}

TEST(TemplateRewriter, ASchemaThatCouldEndTheQuotesIsRefusedInside) {
    EXPECT_EQ(rewritten("DO $${{tables.x}}$$", with_schema("a$$b")), "0A000@6");
    EXPECT_EQ(rewritten("SELECT '{{tables.x}}'", with_literals(LiteralTemplates::relation, "a'b")),
              "0A000@9");
    TemplateContext latin = with_schema("sch\xc3\xa9ma");
    latin.encoding = EncodingClass::single_byte;
    EXPECT_EQ(rewritten("TABLE {{tables.x}}", latin), "0A000@7");
}

TEST(TemplateRewriter, RelationLiteralsAreOnlyThoseThatAreNothingElse) {
    check(
        {
            {"SELECT '{{tables.u}}'::regclass", "SELECT '\"app\".u'::regclass"},
            {"SELECT nextval('{{tables.u}}_id_seq')", "SELECT nextval('\"app\".u_id_seq')"},
            {"SELECT '<<tables.other.u>>'", "SELECT '\"other\".u'"},
            {"SELECT '{{schema}}.s'", "SELECT '\"app\".s'"},
            {"DO $$ SELECT '{{tables.u}}' $$", "DO $$ SELECT '\"app\".u' $$"},
            {"SELECT '{{tables.secret.u}}'", "42501@9"},
            {"SELECT '{{schema}}'", "="},
            {"SELECT '{{schema}}.'", "="},
            {"SELECT ' {{tables.u}}'", "="},
            {"SELECT '{{tables.u}} '", "="},
            {"SELECT '{{tables.u}}.id'", "="},
            {"SELECT '{{tables.u}}''x'", "="},
            {"SELECT '{{tables.u}}{{tables.u}}'", "="},
            {"SELECT '{{tables.u}}'\n'x'", "="},
            {"SELECT '{{nope}}'", "="},
            {"SELECT E'{{tables.u}}', \"{{tables.u}}\", $${{tables.u}}$$ -- {{tables.u}}", "="},
        },
        with_literals(LiteralTemplates::relation));
    EXPECT_EQ(rewritten("SELECT '{{schema}}.s', '{{tables.u}}'",
                        with_literals(LiteralTemplates::relation, "")),
              "SELECT 's', 'u'");
}

TEST(TemplateRewriter, AllLiteralsAreExpandedAsPgdbmDoes) {
    check(
        {
            {"SELECT 'x {{tables.u}} {{schema}} {{nope}}'",
             "SELECT 'x \"app\".u \"app\" {{nope}}'"},
            {"SELECT E'a{{tables.u}}', $$b{{tables.u}}$$ -- {{schema}}.\n",
             "SELECT E'a\"app\".u', $$b\"app\".u$$ -- \"app\".\n"},
            {"SELECT /* {{tables.u}} */ 1", "SELECT /* \"app\".u */ 1"},
            {"SELECT \"{{tables.u}}\"", "SELECT \"\"\"app\"\".u\""},
            {"SELECT '{{{{tables.u}}}}'", "SELECT '{{\"app\".u}}'"},
            {"SELECT '{{1,2},{3}}'", "="},
            {"SELECT {{nope}}", "42601@8"},
            {"SELECT '{{tables.secret.u}}'", "42501@9"},
        },
        with_literals(LiteralTemplates::all));
    EXPECT_EQ(rewritten("TABLE \"{{schema}}\".t", with_literals(LiteralTemplates::all, "")),
              "TABLE \"public\".t");
}

TEST(TemplateRewriter, EachDelimiterCanBeTurnedOff) {
    TemplateContext context = with_schema();
    context.angles = false;
    check({{"SELECT 1<<tables.x>>1", "="}, {"TABLE {{tables.x}}", "TABLE \"app\".x"}}, context);
    context.angles = true;
    context.braces = false;
    check({{"TABLE <<tables.x>>", "TABLE \"app\".x"}, {"TABLE {{tables.x}} {{nope}}", "="}},
          context);
}

TEST(TemplateRewriter, EncodingsWithAsciiTrailBytesAreRefused) {
    TemplateContext context = with_schema();
    context.encoding = classify_encoding("SJIS");
    check({{"TABLE {{tables.x}}", "0A000@0"},
           {"SELECT '<<tables.x>>'", "0A000@0"},
           {"SELECT {{schema}}", "0A000@0"},
           {"SELECT '{{1,2},{3,4}}', 1<<2", "="},
           {"SELECT '\x81\x7b\x81\x7b'", "="}},
          context);
}

TEST(TemplateRewriter, AnUncertainStringSettingIsRefusedOnlyWhereItMatters) {
    TemplateContext context = with_schema();
    context.standard_conforming_strings = ConformingStrings::unknown;
    check(
        {
            {"SELECT 'a' FROM {{tables.x}}", "SELECT 'a' FROM \"app\".x"},
            {"SELECT 'a\\b' FROM {{tables.x}}", "SELECT 'a\\b' FROM \"app\".x"},
            {"SELECT E'a\\'b' FROM {{tables.x}}", "SELECT E'a\\'b' FROM \"app\".x"},
            {"SELECT '\\' , {{tables.x}} --'", "0A000@8"},
            {"SELECT '\\', '{{tables.x}}'", "0A000@8"},
            {"SELECT 'a\\' || '{{nope}}", "0A000@8"},
            {"SELECT 'a\\'", "="},
        },
        context);
    context.standard_conforming_strings = ConformingStrings::off;
    check({{"SELECT '\\' , {{tables.x}} --'", "="},
           {"SELECT '\\'', {{tables.x}}", "SELECT '\\'', \"app\".x"}},
          context);
    context.standard_conforming_strings = ConformingStrings::on;
    check({{"SELECT '\\' , {{tables.x}} --'", "SELECT '\\' , \"app\".x --'"}}, context);
}

TEST(TemplateRewriter, PositionsLeadBackToTheClientsCharacters) {
    const std::string text =
        "SELECT '\xc3\xa9\xe2\x82\xac' FROM {{tables.users}} u, {{schema}}.f() WHERE \xc3\xa9 = x";
    for (const std::string_view schema : {"app", "", "sch\xc3\xa9ma"}) {
        std::string out;
        PositionMap map;
        ASSERT_EQ(rewrite_templates(text, with_schema(schema), out, &map).outcome,
                  Outcome::rewritten);
        const auto position = [](std::string_view in, std::string_view of) {
            const auto before = in.substr(0, in.find(of));
            return static_cast<std::uint32_t>(count_characters(before, EncodingClass::utf8) + 1);
        };
        for (const std::string_view token : {"SELECT", "FROM", " u,", "f()", "WHERE", "= x"})
            EXPECT_EQ(map.to_original(position(out, token)), position(text, token)) << token;
        EXPECT_EQ(map.to_original(position(out, "users")), position(text, "{{tables")) << schema;
    }
}

TEST(TemplateRewriter, AnErrorLeavesNeitherTextNorMap) {
    std::string out = "kept";
    PositionMap map;
    map.add(1, 2, 1, 3);
    const RewriteResult result =
        rewrite_templates("TABLE {{tables.x}}; {{nope}}", with_schema(), out, &map);
    EXPECT_EQ(result.outcome, Outcome::error);
    EXPECT_EQ(out, "kept");
    EXPECT_TRUE(map.empty());
}

}  // namespace
}  // namespace schemux::core
