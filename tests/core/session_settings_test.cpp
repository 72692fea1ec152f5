// Which settings a text names, what PostgreSQL is asked, and what its answer makes of a label.

#include "core/session_settings.h"

#include "core/limits.h"
#include "core/setting_references.h"
#include "tests/support/relay_messages.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

using relay_script::setting_row;
using Haste = SettingsQuestion::Haste;

std::string listed(const std::vector<std::string>& names) {
    std::string all;
    for (const std::string& name : names)
        all += (all.empty() ? "" : " ") + name;
    return all;
}

std::string body_of(const std::string& row) {
    return row.substr(5);
}

std::string row(std::string_view name, const std::string& value) {
    return body_of(setting_row(name, &value));
}

TEST(SettingReferences, NamesOfEverySpelling) {
    const std::vector<std::pair<const char*, const char*>> texts{
        {"SET search_path TO a, b", "search_path"},
        {"set Session Work_Mem = 1", "work_mem"},
        {"SET \"App\".\"User\" = 'x'", "app.user"},
        {"SET \"app.user\" TO x", "app.user"},
        {"SET TIME ZONE 'UTC'", "timezone"},
        {"SET TIME ZONE INTERVAL '1' HOUR TO MINUTE", "timezone"},
        {"SET NAMES 'utf8'", "client_encoding"},
        {"SET SCHEMA 'a'", "search_path"},
        {"SET XML OPTION DOCUMENT", "xmloption"},
        {"SET ROLE NONE", "role"},
        {"SET SESSION AUTHORIZATION 'x'", "session_authorization"},
        {"SELECT set_config('A.b', $1, false), set_config('c', 'd', $2)", "a.b c"},
        {"BEGIN; SET a.b = 1; SET LOCAL c.d = 2; COMMIT", "a.b"},
    };
    for (const auto& [text, names] : texts) {
        const SettingReferences found = find_settings(text, true);
        EXPECT_EQ(listed(found.set), names) << text;
        EXPECT_EQ(listed(found.reset), "") << text;
        EXPECT_FALSE(found.any || found.resets_all) << text;
    }
}

TEST(SettingReferences, ResetsOfEverySpelling) {
    const std::vector<std::pair<const char*, const char*>> texts{
        {"RESET a.b", "a.b"},
        {"SET work_mem TO DEFAULT", "work_mem"},
        {"SET work_mem = default", "work_mem"},
        {"SET TIME ZONE LOCAL", "timezone"},
        {"SET TIME ZONE DEFAULT", "timezone"},
        {"RESET TIME ZONE", "timezone"},
        {"SET NAMES", "client_encoding"},
        {"SET NAMES DEFAULT", "client_encoding"},
        {"RESET SESSION AUTHORIZATION", "session_authorization"},
        {"SET SESSION AUTHORIZATION DEFAULT", "session_authorization"},
        {"RESET ROLE", "role"},
        {"SELECT set_config('a', NULL, false)", "a"},
    };
    for (const auto& [text, names] : texts) {
        const SettingReferences found = find_settings(text, true);
        EXPECT_EQ(listed(found.reset), names) << text;
        EXPECT_EQ(listed(found.set), "") << text;
        EXPECT_FALSE(found.any || found.resets_all) << text;
    }
    for (const char* text : {"RESET ALL", "DISCARD ALL", "SELECT 1; reset all"})
        EXPECT_TRUE(find_settings(text, true).resets_all) << text;
}

TEST(SettingReferences, WhatIsNotNamedMayBeAny) {
    for (const char* text :
         {"SELECT set_config($1, 'x', false)", "SELECT set_config('a' || 'b', 'x', false)",
          "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
          "SELECT set_config(E'a', 'x', false)",
          "UPDATE pg_catalog.pg_settings SET setting = '1' WHERE name = 'work_mem'"}) {
        EXPECT_TRUE(find_settings(text, true).any) << text;
    }
    for (const char* text : {"SELECT 1", "SELECT set_config($1, 'x', true)", "SET LOCAL a = 1",
                             "SELECT setting FROM pg_settings", "SET TRANSACTION READ ONLY"}) {
        const SettingReferences found = find_settings(text, true);
        EXPECT_FALSE(found.any || found.resets_all) << text;
        EXPECT_EQ(listed(found.set) + listed(found.reset), "") << text;
    }
}

