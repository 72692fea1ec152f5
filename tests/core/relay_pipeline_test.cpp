// Many messages under way at once: libpq's pipeline mode, errors with Syncs outstanding, queues
// that fill and drain.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");

std::string batch(std::string_view text) {
    return message('P', text_of("") + text_of(text) + std::string(no_types)) + bind("", "") +
           execute() + sync();
}
std::string batch_answer() {
    return parse_complete() + bind_complete() + none + ready();
}

TEST(RelayPipeline, SeveralSyncsOutstanding) {
    Script script;
    const std::string three = batch("select 1") + batch("select 2") + batch("select 3");
    script.frontend(three)
        .backend_gets(three)
        .backend(batch_answer())
        .leased()
        .backend(batch_answer())
        .leased()
        .backend(batch_answer())
        .frontend_gets(batch_answer() + batch_answer() + batch_answer())
        .released();
    script.check();
}

TEST(RelayPipeline, ErrorSkipsItsBatchAndNotTheNext) {
    Script script;
    const std::string failed =
        parse_complete() + bind_complete() + error("22012", "division by zero") + ready();
    script.frontend(batch("select 1/0") + batch("select 2"))
        .backend(failed + batch_answer())
        .frontend_gets(failed + batch_answer())
        .released();
    script.check();
}

TEST(RelayPipeline, ErrorInTheMiddleOfOneBatchSkipsTheRest) {
    Script script;
    const std::string more = parse("", "select 2") + bind("", "") + execute();
    script.frontend(parse("", "select nothing") + bind("", "") + execute() + more + more + sync())
        .backend(error("42703", "no column") + ready())
        .frontend_gets(error("42703", "no column") + ready())
        .released();
    script.check();
}

TEST(RelayPipeline, QueryBehindAFailedBatchWithoutASyncIsSkippedToo) {
    Script script;
    script.frontend(parse("", "select nothing") + query("select 1") + sync())
        .backend(error("42703", "no column") + ready())
        .frontend_gets(error("42703", "no column") + ready())
        .released();
    script.check();
}

TEST(RelayPipeline, SimpleQueryEndsABatchWithoutASync) {
    Script script;
    script.frontend(parse("s1", "select 1") + query("select 2"))
        .backend_gets(parse("@1", "select 1") + query("select 2"))
        .backend(parse_complete() + none + ready())
        .frontend_gets(parse_complete() + none + ready())
        .released();
    script.check();
}

TEST(RelayPipeline, BatchWithoutASyncKeepsTheBackend) {
    Script script;
    script.frontend(parse("", "select 1") + bind("", "") + execute() + flush())
        .backend(parse_complete() + bind_complete() + none)
        .frontend_gets(parse_complete() + bind_complete() + none)
        .leased()
        .frontend(sync())
        .backend(ready())
        .frontend_gets(ready())
        .released();
    script.check();
}

TEST(RelayPipeline, NextBatchThatBeganKeepsTheBackend) {
    Script script;
    script.frontend(batch("select 1") + parse("", "select 2"))
        .backend(batch_answer())
        .leased()
        .frontend(bind("", "") + execute() + sync())
        .backend(batch_answer())
        .frontend_gets(batch_answer() + batch_answer())
        .released();
    script.check();
}

TEST(RelayPipeline, MessageUnderWayKeepsTheBackend) {
    Script script;
    const std::string tail = std::string(no_parameters) + std::string(50, 'v');
    const std::string whole = bind_with("", "", tail);
    script.frontend(parse("", "select $1") + sync() + whole.substr(0, 20))
        .backend(parse_complete() + ready())
        .leased()
        .frontend(whole.substr(20) + sync())
        .backend_gets(parse("", "select $1") + sync() + whole + sync())
        .backend(bind_complete() + ready())
        .released();
    script.check();
}

TEST(RelayPipeline, TransactionInOnePipeline) {
    Script script;
    const std::string all =
        batch("begin") + batch("select 1/0") + batch("select 2") + batch("rollback");
    const std::string skipped = error("25P02", "current transaction is aborted") + ready('E');
    const std::string answer =
        parse_complete() + bind_complete() + command_complete("BEGIN") + ready('T') +
        parse_complete() + bind_complete() + error("22012", "division") + ready('E') + skipped +
        parse_complete() + bind_complete() + command_complete("ROLLBACK") + ready();
    script.frontend(all).backend_gets(all).backend(answer).frontend_gets(answer).released();
    script.check();
}

TEST(RelayPipeline, RefusalInTheMiddleComesInItsTurn) {
    Script script;
    const std::string told = own_error("26000", "prepared statement \"s9\" does not exist");
    script.frontend(batch("select 1") + bind("", "s9") + execute() + sync() + batch("select 2"))
        .backend_gets(batch("select 1") + bound_to_fail() + execute() + sync() + batch("select 2"))
        .frontend_gets("")
        .backend(batch_answer() + error("26000", "sx_refused") + ready() + batch_answer())
        .frontend_gets(batch_answer() + told + ready() + batch_answer())
        .released();
    script.check();
}

