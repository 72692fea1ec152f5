// Prepared statements that go: DEALLOCATE, DISCARD ALL, eviction, and those that nobody may share.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string prepared = parse_complete() + ready();

// Alone it needs no backend.
const std::string deallocate_all = "deallocate all; select 1";
const std::string all_gone = command_complete("DEALLOCATE ALL") + none + ready();

TEST(RelayDeallocate, DeallocateAllForgetsTheClientsStatementsOnly) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .client(2)
        .frontend(parse("s1", "select 1") + sync())
        .backend(ready())
        .client(1)
        .frontend_gets(prepared)
        .frontend(query(deallocate_all))
        .backend(all_gone)
        .frontend_gets(all_gone)
        .released()
        .frontend(run("s1"))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready())
        .client(2)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(run("s1"))
        .backend_gets(parse("@1", "select 1") + run("@1"))
        .backend(parse_complete() + bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready());
    script.check();
}

TEST(RelayDeallocate, ParseBehindDeallocateAllInTheSameWriteSurvives) {
    Script script;
    const std::string ran = parse_complete() + bind_complete() + none + ready();
    script.frontend(parse("s0", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(query(deallocate_all) + parse("s1", "select 1") + run("s1"))
        // Not the copy that is about to go.
        .backend_gets(query(deallocate_all))
        .backend(all_gone)
        .backend_gets(parse("@1", "select 1") + run("@1"))
        .backend(ran)
        .frontend_gets(all_gone + ran)
        .released()
        .frontend(run("s0"))
        .frontend_gets(own_error("26000", "prepared statement \"s0\" does not exist") + ready())
        .whatever_backend_got()
        .frontend(run("s1"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready());
    script.check_whole();
}

TEST(RelayDeallocate, NameIsFreeBehindDeallocateAllInTheSameWrite) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(query(deallocate_all) + parse("s1", "select 2") + sync())
        .backend_gets(query(deallocate_all))
        .backend(all_gone)
        .backend_gets(parse("@2", "select 2") + sync())
        .backend(prepared)
        .frontend_gets(all_gone + prepared);
    script.check_whole();
}

TEST(RelayDeallocate, WhatIsRemovedBehindDeallocateAllInTheSameWriteStaysRemoved) {
    Script script;
    script
        .frontend(query(deallocate_all) + parse("s1", "select 1") + close_statement("s1") +
                  parse("", "select 2") + sync() + query("select 3"))
        .backend(all_gone + parse_complete() + parse_complete() + ready() + none + ready())
        .frontend_gets(all_gone + parse_complete() + close_complete() + parse_complete() + ready() +
                       none + ready())
        .released()
        .frontend(run("s1") + run(""))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready() +
                       own_error("26000", "unnamed prepared statement does not exist") + ready());
    script.check();
}

TEST(RelayDeallocate, SkippedCloseBehindDeallocateAllBringsNothingBack) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .frontend(query(deallocate_all) + execute("none") + close_statement("s1") + sync())
        .backend(all_gone + error("34000", "no portal") + ready())
        .frontend_gets(all_gone + error("34000", "no portal") + ready())
        .released()
        .frontend(run("s1"))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready());
    script.check();
}

TEST(RelayDeallocate, DeallocateAllThroughTheExtendedProtocolKeepsItsOwnUnnamedStatement) {
    Script script;
    script.frontend(parse("", "deallocate all") + sync())
        .backend(prepared)
        .frontend(run(""))
        .backend(bind_complete() + command_complete("DEALLOCATE ALL") + ready())
        .whatever_backend_got()
        .frontend(run(""))
        .backend_gets(run(""))
        .backend(bind_complete() + command_complete("DEALLOCATE ALL") + ready())
        .released();
    script.check();
}

TEST(RelayDeallocate, SqlDeallocateOfAParsedStatementIsAnsweredHere) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(query("deallocate s1"))
        .backend_gets("")
        .frontend_gets(command_complete("DEALLOCATE") + ready())
        .frontend(run("s1"))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready())
        .released();
    script.check();
}