TEST(SettingReferences, DottedNamesAreFoundWhereverTheyStand) {
    const auto found = [](std::string_view text, std::size_t most) {
        std::vector<std::string> names;
        find_dotted_names(text, most, names);
        return listed(names);
    };
    EXPECT_EQ(found("do $$ select set_config('App.user', x.y, false) $$; a..b .c d. 1.5 2e.f", 9),
              "app.user x.y");
    EXPECT_EQ(found("a.b c.d e.f", 2), "a.b c.d");
    EXPECT_EQ(found("\xc3\xa4x.y a.b.c", 9), "a.b.c");
    EXPECT_EQ(found("", 9), "");
    EXPECT_EQ(found("a.\xc3\xa4 b." + std::string(300, 'x') + " c.d", 9), "c.d");
}

TEST(SettingReferences, PlainNamesAreTheSameInEveryEncoding) {
    for (const char* name : {"a", "work_mem", "app.user_1", "a.b$c"})
        EXPECT_TRUE(is_plain_setting(name)) << name;
    for (const char* name : {"", "app.\xe4", "a b", "a'", "a\\b"})
        EXPECT_FALSE(is_plain_setting(name)) << name;
    EXPECT_TRUE(is_plain_setting(std::string(limits::setting_name_bytes_max, 'x')));
    EXPECT_FALSE(is_plain_setting(std::string(limits::setting_name_bytes_max + 1, 'x')));
}

TEST(SettingsQuestion, NamesThatMovedAreAskedForAndTheOthersStay) {
    MovedSettings moved;
    moved.add("work_mem");
    moved.add("app.user");
    moved.add("work_mem");
    EXPECT_EQ(listed(moved.names()), "work_mem app.user");
    const Label before = Label::of({{"timezone", "UTC"}, {"work_mem", "1MB"}});
    SettingsQuestion question;
    std::string sql;
    question.ask(moved, before, Haste::usual, sql);
    EXPECT_NE(sql.find("('work_mem'),('app.user')"), sql.npos);
    EXPECT_EQ(sql.find("pg_settings"), sql.npos);
    EXPECT_EQ(question.on_row(row("work_mem", "2MB")), SettingsQuestion::Row::taken);
    EXPECT_EQ(question.on_row(row("app.user", "j\xc3\xbcrgen\\")), SettingsQuestion::Row::taken);
    EXPECT_EQ(
        question.answer(before),
        Label::of({{"timezone", "UTC"}, {"work_mem", "2MB"}, {"app.user", "j\xc3\xbcrgen\\"}}));
}

TEST(SettingsQuestion, OneThatIsNotThereAnyMoreGoes) {
    MovedSettings moved;
    moved.add("app.user");
    const Label before = Label::of({{"app.user", "x"}});
    SettingsQuestion question;
    std::string sql;
    question.ask(moved, before, Haste::usual, sql);
    EXPECT_EQ(question.on_row(body_of(setting_row("app.user", nullptr))),
              SettingsQuestion::Row::taken);
    EXPECT_TRUE(question.answer(before).is_base());
}

TEST(SettingsQuestion, WhenAllMayHaveMovedOnlyTheAnswerCounts) {
    MovedSettings moved;
    moved.add_all();
    moved.add("work_mem");
    moved.add("app.new");
    const Label before = Label::of({{"app.user", "x"}, {"work_mem", "1MB"}});
    SettingsQuestion question;
    std::string sql;
    question.ask(moved, before, Haste::usual, sql);
    EXPECT_NE(sql.find("('app.new'),('role'),('app.user')"), sql.npos) << sql;
    EXPECT_NE(sql.find("pg_settings"), sql.npos);
    EXPECT_EQ(sql.find("SET LOCAL"), sql.npos);
    question.on_row(row("role", "none"));
    question.on_row(row("transaction_read_only", "on"));
    question.on_row(row("app.user", ""));
    question.on_row(row("datestyle", "German, DMY"));
    EXPECT_EQ(question.answer(before), Label::of({{"app.user", ""}, {"datestyle", "German, DMY"}}));
}

