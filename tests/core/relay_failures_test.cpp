// Either side fails or breaks the protocol: what the other side is told, and what becomes of both.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");

// ---- the backend fails ----

TEST(RelayFailures, LostBackendIsToldAndEndsTheClient) {
    Script script;
    script.frontend(query("select 1"))
        .backend_lost()
        .frontend_gets(own_fatal("08006", "the connection to PostgreSQL was lost",
                                 "The outcome of the work under way is not known."))
        .closes(CloseReason::backend_lost);
    script.check_whole();
}

TEST(RelayFailures, LostBackendInTheMiddleOfARowIsNotToldInsideTheRow) {
    Script script;
    const std::string row = data_row(std::string(50, 'x'));
    script.frontend(query("select 1"))
        .backend(row_description() + row.substr(0, 20))
        .backend_lost()
        .frontend_gets(row_description() + row.substr(0, 20))
        .closes(CloseReason::backend_lost);
    script.check_whole();
}

TEST(RelayFailures, FatalErrorIsTheLastWord) {
    Script script;
    script.frontend(query("select 1"))
        .backend(fatal("57P01", "terminating connection due to administrator command"))
        .frontend_gets(fatal("57P01", "terminating connection due to administrator command"))
        .closes(CloseReason::backend_lost)
        .backend_closed();
    script.check_whole();
}

TEST(RelayFailures, FatalErrorBehindTheAnswerIsNotTheClientsBusiness) {
    Script script;
    script.frontend(query("select 1"))
        .backend(one_row("1") + ready() +
                 fatal("57P01", "terminating connection due to administrator command"))
        .frontend_gets(one_row("1") + ready())
        .backend_closed()
        .open()
        .frontend(query("select 2"))
        .backend(one_row("2") + ready())
        .frontend_gets(one_row("2") + ready());
    script.check_whole();
}

TEST(RelayFailures, ErrorThatNobodyAskedForPoisons) {
    Script script;
    script.frontend(query("begin"))
        .backend(command_complete("BEGIN") + ready('T'))
        .backend(error("XX000", "out of the blue"))
        .closes(CloseReason::backend_desync)
        .backend_closed();
    script.check_whole();
}

TEST(RelayFailures, AnswersOutOfTurnPoison) {
    const std::string unexpected[] = {
        ready(),           bind_complete(),    close_complete(),
        no_data(),         portal_suspended(), data_row("secret"),
        row_description(), copy_in_response(), command_complete("SELECT 1"),
    };
    for (const std::string& answer : unexpected) {
        Script script;
        script.frontend(parse("", "select 1") + bind("", "") + sync())
            .backend(answer)
            .frontend_gets(own_fatal("08006",
                                     "PostgreSQL answered what nobody had asked; the connection "
                                     "is closed"))
            .closes(CloseReason::backend_desync)
            .backend_closed();
        script.check_whole();
    }
}

TEST(RelayFailures, MessagesThatHaveNoPlaceInALeasePoison) {
    const std::string unexpected[] = {
        message('R', "\0\0\0\0"sv),
        message('K', "\0\0\0\1\0\0\0\2"sv),
        message('W', "\0\0\0"sv),
        message('v', "\0\0\0\0\0\0\0\0"sv),
        header('D', 3),
        header('D', 0x7fffffff),
        message('?'),
        header('C', limits::inspected_message_max + 1),
        message('Z', "X"),
        message('Z'),
        message('C', "no zero"),
        message('S', "half\0"sv),
    };
    for (const std::string& answer : unexpected) {
        Script script;
        script.frontend(query("select 1"))
            .backend(answer)
            .closes(CloseReason::backend_desync)
            .backend_closed();
        script.check_whole();
    }
}

TEST(RelayFailures, ReadyForQueryTooManyPoisons) {
    Script script;
    script.frontend(query("select 1"))
        .backend(one_row("1") + ready() + ready())
        .that([](World& world) {
            EXPECT_TRUE(world.client(0).received.find(one_row("1") + ready()) != std::string::npos);
        })
        .closes(CloseReason::backend_desync)
        .backend_closed();
    script.check_whole();
}

TEST(RelayFailures, OversizedErrorBehindAFabricatedAnswer) {
    Script script;
    const std::string large =
        error("22000", std::string(limits::inspected_message_max, 'x')) + ready();
    script.frontend(parse("s1", "select 1") + sync())
        .backend(parse_complete() + ready())
        .frontend_gets(parse_complete() + ready())
        .frontend(parse("s2", "select 1") + bind("", "s2") + execute() + sync())
        .backend(large)
        .frontend_gets(parse_complete() + large)
        .released()
        .whatever_backend_got()
        .frontend(bind("", "s2") + sync())
        .backend(bind_complete() + ready())
        .frontend_gets(bind_complete() + ready());
    script.check_whole();
}

TEST(RelayFailures, NoticeThatCameInPartBeforeTheLeasePasses) {
    WorkerContext context;
    const StatementNamer namer;
    context.namer = &namer;
    ServiceCounters counters;
    const Settings welcome;
    Relay relay(context, std::make_shared<const Service>(), counters, {}, {1, "key.", "p"});
    relay.start(&welcome);
    context.settle();
    Backend backend;
    const std::string status = notice("going on");
    backend.held = status.substr(0, 7);
    const std::string text = query("select 1");
    EXPECT_EQ(relay.on_frontend_bytes(text).next, Next::acquire);
    EXPECT_EQ(relay.on_granted(backend).next, Next::proceed);
    context.settle();
    const std::string answer = status.substr(7) + none + ready();
    EXPECT_EQ(relay.on_backend_bytes(answer).next, Next::release);
    EXPECT_EQ(context.to_frontend.str(), status + none + ready());
}