TEST(RelayDeallocate, WordThatBeginsLikeItIsLeftToPostgres) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .released()
        .frontend(query("dealloca\xc6"
                        "e s1"))
        .whatever_backend_got()
        .leased()
        .backend(error("42601", "syntax error") + ready())
        .frontend_gets(error("42601", "syntax error") + ready())
        .frontend(query("DEALLOCATE s1"))
        .frontend_gets(command_complete("DEALLOCATE") + ready());
    script.check_whole();
}

TEST(RelayDeallocate, SqlDeallocateWaitsForItsTurn) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync() + query("select 2") + query("deallocate s1"))
        .backend(prepared)
        .backend(none + ready())
        .backend_gets(parse("@1", "select 1") + sync() + query("select 2") + query("deallocate @1"))
        .backend(command_complete("DEALLOCATE") + ready())
        .frontend_gets(prepared + none + ready() + command_complete("DEALLOCATE") + ready())
        .released();
    script.check();
}

TEST(RelayDeallocate, DiscardAllForgetsStatements) {
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend(query("discard all"))
        .frontend_gets(prepared + command_complete("DISCARD ALL") + ready())
        .frontend(run("s1"))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready());
    script.check();
}

TEST(RelayDeallocate, FrozenLiteralIsParsedEachTime) {
    Script script;
    const std::string text = "select 'now'::timestamptz";
    script.frontend(parse("s1", text) + close_statement("s1") + sync())
        .backend(prepared)
        .frontend(parse("s1", text) + sync())
        .backend_gets(parse("@1", text) + sync() + parse("@2", text) + sync())
        .backend(prepared)
        .client(2)
        .frontend(parse("s1", text) + sync())
        .backend_gets(parse("@3", text) + sync())
        .backend(prepared)
        .released();
    script.check();
}

TEST(RelayDeallocate, StatementParsedUnderASetIsNotShared) {
    Script script;
    script.frontend(query("begin; set datestyle = german"))
        .backend(command_complete("BEGIN") + command_complete("SET") + ready('T'))
        .frontend(parse("s1", "select '1.2.2003'::date") + sync())
        .backend(parse_complete() + ready('T'))
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .released_after(full_reset)
        .client(2)
        .whatever_backend_got()
        .frontend(parse("s1", "select '1.2.2003'::date") + sync())
        .backend_gets(parse("@2", "select '1.2.2003'::date") + sync())
        .backend(prepared)
        .frontend_gets(prepared);
    script.check();
}

TEST(RelayDeallocate, FullBackendClosesTheLeastRecentlyUsed) {
    Script script;
    std::string parses;
    std::string answers;
    for (std::size_t i = 0; i < limits::backend_statements_max; ++i) {
        const std::string number = std::to_string(i);
        parses += parse("s" + number, "select " + number);
        answers += parse_complete();
    }
    script.frontend(parses + sync())
        .backend(answers + ready())
        .whatever_backend_got()
        .frontend(run("s0") + parse("new", "select 'new'") + sync())
        .backend_gets(run("@1") + close_statement("@2") + parse("@401", "select 'new'") + sync())
        .backend(bind_complete() + none + ready() + close_complete() + parse_complete() + ready())
        .released()
        .frontend(run("s1"))
        .backend_gets(close_statement("@3") + parse("@2", "select 1") + run("@2"))
        .backend(close_complete() + parse_complete() + bind_complete() + none + ready())
        .released();
    script.check_whole();
}

