// What a client may take its time with, and what becomes of it then. The clock is the test's.
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

using namespace std::chrono_literals;
using Ms = std::chrono::milliseconds;

Scene limited(const TimeLimits& limits) {
    Scene scene;
    scene.service.time_limits = limits;
    return scene;
}

/// Time goes on, and what is due by then is done as the worker does it.
std::function<void(World&)> after(Ms time, Overdue expected, CloseReason reason = {}) {
    return [time, expected, reason](World& world) {
        world.context().now += time;
        Relay& relay = *world.client(0).relay;
        const Deadline deadline = relay.deadline();
        const bool late = deadline.when <= world.context().now;
        EXPECT_EQ(late ? deadline.what : Overdue::nothing, expected);
        if (!late) return;
        const Step step = relay.on_overdue(deadline.what);
        EXPECT_EQ(step.next, reason == CloseReason::none ? Next::proceed : Next::close);
        EXPECT_EQ(step.reason, reason);
    };
}

std::string last_words(World& world) {
    return world.context().to_frontend.str();
}

TEST(RelayDeadlines, NothingIsLimitedUnlessItIsSaid) {
    Script script;
    script.that(after(24h, Overdue::nothing))
        .frontend(query("begin"))
        .whatever_backend_got()
        .that(after(24h, Overdue::nothing))
        .backend(command_complete("BEGIN") + ready('T'))
        .that(after(24h, Overdue::nothing));
    script.check_whole();
}

TEST(RelayDeadlines, AQueryIsToBeCancelledUntilItEnds) {
    Script script(limited({.query = 100ms}));
    script.frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(99ms, Overdue::nothing))
        .that(after(1ms, Overdue::query))
        .that(after(1s, Overdue::query))
        .backend(one_row("1") + ready())
        .that(after(1h, Overdue::nothing));
    script.check_whole();
}

TEST(RelayDeadlines, AQueryIsCancelledOnceASecond) {
    Script script(limited({.query = 100ms}));
    script.frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(100ms, Overdue::query))
        .that(after(999ms, Overdue::nothing))
        .that(after(1ms, Overdue::query))
        .that(after(900ms, Overdue::nothing));
    script.check_whole();
}

TEST(RelayDeadlines, WhoseQueryDoesNotHeedItsCancelIsEnded) {
    Script script(limited({.query = 100ms}));
    script.frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(100ms, Overdue::query))
        .that(after(9'900ms, Overdue::query))
        .that(after(100ms, Overdue::unheeded, CloseReason::query_timeout))
        .that([](World& world) {
            EXPECT_NE(last_words(world).find("query timeout"), std::string::npos);
        });
    script.check_whole();
}

TEST(RelayDeadlines, EachQueryOfAPipelineHasItsOwnTime) {
    Script script(limited({.query = 100ms}));
    script.frontend(query("select 1") + query("select 2"))
        .whatever_backend_got()
        .that(after(90ms, Overdue::nothing))
        .backend(one_row("1") + ready())
        .that(after(90ms, Overdue::nothing))
        .that(after(10ms, Overdue::query))
        .backend(one_row("1") + ready())
        .that(after(1h, Overdue::nothing));
    script.check_whole();
}

TEST(RelayDeadlines, WhoIdlesInATransactionIsEnded) {
    Script script(limited({.idle_in_transaction = 100ms}));
    script.frontend(query("begin"))
        .whatever_backend_got()
        .that(after(1h, Overdue::nothing))
        .backend(command_complete("BEGIN") + ready('T'))
        .that(after(90ms, Overdue::nothing))
        .frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(1h, Overdue::nothing))
        .backend(one_row("1") + ready('T'))
        .that(after(99ms, Overdue::nothing))
        .that(after(1ms, Overdue::idle_in_transaction, CloseReason::idle_in_transaction))
        .that([](World& world) { EXPECT_NE(last_words(world).find("25P03"), std::string::npos); });
    script.check_whole();
}

TEST(RelayDeadlines, ATransactionHasItsTimeWhateverHappensInIt) {
    Script script(limited({.transaction = 100ms}));
    script.frontend(query("begin"))
        .whatever_backend_got()
        .backend(command_complete("BEGIN") + ready('T'))
        .that(after(60ms, Overdue::nothing))
        .frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(39ms, Overdue::nothing))
        .that(after(1ms, Overdue::transaction, CloseReason::transaction_timeout))
        .that([](World& world) { EXPECT_NE(last_words(world).find("25P04"), std::string::npos); });
    script.check_whole();
}

TEST(RelayDeadlines, AQueryAloneIsATransaction) {
    Script script(limited({.transaction = 100ms}));
    script.frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(99ms, Overdue::nothing))
        .backend(one_row("1") + ready())
        .that(after(1h, Overdue::nothing))
        .frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(100ms, Overdue::transaction, CloseReason::transaction_timeout));
    script.check_whole();
}

TEST(RelayDeadlines, WhoWantsNothingIsEnded) {
    Script script(limited({.client_idle = 100ms}));
    script.frontend(query("select 1"))
        .whatever_backend_got()
        .that(after(1h, Overdue::nothing))
        .backend(one_row("1") + ready())
        .that(after(99ms, Overdue::nothing))
        .that(after(1ms, Overdue::client, CloseReason::client_idle))
        .that([](World& world) { EXPECT_NE(last_words(world).find("57P05"), std::string::npos); });
    script.check_whole();
}

TEST(RelayDeadlines, WhoKeepsItsBackendAndWantsNothingIsEndedToo) {
    Scene scene = limited({.client_idle = 100ms});
    scene.service.mode = PoolMode::session;
    Script script(scene);
    script.frontend(query("select 1"))
        .whatever_backend_got()
        .backend(one_row("1") + ready())
        .that(after(99ms, Overdue::nothing))
        .that(after(1ms, Overdue::client, CloseReason::client_idle));
    script.check_whole();
}

TEST(RelayDeadlines, WhoWaitsIsToldOnceAndRefusedInTheEnd) {
    Scene scene = limited({.wait_notice = 100ms});
    scene.service.acquire_timeout = 1s;
    Script script(scene);
    script.client(1)
        .hold_grants()
        .frontend(query("select 1"))
        .that(after(99ms, Overdue::nothing))
        .that(after(1ms, Overdue::notice))
        .that([](World& world) {
            EXPECT_EQ(last_words(world).front(), 'N');
            world.context().settle();
        })
        .that(after(899ms, Overdue::nothing))
        .that(after(1ms, Overdue::backend));
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
