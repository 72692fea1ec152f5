// COPY through the relay (PostgreSQL manual, "Message Flow", COPY Operations): simple and extended,
// errors on either side, what is sent too early and what comes too late.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string copied = command_complete("COPY 2");

TEST(RelayCopy, InByASimpleQuery) {
    Script script;
    const std::string data = copy_data("1\n") + copy_data("2\n") + copy_done();
    script.frontend(query("copy t from stdin"))
        .backend_gets(query("copy t from stdin"))
        .backend(copy_in_response())
        .frontend_gets(copy_in_response())
        .leased()
        .frontend(data)
        .backend_gets(data)
        .backend(copied + ready())
        .frontend_gets(copied + ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, InThatTheClientFails) {
    Script script;
    script.frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .frontend(copy_data("1\n") + copy_fail("changed my mind"))
        .backend_gets(query("copy t from stdin") + copy_data("1\n") + copy_fail("changed my mind"))
        .backend(error("57014", "COPY from stdin failed") + ready())
        .frontend_gets(copy_in_response() + error("57014", "COPY from stdin failed") + ready())
        .open()
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, InWithDataSentBlindly) {
    Script script;
    const std::string all = query("copy t from stdin") + copy_data("1\n") + copy_done();
    script.frontend(all)
        .backend_gets(all)
        .backend(copy_in_response() + copied + ready())
        .frontend_gets(copy_in_response() + copied + ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, AnswerOfOursBetweenTheCopyAndItsDataWaitsForTheEnd) {
    Script script;
    const std::string copy = query("copy t from stdin");
    const std::string data = copy_data("1\n") + copy_done();
    script.frontend(copy + close_statement("nobody") + data)
        .backend_gets(copy + data)
        .backend(copy_in_response() + copied + ready())
        .frontend_gets(copy_in_response() + copied + ready() + close_complete());
    script.check();
}

TEST(RelayCopy, TwoCopiesInOneQueryWithDataSentBlindly) {
    Script script;
    const std::string all = query("copy a from stdin; copy b from stdin") + copy_data("1\n") +
                            copy_done() + copy_data("2\n") + copy_done() + sync();
    script.frontend(all)
        .backend_gets(all)
        .backend(copy_in_response() + copied + copy_in_response() + copied + ready() + ready())
        .frontend_gets(copy_in_response() + copied + copy_in_response() + copied + ready() +
                       ready())
        .that([](World& world) {
            EXPECT_LT(world.client(0).backend, 0);
            EXPECT_FALSE(world.client(0).closed);
        });
    script.check();
}

TEST(RelayCopy, ErrorBeforeCopyDoneMakesLateDataHarmless) {
    Script script;
    script.frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .frontend(copy_data("rubbish\n"))
        .backend(error("22P02", "invalid input") + ready())
        .frontend_gets(copy_in_response() + error("22P02", "invalid input") + ready())
        .backend_gets(query("copy t from stdin") + copy_data("rubbish\n"))
        // The client had not seen it yet; PostgreSQL ignores these, and here they go nowhere.
        .frontend(copy_data("2\n") + copy_done())
        .backend_gets("")
        .frontend_gets("")
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready());
    script.check();
}

TEST(RelayCopy, LateDataInsideATransactionIsHarmlessToo) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .backend(error("22P02", "invalid input") + ready('E'))
        .frontend(copy_data("2\n") + copy_done())
        .leased()
        .frontend(query("rollback"))
        .backend(command_complete("ROLLBACK") + ready())
        .frontend_gets(command_complete("BEGIN") + ready('T') + copy_in_response() +
                       error("22P02", "invalid input") + ready('E') + command_complete("ROLLBACK") +
                       ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, ErrorAfterCopyDone) {
    Script script;
    script.frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .frontend(copy_data("1\n") + copy_done())
        .backend(error("23505", "duplicate key") + ready())
        .frontend_gets(copy_in_response() + error("23505", "duplicate key") + ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, LateCopyDoneIsNotTakenForTheNextCopys) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend(query("copy missing from stdin") + copy_data("1\n") + copy_done() +
                  query("rollback") + query("copy t from stdin"))
        .backend(error("42P01", "no table") + ready('E') + command_complete("ROLLBACK") + ready() +
                 copy_in_response())
        .frontend(copy_data("1\n") + copy_done() + query("select 1"))
        .backend(copied + ready() + one_row("1") + ready())
        .that([](World& world) {
            EXPECT_LT(world.client(0).backend, 0);
            EXPECT_FALSE(world.client(0).closed);
        });
    script.check();
}

TEST(RelayCopy, InByTheExtendedProtocolSwallowsLibpqsEarlySync) {
    Script script;
    const std::string start =
        parse("", "copy t from stdin") + bind("", "") + describe_portal("") + execute() + sync();
    const std::string answered =
        parse_complete() + bind_complete() + no_data() + copy_in_response();
    script.frontend(start)
        .backend_gets(start)
        .backend(answered)
        .frontend_gets(answered)
        .leased()
        .frontend(copy_data("1\n"))
        .backend_gets(copy_data("1\n"))
        .frontend(copy_done() + sync())
        .backend_gets(copy_done() + sync())
        .backend(copied + ready())
        .frontend_gets(copied + ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, ExtendedInWithDataSentBlindlyIsReleased) {
    Script script;
    const std::string all = parse("", "copy t from stdin") + bind("", "") + execute() +
                            copy_data("1\n") + copy_done() + sync();
    const std::string answer =
        parse_complete() + bind_complete() + copy_in_response() + copied + ready();
    script.frontend(all).backend_gets(all).backend(answer).frontend_gets(answer).that(
        [](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, ExtendedInWithEarlySyncAndDataSentBlindly) {
    Script script;
    const std::string all = parse("", "copy t from stdin") + bind("", "") + execute() + sync() +
                            copy_data("1\n") + copy_done() + sync();
    const std::string answer =
        parse_complete() + bind_complete() + copy_in_response() + copied + ready();
    script.frontend(all).backend_gets(all).backend(answer).frontend_gets(answer).that(
        [](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, EarlySyncIsNotWaitedForBehindTheCopy) {
    // It was read and ignored: neither a name nor how strings read is open for its sake.
    Script script;
    const std::string all = parse("", "copy t from stdin") + bind("", "") + execute() + sync() +
                            copy_done() + close_portal("") + query("prepare p as select 1");
    script.frontend(query("begin") + query("set local work_mem to 1"))
        .backend(command_complete("BEGIN") + ready('T') + command_complete("SET") + ready('T'))
        .whatever_backend_got()
        .frontend(all)
        .backend(parse_complete() + bind_complete() + copy_in_response())
        .whatever_backend_got()
        .backend(copied + close_complete() + command_complete("PREPARE") + ready('T'))
        .frontend(query("commit"))
        .backend_gets(query("commit"));
    script.check_whole();
}

TEST(RelayCopy, ExtendedInThatNeverBeginsAnswersTheEarlySync) {
    Script script;
    script.frontend(parse("", "copy missing from stdin") + bind("", "") + execute() + sync())
        .backend(parse_complete() + bind_complete() + error("42P01", "no table") + ready())
        .frontend_gets(parse_complete() + bind_complete() + error("42P01", "no table") + ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, ExtendedInWithAnErrorWaitsForTheSync) {
    Script script;
    script.frontend(parse("", "copy t from stdin") + bind("", "") + execute() + flush())
        .backend(parse_complete() + bind_complete() + copy_in_response())
        .frontend(copy_data("rubbish\n"))
        .backend(error("22P02", "invalid input"))
        .frontend_gets(parse_complete() + bind_complete() + copy_in_response() +
                       error("22P02", "invalid input"))
        .leased()
        .whatever_backend_got()
        .frontend(copy_data("2\n") + copy_done())
        .backend_gets("")
        .frontend(sync())
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

// libpq's early Sync: ignored if the COPY had read it, answered if the COPY failed before that.
const std::string early_sync = parse("", "copy t from stdin") + bind("", "") + execute() + sync();
const std::string copy_begun = parse_complete() + bind_complete() + copy_in_response();
const std::string bad_input = error("22P02", "invalid input");
const std::string nothing_more = empty_query_response() + ready();

TEST(RelayCopy, WhetherAnEarlySyncIsAnsweredIsAskedWhenTheCopyFailed) {
    Script script;
    script.frontend(early_sync)
        .backend(copy_begun)
        .frontend(copy_data("rubbish\n"))
        .whatever_backend_got()
        .backend(bad_input)
        .frontend(copy_done() + sync())
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(copy_begun + bad_input + ready())
        .leased()
        .backend_gets(query(""))
        .backend(nothing_more)
        .frontend_gets("")
        .released_after("DISCARD SEQUENCES");
    script.check();
}

TEST(RelayCopy, UnnamedStatementOutlivesThatQuestion) {
    Script script;
    script.frontend(early_sync)
        .backend(copy_begun)
        .frontend(copy_data("rubbish\n") + copy_done() + sync())
        .backend(bad_input + ready())
        .frontend_gets(copy_begun + bad_input + ready())
        .whatever_backend_got()
        .backend(nothing_more)
        .released_after("DISCARD SEQUENCES")
        .frontend(bind("", "") + execute() + sync())
        .backend_gets(parse("", "copy t from stdin") + bind("", "") + execute() + sync());
    script.check_whole();
}

TEST(RelayCopy, EarlySyncThatIsAnsweredBehindTheLaterOnePasses) {
    Script script;
    script.frontend(early_sync)
        .backend(copy_begun)
        .frontend(copy_data("rubbish\n") + copy_done() + sync())
        .whatever_backend_got()
        .backend(bad_input + ready())
        .frontend_gets(copy_begun + bad_input + ready())
        .backend_gets(query(""))
        .backend(ready() + nothing_more)
        .frontend_gets(ready())
        .released_after("DISCARD SEQUENCES");
    script.check();
}

TEST(RelayCopy, EarlySyncThatIsAnsweredAfterAllPasses) {
    // The COPY failed before it read anything: a trigger FOR EACH STATEMENT, or a view.
    Script script;
    const std::string on_a_view = copy_begun + error("42809", "cannot copy to view") + ready();
    script.frontend(early_sync)
        .backend(on_a_view)
        .frontend_gets(on_a_view)
        .released_after("DISCARD SEQUENCES")
        .frontend(query("select 1"))
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready());
    script.check();
}

TEST(RelayCopy, SyncBehindDataThatFailIsAnsweredInItsPlace) {
    Script script;
    script.frontend(parse("", "copy t from stdin") + bind("", "") + execute() + flush())
        .backend(copy_begun)
        .frontend(copy_data("rubbish\n") + sync() + copy_done() + sync() + query("select 1"))
        .whatever_backend_got()
        .backend(bad_input + ready() + ready() + one_row("1") + ready())
        .frontend_gets(copy_begun + bad_input + ready() + ready() + one_row("1") + ready())
        .whatever_backend_got()
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayCopy, ReadyForQueryBeyondTheEarlySyncsIsOutOfTurn) {
    Script script;
    script.frontend(early_sync)
        .backend(copy_begun + bad_input + ready() + ready())
        .backend_closed()
        .closes(CloseReason::backend_desync);
    script.check_whole();
}

TEST(RelayCopy, ClientGoneBehindAnEarlySyncLeavesACertainBackend) {
    Script script;
    script.frontend(early_sync)
        .backend(copy_begun)
        .whatever_backend_got()
        .frontend_closes()
        .backend_gets(copy_fail("client is gone"))
        .backend(error("57014", "COPY from stdin failed"))
        .backend_gets(sync())
        .backend(ready())
        .backend_gets(query(""))
        .backend(nothing_more)
        .released_after("DISCARD SEQUENCES");
    script.check();
}

TEST(RelayCopy, SyncInsideACopyIsOwedNothing) {
    Script script;
    script.frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .frontend(copy_data("1\n") + sync() + flush() + copy_data("2\n") + copy_done())
        .backend(copied + ready())
        .frontend_gets(copy_in_response() + copied + ready())
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, GoodbyeInsteadOfDataEndsTheCopy) {
    Script script;
    script.frontend(query("copy t from stdin") + terminate())
        .whatever_backend_got()
        .backend(copy_in_response())
        .backend_gets(copy_fail("client has terminated"))
        .backend(error("57014", "COPY from stdin failed") + ready())
        .closes(CloseReason::client_terminated)
        .backend_closed();
    script.check();
}

TEST(RelayCopy, GoodbyeInsteadOfDataEndsAnExtendedCopyToo) {
    Script script;
    script
        .frontend(parse("", "copy t from stdin") + bind("", "") + execute() + sync() + terminate())
        .whatever_backend_got()
        .backend(parse_complete() + bind_complete() + copy_in_response())
        .backend_gets(copy_fail("client has terminated") + sync())
        .backend(error("57014", "COPY from stdin failed") + ready())
        .closes(CloseReason::client_terminated)
        .backend_closed();
    script.check();
}

TEST(RelayCopy, GoodbyeBehindAnExtendedCopyWhoseSyncWasReadAsDataGetsItsAnswer) {
    Script script;
    const std::string begun = parse_complete() + bind_complete() + copy_in_response();
    const std::string asked = parse("", "copy t from stdin") + bind("", "") + execute() + sync() +
                              copy_data("1\n") + copy_done();
    script.frontend(asked + terminate())
        .backend_gets(asked)
        .backend(begun)
        .backend_gets(flush())  // nothing else makes PostgreSQL tell how it went
        .backend(copied)
        .frontend_gets(begun + copied)
        .closes(CloseReason::client_terminated);
    script.check_whole();
}

TEST(RelayCopy, LargeDataPassesWithoutBeingHeld) {
    Script script;
    const std::string data = copy_data(std::string(1 << 20, 'x'));
    script.frontend(query("copy t from stdin"))
        .backend(copy_in_response())
        .whatever_backend_got()
        .frontend(data.substr(0, 1000))
        .that([](World& world) { EXPECT_GE(world.server(0).received.size(), 1000U); })
        .frontend(data.substr(1000) + copy_done())
        .backend_gets(data + copy_done())
        .backend(copied + ready());
    script.check_whole();
}

TEST(RelayCopy, OutByASimpleQuery) {
    Script script;
    const std::string answer =
        copy_out_response() + copy_data("1\n") + copy_data("2\n") + copy_done() + copied + ready();
    script.frontend(query("copy t to stdout"))
        .backend(answer)
        .frontend_gets(answer)
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, OutByTheExtendedProtocol) {
    Script script;
    const std::string answer = parse_complete() + bind_complete() + copy_out_response() +
                               copy_data("1\n") + copy_done() + copied + ready();
    script.frontend(parse("", "copy t to stdout") + bind("", "") + execute() + sync())
        .backend(answer)
        .frontend_gets(answer)
        .that([](World& world) { EXPECT_LT(world.client(0).backend, 0); });
    script.check();
}

TEST(RelayCopy, OutWithAnErrorInTheMiddle) {
    Script script;
    const std::string answer =
        copy_out_response() + copy_data("1\n") + error("57014", "canceled") + ready();
    script.frontend(query("copy t to stdout")).backend(answer).frontend_gets(answer).open();
    script.check();
}

TEST(RelayCopy, DataOutOfTheBlueIsDropped) {
    Script script;
    script.frontend(copy_data("1\n") + copy_done() + copy_fail("x"))
        .backend_gets("")
        .frontend_gets("")
        .released()
        .open();
    script.check();
}

}  // namespace
}  // namespace schemux::core::relay_script