TEST(RelayDeallocate, EvictionSkippedByAnErrorDidNotHappen) {
    Script script;
    std::string parses;
    std::string answers;
    for (std::size_t i = 0; i < limits::backend_statements_max; ++i) {
        const std::string number = std::to_string(i);
        parses += parse("s" + number, "select " + number);
        answers += parse_complete();
    }
    script.frontend(parses + sync())
        .backend(answers + ready())
        .whatever_backend_got()
        .frontend(parse("", "select nothing") + parse("new", "select 'new'") + sync())
        .backend_gets(parse("", "select nothing") + close_statement("@1") +
                      parse("@401", "select 'new'") + sync())
        .backend(error("42703", "no column") + ready())
        .that([](World& world) {
            EXPECT_EQ(world.server(0).state.statements.size(), limits::backend_statements_max);
        })
        .frontend(run("s0"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .released();
    script.check_whole();
}

TEST(RelayDeallocate, ExtendedFormNamesTheStatementAsTheBackendDoes) {
    Script script;
    const std::string gone =
        parse_complete() + bind_complete() + command_complete("DEALLOCATE") + ready();
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(parse("", "DEALLOCATE s1") + run(""))
        .backend_gets(parse("", "DEALLOCATE @1") + run(""))
        .backend(gone)
        .frontend_gets(gone)
        .released()
        .frontend(run("s1"))
        .frontend_gets(own_error("26000", "prepared statement \"s1\" does not exist") + ready());
    script.check();
}

TEST(RelayDeallocate, ExtendedFormFreesTheNameForWhatFollowsInTheSameWrite) {
    Script script;
    const std::string answer = parse_complete() + bind_complete() + command_complete("DEALLOCATE");
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(parse("", "deallocate s1") + bind("", "") + execute() + parse("s1", "select 2") +
                  sync())
        .backend_gets(parse("", "deallocate @1") + bind("", "") + execute() +
                      parse("@2", "select 2") + sync())
        .backend(answer + parse_complete() + ready())
        .frontend_gets(answer + parse_complete() + ready())
        .released();
    script.check();
}

TEST(RelayDeallocate, ExtendedFormTakesTheCopyFromWhatFollowsInTheSameWrite) {
    Script script;
    const std::string answer = parse_complete() + bind_complete() + command_complete("DEALLOCATE");
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(parse("", "deallocate s1") + bind("", "") + execute() + parse("s1", "select 1") +
                  bind("", "s1") + sync())
        .backend_gets(parse("", "deallocate @1") + bind("", "") + execute() +
                      parse("@1", "select 1") + bind("", "@1") + sync())
        .backend(answer + parse_complete() + bind_complete() + ready())
        .frontend_gets(answer + parse_complete() + bind_complete() + ready())
        .released();
    script.check();
}

TEST(RelayDeallocate, ExtendedFormThatFailsLeavesTheStatement) {
    Script script;
    const std::string failed = parse_complete() + bind_complete() + error("25P02", "no") + ready();
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .frontend(parse("", "deallocate s1") + run(""))
        .backend(failed)
        .frontend_gets(failed)
        .whatever_backend_got()
        .frontend(run("s1"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready());
    script.check();
}

TEST(RelayDeallocate, ExtendedFormFirstPreparesOnABackendThatLacksTheStatement) {
    Scene scene;
    scene.backends = 2;
    Script script(scene);
    const std::string gone =
        parse_complete() + bind_complete() + command_complete("DEALLOCATE") + ready();
    script.on_backend(1)
        .frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(parse("", "DEALLOCATE s1") + run(""))
        .backend_gets(parse("@1", "select 1") + parse("", "DEALLOCATE @1") + run(""))
        .backend(parse_complete() + gone)
        .frontend_gets(gone)
        .released();
    script.check();
}

TEST(RelayDeallocate, WaitsToKnowWhetherACloseBeforeItWasSkipped) {
    Script script;
    const std::string failed = error("34000", "no portal") + ready();
    const std::string told = command_complete("DEALLOCATE") + ready();
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(execute("none") + close_statement("s1") + sync() + query("deallocate s1"))
        .backend_gets(execute("none") + sync())
        .backend(failed)
        .backend_gets(query("deallocate @1"))
        .backend(told)
        .frontend_gets(failed + told)
        .released();
    script.check_whole();
}

TEST(RelayDeallocate, StaleSharedStatementIsNotGivenToWhoPreparesItsTextAgain) {
    Script script;
    const std::string stale = error("0A000", "cached plan must not change result type") + ready();
    script.frontend(parse("s1", "select * from t") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(run("s1"))
        .whatever_backend_got()
        .backend(stale)
        .frontend_gets(stale)
        .frontend(parse("s2", "select * from t") + sync())
        .backend_gets(parse("@2", "select * from t") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .released();
    script.check_whole();
}

TEST(RelayDeallocate, WaitsUntilItIsKnownWhatAnEarlierOneDid) {
    Script script;
    script.frontend(parse("s1", "select 1") + parse("", "deallocate s1") + sync())
        .backend(parse_complete() + prepared)
        .frontend_gets(parse_complete() + prepared)
        .frontend(bind("", "") + sync())
        .backend(bind_complete() + ready())
        .frontend_gets(bind_complete() + ready())
        // The portal went with its transaction.
        .frontend(execute() + sync() + query("deallocate s1"))
        .backend(error("34000", "portal \"\" does not exist") + ready())
        .backend(command_complete("DEALLOCATE") + ready())
        .frontend_gets(error("34000", "portal \"\" does not exist") + ready() +
                       command_complete("DEALLOCATE") + ready())
        .released();
    script.check();
}

TEST(RelayDeallocate, InAFailedTransactionItIsRefusedAndTheStatementStays) {
    const std::string begun = command_complete("BEGIN") + ready('T');
    const std::string failed = error("22012", "division by zero") + ready('E');
    const std::string rolled_back = command_complete("ROLLBACK") + ready();
    const std::string aborted = error("25P02", "current transaction is aborted") + ready('E');
    Script script;
    script.frontend(parse("s1", "select 1") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .frontend(query("begin"))
        .backend_gets(query("begin"))
        .backend(begun)
        .frontend(query("select 1/0"))
        .backend_gets(query("select 1/0"))
        .backend(failed)
        .frontend_gets(begun + failed)
        .frontend(query("deallocate s1;"))
        .backend_gets(query("deallocate @1;"))
        .backend(aborted)
        .frontend_gets(aborted)
        .frontend(query("rollback"))
        .backend_gets(query("rollback"))
        .backend(rolled_back)
        .frontend_gets(rolled_back)
        .frontend(run("s1"))
        .backend_gets(run("@1"))
        .backend(bind_complete() + none + ready())
        .frontend_gets(bind_complete() + none + ready())
        .frontend(query(" deallocate s1 ; ;") + run("s1"))
        .frontend_gets(command_complete("DEALLOCATE") + ready() +
                       own_error("26000", "prepared statement \"s1\" does not exist") + ready());
    script.check();
}

TEST(RelayDeallocate, UnnamedStatementGoesWithAParseWhoseNamesCannotBePrepared) {
    Script script(two_backends());
    const std::string gone = error("42P01", "relation \"t\" does not exist");
    const std::string two = parse_complete() + parse_complete() + ready();
    script.on_backend(1)
        .frontend(parse("x", "select * from t") + parse("", "select 2") + sync())
        .backend(two)
        .frontend_gets(two)
        .whatever_backend_got()
        .on_backend(2)
        .frontend(parse("", "execute x") + sync())
        .backend_gets(parse("@1", "select * from t") + parse("", "execute @1") + sync())
        .backend(gone + ready())
        .frontend_gets(gone + ready())
        .released()
        .frontend(bind("", "") + sync())
        .frontend_gets(own_error("26000", "unnamed prepared statement does not exist") + ready());
    script.check();
}

TEST(RelayDeallocate, PortalDoesNotFindWhatAParsePutUnderItsNameBehindTheBind) {
    // A documented exception (E4): the portal holds a backend's name.
    Script script;
    script.frontend(parse("e", "execute x") + sync())
        .backend(prepared)
        .frontend_gets(prepared)
        .whatever_backend_got()
        .released()
        .frontend(bind("p", "e") + parse("x", "select 1") + execute("p") + sync())
        .backend_gets(bind("p", "@1") + parse("@3", "select 1") + execute("p") + sync())
        .backend(bind_complete() + parse_complete() +
                 error("26000", "prepared statement \"x\" does not exist") + ready())
        .frontend_gets(bind_complete() + parse_complete() +
                       error("26000", "prepared statement \"x\" does not exist") + ready());
    script.check();
}

}  // namespace
}  // namespace schemux::core::relay_script
