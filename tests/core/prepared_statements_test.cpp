// A client's statement names, and the identities under which backends know the statements.
// It must not know messages.
#include "core/prepared_statements.h"

#include "core/backend.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

StatementRef named(StatementPool& pool, std::string name) {
    StatementRef statement = pool.make();
    statement->name = std::move(name);
    return statement;
}

void define(ClientStatements& statements, std::uint64_t request, const StatementRef& statement) {
    statements.define(request, When::done, statement);
    statements.succeeded(request);
}

TEST(ClientStatements, NameIsKnownBeforeItIsCertain) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef first = named(pool, "s");
    statements.define(1, When::done, first);
    EXPECT_EQ(statements.find("s").statement, first);
    EXPECT_EQ(statements.find("s").request, 1U);
    statements.succeeded(1);
    EXPECT_EQ(statements.find("s").statement, first);
    EXPECT_EQ(statements.find("s").request, 0U);
}

TEST(ClientStatements, WhatFailsOrIsSkippedLeavesEverythingAsItWas) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef first = named(pool, "s");
    define(statements, 1, first);
    statements.remove(2, When::done, "s");
    statements.define(3, When::done, named(pool, "s"));
    EXPECT_NE(statements.find("s").statement, first);
    statements.failed(2);
    statements.skipped(3);
    EXPECT_EQ(statements.find("s").statement, first);
    EXPECT_EQ(statements.find("s").request, 0U);
}

TEST(ClientStatements, FailedParseOfTheUnnamedStatementDropsTheOldOneAndASkippedOneDoesNot) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef old = named(pool, "");
    define(statements, 1, old);
    statements.define(2, When::attempted, named(pool, ""));
    statements.skipped(2);
    EXPECT_EQ(statements.find("").statement, old);
    statements.define(3, When::attempted, named(pool, ""));
    statements.failed(3);
    EXPECT_FALSE(statements.find("").statement);
}

TEST(ClientStatements, AllButTheUnnamedGoTogether) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef unnamed = named(pool, "");
    const StatementRef later = named(pool, "b");
    define(statements, 1, unnamed);
    define(statements, 2, named(pool, "a"));
    statements.remove_all(3, When::command);
    statements.define(4, When::done, later);
    EXPECT_FALSE(statements.find("a").statement);
    EXPECT_EQ(statements.find("a").request, 3U);
    EXPECT_EQ(statements.find("").statement, unnamed);
    EXPECT_TRUE(statements.command(3));
    EXPECT_FALSE(statements.find("a").statement);
    EXPECT_EQ(statements.find("a").request, 0U);
    statements.succeeded(4);
    EXPECT_EQ(statements.find("b").statement, later);
    EXPECT_EQ(statements.find("").statement, unnamed);
}

TEST(ClientStatements, NameThatIsNotThereNeedNotBeWaitedFor) {
    ClientStatements statements;
    statements.remove_all(1, When::one_of_commands);
    EXPECT_EQ(statements.find("s").request, 0U);
}

TEST(ClientStatements, CommandsOfAQueryComeTrueOneByOne) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef first = named(pool, "a");
    statements.define(1, When::one_of_commands, first);
    statements.define(1, When::one_of_commands, named(pool, "b"));
    statements.remove(1, When::attempted, "");
    EXPECT_TRUE(statements.find("a").in_query);
    EXPECT_TRUE(statements.command(1));
    statements.failed(1);
    EXPECT_EQ(statements.find("a").statement, first);
    EXPECT_FALSE(statements.find("b").statement);
    EXPECT_FALSE(statements.command(1));
}

TEST(ClientStatements, NumberIsBounded) {
    StatementPool pool;
    ClientStatements statements;
    for (std::size_t i = 0; i < limits::client_statements_max; ++i) {
        ASSERT_FALSE(statements.full());
        define(statements, i + 1, named(pool, std::to_string(i)));
    }
    EXPECT_TRUE(statements.full());
}

