// LISTEN where one session listens for all: PostgreSQL says what a client listens on, the client is
// told when the shared listener does so too, and gets what that hears between its transactions.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string listened = command_complete("LISTEN") + ready();
const std::string row = command_complete("SELECT 1");

Scene sharing() {
    Scene scene;
    scene.service.name = "users";
    scene.service.session_features.set(SessionFeature::listen, FeaturePolicy::share);
    return scene;
}

std::string question() {
    std::string sql;
    append_feature_question(sql, FeatureSet::of(SessionFeature::listen), true);
    return query(sql);
}

std::string told(std::string_view channels) {
    return command_complete("SET") + row_description() + data_row(channels) + row + ready();
}

std::string notification(const std::string& channel, char pid = 7) {
    return message('A', std::string("\0\0\0", 3) + pid + channel + '\0' + "payload" + '\0');
}

/// With the pid that the first client knows.
std::string own_notification(const std::string& channel) {
    return notification(channel, 1);
}

using Names = std::vector<std::string>;

/// As the worker does: what has changed goes to the listener, which says that it holds.
std::function<void(World&)> listener_is_told(Names channels, bool late = false) {
    return [channels = std::move(channels), late](World& world) {
        Relay& relay = *world.client(0).relay;
        const auto number = relay.take_channels_moved();
        ASSERT_TRUE(number);
        EXPECT_EQ(relay.channels(), channels);
        world.perform_on(0, [&](Relay& one) { return one.on_subscribed(*number, late); });
    };
}

std::function<void(World&)> notified(std::string message, std::size_t unread = 0) {
    return [message = std::move(message), unread](World& world) {
        world.perform_on(0, [&](Relay& one) { return one.on_notification(message, unread); });
    };
}

Script& listening_on_a(Script& script) {
    return script.frontend(query("listen a"))
        .backend_gets(query("listen a"))
        .backend(listened)
        .frontend_gets(command_complete("LISTEN"))
        .backend_gets(question())
        .backend(told("=61"))
        .frontend_gets("")
        .leased()
        .that(listener_is_told({"a"}))
        .frontend_gets(ready())
        .released_after(full_reset);
}

TEST(RelayListen, ClientIsReadyWhenTheListenerListens) {
    Script script(sharing());
    listening_on_a(script).that(notified(notification("a"))).frontend_gets(notification("a"));
    script.check();
}

TEST(RelayListen, WhatCameMeanwhileIsHeardThen) {
    Script script(sharing());
    script.frontend(query("listen a") + query("select 1"))
        .backend_gets(query("listen a"))
        .backend(listened)
        .backend_gets(question())
        .backend(told("=61"))
        .frontend_gets(command_complete("LISTEN"))
        .backend_gets("")
        .that(listener_is_told({"a"}))
        .frontend_gets(ready())
        .backend_gets(query("select 1"))
        .backend(row + ready())
        .frontend_gets(row + ready());
    script.check();
}

TEST(RelayListen, NothingChangedNeedsNobody) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("listen a"))
        .whatever_backend_got()
        .backend(listened)
        .whatever_backend_got()
        .backend(told("=61"))
        .frontend_gets(listened)
        .that([](World& world) { EXPECT_FALSE(world.client(0).relay->take_channels_moved()); })
        .released_after(full_reset);
    script.check();
}

TEST(RelayListen, WhatTheBackendItselfHearsIsNotTold) {
    Script script(sharing());
    script.frontend(query("listen a"))
        .backend_gets(query("listen a"))
        .backend(command_complete("LISTEN") + notification("a") + ready())
        .backend_gets(question())
        .backend(notification("a") + told("=61") + notification("a"))
        .frontend_gets(command_complete("LISTEN"))
        .that(listener_is_told({"a"}))
        .frontend_gets(ready());
    script.check();
}

