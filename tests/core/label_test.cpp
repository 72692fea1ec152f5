// Labels and the SQL that leads from one to another.
// It must not know backends.
#include "core/label.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

std::string relabel(const Label& from, const Label& to) {
    std::string sql;
    append_relabel_sql(sql, from, to);
    return sql;
}

std::string literal(std::string_view value) {
    std::string sql;
    append_ascii_literal(sql, value);
    return sql;
}

TEST(Label, RoleIsSetLastAndTakenBackFirst) {
    const Label plain = Label::of({{"work_mem", "1MB"}});
    const Label role = Label::of({{"role", "r"}, {"work_mem", "1MB"}});
    const Label user = Label::of({{"role", "r"}, {"session_authorization", "u"}, {"zone", "x"}});
    const auto between = [](const Label& from, const Label& to) {
        std::string sql;
        append_relabel_sql(sql, from, to);
        return sql;
    };
    const std::string back = "SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;";
    const std::string to_role = "pg_catalog.set_config('role','r',false)IS NULL";
    EXPECT_EQ(between(plain, role), "SELECT " + to_role);
    EXPECT_EQ(between(role, plain), back);
    EXPECT_EQ(between(role, role), "");
    EXPECT_EQ(between(role, user),
              back +
                  "RESET ALL;SELECT pg_catalog.set_config('zone','x',false)IS NULL,"
                  "pg_catalog.set_config('session_authorization','u',false)IS NULL," +
                  to_role);
}

TEST(Label, DateStyleDoesNotKeepTheOrderOfItsPredecessor) {
    const Label german = Label::of({{"datestyle", "German"}});
    const Label sql = Label::of({{"datestyle", "SQL"}});
    EXPECT_EQ(relabel(german, sql),
              "RESET \"datestyle\";SELECT pg_catalog.set_config('datestyle','SQL',false)IS NULL");
}

TEST(Label, NoSettingsAreTheBaseLabel) {
    EXPECT_TRUE(Label::of({}).is_base());
    EXPECT_EQ(Label::of({}), Label{});
    EXPECT_EQ(Label{}.hash(), 0U);
    EXPECT_TRUE(Label{}.settings().empty());
}

TEST(Label, OrderDoesNotMatter) {
    const Label a = Label::of({{"work_mem", "1MB"}, {"search_path", "app"}});
    const Label b = Label::of({{"search_path", "app"}, {"work_mem", "1MB"}});
    EXPECT_EQ(a, b);
    EXPECT_EQ(a.hash(), b.hash());
}

TEST(Label, LaterSettingWins) {
    const Label label = Label::of({{"a", "1"}, {"b", "x"}, {"a", "2"}, {"a", "3"}});
    EXPECT_EQ(label, Label::of({{"a", "3"}, {"b", "x"}}));
    EXPECT_EQ(label.settings().size(), 2U);
}

TEST(Label, ValuesAndNamesTellLabelsApart) {
    const Label label = Label::of({{"a", "1"}});
    EXPECT_FALSE(label == Label::of({{"a", "2"}}));
    EXPECT_FALSE(label == Label::of({{"b", "1"}}));
    EXPECT_FALSE(label == Label{});
    EXPECT_FALSE(label == Label::of({{"a", "1"}, {"b", ""}}));
}

TEST(Label, EqualLabelsNeedNoStatement) {
    const Label label = Label::of({{"a", "1"}});
    EXPECT_EQ(relabel(label, label), "");
    EXPECT_EQ(relabel({}, {}), "");
}

TEST(Label, DifferenceIsSetAndReset) {
    const Label from = Label::of({{"a", "1"}, {"b", "2"}, {"c", "3"}});
    const Label to = Label::of({{"b", "2"}, {"c", "4"}, {"d", "5"}});
    EXPECT_EQ(relabel(from, to),
              "RESET ALL;SELECT pg_catalog.set_config('b','2',false)IS NULL,"
              "pg_catalog.set_config('c','4',false)IS NULL,"
              "pg_catalog.set_config('d','5',false)IS NULL");
    EXPECT_EQ(relabel(from, {}), "RESET ALL;");
    EXPECT_EQ(relabel(Label::of({{"b", "2"}, {"c", "3"}}), to),
              "SELECT pg_catalog.set_config('c','4',false)IS NULL,"
              "pg_catalog.set_config('d','5',false)IS NULL");
    EXPECT_EQ(relabel({}, Label::of({{"search_path", "\"app\", public"}})),
              "SELECT pg_catalog.set_config('search_path','\"app\", public',false)IS NULL");
}

TEST(Label, LiteralsAreAsciiUnderEveryEncodingAndSetting) {
    EXPECT_EQ(literal("plain"), "'plain'");
    EXPECT_EQ(literal(""), "''");
    EXPECT_EQ(literal("it's"), "'it''s'");
    EXPECT_EQ(literal("back\\slash"), "E'back\\x5cslash'");
    EXPECT_EQ(literal("quote'and\\"), "E'quote''and\\x5c'");
    EXPECT_EQ(literal("\xc3\xa4\n"), "E'\\xc3\\xa4\\x0a'");
    EXPECT_EQ(literal("\x7f"), "E'\\x7f'");
}

TEST(Label, IdentifiersAreQuoted) {
    std::string sql;
    append_quoted_identifier(sql, "a\"b");
    EXPECT_EQ(sql, "\"a\"\"b\"");
}

}  // namespace
}  // namespace schemux::core