TEST(RelayPipeline, RefusedQueryInTheMiddleComesInItsTurn) {
    Script script(with_schema("app"));
    script.frontend(query("begin") + query("select {{nothing}}") + query("rollback"))
        .backend_gets(query("begin") + query("{") + query("rollback"))
        .backend(command_complete("BEGIN") + ready('T') + error("42601", "at {") + ready('E') +
                 command_complete("ROLLBACK") + ready())
        .that([](World& world) {
            const std::string all = world.describe(world.client(0).received);
            EXPECT_NE(all.find("{{nothing}}"), all.npos) << all;
            EXPECT_EQ(all.find("at {"), all.npos) << all;
        })
        .released()
        .open();
    script.check();
}

TEST(RelayPipeline, EarlierErrorSkipsARefusal) {
    Script script;
    script.frontend(parse("", "select nothing") + bind("", "s9") + sync())
        .backend_gets(parse("", "select nothing") + bound_to_fail() + sync())
        .backend(error("42703", "no column") + ready())
        .frontend_gets(error("42703", "no column") + ready())
        .released();
    script.check();
}

TEST(RelayPipeline, TwentyThousandBindsBeforeASyncAreBounded) {
    Script script;
    constexpr std::size_t count = 20'000;
    std::string binds;
    std::string answers;
    for (std::size_t i = 0; i < count; ++i) {
        binds += bind("", "s1");
        answers += bind_complete();
    }
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(binds)
        .that([](World& world) {
            EXPECT_FALSE(world.client(0).relay->wants_frontend_bytes());
            EXPECT_LE(world.server(0).state.replies.size(), limits::expected_replies_max + 2);
        })
        // PostgreSQL has filled its buffer by now and writes it out.
        .backend(answers.substr(0, 8190))
        .frontend_gets(answers.substr(0, 8190))
        .frontend(sync())
        .backend(answers.substr(8190, 5 * 16'000 - 8190))
        .that([](World& world) { EXPECT_TRUE(world.client(0).relay->wants_frontend_bytes()); })
        .backend(answers.substr(5 * 16'000) + ready())
        .frontend_gets(answers.substr(8190) + ready())
        .released()
        .that([](World& world) { EXPECT_TRUE(world.client(0).inbox.empty()); });
    script.check_whole();
}

TEST(RelayPipeline, QueueFullOfWhatNobodyOwesDrainsByItself) {
    Script script;
    std::string closes;
    std::string answers;
    for (std::size_t i = 0; i < 2 * limits::expected_replies_max; ++i) {
        closes += close_statement("");
        answers += close_complete();
    }
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .frontend_gets(command_complete("BEGIN") + ready('T'))
        .frontend(closes + sync())
        .backend(ready('T'))
        .frontend_gets(answers + ready('T'))
        .leased();
    script.check_whole();
}

TEST(RelayPipeline, ErrorDrainsAFullQueue) {
    Script script;
    std::string binds;
    for (std::size_t i = 0; i < 20'000; ++i)
        binds += bind("", "");
    script.frontend(parse("", "select 1") + binds + sync())
        .that([](World& world) { EXPECT_FALSE(world.client(0).relay->wants_frontend_bytes()); })
        .backend(parse_complete() + error("57014", "canceled"))
        .frontend_gets(parse_complete() + error("57014", "canceled"))
        .backend(ready())
        .frontend_gets(ready())
        .released();
    script.check_whole();
}

TEST(RelayPipeline, ThousandBatchesInOneWrite) {
    Script script;
    std::string all;
    std::string answers;
    for (int i = 0; i < 1000; ++i) {
        all += batch("select " + std::to_string(i));
        answers += batch_answer();
    }
    script.frontend(all).backend_gets(all).backend(answers).frontend_gets(answers).released();
    script.check_whole();
}

TEST(RelayPipeline, ChangesOfNamesThatWaitForAnswersAreBounded) {
    Script script;
    std::string first;
    std::string answers;
    for (std::size_t i = 0; i < limits::open_changes_max; ++i) {
        first += parse("", "select 1");
        answers += parse_complete();
    }
    const std::string rest = parse("", "select 2") + sync();
    script.frontend(first + rest)
        .backend_gets(first + flush())
        .backend(answers)
        .backend_gets(rest)
        .backend(parse_complete() + ready())
        .frontend_gets(answers + parse_complete() + ready())
        .released();
    script.check_whole();
}

TEST(RelayPipeline, FatalErrorInABatchEndsTheClient) {
    Script script;
    script.frontend(batch("select 1") + batch("select 2"))
        .backend(parse_complete() + fatal("57P01", "terminating connection"))
        .frontend_gets(parse_complete() + fatal("57P01", "terminating connection"))
        .closes(CloseReason::backend_lost)
        .backend_closed();
    script.check_whole();
}

TEST(RelayPipeline, UnnamedStatementsThatAreSkippedInTurnLeaveNone) {
    Script script;
    const std::string failed = error("34000", "portal does not exist") + ready();
    script
        .frontend(execute("p") + parse("", "select 1") + parse("", "select 2") + sync() +
                  execute("p") + parse("", "select 3") + sync())
        .whatever_backend_got()
        .backend(failed + failed)
        .frontend_gets(failed + failed)
        .released()
        .frontend(bind("", "") + sync())
        .frontend_gets(own_error("26000", "unnamed prepared statement does not exist") + ready());
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