TEST(ClientStatements, BytesAreBoundedAndComeBack) {
    StatementPool pool;
    ClientStatements statements;
    const std::size_t half = limits::client_statement_bytes_max / 2;
    const auto large = [&](std::string name) {
        StatementRef statement = named(pool, std::move(name));
        statement->text.assign(half, 'x');
        return statement;
    };
    define(statements, 1, large(""));
    define(statements, 2, large(""));
    EXPECT_FALSE(statements.full()) << "the unnamed one is bounded by itself";
    define(statements, 3, large("a"));
    EXPECT_FALSE(statements.full());
    define(statements, 4, large("b"));
    EXPECT_TRUE(statements.full());
    const StatementRef b = statements.find("b").statement;
    statements.replace(b, named(pool, "b"));
    EXPECT_FALSE(statements.full());
    define(statements, 5, large("b"));
    EXPECT_TRUE(statements.full());
    define(statements, 6, large("b"));
    statements.remove_now("b");
    EXPECT_FALSE(statements.full());
    define(statements, 7, large("b"));
    statements.remove_all(8, When::command);
    EXPECT_TRUE(statements.command(8));
    EXPECT_FALSE(statements.full());
}

TEST(StatementPool, RecordIsCleanWhenItIsUsedAgain) {
    StatementPool pool;
    Statement* address = nullptr;
    {
        const StatementRef statement = named(pool, "s");
        statement->text = "select 1";
        statement->types = "x";
        statement->version = 7;
        statement->id[0] = 1;
        statement->positions.add(0, 1, 0, 2);
        statement->effects.add(Effect::role);
        address = &*statement;
    }
    const StatementRef again = pool.make();
    ASSERT_EQ(&*again, address);
    EXPECT_TRUE(again->name.empty() && again->text.empty() && again->types.empty());
    EXPECT_EQ(again->version, 0U);
    EXPECT_EQ(again->id, StatementId{});
    EXPECT_TRUE(again->positions.empty());
    EXPECT_TRUE(again->effects.none());
}

TEST(StatementNamer, EverythingThatAnalysisDependsOnIsInTheIdentity) {
    const StatementNamer namer;
    const Label label = Label::of({{"search_path", "app"}});
    const StatementId id = namer.identify("select 1", "t", "svc", label, "");
    EXPECT_EQ(namer.identify("select 1", "t", "svc", label, ""), id);
    EXPECT_NE(namer.identify("select 2", "t", "svc", label, ""), id);
    EXPECT_NE(namer.identify("select 1", "u", "svc", label, ""), id);
    EXPECT_NE(namer.identify("select 1", "t", "other", label, ""), id);
    EXPECT_NE(namer.identify("select 1", "t", "svc", Label{}, ""), id);
    EXPECT_NE(namer.identify("select 1", "t", "svc", label, "mine"), id);
    // Bytes that move from one field to the next make another identity.
    EXPECT_NE(namer.identify("select 1t", "", "svc", label, ""), id);
}

TEST(StatementNamer, NamesCannotBeGuessedFromAnotherProcess) {
    const StatementNamer one;
    const StatementNamer other;
    EXPECT_NE(one.identify("select 1", "", "svc", {}, ""),
              other.identify("select 1", "", "svc", {}, ""));
}

TEST(StatementNamer, NameIsTheIdentityInHex) {
    StatementId id{};
    id[0] = 0x0f;
    id[15] = 0xa0;
    std::array<char, backend_name_bytes> storage{};
    EXPECT_EQ(backend_name(id, storage), "sx_0f0000000000000000000000000000a0");
}

StatementId numbered(std::size_t number) {
    StatementId id{};
    id[0] = static_cast<std::uint8_t>(number);
    id[1] = static_cast<std::uint8_t>(number >> 8);
    return id;
}

std::optional<StatementId> victim(BackendStatements& statements, std::size_t bytes = 1) {
    return statements.victim(statements.mark(), bytes);
}

void add(BackendStatements& statements, std::uint64_t request, std::size_t bytes = 1) {
    statements.add(request, When::done, numbered(request), 0, bytes);
    statements.succeeded(request);
}

