// Channels of a service: where a text names one, how it is called on the server, and where a word
// only looks like it.
#include "core/channel_speller.h"

#include "core/position_map.h"
#include "tests/core/rewriter_support.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace rewriter_tests;

TemplateContext with_channels(std::string_view prefix = "s:") {
    TemplateContext context = with_schema();
    context.channel_prefix = prefix;
    return context;
}

struct Case {
    std::string_view text;
    std::string_view expected;
};

void check(const std::vector<Case>& cases) {
    for (const Case& one : cases)
        EXPECT_EQ(rewritten(one.text, with_channels()), one.expected) << one.text;
}

TEST(ChannelSpeller, Commands) {
    check({
        {"LISTEN a", "LISTEN \"s:a\""},
        {"listen\n/* b */ Abc -- c", "listen\n/* b */ \"s:abc\" -- c"},
        {"LISTEN \"A\"\"b\"", "LISTEN \"s:A\"\"b\""},
        {"LISTEN U&\"\\0061\"", "LISTEN U&\"s:\\0061\""},
        {"LISTEN \u00dc", "LISTEN \"s:\u00dc\""},
        {"NOTIFY a; NOTIFY b, 'c';UNLISTEN d",
         "NOTIFY \"s:a\"; NOTIFY \"s:b\", 'c';UNLISTEN "
         "\"s:d\""},
        {"UNLISTEN *", "="},
        {"CREATE RULE r AS ON INSERT TO t DO ALSO NOTIFY a",
         "CREATE RULE r AS ON INSERT TO t DO ALSO NOTIFY \"s:a\""},
        {"CREATE RULE r AS ON INSERT TO t DO INSTEAD (NOTIFY a; NOTIFY b)",
         "CREATE RULE r AS ON INSERT TO t DO INSTEAD (NOTIFY \"s:a\"; NOTIFY \"s:b\")"},
        {"LISTEN {{tables.a}}", "LISTEN \"app\".a"},
    });
}

TEST(ChannelSpeller, Calls) {
    check({
        {"SELECT pg_notify('a', 'b')", "SELECT pg_notify('s:'::text || ('a'), 'b')"},
        {"select PG_Notify ( $1,$2)", "select PG_Notify ( 's:'::text || ($1),$2)"},
        {"SELECT pg_catalog.\"pg_notify\"(f(1, 2), 'b')",
         "SELECT pg_catalog.\"pg_notify\"('s:'::text || (f(1, 2)), 'b')"},
        {"SELECT pg_notify((a), pg_notify('b', c)::text)",
         "SELECT pg_notify('s:'::text || ((a)), pg_notify('s:'::text || ('b'), c)::text)"},
        {"SELECT pg_notify(pg_notify('b', c)::text, d)",
         "SELECT pg_notify('s:'::text || (pg_notify('s:'::text || ('b'), c)::text), d)"},
        {"SELECT pg_notify({{schema}}.f(), '')",
         "SELECT pg_notify('s:'::text || (\"app\".f()), '')"},
        {"PREPARE p AS SELECT pg_notify($1, '')",
         "PREPARE p AS SELECT pg_notify('s:'::text || ($1), '')"},
        {"SELECT pg_notify(a)", "SELECT pg_notify('s:'::text || (a))"},
        {"SELECT pg_notify(a", "SELECT pg_notify('s:'::text || (a"},
    });
}

TEST(ChannelSpeller, Bodies) {
    check({
        {"DO $$ DECLARE listen text; notify int; BEGIN NOTIFY a; IF b THEN NOTIFY c, 'd'; ELSE "
         "LISTEN e; END IF; END $$",
         "DO $$ DECLARE listen text; notify int; BEGIN NOTIFY \"s:a\"; IF b THEN NOTIFY \"s:c\", "
         "'d'; ELSE LISTEN \"s:e\"; END IF; END $$"},
        {"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM "
         "pg_notify('a', NEW.id::text); RETURN NULL; END$$",
         "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM "
         "pg_notify('s:'::text || ('a'), NEW.id::text); RETURN NULL; END$$"},
        {"DO $$BEGIN x := CASE WHEN a THEN notify END; y := CASE WHEN a THEN notify ELSE b END; "
         "END$$",
         "="},
        // What is quoted in a body may be data.
        {"DO $$BEGIN INSERT INTO t VALUES ($q$NOTIFY a;$q$); END$$", "="},
        {"SELECT $$NOTIFY a$$", "="},
    });
}

