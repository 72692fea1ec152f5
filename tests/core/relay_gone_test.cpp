// Clients that go in the middle of something: what they leave open ends so that it fails, and the
// backend is given back. Goodbyes at rest: relay_lifecycle_test.cpp.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

TEST(RelayGone, ClientGoneInTheMiddleOfABatchHasItFail) {
    for (const std::string& goodbye : {std::string(), terminate()}) {
        Script script;
        const std::string asked = parse("", "select 1") + bind("", "") + execute();
        script.frontend(asked + goodbye)
            .frontend_closes()
            .backend_gets(asked + flush() + (goodbye.empty() ? "" : flush()))
            .backend(parse_complete() + bind_complete() + command_complete("SELECT 0"))
            .backend_gets(bound_to_fail() + sync())
            .backend(error("26000", "no such statement") + ready())
            .released();
        script.check_whole();
    }
}

TEST(RelayGone, ClientGoneBehindABatchThatFailsHasItEnd) {
    Script script;
    script.frontend(parse("", "select 1") + bind("", "") + execute())
        .frontend_closes()
        .whatever_backend_got()
        .backend(parse_complete() + error("57014", "canceling statement due to user request"))
        .backend_gets(sync())
        .backend(ready())
        .released();
    script.check_whole();
}

TEST(RelayGone, ClientGoneInTheMiddleOfAQueryIsAbandonedAndItsBackendReused) {
    Script script;
    script.frontend(query("select 1"))
        .frontend_closes()
        .that([](World& world) { EXPECT_TRUE(world.client(0).relay->abandoned()); })
        .backend_gets(query("select 1"))
        .backend(error("57014", "canceling statement due to user request") + ready())
        .released();
    script.check_whole();
}

TEST(RelayGone, ClientGoneInTheMiddleOfABindHasItMadeUp) {
    Script script;
    const std::string whole = bind_with("", "", std::string(no_parameters) + "0123456789");
    script.frontend(parse("", "select $1"))
        .whatever_backend_got()
        .backend(parse_complete())
        .frontend(whole.substr(0, whole.size() - 4))
        .frontend_closes()
        .backend_gets(whole.substr(0, whole.size() - 4) + std::string(4, '\0') + flush())
        .backend(error("08P01", "invalid message format"))
        .backend_gets(sync())
        .backend(ready())
        .released();
    script.check_whole();
}

TEST(RelayGone, ClientGoneInACopyFromStdinHasItFail) {
    Script script;
    script.frontend(query("copy t from stdin"))
        .whatever_backend_got()
        .backend(copy_in_response())
        .frontend(copy_data("1\n") + copy_data("2\n").substr(0, 6))
        .frontend_closes()
        .backend_gets(copy_data("1\n") + copy_data(std::string_view("2\0", 2)) +
                      copy_fail("client is gone"))
        .backend(error("57014", "COPY from stdin failed") + ready())
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayGone, ClientGoneBeforeItsCopyFromStdinBegan) {
    Script script;
    script.frontend(query("copy t from stdin"))
        .frontend_closes()
        .whatever_backend_got()
        .backend(copy_in_response())
        .backend_gets(copy_fail("client is gone"))
        .backend(error("57014", "COPY from stdin failed") + ready())
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayGone, ClientGoneAmidLateDataOfAFailedCopyClosesTheBackend) {
    // PostgreSQL would take the next client's bytes for the rest of the data.
    Script script;
    script.frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .frontend(copy_data("0123456789").substr(0, 8))
        .backend(error("22P04", "bad data") + ready())
        .frontend_gets(copy_in_response() + error("22P04", "bad data") + ready())
        .frontend_closes()
        .backend_closed();
    script.check_whole();
}

TEST(RelayGone, CopyThatWasSentBlindWithAnEarlySyncEndsWithItsClient) {
    // The COPY ate the Sync: PostgreSQL keeps its answers until somebody asks.
    Script script;
    const std::string blind = parse("", "copy t from stdin") + bind("", "") + execute() + sync() +
                              copy_data("x") + copy_done();
    script.frontend(blind)
        .frontend_closes()
        .whatever_backend_got()
        .backend(parse_complete() + bind_complete() + copy_in_response())
        .backend_gets(flush())
        .backend(command_complete("COPY 1"))
        .backend_gets(bound_to_fail() + sync())
        .backend(error("26000", "no such statement") + ready())
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayGone, ClientGoneInTheMiddleOfAFunctionCallClosesTheBackend) {
    Script script;
    script.frontend(function_call("0123456789").substr(0, 7)).frontend_closes().backend_closed();
    script.check_whole();
}

TEST(RelayGone, LingeringClientMayStillCancel) {
    Script script;
    script.frontend(query("select pg_sleep(9)") + terminate())
        .frontend_closes()
        .that([](World& world) {
            Step step;
            EXPECT_EQ(world.client(0).relay->on_cancel(step), CancelOutcome::forward);
        });
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