TEST(BackendStatements, LeastRecentlyUsedGoesFirst) {
    BackendStatements statements;
    for (std::size_t i = 1; i <= limits::backend_statements_max; ++i) {
        EXPECT_FALSE(victim(statements));
        add(statements, i);
    }
    EXPECT_EQ(victim(statements), numbered(1));
    statements.touch(numbered(1));
    EXPECT_EQ(victim(statements), numbered(2));
    EXPECT_EQ(statements.find(numbered(2)).made, 2U);
    statements.remove(1'000, When::done, numbered(2));
    EXPECT_FALSE(statements.find(numbered(2)).there);
    EXPECT_FALSE(victim(statements)) << "one is about to go";
    statements.succeeded(1'000);
    EXPECT_FALSE(victim(statements));
}

TEST(BackendStatements, WhatWasUsedBehindTheMarkIsNoVictim) {
    BackendStatements statements;
    statements.set_bounds({2, 100});
    add(statements, 1);
    const std::uint64_t mark = statements.mark();
    EXPECT_FALSE(statements.victim(mark, 1));
    statements.add(2, When::done, numbered(2), 0, 1);
    EXPECT_EQ(statements.victim(mark, 1), numbered(1));
    statements.touch(numbered(1));
    EXPECT_FALSE(statements.victim(mark, 1));
    EXPECT_EQ(victim(statements), numbered(1));
    statements.remove(3, When::done, numbered(1));
    statements.add(4, When::done, numbered(3), 0, 1);
    EXPECT_EQ(victim(statements), numbered(2)) << "also one under way";
}

TEST(BackendStatements, BytesAreBoundedToo) {
    BackendStatements statements;
    statements.set_bounds({10, 100});
    add(statements, 1, 40);
    add(statements, 2, 40);
    EXPECT_FALSE(victim(statements, 20));
    EXPECT_EQ(victim(statements, 21), numbered(1));
    statements.remove(3, When::done, numbered(1));
    EXPECT_FALSE(victim(statements, 60)) << "one is about to go";
    EXPECT_EQ(victim(statements, 61), numbered(2));
    statements.remove(4, When::done, numbered(2));
    EXPECT_FALSE(victim(statements, 1'000)) << "alone it may be as large as it likes";
    statements.skipped(3);
    statements.skipped(4);
    EXPECT_EQ(victim(statements, 21), numbered(1));
    statements.add(5, When::done, numbered(5), 0, 20);
    EXPECT_EQ(victim(statements, 1), numbered(1)) << "what is under way counts";
    statements.failed(5);
    EXPECT_FALSE(victim(statements, 20));
    statements.remove_now(numbered(1));
    EXPECT_FALSE(victim(statements, 60));
    statements.remove_all(6, When::command);
    statements.add(7, When::done, numbered(7), 0, 90);
    EXPECT_FALSE(victim(statements, 10));
    EXPECT_EQ(victim(statements, 11), numbered(7));
    statements.command(6);
    statements.succeeded(7);
    EXPECT_FALSE(victim(statements, 10));
    EXPECT_EQ(victim(statements, 11), numbered(7));
    statements.clear();
    EXPECT_FALSE(victim(statements, 100));
}

TEST(BackendStatements, VersionTellsCopiesUnderOneIdApart) {
    BackendStatements statements;
    statements.add(1, When::attempted, unnamed_statement, 7, 1);
    EXPECT_EQ(statements.find(unnamed_statement).version, 7U);
    statements.succeeded(1);
    EXPECT_EQ(statements.find(unnamed_statement).version, 7U);
    EXPECT_EQ(statements.size(), 0U) << "only named ones count";
    statements.add(2, When::attempted, unnamed_statement, 8, 1);
    statements.failed(2);
    EXPECT_FALSE(statements.find(unnamed_statement).there);
}

TEST(BackendStatements, ShapeIsThatOfTheCopyThatIsThere) {
    BackendStatements statements;
    add(statements, 1);
    statements.shape_of(numbered(1))->known = true;
    statements.remove(2, When::done, numbered(1));
    statements.add(3, When::done, numbered(1), 0, 1);
    statements.succeeded(2);
    EXPECT_EQ(statements.shape_of(numbered(1)), nullptr);
    statements.succeeded(3);
    ASSERT_NE(statements.shape_of(numbered(1)), nullptr);
    EXPECT_FALSE(statements.shape_of(numbered(1))->known);
}

}  // namespace
}  // namespace schemux::core
