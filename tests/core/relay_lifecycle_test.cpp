// Beginnings and ends of a frontend's life: welcome, waiting, refusals, drain, cancel, goodbye.
// What goes wrong: relay_failures_test.cpp.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");

protocol::ErrorFields no_backend_came() {
    protocol::ErrorFields error;
    error.sqlstate = "53300";
    error.message = "no backend within 10 s";
    return error;
}

std::string welcome_bytes(std::uint32_t pid) {
    std::string out = parameter_status("client_encoding", "UTF8") +
                      parameter_status("standard_conforming_strings", "on");
    protocol::append_backend_key_data(out, pid, std::string_view("\0\0\0\7", 4));
    return out + ready();
}

// ---- beginnings ----

TEST(RelayLifecycle, KnownWelcomeNeedsNoBackend) {
    Script script;
    script.that([](World& world) {
        EXPECT_EQ(world.describe(world.client(0).received), world.describe(welcome_bytes(1)));
        EXPECT_LT(world.client(0).backend, 0);
        EXPECT_TRUE(world.server(0).received.empty());
    });
    script.check();
}

TEST(RelayLifecycle, UnknownWelcomeIsLearntFromABackend) {
    Scene scene;
    scene.known_welcome = false;
    Script script(scene);
    script
        .that([](World& world) {
            EXPECT_EQ(world.describe(world.client(0).received), world.describe(welcome_bytes(1)));
            EXPECT_LT(world.client(0).backend, 0);
        })
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .released();
    script.check();
}

TEST(RelayLifecycle, LabelOfTheClientIsPutOnTheBackendFirst) {
    Scene scene;
    scene.label = Label::of({{"work_mem", "1MB"}});
    Script script(scene);
    script.frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .released_after("SELECT pg_catalog.set_config('work_mem','1MB',false)IS NULL")
        // The next one has no such setting.
        .client(2)
        .frontend(query("select 2"))
        .backend(none + ready())
        .released_after("RESET ALL;");
    script.check_whole();
}

TEST(RelayLifecycle, SettingThatIsRefusedIsTheAnswerToTheQuery) {
    Scene scene;
    scene.label = Label::of({{"work_mem", "much"}});
    Script script(scene);
    script.upkeep_answers(error("22023", "invalid value") + ready())
        .frontend(query("select 1"))
        .backend_gets("")
        .frontend_gets(own_error("22023", "refused") + ready())
        .open();
    script.check_whole();
}

// ---- waiting ----

TEST(RelayLifecycle, WaitingClientIsNotReadFurther) {
    Script script;
    script.hold_grants()
        .frontend(query("select 1"))
        .that([](World& world) {
            EXPECT_EQ(world.client(0).relay->phase(), RelayPhase::waiting);
            EXPECT_FALSE(world.client(0).relay->wants_frontend_bytes());
            EXPECT_EQ(world.counters().clients_waiting.value(), 1U);
        })
        .frontend(query("select 2"))
        .backend_gets("")
        .grant()
        .backend_gets(query("select 1") + query("select 2"))
        .backend(none + ready() + none + ready())
        .frontend_gets(none + ready() + none + ready())
        .released();
    script.check_whole();
}

TEST(RelayLifecycle, RefusedQueryIsAnsweredWhole) {
    Script script;
    script.hold_grants()
        .frontend(query("select 1"))
        .refuse(no_backend_came())
        .frontend_gets(own_error("53300", "no backend within 10 s") + ready())
        .open()
        .that([](World& world) { world.hold_grants = false; })
        .frontend(query("select 2"))
        .backend_gets(query("select 2"))
        .backend(none + ready())
        .released();
    script.check_whole();
}