TEST(RelayListen, TransactionHearsItselfOnWhatItBeginsToListenOn) {
    Script script(sharing());
    script.frontend(query("listen a;notify a"))
        .backend_gets(query("listen a;notify a"))
        .that([](World& world) { world.server(0).state.pid = 9; })
        .backend(command_complete("LISTEN") + command_complete("NOTIFY") + notification("a", 9) +
                 ready())
        .frontend_gets(command_complete("LISTEN") + command_complete("NOTIFY") +
                       own_notification("a"));
    script.check();
}

TEST(RelayListen, BackendIsToldAllBeforeSomeOfItMayEnd) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("unlisten a"))
        .backend_gets(query("LISTEN \"a\";") + query("unlisten a"))
        .backend(listened + command_complete("UNLISTEN") + ready())
        .frontend_gets(command_complete("UNLISTEN"))
        .backend_gets(question())
        .backend(told("="))
        .frontend_gets(ready())
        .that([](World& world) {
            EXPECT_TRUE(world.client(0).relay->take_channels_moved());
            EXPECT_EQ(world.client(0).relay->channels(), Names{});
        })
        .that(notified(notification("a")))
        .frontend_gets("")
        .released_after(full_reset);
    script.check();
}

TEST(RelayListen, RollbackKeepsWhatTheBackendWasToldInIt) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("begin"))
        .whatever_backend_got()
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("unlisten a"))
        .backend_gets(query("LISTEN \"a\";") + query("unlisten a"))
        .backend(command_complete("LISTEN") + ready('T') + command_complete("UNLISTEN") +
                 ready('T'))
        .frontend(query("rollback"))
        .whatever_backend_got()
        .backend(command_complete("ROLLBACK") + ready())
        .backend_gets(question())
        .backend(told("="))
        .that([](World& world) { EXPECT_EQ(world.client(0).relay->channels(), Names{"a"}); })
        .released_after(full_reset);
    script.check();
}

TEST(RelayListen, CancelThatHitsTheLoadingLosesNothing) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("unlisten b"))
        .backend_gets(query("LISTEN \"a\";") + query("unlisten b"))
        .backend(error("57014", "canceling statement due to user request") + ready() +
                 command_complete("UNLISTEN") + ready())
        .frontend_gets(command_complete("UNLISTEN"))
        .backend_gets(question())
        .backend(told("="))
        .frontend_gets(ready())
        .that([](World& world) { EXPECT_EQ(world.client(0).relay->channels(), Names{"a"}); })
        .released_after(full_reset);
    script.check();
}

TEST(RelayListen, WarningsThatWaitAreOneWarning) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("begin"))
        .whatever_backend_got()
        .backend(command_complete("BEGIN") + ready('T'))
        .that([](World& world) {
            for (int times = 0; times < 3; ++times)
                world.client(0).relay->on_missed();
        })
        .frontend(query("commit"))
        .whatever_backend_got()
        .backend(command_complete("COMMIT") + ready())
        .that([](World& world) {
            const std::string& received = world.client(0).received;
            const std::size_t first = received.find("01000");
            ASSERT_NE(first, std::string::npos);
            EXPECT_EQ(received.find("01000", first + 1), std::string::npos);
        });
    script.check_whole();
}

TEST(RelayListen, BatchWithLoadedChannels) {
    Script script(sharing());
    const std::string batch = parse("", "unlisten *") + bind("", "") + execute() + sync();
    listening_on_a(script)
        .frontend(batch)
        .backend_gets(query("LISTEN \"a\";") + batch)
        .backend(listened + parse_complete() + bind_complete() + command_complete("UNLISTEN") +
                 ready())
        .backend_gets(question())
        .backend(told("="))
        .frontend_gets(parse_complete() + bind_complete() + command_complete("UNLISTEN") + ready());
    script.check();
}

