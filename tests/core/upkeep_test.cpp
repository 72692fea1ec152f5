// What is done to a backend between leases, answer by answer.
// It must not know who waits for the backend.
#include "core/upkeep.h"

#include "tests/support/byte_splitter.h"
#include "tests/support/relay_messages.h"

#include <gtest/gtest.h>

#include <vector>

namespace schemux::core {
namespace {

using namespace relay_script;

struct Bench {
    Backend backend;
    std::string sent;
    Carry carry;
    BufferPool pool;

    UpkeepState answer(Upkeep& upkeep, std::string_view bytes) {
        return upkeep.on_bytes(bytes, backend, carry, pool);
    }
};

const Label app = Label::of({{"search_path", "app"}});

void have(Backend& backend, const StatementId& id) {
    backend.statements.add(1, When::done, id, 7, 1);
    backend.statements.succeeded(1);
}

Bench tainted() {
    Bench bench;
    bench.backend.taint.full_reset = true;
    bench.backend.saw_set = true;
    bench.backend.label = app;
    have(bench.backend, unnamed_statement);
    have(bench.backend, StatementId{1});
    return bench;
}

TEST(Upkeep, RelabelToTheSameLabelIsDoneAtOnce) {
    Bench bench;
    bench.backend.label = app;
    const Upkeep upkeep = Upkeep::relabel(bench.backend, app, bench.sent);
    EXPECT_EQ(upkeep.state(), UpkeepState::done);
    EXPECT_TRUE(bench.sent.empty());
}

TEST(Upkeep, RelabelSendsTheDifferenceAndTakesTheLabelWhenItIsDone) {
    Bench bench;
    have(bench.backend, unnamed_statement);
    Upkeep upkeep = Upkeep::relabel(bench.backend, app, bench.sent);
    EXPECT_EQ(upkeep.goal(), UpkeepGoal::relabel);
    EXPECT_EQ(bench.sent, query("SELECT pg_catalog.set_config('search_path','app',false)IS NULL"));
    EXPECT_EQ(bench.backend.label, Label{});
    EXPECT_FALSE(bench.backend.statements.find(unnamed_statement).there);
    EXPECT_EQ(bench.answer(upkeep, row_description() + data_row("app")), UpkeepState::running);
    EXPECT_EQ(bench.answer(upkeep, command_complete("SELECT 1") + ready()), UpkeepState::done);
    EXPECT_EQ(bench.backend.label, app);
    EXPECT_TRUE(bench.backend.at_rest());
}

TEST(Upkeep, RelabelNotesWhatTheServerReports) {
    Bench bench;
    bench.backend.parameters = {{"TimeZone", "UTC"}};
    Upkeep upkeep =
        Upkeep::relabel(bench.backend, Label::of({{"timezone", "Europe/Berlin"}}), bench.sent);
    bench.answer(upkeep, parameter_status("TimeZone", "Europe/Berlin") + one_row("x") + ready());
    EXPECT_EQ(upkeep.state(), UpkeepState::done);
    EXPECT_EQ(bench.backend.parameter("TimeZone"), "Europe/Berlin");
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
}

TEST(Upkeep, RefusedRelabelLeavesTheBackendAsItWas) {
    Bench bench;
    Upkeep upkeep = Upkeep::relabel(bench.backend, app, bench.sent);
    EXPECT_EQ(bench.answer(upkeep, error("22023", "invalid value") + ready()),
              UpkeepState::refused);
    EXPECT_EQ(upkeep.error().sqlstate, "22023");
    EXPECT_EQ(upkeep.error().message, "invalid value");
    EXPECT_EQ(upkeep.error().severity, protocol::Severity::error);
    EXPECT_EQ(bench.backend.label, Label{});
    EXPECT_TRUE(bench.backend.at_rest());
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
}

TEST(Upkeep, CleanBackendNeedsNoReset) {
    Bench bench;
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
    const Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
    EXPECT_EQ(upkeep.state(), UpkeepState::done);
    EXPECT_TRUE(bench.sent.empty());
}

TEST(Upkeep, StatementsAnalysedUnderASetNeedAReset) {
    Bench bench;
    bench.backend.saw_set = true;
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
    bench.backend.added_statements = true;
    EXPECT_TRUE(Upkeep::reset_needed(bench.backend));
    bench.backend.saw_set = false;
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
}

TEST(Upkeep, OpenTransactionIsRolledBack) {
    Bench bench;
    bench.backend.transaction = protocol::TransactionStatus::failed;
    have(bench.backend, StatementId{1});
    EXPECT_TRUE(Upkeep::reset_needed(bench.backend));
    Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
    EXPECT_EQ(bench.sent, query("ROLLBACK;"));
    EXPECT_EQ(bench.answer(upkeep, command_complete("ROLLBACK") + ready()), UpkeepState::done);
    EXPECT_TRUE(bench.backend.at_rest());
    EXPECT_EQ(bench.backend.statements.size(), 1U);
}

TEST(Upkeep, SequencesAloneAreForgottenWithoutTheRest) {
    Bench bench;
    bench.backend.taint.sequences = true;
    bench.backend.label = app;
    have(bench.backend, StatementId{1});
    Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
    EXPECT_EQ(bench.sent, query("DISCARD SEQUENCES"));
    EXPECT_EQ(bench.answer(upkeep, command_complete("DISCARD SEQUENCES") + ready()),
              UpkeepState::done);
    EXPECT_EQ(bench.backend.label, app);
    EXPECT_EQ(bench.backend.statements.size(), 1U);
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
}

TEST(Upkeep, FullResetForgetsLabelAndStatements) {
    Bench bench = tainted();
    bench.backend.transaction = protocol::TransactionStatus::in_transaction;
    Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
    EXPECT_NE(bench.sent.find("ROLLBACK;SET SESSION AUTHORIZATION DEFAULT;"), std::string::npos);
    for (const char* part :
         {"RESET ROLE;", "RESET ALL;", "DEALLOCATE ALL;", "CLOSE ALL;", "UNLISTEN *;",
          "pg_advisory_unlock_all()", "DISCARD PLANS;", "DISCARD SEQUENCES;", "DISCARD TEMP"}) {
        EXPECT_NE(bench.sent.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(bench.answer(upkeep, command_complete("ROLLBACK") + ready()), UpkeepState::done);
    EXPECT_EQ(bench.backend.label, Label{});
    EXPECT_EQ(bench.backend.statements.size(), 0U);
    EXPECT_FALSE(bench.backend.statements.find(unnamed_statement).there);
    EXPECT_FALSE(Upkeep::reset_needed(bench.backend));
}

TEST(Upkeep, FailedResetMeansTheBackendMustGo) {
    Bench bench = tainted();
    Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
    EXPECT_EQ(bench.answer(upkeep, error("57014", "canceled") + ready()), UpkeepState::failed);
    EXPECT_TRUE(Upkeep::reset_needed(bench.backend));
}

TEST(Upkeep, AnythingUnexpectedMeansTheBackendMustGo) {
    const std::vector<std::string> unexpected{
        ready('T'),
        ready('E'),
        message('Z'),
        message('Z', "XX"),
        message('R', "\0\0\0\0"sv),
        message('?'),
        header('C', 3),
        header('S', limits::inspected_message_max + 1),
        message('S', "half\0"sv),
        message('E', "V"),
        ready() + ready(),
        ready() + data_row("secret"),
        ready() + fatal("57P01", "terminating"),
    };
    for (const std::string& bytes : unexpected) {
        Bench bench = tainted();
        Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
        EXPECT_EQ(bench.answer(upkeep, bytes), UpkeepState::failed) << bytes;
    }
}

TEST(Upkeep, NoticesAndLateParametersAreFine) {
    Bench bench = tainted();
    Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
    EXPECT_EQ(bench.answer(upkeep, notice("hm") + command_complete("RESET") + ready() +
                                       notification() + parameter_status("a", "b")),
              UpkeepState::done);
    EXPECT_EQ(bench.backend.parameter("a"), "b");
    EXPECT_TRUE(bench.backend.at_rest());
}

TEST(Upkeep, EveryCutOfTheAnswerIsTheSame) {
    const std::string answer = parameter_status("TimeZone", "UTC") + notice("hm") +
                               one_row(std::string(600, 'x')) + command_complete("RESET") + ready();
    testing::for_each_split(answer, [](const testing::Parts& parts) {
        Bench bench = tainted();
        Upkeep upkeep = Upkeep::reset(bench.backend, bench.sent);
        UpkeepState state = UpkeepState::running;
        for (const std::string_view part : parts)
            state = bench.answer(upkeep, part);
        EXPECT_EQ(state, UpkeepState::done);
        EXPECT_TRUE(bench.backend.at_rest());
        EXPECT_EQ(bench.backend.parameter("TimeZone"), "UTC");
    });
}

TEST(Upkeep, CheckIsASyncAndEndsWithItsAnswerAtEveryCut) {
    testing::for_each_split(notice("late") + ready(), [](const testing::Parts& parts) {
        Bench bench;
        Upkeep upkeep = Upkeep::check(bench.sent);
        EXPECT_EQ(bench.sent, sync());
        EXPECT_TRUE(upkeep.before_lease());
        for (const std::string_view part : parts)
            bench.answer(upkeep, part);
        EXPECT_EQ(upkeep.state(), UpkeepState::done);
    });
}

TEST(Upkeep, CheckFailsWithWhateverElseComes) {
    const std::vector<std::string> answers{command_complete("SELECT 1") + ready(), ready('T'),
                                           error("XX000", "no") + ready(),
                                           fatal("57P01", "terminating")};
    for (const std::string& answer : answers) {
        Bench bench;
        Upkeep upkeep = Upkeep::check(bench.sent);
        EXPECT_EQ(bench.answer(upkeep, answer), UpkeepState::failed);
    }
}

TEST(Upkeep, MeasureIsWhatPostgresTellsAtEveryCut) {
    const std::string told =
        row_description() + data_row("1234567") + command_complete("SELECT 1") + ready();
    testing::for_each_split(told, [](const testing::Parts& parts) {
        Bench bench;
        have(bench.backend, unnamed_statement);
        Upkeep upkeep = Upkeep::measure(bench.backend, bench.sent);
        EXPECT_FALSE(bench.backend.statements.find(unnamed_statement).there);
        for (const std::string_view part : parts)
            bench.answer(upkeep, part);
        EXPECT_EQ(upkeep.state(), UpkeepState::done);
        EXPECT_EQ(upkeep.measured(), 1'234'567U);
    });
}

TEST(Upkeep, MeasureThatIsRefusedLeavesTheBackendAsItWas) {
    Bench bench;
    Upkeep upkeep = Upkeep::measure(bench.backend, bench.sent);
    EXPECT_EQ(bench.answer(upkeep, error("42501", "permission denied") + ready()),
              UpkeepState::refused);
    EXPECT_EQ(upkeep.error().sqlstate, "42501");
}

TEST(Upkeep, MeasureOfWhatIsNoNumberFails) {
    for (const char* odd : {"", "12 MB", "-1", "99999999999999999999"}) {
        Bench bench;
        Upkeep upkeep = Upkeep::measure(bench.backend, bench.sent);
        EXPECT_EQ(bench.answer(upkeep, row_description() + data_row(odd)), UpkeepState::failed)
            << odd;
    }
}

}  // namespace
}  // namespace schemux::core
