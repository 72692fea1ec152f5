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

TEST(ClientStatements, DefineReturnsWhatHadTheName) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef first = named(pool, "s");
    const StatementRef second = named(pool, "s");
    EXPECT_FALSE(statements.define(first));
    EXPECT_EQ(statements.define(second), first);
    EXPECT_EQ(statements.get("s"), second);
    EXPECT_EQ(statements.find("s"), &*second);
    EXPECT_EQ(statements.remove("s"), second);
    EXPECT_FALSE(statements.get("s"));
    EXPECT_FALSE(statements.remove("s"));
}

TEST(ClientStatements, UnnamedIsOneOfItsOwn) {
    StatementPool pool;
    ClientStatements statements;
    const StatementRef unnamed = named(pool, "");
    statements.define(unnamed);
    statements.define(named(pool, "s"));
    EXPECT_EQ(statements.get(""), unnamed);
    statements.clear_named();
    EXPECT_EQ(statements.get(""), unnamed);
    EXPECT_EQ(statements.find("s"), nullptr);
    EXPECT_EQ(statements.remove(""), unnamed);
    EXPECT_EQ(statements.find(""), nullptr);
}

TEST(ClientStatements, NumberIsBounded) {
    StatementPool pool;
    ClientStatements statements;
    for (std::size_t i = 0; i < limits::client_statements_max; ++i) {
        ASSERT_FALSE(statements.full());
        statements.define(named(pool, std::to_string(i)));
    }
    EXPECT_TRUE(statements.full());
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

TEST(BackendStatements, LeastRecentlyUsedGoesFirst) {
    BackendStatements statements;
    const auto id = [](std::size_t number) {
        StatementId made{};
        made[0] = static_cast<std::uint8_t>(number);
        made[1] = static_cast<std::uint8_t>(number >> 8);
        return made;
    };
    for (std::size_t i = 0; i < limits::backend_statements_max; ++i) {
        EXPECT_FALSE(statements.victim());
        statements.add(id(i), i + 1);
    }
    EXPECT_EQ(statements.victim(), id(0));
    EXPECT_TRUE(statements.touch(id(0)));
    EXPECT_EQ(statements.victim(), id(1));
    EXPECT_EQ(statements.request_of(id(1)), 2U);
    statements.remove(id(1));
    EXPECT_FALSE(statements.touch(id(1)));
    EXPECT_EQ(statements.request_of(id(1)), 0U);
    EXPECT_FALSE(statements.victim());
}

TEST(BackendStatements, ThereMayBeFewerOfThem) {
    BackendStatements statements;
    statements.set_maximum(2);
    const StatementId first{1};
    const StatementId second{2};
    statements.add(first, 1);
    EXPECT_FALSE(statements.victim());
    statements.add(second, 2);
    EXPECT_EQ(statements.victim(), first);
}

}  // namespace
}  // namespace schemux::core
