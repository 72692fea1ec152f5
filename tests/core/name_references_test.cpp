// Where a text speaks of prepared statements by name.

#include "core/name_references.h"

#include "core/statement_effects.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

/// Each use as "use:name:bytes", in the order of the text.
std::string names_in(std::string_view text, bool conforming = true) {
    std::string out;
    const NameReferences names = find_names(text, conforming);
    for (const NameReference& name : names.found) {
        constexpr std::string_view uses = "peda";
        if (!out.empty()) out += ' ';
        out += uses[static_cast<std::size_t>(name.use)];
        out += ':' + name.name + ':' + std::string(text.substr(name.begin, name.length));
        if (name.use == NameUse::prepare) {
            out += ':' + std::string(text.substr(name.begin, name.end - name.begin));
        }
    }
    if (!names.complete) out += '!';
    return out;
}

TEST(NameReferences, EachStatementThatNamesOne) {
    EXPECT_EQ(names_in("PREPARE a AS SELECT 1"), "p:a:a:a AS SELECT 1");
    EXPECT_EQ(names_in("prepare a (int, text) as select $1; select 2"),
              "p:a:a:a (int, text) as select $1");
    EXPECT_EQ(names_in("EXECUTE a"), "e:a:a");
    EXPECT_EQ(names_in("execute a (1, now())"), "e:a:a");
    EXPECT_EQ(names_in("DEALLOCATE a"), "d:a:a");
    EXPECT_EQ(names_in("DEALLOCATE PREPARE a"), "d:a:a");
    EXPECT_EQ(names_in("EXPLAIN EXECUTE a"), "e:a:a");
    EXPECT_EQ(names_in("EXPLAIN (ANALYZE, COSTS off) EXECUTE a(1)"), "e:a:a");
    EXPECT_EQ(names_in("explain analyze verbose execute a"), "e:a:a");
    EXPECT_EQ(names_in("CREATE TEMP TABLE t AS EXECUTE a(2)"), "e:a:a");
    EXPECT_EQ(names_in("CREATE TABLE t (x) WITH (fillfactor=10) AS EXECUTE a"), "e:a:a");
}

TEST(NameReferences, OneInTheOtherHasTheSameEnd) {
    EXPECT_EQ(names_in("PREPARE a AS PREPARE b AS EXECUTE c; SELECT 1"),
              "p:a:a:a AS PREPARE b AS EXECUTE c p:b:b:b AS EXECUTE c e:c:c");
}

TEST(NameReferences, AllOfThemAtOnce) {
    EXPECT_EQ(names_in("DEALLOCATE ALL"), "a::ALL");
    EXPECT_EQ(names_in("deallocate prepare all"), "a::all");
    EXPECT_EQ(names_in("DISCARD ALL"), "a::ALL");
    EXPECT_EQ(names_in("DISCARD PLANS"), "");
    EXPECT_EQ(names_in("DEALLOCATE \"all\""), "d:all:\"all\"");
}

TEST(NameReferences, NamesAreReadAsPostgresqlReadsThem) {
    EXPECT_EQ(names_in("EXECUTE MyName"), "e:myname:MyName");
    EXPECT_EQ(names_in("EXECUTE \"MyName\""), "e:MyName:\"MyName\"");
    EXPECT_EQ(names_in("EXECUTE \"a\"\"b\""), "e:a\"b:\"a\"\"b\"");
    EXPECT_EQ(names_in("/* x */ EXECUTE -- y\n a;"), "e:a:a");
    EXPECT_EQ(names_in("DEALLOCATE prepare"), "d:prepare:prepare");
    EXPECT_EQ(names_in("PREPARE transaction AS SELECT 1"),
              "p:transaction:transaction:transaction AS SELECT 1");
}

TEST(NameReferences, SeveralStatementsInOneText) {
    EXPECT_EQ(names_in("PREPARE a AS SELECT 1; EXECUTE a; DEALLOCATE a; DEALLOCATE ALL"),
              "p:a:a:a AS SELECT 1 e:a:a d:a:a a::ALL");
    EXPECT_EQ(names_in("select 1; execute a;; select 2"), "e:a:a");
}

TEST(NameReferences, WhatOnlyLooksLikeOne) {
    EXPECT_EQ(names_in("PREPARE TRANSACTION 'x'"), "");
    EXPECT_EQ(names_in("SELECT 'EXECUTE a'"), "");
    EXPECT_EQ(names_in("DO $$ BEGIN EXECUTE 'a'; END $$"), "");
    EXPECT_EQ(names_in("CREATE TRIGGER t BEFORE INSERT ON x EXECUTE FUNCTION f()"), "");
    EXPECT_EQ(names_in("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END"), "");
    EXPECT_EQ(names_in("SELECT execute FROM deallocate"), "");
    EXPECT_EQ(names_in("EXECUTE"), "");
    EXPECT_EQ(names_in("DEALLOCATE"), "");
    EXPECT_EQ(names_in("EXECUTE \"\""), "");
}

TEST(NameReferences, NameThatCannotBeReadIsSaid) {
    EXPECT_EQ(names_in("EXECUTE U&\"\\0061\""), "!");
    EXPECT_EQ(names_in("EXECUTE " + std::string(sql_name_bytes_max, 'x')).back(), 'x');
    EXPECT_EQ(names_in("EXECUTE " + std::string(sql_name_bytes_max + 1, 'x')).back(), '!');
}

TEST(NameReferences, NumberIsBounded) {
    std::string text;
    for (std::size_t i = 0; i < name_references_max; ++i)
        text += "EXECUTE a;";
    EXPECT_TRUE(find_names(text, true).complete);
    text += "EXECUTE a";
    EXPECT_FALSE(find_names(text, true).complete);
    EXPECT_EQ(find_names(text, true).found.size(), name_references_max);
}

TEST(NameReferences, EffectsForetellThem) {
    for (const char* text : {"EXECUTE a", "PREPARE a AS SELECT 1", "DEALLOCATE a", "DISCARD ALL",
                             "EXPLAIN EXECUTE a", "CREATE TABLE t AS EXECUTE a"}) {
        EXPECT_TRUE(classify_effects(text, true).names_statements) << text;
    }
    for (const char* text : {"SELECT 1", "PREPARE TRANSACTION 'x'", "DISCARD TEMP"}) {
        EXPECT_FALSE(classify_effects(text, true).names_statements) << text;
    }
}

}  // namespace
}  // namespace schemux::core
