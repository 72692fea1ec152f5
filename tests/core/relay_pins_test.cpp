// Pins: a client whose session has what cannot travel keeps its backend until PostgreSQL says that
// it is gone.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");
const std::string temp_query = query("create temp table t (a int)");
const std::string created = command_complete("CREATE TABLE") + ready();

constexpr std::string_view too_many =
    "too many clients of the service keep a backend for themselves";
constexpr std::string_view budget_hint =
    "services[].pin_budget of \"users\" sets how many, and pool.pin_budget for all services.";

Scene pinning(std::initializer_list<SessionFeature> features, std::size_t budget = 1) {
    Scene scene;
    scene.service.name = "users";
    for (const SessionFeature feature : features)
        scene.service.session_features.set(feature, FeaturePolicy::pin);
    scene.service.pin_budget = budget;
    return scene;
}

Scene pinning_temp_tables(std::size_t budget = 1) {
    return pinning({SessionFeature::temp_table}, budget);
}

std::string question(FeatureSet about) {
    std::string sql;
    append_feature_question(sql, about);
    return query(sql);
}

std::string question(SessionFeature about) {
    return question(FeatureSet::of(about));
}

std::string told(std::string_view letters) {
    return command_complete("SET") + row_description() + data_row(letters) +
           command_complete("SELECT 1") + ready();
}

Script& pinned_by_a_table(Script& script) {
    return script.frontend(temp_query)
        .whatever_backend_got()
        .backend(created)
        .whatever_backend_got()
        .backend(told("t"))
        .frontend_gets(created);
}