// ---- the client fails ----

TEST(RelayFailures, UnknownMessageTypesEndTheClient) {
    for (const char type : {'p', '?', '\0', 'R', 'Z', 'N'}) {
        Script script;
        script.frontend(message(type, "abc"))
            .that([](World& world) {
                const std::string told = world.describe(world.client(0).received);
                EXPECT_NE(told.find("C08P01"), told.npos) << told;
                EXPECT_NE(told.find("FATAL"), told.npos) << told;
            })
            .closes(CloseReason::protocol_violation);
        script.check();
    }
}

TEST(RelayFailures, InvalidLengthsEndTheClient) {
    const std::string invalid[] = {
        header('Q', 0),          header('Q', 3),          header('Q', 0x40000000),
        header('Q', 0x7fffffff), header('Q', 0xffffffff), header('S', 10'001),
        header('E', 10'001),     header('D', 10'001),     header('C', 0xfffffffe),
        header('X', 1 << 20),
    };
    for (const std::string& bytes : invalid) {
        Script script;
        script.frontend(bytes).closes(CloseReason::protocol_violation).backend_gets("");
        script.check();
    }
}

TEST(RelayFailures, ViolationInTheMiddleOfARowIsToldBehindTheWholeAnswer) {
    Script script;
    const std::string row = data_row(std::string(50, 'x'));
    script.frontend(query("select 1"))
        .backend(row_description() + row.substr(0, 20))
        .frontend(message('?') + query("never sent"))
        .frontend_gets(row_description() + row.substr(0, 20))
        .open()
        .backend(row.substr(20) + none + ready())
        .frontend_gets(row.substr(20) + none + ready() +
                       own_fatal("08P01", "invalid frontend message type 63"))
        .closes(CloseReason::protocol_violation)
        .released()
        .backend_gets(query("select 1"));
    script.check_whole();
}

TEST(RelayFailures, ViolationBehindABatchWithoutSyncAsksForItsAnswers) {
    Script script;
    const std::string batch = parse("", "select 1") + bind("", "") + execute();
    script.frontend(batch + message('?'))
        .backend_gets(batch + flush())
        .open()
        .backend(parse_complete() + bind_complete() + none)
        .frontend_gets(parse_complete() + bind_complete() + none +
                       own_fatal("08P01", "invalid frontend message type 63"))
        .closes(CloseReason::protocol_violation)
        .backend_gets(bound_to_fail() + sync())
        .backend(error("26000", "no such statement") + ready())
        .released();
    script.check_whole();
}

TEST(RelayFailures, ViolationBehindACopyThatBeginsEndsIt) {
    Script script;
    script.frontend(query("copy t from stdin") + message('?'))
        .backend(copy_in_response())
        .frontend_gets(copy_in_response() +
                       own_error("08P01", "unexpected message type 0x3F during COPY from stdin") +
                       own_fatal("08P01",
                                 "terminating connection because protocol synchronization was "
                                 "lost"))
        .closes(CloseReason::protocol_violation)
        .backend_gets(query("copy t from stdin") + copy_fail("client is gone"))
        .backend(error("57014", "COPY from stdin failed") + ready())
        .released_after("DISCARD SEQUENCES");
    script.check_whole();
}

TEST(RelayFailures, FlushWithABodyNeverReachesTheBackend) {
    // PostgreSQL would fail it and skip whatever comes, up to a Sync.
    Script script;
    script.frontend(query("select 1") + message('H', "x"))
        .backend_gets(query("select 1") + bound_to_fail())
        .backend(none + ready() + error("26000", "no such statement"))
        .frontend_gets(none + ready() + own_error("08P01", "invalid message format"))
        .frontend(query("skipped") + sync())
        .backend_gets(sync())
        .backend(ready())
        .frontend_gets(ready())
        .released();
    script.check();
}

TEST(RelayFailures, SyncWithABodyIsRefusedByTheServerAndEndsTheBatch) {
    Script script;
    const std::string refused = error("08P01", "invalid message format");
    script.frontend(parse("", "select 1") + message('S', "x"))
        .backend_gets(parse("", "select 1") + message('S', "x"))
        .backend(parse_complete() + refused + ready())
        .frontend_gets(parse_complete() + refused + ready())
        .released();
    script.check();
}

TEST(RelayFailures, CountersReturnToNothing) {
    Script script;
    script.frontend(query("select 1")).backend(one_row("1") + ready()).that([](World& world) {
        const ServiceCounters& counters = world.counters();
        EXPECT_EQ(counters.leases_active.value(), 0U);
        EXPECT_EQ(counters.clients_waiting.value(), 0U);
        EXPECT_EQ(counters.transactions.value(), 1U);
        EXPECT_EQ(counters.queries_simple.value(), 1U);
        EXPECT_EQ(counters.received_bytes.value(), query("select 1").size());
    });
    script.check_whole();
}

}  // namespace
}  // namespace schemux::core::relay_script