TEST(RelayLifecycle, RefusedBatchIsSkippedToItsSync) {
    Script script;
    script.hold_grants()
        .frontend(parse("", "select 1") + bind("", "") + execute() + sync() + query("select 2"))
        .refuse(no_backend_came())
        .frontend_gets(own_error("53300", "no backend within 10 s") + ready())
        .open()
        .backend_gets("")
        // The query behind it waits in its turn.
        .grant()
        .backend_gets(query("select 2"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .released();
    script.check_whole();
}

TEST(RelayLifecycle, RefusedBindIsSkippedAlthoughItsTailIsStillToCome) {
    Script script;
    const std::string whole = bind_with("", "s1", std::string(no_parameters) + "0123456789");
    script.frontend(parse("s1", "select $1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .whatever_backend_got()
        .hold_grants()
        .frontend(whole.substr(0, 15))
        .refuse(no_backend_came())
        .frontend(whole.substr(15) + execute() + sync())
        .frontend_gets(own_error("53300", "no backend within 10 s") + ready())
        .backend_gets("")
        .open();
    script.check_whole();
}

TEST(RelayLifecycle, SyncFirstAndThenAQueryThatIsRefused) {
    Script script;
    script.hold_grants()
        .frontend(sync() + query("select 1"))
        .frontend_gets(ready())
        .refuse(no_backend_came())
        .frontend_gets(own_error("53300", "no backend within 10 s") + ready())
        .open();
    script.check_whole();
}

TEST(RelayLifecycle, RefusalWhileTheWelcomeIsAwaitedIsFatal) {
    WorkerContext context;
    ServiceCounters counters;
    Relay relay(context, std::make_shared<const Service>(), counters, {}, {1, "key.", "p"});
    EXPECT_EQ(relay.start(nullptr), (Step{Next::acquire, CloseReason::none}));
    EXPECT_TRUE(relay.expects_welcome());
    EXPECT_EQ(relay.on_acquire_failed(no_backend_came()),
              (Step{Next::close, CloseReason::startup_failed}));
    EXPECT_EQ(context.to_frontend.str(), own_fatal("53300", "no backend within 10 s"));
    EXPECT_EQ(relay.on_frontend_closed(), Disposal::none);
    EXPECT_EQ(counters.clients_waiting.value(), 0U);
}

TEST(RelayLifecycle, ClientThatLeavesWhileWaitingIsNoLongerCounted) {
    Script script;
    script.hold_grants().frontend(query("select 1")).frontend_closes().that([](World& world) {
        EXPECT_EQ(world.counters().clients_waiting.value(), 0U);
        EXPECT_EQ(world.counters().leases_active.value(), 0U);
    });
    script.check_whole();
}

// ---- cancel ----

TEST(RelayLifecycle, CancelWhileWaitingIsAnsweredHere) {
    Script script;
    script.hold_grants()
        .frontend(query("select 1"))
        .cancel(CancelOutcome::answered)
        .frontend_gets(own_error("57014", "canceling statement due to user request") + ready())
        .open()
        .cancel(CancelOutcome::nothing)
        .frontend_gets("");
    script.check_whole();
}

TEST(RelayLifecycle, CancelOfABatchWhileWaitingSkipsIt) {
    Script script;
    script.hold_grants()
        .frontend(parse("", "select 1") + bind("", "") + execute() + sync())
        .cancel(CancelOutcome::answered)
        .frontend_gets(own_error("57014", "canceling statement due to user request") + ready())
        .open();
    script.check_whole();
}

TEST(RelayLifecycle, CancelOfARunningQueryIsForwarded) {
    Script script;
    script.cancel(CancelOutcome::nothing)
        .frontend(query("select pg_sleep(9)"))
        .cancel(CancelOutcome::forward)
        .backend(error("57014", "canceling statement due to user request") + ready())
        .frontend_gets(error("57014", "canceling statement due to user request") + ready())
        .cancel(CancelOutcome::nothing);
    script.check();
}

TEST(RelayLifecycle, CancelBetweenTheQueriesOfATransactionDoesNothing) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .cancel(CancelOutcome::nothing)
        .leased();
    script.check();
}

TEST(RelayLifecycle, WhatComesBehindACancelWaitsUntilItIsOver) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("select 1"))
        .whatever_backend_got()
        .cancel(CancelOutcome::forward)
        .that([](World& world) { world.begin_cancel(0); })
        .backend(none + ready('T'))
        .frontend(query("select 2"))
        .backend_gets("")
        .that([](World& world) { world.end_cancel(0); })
        .backend_gets(query("select 2"));
    script.check();
}

TEST(RelayLifecycle, WhatWaitsBehindACancelIsBounded) {
    Script script;
    const std::string two = parse("", std::string(limits::held_during_cancel_max, 'x')) + sync();
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("select 1"))
        .cancel(CancelOutcome::forward)
        .that([](World& world) { world.begin_cancel(0); })
        .frontend(two)
        .that([](World& world) { EXPECT_FALSE(world.client(0).relay->wants_frontend_bytes()); })
        .that([](World& world) { world.end_cancel(0); })
        .that([](World& world) { EXPECT_TRUE(world.client(0).relay->wants_frontend_bytes()); });
    script.check_whole();
}