TEST(RelayPins, ClientKeepsItsBackendUntilPostgresSaysThatNothingIsLeft) {
    Script script(pinning_temp_tables());
    script.frontend(temp_query)
        .backend_gets(temp_query)
        .backend(created)
        .frontend_gets(created)
        .backend_gets(question(SessionFeature::temp_table))
        .backend(told("t"))
        .frontend_gets("")
        .leased()
        .frontend(query("insert into t values (1)"))
        .backend_gets(query("insert into t values (1)"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .backend_gets("")
        .leased()
        .frontend(query("drop table t"))
        .backend_gets(query("drop table t"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .backend_gets(question(SessionFeature::temp_table))
        .backend(told(""))
        .frontend_gets("")
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, NothingIsAskedWithinATransaction) {
    Script script(pinning_temp_tables());
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .whatever_backend_got()
        .frontend(temp_query)
        .backend(command_complete("CREATE TABLE") + ready('T'))
        .backend_gets(temp_query)
        .frontend(query("rollback"))
        .backend_gets(query("rollback"))
        .backend(command_complete("ROLLBACK") + ready())
        .backend_gets(question(SessionFeature::temp_table))
        .backend(told(""))
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, WhatIsBoundCountsToo) {
    const std::string batch =
        parse("", "select pg_advisory_lock(1)") + bind("", "") + execute() + sync();
    Script script(pinning({SessionFeature::advisory_lock}));
    script.frontend(batch)
        .backend_gets(batch)
        .backend(parse_complete() + bind_complete() + none + ready())
        .backend_gets(question(SessionFeature::advisory_lock))
        .backend(told("a"))
        .leased()
        .frontend(query("select pg_advisory_unlock(1)"))
        .whatever_backend_got()
        .backend(none + ready())
        .backend_gets(question(SessionFeature::advisory_lock))
        .backend(told(""))
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, OfWhatIsNotUnderstoodAllThatPinsIsAskedFor) {
    FeatureSet both = FeatureSet::of(SessionFeature::temp_table);
    both.add(FeatureSet::of(SessionFeature::listen));
    Script script(pinning({SessionFeature::temp_table, SessionFeature::listen}));
    script.frontend(query("select f()"))
        .session_has({})
        .whatever_backend_got()
        .backend(none + ready())
        .frontend_gets(none + ready())
        .backend_gets(question(both))
        .backend(told("l"))
        .leased()
        .backend(message('A', std::string("\0\0\0\1c\0p\0", 8)))
        .frontend_gets(message('A', std::string("\0\0\0\1c\0p\0", 8)))
        .frontend(query("unlisten *"))
        .backend_gets(query("unlisten *"))
        .backend(command_complete("UNLISTEN") + ready())
        .backend_gets(question(SessionFeature::listen))
        .backend(told(""))
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, WhatEndsDuringTheQuestionIsAskedForAgain) {
    Script script(pinning({SessionFeature::listen}));
    script.frontend(query("listen here"))
        .whatever_backend_got()
        .backend(command_complete("LISTEN") + ready())
        .backend_gets(question(SessionFeature::listen))
        .frontend(query("unlisten here"))
        .backend_gets(query("unlisten here"))
        .backend(told("l"))
        .leased()
        .backend(command_complete("UNLISTEN") + ready())
        .backend_gets(question(SessionFeature::listen))
        .backend(told(""))
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, WhatIsAllowedEndsWithTheTransaction) {
    Script script;
    script.frontend(temp_query)
        .backend_gets(temp_query)
        .backend(created)
        .frontend_gets(created)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, UnlockingWhatNobodyHasIsNoReasonForAnything) {
    for (const char* text : {"select pg_advisory_unlock_all(), 1", "unlisten x"}) {
        Script script(pinning({SessionFeature::advisory_lock, SessionFeature::listen}, 0));
        script.frontend(query(text))
            .backend(none + ready())
            .frontend_gets(none + ready())
            .released();
        script.check_whole();
    }
}

TEST(RelayPins, ClientThatGoesGivesItsBackendBack) {
    Script script(pinning_temp_tables());
    script.frontend(temp_query)
        .whatever_backend_got()
        .backend(created)
        .whatever_backend_got()
        .backend(told("t"))
        .leased()
        .that([](World& world) {
            EXPECT_EQ(world.client(0).relay->service().pins->taken(), 1U);
            EXPECT_EQ(world.counters().pinned[0].value(), 1U);
        })
        .frontend(terminate())
        .closes(CloseReason::client_terminated)
        .released_after(full_reset)
        .that([](World& world) {
            EXPECT_EQ(world.client(0).relay->service().pins->taken(), 0U);
            EXPECT_EQ(world.counters().pinned[0].value(), 0U);
            EXPECT_EQ(world.counters().pins.value(), 1U);
        });
    script.check_whole();
}

TEST(RelayPins, RejectedFeaturesAreAnErrorAndTheSessionGoesOn) {
    Scene scene;
    scene.service.name = "users";
    scene.service.session_features.set(SessionFeature::listen, FeaturePolicy::reject);
    const std::string refused = own_error(
        "0A000", "the service does not allow LISTEN", {},
        "services[].session_features.listen of \"users\" is reject; pin and allow let it pass.");
    Script script(scene);
    script.frontend(query("select 1; listen x"))
        .backend_gets("")
        .frontend_gets(refused + ready())
        .frontend(parse("", "listen x") + bind("", "") + execute() + sync())
        .whatever_backend_got()
        .backend(parse_complete() + error("26000", "no such statement") + ready())
        .frontend_gets(parse_complete() + refused + ready());
    script.check_whole();
}

TEST(RelayPins, BudgetIsKeptBeforeTheFactWhereTheTextShowsIt) {
    Script script(pinning_temp_tables(0));
    script.frontend(temp_query)
        .backend_gets("")
        .frontend_gets(own_error("53300", too_many,
                                 "At most 0 may; this one would for temporary objects.",
                                 budget_hint) +
                       ready());
    script.check_whole();
}

Scene waiting_for_one_pin() {
    Scene scene = pinning_temp_tables(1);
    scene.service.over_pin_budget = OverPinBudget::wait;
    return scene;
}

TEST(RelayPins, OverTheBudgetAClientWaitsWithoutABackend) {
    const std::string drop = query("drop table t");
    const std::string dropped = command_complete("DROP TABLE") + ready();
    for (const std::string& wanted :
         {temp_query, parse("", "create temp table t (a int)") + sync()}) {
        Script script(waiting_for_one_pin());
        pinned_by_a_table(script)
            .leased()
            .client(2)
            .frontend(wanted)
            .frontend_gets("")
            .released()
            .that([](World& world) {
                EXPECT_TRUE(world.client(1).waiting);
                EXPECT_TRUE(world.client(1).relay->awaits_pin());
                EXPECT_EQ(world.client(1).relay->service().pins->taken(), 1U);
            })
            .client(1)
            .frontend(drop)
            .whatever_backend_got()
            .backend(dropped)
            .backend(told(""))
            .frontend_gets(dropped)
            .whatever_backend_got()
            .client(2)
            .grant()
            .backend_gets(wanted)
            .that([](World& world) {
                EXPECT_FALSE(world.client(1).relay->awaits_pin());
                EXPECT_EQ(world.client(1).relay->service().pins->taken(), 1U);
            });
        script.check_whole();
    }
}

TEST(RelayPins, WhoWaitsInVainIsToldWhyAndHasTakenNothing) {
    Script script(waiting_for_one_pin());
    const std::string refused =
        own_error("53300", too_many, "At most 1 may; this one would for temporary objects.",
                  budget_hint) +
        ready();
    pinned_by_a_table(script)
        .client(2)
        .frontend(temp_query + query("select 1"))
        .frontend_gets("")
        .that([](World& world) { world.refuse_waiting(world.client(1).relay->pin_refusal()); })
        .frontend_gets(refused)
        .backend_gets(query("select 1"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .released()
        .frontend(temp_query)
        .frontend_closes()
        .client(1)
        .frontend_closes()
        .that([](World& world) {
            EXPECT_EQ(world.client(0).relay->service().pins->taken(), 0U);
            EXPECT_EQ(world.client(0).relay->service().pool_pins->taken(), 0U);
        });
    script.check_whole();
}

TEST(RelayPins, InATransactionNobodyWaits) {
    Script script(waiting_for_one_pin());
    const std::string refused = own_error(
        "53300", too_many, "At most 1 may; this one would for temporary objects.", budget_hint);
    pinned_by_a_table(script)
        .client(2)
        .frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .frontend(temp_query)
        .whatever_backend_got()
        .backend(error("42601", "it") + ready('E'))
        .frontend_gets(refused + ready('E'));
    script.check_whole();
}

TEST(RelayPins, AllServicesShareThePoolsBudget) {
    Scene scene = pinning_temp_tables(5);
    scene.service.pool_pin_budget = 1;
    ASSERT_TRUE(scene.service.pool_pins->take(1));
    Script script(scene);
    script.frontend(temp_query)
        .backend_gets("")
        .frontend_gets(own_error("53300", too_many,
                                 "At most 5 may, and of all services 1; this one would for "
                                 "temporary objects.",
                                 budget_hint) +
                       ready())
        .that([](World& world) { EXPECT_EQ(world.client(0).relay->service().pins->taken(), 0U); });
    script.check_whole();
}

TEST(RelayPins, WhoKeepsABackendForTooLongIsEndedBehindItsTransaction) {
    Scene scene = pinning_temp_tables();
    scene.service.pin_timeout = std::chrono::seconds(10);
    Script script(scene);
    const auto look = [](std::chrono::seconds later, Next next) {
        return [later, next](World& world) {
            world.context().now += later;
            Relay& relay = *world.client(0).relay;
            const Deadline deadline = relay.deadline();
            const bool late = deadline.when <= world.context().now;
            EXPECT_EQ(late ? relay.on_overdue(deadline.what).next : Next::proceed, next);
        };
    };
    pinned_by_a_table(script)
        .that(look(std::chrono::seconds(9), Next::proceed))
        .frontend(query("begin"))
        .whatever_backend_got()
        .that(look(std::chrono::seconds(2), Next::proceed))
        .backend(command_complete("BEGIN") + ready('T'))
        .that(look(std::chrono::seconds(1), Next::proceed))
        .frontend(query("commit"))
        .whatever_backend_got()
        .backend(command_complete("COMMIT") + ready())
        .that(look(std::chrono::seconds(1), Next::close));
    script.check_whole();
}

TEST(RelayPins, SessionThatGoesBeyondTheBudgetUnseenIsClosed) {
    Script script(pinning_temp_tables(0));
    script.frontend(query("select f()"))
        .whatever_backend_got()
        .backend(none + ready())
        .frontend_gets(none + ready())
        .whatever_backend_got()
        .backend(told("t"))
        .frontend_gets(own_fatal(
            "53300", too_many, "At most 0 may; this one would for temporary objects.", budget_hint))
        .closes(CloseReason::pin_refused)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, QuestionThatFailsIsAskedAgainButNotForEver) {
    const std::string failed = error("57014", "canceling statement due to user request") + ready();
    Script script(pinning_temp_tables());
    script.frontend(temp_query).whatever_backend_got().backend(created).frontend_gets(created);
    for (int asked = 1; asked < limits::settings_questions_max; ++asked)
        script.backend_gets(question(SessionFeature::temp_table))
            .backend(failed)
            .frontend_gets("")
            .leased();
    script.whatever_backend_got()
        .backend(failed)
        .frontend_gets(own_fatal("08006", "PostgreSQL did not tell what the session has"))
        .closes(CloseReason::settings_lost)
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, WhatIsSentDuringTheQuestionIsAskedForBehindIt) {
    Script script(pinning_temp_tables());
    script.frontend(query("begin; create temp table t (a int); rollback"))
        .whatever_backend_got()
        .backend(command_complete("BEGIN") + command_complete("CREATE TABLE") +
                 command_complete("ROLLBACK") + ready())
        .backend_gets(question(SessionFeature::temp_table))
        .frontend(temp_query)
        .backend_gets(temp_query)
        .backend(told("") + created)
        .frontend_gets(command_complete("BEGIN") + command_complete("CREATE TABLE") +
                       command_complete("ROLLBACK") + ready() + created)
        .backend_gets(question(SessionFeature::temp_table))
        .that([](World& world) { EXPECT_EQ(world.client(0).relay->service().pins->taken(), 1U); })
        .backend(told("t"))
        .leased();
    script.check_whole();
}

TEST(RelayPins, AnswerThatNobodyAskedForPoisons) {
    for (const std::string& row : {data_row("x"), data_row("") + data_row("")}) {
        Script script(pinning_temp_tables());
        script.frontend(temp_query)
            .whatever_backend_got()
            .backend(created)
            .whatever_backend_got()
            .backend(row_description() + row + command_complete("SELECT 1") + ready())
            .closes(CloseReason::backend_desync);
        script.check_whole();
    }
}

TEST(RelayPins, WhatCannotBeAskedForLastsUntilTheClientGoes) {
    Script script(pinning({SessionFeature::seed}));
    script.frontend(query("select setseed(0.5)"))
        .backend_gets(query("select setseed(0.5)"))
        .backend(none + ready())
        .frontend_gets(none + ready())
        .backend_gets("")
        .leased()
        .frontend(query("select random()"))
        .backend_gets(query("select random()"))
        .backend(none + ready())
        .leased()
        .frontend_closes()
        .released_after(full_reset);
    script.check_whole();
}

TEST(RelayPins, ShutdownTellsAPinnedClientAtOnce) {
    Script script(pinning_temp_tables());
    script.frontend(temp_query)
        .whatever_backend_got()
        .backend(created)
        .frontend_gets(created)
        .whatever_backend_got()
        .backend(told("t"))
        .drain()
        .frontend_gets(own_fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::shutdown);
    script.check_whole();
}

TEST(RelayPins, PinnedClientKeepsItsSettingsAndTheyAreKnown) {
    Script script(pinning_temp_tables());
    script.frontend(temp_query)
        .whatever_backend_got()
        .backend(created)
        .whatever_backend_got()
        .backend(told("t"))
        .frontend(query("set work_mem = '1MB'"))
        .session_has({{"work_mem", "1MB"}})
        .backend(command_complete("SET") + ready())
        .leased()
        .that([](World& world) {
            EXPECT_NE(world.client(0).relay->label().find("work_mem"), nullptr);
        });
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