TEST(RelayListen, WhoNotifiesHasHeardItselfWhenItIsReady) {
    Script script(sharing());
    listening_on_a(script)
        .that([](World& world) { world.server(0).state.pid = 9; })
        .frontend(query("notify a"))
        .backend_gets("")
        // An earlier client's, on the same backend.
        .that(notified(notification("a", 9)))
        .frontend_gets(notification("a", 9))
        .that(listener_is_told({"a"}))
        .backend_gets(query("notify a"))
        .backend(command_complete("NOTIFY") + ready())
        .frontend_gets(command_complete("NOTIFY"))
        .leased()
        .that(notified(notification("a", 9)))
        .that(notified(notification("a", 8)))
        .frontend_gets("")
        .that(listener_is_told({"a"}))
        .frontend_gets(own_notification("a") + notification("a", 8) + ready())
        .released();
    script.check_whole();  // broken off, it would wait for the listener
}

TEST(RelayListen, NotificationsWaitForTheEndOfTheTransaction) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("begin"))
        .whatever_backend_got()
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .that(notified(notification("a")))
        .frontend(query("commit"))
        .frontend_gets("")
        .backend(command_complete("COMMIT") + ready())
        .frontend_gets(command_complete("COMMIT") + ready() + notification("a"));
    script.check();
}

TEST(RelayListen, TooMuchThatWaitsEndsTheClient) {
    const auto end = [](Script& script) {
        script.closes(CloseReason::notifications_lost).that([](World& world) {
            EXPECT_NE(world.client(0).received.find("53400"), std::string::npos);
        });
        script.check();
    };
    Script unread(sharing());
    listening_on_a(unread).that(notified(notification("a"), limits::waiting_notifications_max - 5));
    end(unread);

    Script waiting(sharing());
    listening_on_a(waiting)
        .frontend(query("begin"))
        .whatever_backend_got()
        .backend(command_complete("BEGIN") + ready('T'));
    const std::string large =
        message('A', std::string("\0\0\0\7a\0", 6) + std::string(60'000, 'x') + '\0');
    for (std::size_t sent = 0; sent < limits::waiting_notifications_max; sent += large.size())
        waiting.that(notified(large));
    end(waiting);
}

TEST(RelayListen, LateListenerIsAWarning) {
    Script script(sharing());
    script.frontend(query("listen a"))
        .backend(listened)
        .whatever_backend_got()
        .backend(told("=61"))
        .frontend_gets(command_complete("LISTEN"))
        .that(listener_is_told({"a"}, true))
        .that([](World& world) {
            const std::string& received = world.client(0).received;
            EXPECT_NE(received.find("01000"), std::string::npos);
            EXPECT_TRUE(received.ends_with(ready()));
        });
    script.check();
}

TEST(RelayListen, ResetWithoutABackendLeavesTheListener) {
    Script script(sharing());
    listening_on_a(script)
        .frontend(query("discard all"))
        .frontend_gets(command_complete("DISCARD ALL") + ready())
        .that([](World& world) {
            EXPECT_TRUE(world.client(0).relay->take_channels_moved());
            EXPECT_EQ(world.client(0).relay->channels(), Names{});
        });
    script.check();
}

TEST(RelayListen, WhatIsTooMuchToShareKeepsTheBackend) {
    Script script(sharing());
    script.frontend(query("listen a"))
        .whatever_backend_got()
        .backend(listened)
        .whatever_backend_got()
        .backend(told("l"))
        .frontend_gets(listened)
        .leased()
        .backend(notification("a"))
        .frontend_gets(notification("a"));
    script.check_whole();
}

TEST(RelayListen, OtherAnswersThanNamesAreNotTaken) {
    for (const std::string_view answer : {"=6", "=zz", "=61,,62", "==", "x"}) {
        SCOPED_TRACE(answer);
        Script script(sharing());
        script.frontend(query("listen a"))
            .whatever_backend_got()
            .backend(listened)
            .whatever_backend_got()
            .backend(told(answer))
            .closes(CloseReason::backend_desync);
        script.check_whole();
    }
}

}  // namespace
}  // namespace schemux::core::relay_script