TEST(RelayLifecycle, SecondCancelIsForWhatWaitsBehindTheFirstAndNoMore) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("select 1"))
        .whatever_backend_got()
        .cancel(CancelOutcome::forward)
        .that([](World& world) { world.begin_cancel(0); })
        .backend(none + ready('T'))
        .cancel(CancelOutcome::nothing)
        .frontend(query("select 2"))
        .cancel(CancelOutcome::forward)
        .frontend(query("select 3"))
        .that([](World& world) { world.hear_until_cancel(0); })
        .backend_gets(query("select 2"))
        .backend(none + ready('T'))
        .that([](World& world) { world.end_cancel(0); })
        .backend_gets(query("select 3"));
    script.check_whole();
}

// ---- drain ----

TEST(RelayLifecycle, IdleClientIsToldOfAShutdownAtOnce) {
    Script script;
    script.drain()
        .frontend_gets(own_fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::shutdown);
    script.check();
}

TEST(RelayLifecycle, BusyClientIsToldBehindItsTransaction) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .drain()
        .open()
        .frontend(query("commit"))
        .backend(command_complete("COMMIT") + ready())
        .frontend_gets(command_complete("BEGIN") + ready('T') + command_complete("COMMIT") +
                       ready() +
                       own_fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::shutdown)
        .released();
    script.check();
}

TEST(RelayLifecycle, WaitingClientIsServedBeforeAShutdown) {
    Script script;
    script.hold_grants()
        .frontend(query("select 1"))
        .drain()
        .open()
        .grant()
        .backend(none + ready())
        .frontend_gets(none + ready() +
                       own_fatal("57P01",
                                 "terminating connection due to administrator "
                                 "command"))
        .closes(CloseReason::shutdown);
    script.check_whole();
}

// ---- goodbye ----

TEST(RelayLifecycle, TerminateOfAnIdleClient) {
    Script script;
    script.frontend(terminate()).frontend_gets("").closes(CloseReason::client_terminated);
    script.check();
}

TEST(RelayLifecycle, TerminateBehindAQueryLetsItFinish) {
    Script script;
    script.frontend(query("insert into t values (1)") + terminate())
        .backend_gets(query("insert into t values (1)"))
        .leased()
        .backend(command_complete("INSERT 0 1") + ready())
        .frontend_gets(command_complete("INSERT 0 1") + ready())
        .closes(CloseReason::client_terminated)
        .released_after("DISCARD SEQUENCES");
    script.check();
}

TEST(RelayLifecycle, ClientGoneBehindItsTerminateLetsTheQueryFinish) {
    Script script;
    script.frontend(query("select 1") + terminate())
        .frontend_closes()
        .that(
            [](World& world) { EXPECT_EQ(world.client(0).relay->phase(), RelayPhase::lingering); })
        .backend(one_row("1"))
        .backend(ready())
        .frontend_gets("")
        .released();
    script.check_whole();
}

