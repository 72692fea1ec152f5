// Fingerprints of texts: what is told apart, what is not, and that no constant is ever in one.

#include "core/fingerprint.h"

#include "core/limits.h"
#include "core/trace_parent.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::core {
namespace {

struct Read {
    std::uint64_t id = 0;
    std::string text;
};

Read read(std::string_view text, bool conforming = true) {
    FingerprintReader reader;
    reader.read(text, conforming);
    return {reader.id(), std::string(reader.text())};
}

TEST(Fingerprint, ConstantsAreLeftOut) {
    constexpr std::pair<std::string_view, std::string_view> table[]{
        {"", ""},
        {"select 1", "select ?"},
        {"SELECT * FROM t WHERE a='x' AND b=-5", "SELECT * FROM t WHERE a = ? AND b = ?"},
        {"select E'it\\'s', U&'\\0041', b'01', x'ff', N'n'", "select ?, …"},
        {"select U&'d!0061' UESCAPE '!'", "select ? UESCAPE ?"},
        {"select $$body$$, f($tag$ $$ $tag$)", "select ?, f(?)"},
        {"select 'a'\n'b' from t", "select ? from t"},
        {"select 1.5e10, .5, 0x1F, 1_000, 5abc, $1abc", "select ?, …, $1"},
        {"select '{1,2}'::int[], array[1, 2], a[1:2]", "select ?::int[], array[?, …], a[?:?]"},
        {"select a-5, -5, a - b", "select a - ?, …, a - b"},
        {"select x between -1 and - +2 limit 10", "select x between ? and ? limit ?"},
        {"select a ? 'b', a ->> 'k', b@>'{}'", "select a ? ?, a ->> ?, b @> ?"},
        {"  a/* c /* n */ ' */b -- '\n c ; ", "a b c;"},
        {"select count(*),t.* from \"T\" . \"U\"", "select count(*), t.* from \"T\".\"U\""},
        {"in (1,2,3) or in ($1,$2) or f (1)", "in (?, …) or in ($1, …) or f (?)"},
        {"values (1, 'a'),(2,'b') ,(3, 'c') returning id", "values (?, …), … returning id"},
        {"values ($1),($2)", "values ($1), …"},
        {"values (1, now()), (2, now())", "values (?, now()), (?, now())"},
        {"INSERT INTO {{tables.users}} VALUES ($1)", "INSERT INTO {{tables.users}} VALUES ($1)"},
        {"select <<tables.x>>.a, 1<<2", "select <<tables.x>>.a, ? << ?"},
        {"alter role x password 'secret'", "alter role x password ?"},
        {"CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'secret')",
         "CREATE USER MAPPING FOR a SERVER s OPTIONS (user ?, password ?)"},
        {"select 'it", "<unreadable>"},
        {"select /* 1", "<unreadable>"},
        {"select $a$ 1 $b$", "<unreadable>"},
    };
    for (const auto& [text, expected] : table)
        EXPECT_EQ(read(text).text, expected) << text;
}

TEST(Fingerprint, SpaceCommentsAndConstantsDoNotTellTextsApart) {
    const Read one = read("SELECT a FROM t WHERE b = 1 AND c IN ('x', 'y')");
    EXPECT_EQ(read("SELECT a\tFROM t\nWHERE b=-27 /* hi */ AND c IN ('z','w','v') -- x").id,
              one.id);
    EXPECT_NE(read("SELECT a FROM t WHERE b = 1 AND d IN ('x', 'y')").id, one.id);
    EXPECT_NE(read("select a from t where b = 1 and c in ('x', 'y')").id, one.id);
    EXPECT_NE(read("a b").id, read("ab").id);
}

TEST(Fingerprint, IsTheSameInEachProcess) {
    EXPECT_EQ(read("SELECT * FROM t WHERE a = 5").id, 3305658022688552919U);
}

TEST(Fingerprint, StringsAreReadAsTheSessionReadsThem) {
    const std::string text = "select 'a\\', 'b'";
    EXPECT_EQ(read(text, true).text, "select ?, …");
    EXPECT_EQ(read(text, false).text, "<unreadable>");
}

TEST(Fingerprint, TheTextIsBoundedAndTheIdIsOfAllOfIt) {
    std::string text = "select a";
    for (int column = 0; column < 1'000; ++column)
        text += ", \"c\u00e9" + std::to_string(column) + '"';
    const Read cut = read(text);
    EXPECT_LE(cut.text.size(), limits::fingerprint_bytes_max);
    EXPECT_GT(cut.text.size(), limits::fingerprint_bytes_max - 32);
    EXPECT_TRUE(cut.text.ends_with("\", …")) << cut.text;
    EXPECT_EQ(read(cut.text).text, cut.text);
    EXPECT_NE(read(text + ", other").id, cut.id);
    EXPECT_EQ(read(std::string(limits::fingerprinted_bytes_max + 1, 'x')).text, "<too long>");
    EXPECT_EQ(read(std::string(limits::fingerprinted_bytes_max, 'x')).text, "…");
    EXPECT_EQ(read("select '" + std::string(5'000, 'x') + "', a").text, "select ?, a");
}

TEST(Fingerprint, OfAFingerprintIsItselfAndNoConstantIsInOne) {
    constexpr std::string_view parts[]{"SELECT",
                                       "a",
                                       "'CANARY'",
                                       "E'CAN\\'ARY'",
                                       "$$CANARY$$",
                                       "77731",
                                       "0x77731",
                                       "7_7731",
                                       "(",
                                       ")",
                                       "[",
                                       "]",
                                       ",",
                                       ";",
                                       ".",
                                       "::",
                                       ":",
                                       "-",
                                       "+",
                                       "=",
                                       "<<",
                                       ">>",
                                       "?",
                                       "{{",
                                       "}}",
                                       "\\",
                                       "$",
                                       "$1",
                                       "/* CANARY */",
                                       "-- CANARY\n",
                                       "\n",
                                       "\"q\"",
                                       "77731a",
                                       "b'1'",
                                       "…",
                                       "in",
                                       "values",
                                       "||",
                                       "*",
                                       "/"};
    std::mt19937 random(20261124);
    FingerprintReader reader;
    for (int round = 0; round < 100'000; ++round) {
        std::string text;
        const bool apart = round % 2 == 0;
        for (unsigned count = random() % 16; count > 0; --count) {
            text += parts[random() % std::size(parts)];
            if (apart || random() % 3 == 0) text += ' ';
        }
        for (const bool conforming : {true, false}) {
            reader.read(text, conforming);
            const std::string first(reader.text());
            const std::uint64_t id = reader.id();
            if (first == unreadable_text) continue;
            // Without space between them some are identifiers.
            if (apart) {
                ASSERT_EQ(first.find("CAN"), first.npos) << text;
                ASSERT_EQ(first.find("7773"), first.npos) << text;
            }
            reader.read(first, conforming);
            ASSERT_EQ(reader.text(), first) << text;
            ASSERT_EQ(reader.id(), id) << text;
        }
    }
}

// ---- the traceparent of a comment ----

constexpr std::string_view valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

std::optional<std::string> trace(std::string_view text) {
    return find_trace_parent(text, true);
}

TEST(TraceParent, IsFoundWhereSqlcommenterWritesIt) {
    const std::string value(valid);
    EXPECT_EQ(trace("select 1 /*traceparent='" + value + "'*/"), value);
    EXPECT_EQ(trace("/*action='a',traceparent='" + value + "',x='y'*/ select 1"), value);
    EXPECT_EQ(trace("select 1 /* none */ /* traceparent='" + value + "' */"), value);
    EXPECT_EQ(trace("select 1 /*traceparent='00%2D" + value.substr(3) + "'*/"), value);
}

TEST(TraceParent, NothingElseIsTakenForOne) {
    const std::string value(valid);
    const auto with = [&](std::size_t at, char byte) {
        std::string changed = value;
        changed[at] = byte;
        return "select 1 /*traceparent='" + changed + "'*/";
    };
    EXPECT_EQ(trace("select 1"), std::nullopt);
    EXPECT_EQ(trace("select 'traceparent=''" + value + "'''"), std::nullopt);
    EXPECT_EQ(trace("select '/*traceparent=''" + value + "''*/'"), std::nullopt);
    EXPECT_EQ(trace("select 1 -- traceparent='" + value + "'"), std::nullopt);
    EXPECT_EQ(trace("/*xtraceparent='" + value + "'*/"), std::nullopt);
    EXPECT_EQ(trace("/*a='\\'traceparent=\\'" + value + "\\''*/"), std::nullopt);
    EXPECT_EQ(trace("/*traceparent='" + value + "*/"), std::nullopt);
    EXPECT_EQ(trace("/*traceparent='" + value + "-00'*/"), std::nullopt);
    EXPECT_EQ(trace("/*traceparent='" + value.substr(1) + "'*/"), std::nullopt);
    EXPECT_EQ(trace(with(1, '1')), std::nullopt);
    EXPECT_EQ(trace(with(5, 'G')), std::nullopt);
    EXPECT_EQ(trace(with(5, 'B')), std::nullopt);
    EXPECT_EQ(trace(with(35, '_')), std::nullopt);
    EXPECT_EQ(trace(with(54, 'x')), std::nullopt);
    EXPECT_EQ(trace("/*traceparent='00-" + std::string(32, '0') + value.substr(35) + "'*/"),
              std::nullopt);
    EXPECT_EQ(trace("/*traceparent='%zz" + value + "'*/"), std::nullopt);
    EXPECT_EQ(trace("/*traceparent='"), std::nullopt);
}

TEST(TraceParent, ACommentThatMayHaveOneIsNoted) {
    FingerprintReader reader;
    reader.read("select 1 /* traceparent='x' */", true);
    EXPECT_TRUE(reader.traced());
    reader.read("select 'traceparent' /* trace */", true);
    EXPECT_FALSE(reader.traced());
}

}  // namespace
}  // namespace schemux::core