TEST(ChannelSpeller, WhatOnlyLooksLikeIt) {
    for (const std::string_view text :
         {"SELECT notify a, listen b FROM t", "SELECT CASE WHEN a THEN notify END, b FROM t",
          "CREATE TABLE t (listen text, notify int)", "SELECT 'NOTIFY a', \"NOTIFY a\" -- NOTIFY a",
          "SELECT my.pg_notify('a', 'b')", "SELECT x.pg_catalog.y",
          "DROP FUNCTION pg_notify(text, text)",
          "GRANT EXECUTE ON FUNCTION f(), pg_notify(text) "
          "TO x",
          "CREATE FUNCTION pg_notify(a text, b text) RETURNS void LANGUAGE c AS 'x'",
          "INSERT INTO pg_notify(a, b) VALUES (1, 2)", "SELECT pg_notify()", "SELECT pg_notify",
          "LISTEN", "LISTEN;", "LISTEN 'a'", "UPDATE t SET listen = 1", "LISTEN a b",
          "SELECT pg_notify FROM f(1, 2)"})
        EXPECT_EQ(rewritten(text, with_channels()), "=") << text;
}

TEST(ChannelSpeller, NothingWithoutAPrefix) {
    for (const std::string_view text : {"LISTEN a", "SELECT pg_notify('a', 'b')"})
        EXPECT_EQ(rewritten(text), "=") << text;
}

TEST(ChannelSpeller, EncodingsThatCannotBeRead) {
    TemplateContext context = with_channels();
    context.encoding = EncodingClass::unsafe;
    EXPECT_EQ(rewritten("LISTEN a", context), "0A000@0");
    EXPECT_EQ(rewritten("SELECT 1", context), "=");
}

TEST(ChannelSpeller, PositionsAreTheClients) {
    const std::string_view text = "NOTIFY ab; SELECT pg_notify(x, y) z";
    std::string out;
    PositionMap map;
    ASSERT_EQ(rewrite_templates(text, with_channels(), out, &map).outcome, Outcome::rewritten);
    EXPECT_EQ(out, "NOTIFY \"s:ab\"; SELECT pg_notify('s:'::text || (x), y) z");
    for (const char byte : {'x', 'y', 'z', 'S', 'g'}) {
        const auto there = static_cast<std::uint32_t>(out.find(byte) + 1);
        // The first s is in the prefix.
        EXPECT_EQ(map.to_original(there), text.find(byte) + 1) << byte;
    }
}

TEST(ChannelSpeller, DeepCallsStayAsTheyAre) {
    std::string text = "SELECT ";
    for (int depth = 0; depth < 1000; ++depth)
        text += "pg_notify(";
    const std::string out = rewritten(text, with_channels());
    EXPECT_LT(out.size(), text.size() + 200);
}

TEST(ChannelSpeller, Prefixes) {
    EXPECT_EQ(channel_prefix("users"), "users:");
    EXPECT_EQ(channel_prefix("Tenant_1-x"), "Tenant_1-x:");
    const std::string odd = channel_prefix("it's");
    EXPECT_EQ(odd.size(), 18);
    EXPECT_TRUE(odd.ends_with(".:")) << odd;
    EXPECT_EQ(odd.find_first_not_of("0123456789abcdef.:"), std::string::npos);
    EXPECT_NE(odd, channel_prefix("it\"s"));
    EXPECT_EQ(channel_prefix(std::string(31, 'a')).size(), 32);
    EXPECT_EQ(channel_prefix(std::string(32, 'a')).size(), 18);
    // Of another version of the program, too.
    EXPECT_EQ(odd, channel_prefix("it's"));
}

}  // namespace
}  // namespace schemux::core