TEST(RelayLifecycle, TerminateInATransactionRollsItBack) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(terminate())
        .closes(CloseReason::client_terminated)
        .released_after("ROLLBACK;");
    script.check();
}

TEST(RelayLifecycle, TerminateBehindABeginRollsItBack) {
    Script script;
    script.frontend(query("begin") + terminate())
        .frontend_closes()
        .backend(command_complete("BEGIN") + ready('T'))
        .released_after("ROLLBACK;");
    script.check_whole();
}

TEST(RelayLifecycle, TerminateInTheMiddleOfABatchIsToldItsAnswersAndUndoesIt) {
    Script script;
    const std::string asked = query("insert") + parse("", "select 1") + bind("", "") + execute();
    const std::string answers = command_complete("INSERT 0 1") + ready() + parse_complete() +
                                bind_complete() + command_complete("SELECT 0");
    script.frontend(asked + terminate())
        .backend_gets(asked + flush())
        .backend(answers)
        .frontend_gets(answers)
        .closes(CloseReason::client_terminated)
        .backend_gets(bound_to_fail() + sync())
        .backend(error("26000", "no such statement") + ready())
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayLifecycle, ClientGoneInsideATransactionRollsItBack) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_closes()
        .released_after("ROLLBACK;");
    script.check();
}

TEST(RelayLifecycle, LingeringClientWhoseBackendIsLost) {
    Script script;
    script.frontend(query("select 1") + terminate())
        .frontend_closes()
        .backend_lost()
        .frontend_gets("")
        .that([](World& world) { EXPECT_EQ(world.counters().leases_active.value(), 0U); });
    script.check_whole();
}

TEST(RelayLifecycle, ClientIsToldWhenItsSettingHasGoneWithItsLease) {
    Script script;
    const std::string set =
        parameter_status("TimeZone", "Asia/Tokyo") + command_complete("DO") + ready();
    // The server does not own up to it.
    script.upkeep_answers(parameter_status("TimeZone", "UTC") + command_complete("RESET") + ready())
        .frontend(query("do 'something'"))
        .whatever_backend_got()
        .backend(set)
        .frontend_gets(set)
        .released_after(full_reset)
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(one_row("1") + ready())
        .frontend_gets(parameter_status("TimeZone", "UTC") + one_row("1") + ready());
    script.check_whole();
}

TEST(RelayLifecycle, BytesThatWereReadBeforeTheReadingStoppedAreKept) {
    World world{Scene{}};
    world.hold_grants = true;
    world.from_frontend(0, query("select 1"));
    ASSERT_TRUE(world.client(0).waiting);
    const std::string behind = query("select 2") + query("select 3");
    Relay& relay = *world.client(0).relay;
    EXPECT_EQ(relay.on_frontend_bytes(std::string_view(behind).substr(0, 3)).next, Next::proceed);
    EXPECT_EQ(relay.on_frontend_bytes(std::string_view(behind).substr(3)).next, Next::proceed);
    world.grant_waiting();
    EXPECT_EQ(world.server(0).received, query("select 1") + behind);
}

TEST(RelayLifecycle, ClientIsNotToldAgainOfASettingThatTheServerHasTakenBack) {
    Script script;
    const std::string set =
        command_complete("SET") + parameter_status("TimeZone", "Asia/Tokyo") + ready('T');
    const std::string rollback =
        command_complete("ROLLBACK") + parameter_status("TimeZone", "UTC") + ready();
    script.frontend(query("begin; set timezone to 'Asia/Tokyo'"))
        .whatever_backend_got()
        .backend(set)
        .frontend_gets(set)
        .frontend(query("rollback"))
        .whatever_backend_got()
        .backend(rollback)
        .frontend_gets(rollback)
        .released()
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready());
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