TEST(SettingsQuestion, TimeoutOfZeroIsTheSessionsWhereTheViewSaysSo) {
    MovedSettings moved;
    moved.add_all();
    const Label none = Label::of({});
    const Label zero = Label::of({{"statement_timeout", "0"}});
    struct Case {
        Label before;
        Haste haste;
        bool out_of_the_way;
        Label after;
    };
    for (const Case& one :
         {Case{none, Haste::usual, false, zero},
          // Its source is not known then, and what it usually is nobody's choice.
          Case{none, Haste::ended_before, true, none}, Case{zero, Haste::usual, true, zero}}) {
        SettingsQuestion question;
        std::string sql;
        question.ask(moved, one.before, one.haste, sql);
        EXPECT_EQ(sql.find("SET LOCAL statement_timeout=0") != sql.npos, one.out_of_the_way);
        question.on_row(row("statement_timeout", "0"));
        EXPECT_EQ(question.answer(one.before), one.after);
    }
}

TEST(SettingsQuestion, BrokenRowsAndTooManyAreSaid) {
    using Row = SettingsQuestion::Row;
    SettingsQuestion question;
    EXPECT_EQ(question.on_row(""), Row::broken);
    EXPECT_EQ(question.on_row(std::string("\0\1\0\0\0\1a", 7)), Row::broken);
    EXPECT_EQ(question.on_row(row("", "x")), Row::broken);
    for (const char* value : {"\\", "\\1", "\\400", "\\08x"}) {
        std::string body = row("a", "").substr(0, 7) + std::string(3, '\0');
        body += static_cast<char>(std::string_view(value).size());
        EXPECT_EQ(question.on_row(body + value), Row::broken) << value;
    }
    EXPECT_EQ(question.on_row(row("a", std::string(limits::client_setting_bytes_max, 'x'))),
              Row::too_much);
    EXPECT_TRUE(question.too_much());
    SettingsQuestion many;
    for (std::size_t i = 0; i < limits::client_settings_max; ++i)
        EXPECT_EQ(many.on_row(row("a" + std::to_string(i), "")), Row::taken);
    EXPECT_EQ(many.on_row(row("b", "")), Row::too_much);
}

TEST(SettingsQuestion, TooManyNamesAreAskedForAsAll) {
    MovedSettings moved;
    for (std::size_t i = 0; i <= limits::moved_settings_max; ++i)
        moved.add("a.b" + std::to_string(i));
    EXPECT_TRUE(moved.all());
    EXPECT_EQ(moved.names().size(), limits::moved_settings_max);
}

TEST(SettingsQuestion, StartupSettingsComeBack) {
    const Label startup = Label::of({{"a", "1"}, {"b", "2"}});
    EXPECT_EQ(with_startup(Label::of({{"b", "3"}, {"c", "4"}}), startup),
              Label::of({{"a", "1"}, {"b", "3"}, {"c", "4"}}));
    EXPECT_EQ(with_startup({}, startup), startup);
    // A role is always told, so that one which is not there is none.
    EXPECT_EQ(with_startup(Label::of({{"b", "3"}}), Label::of({{"b", "2"}, {"role", "app"}})),
              Label::of({{"b", "3"}}));
}

TEST(RestoreSql, WhoSomebodyIsComesBackOnlyWhereThatWasReset) {
    const Label startup = Label::of({{"role", "re'ader"}, {"session_authorization", "app"}});
    const auto sql = [&startup](const MovedSettings& reset) {
        std::string text;
        const bool any = append_restore_sql(text, startup, reset);
        EXPECT_EQ(any, !text.empty());
        return text;
    };
    MovedSettings all;
    all.add_all();
    EXPECT_EQ(sql(all), "") << "RESET ALL leaves it alone";
    MovedSettings role;
    role.add("role");
    const std::string back =
        "SELECT pg_catalog.set_config('role','re''ader',false)IS NULL WHERE "
        "pg_catalog.current_setting('role')OPERATOR(pg_catalog.=)'none'";
    EXPECT_EQ(sql(role), back);
    role.add("session_authorization");
    EXPECT_EQ(
        sql(role),
        "SELECT pg_catalog.set_config('session_authorization','app',false)IS NULL UNION ALL " +
            back);
}

}  // namespace
}  // namespace schemux::core
