// A PostgreSQL that breaks the protocol while no client has it: every message type in every state
// of our own query and at rest. Whatever it is not, the backend must go, and that it broke the
// protocol is told apart from a reset that failed and from a server that goes away.
#include "core/upkeep.h"
#include "tests/support/backend_samples.h"
#include "tests/support/byte_splitter.h"
#include "tests/support/counting_new.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace schemux::core {
namespace {

using namespace relay_script;

const Label app = Label::of({{"search_path", "app"}});

struct State {
    std::string name;
    std::string answered;
    std::string_view fine;
};

const std::vector<State> states{
    {"nothing yet", "",
     "NSAE"
     "TC"},
    {"description came", row_description(),
     "NSAE"
     "TDC"},
    {"rows came", row_description() + data_row("x"),
     "NSAE"
     "TDC"},
    {"command complete", one_row("x"),
     "NSAE"
     "TCZ"},
    {"failed", error("22023", "no"),
     "NSAE"
     "Z"},
    {"done", one_row("x") + ready(), "NSA"},
};

class Bench {
  public:
    explicit Bench(UpkeepGoal goal = UpkeepGoal::relabel) : upkeep_(begin(goal)) {}

    UpkeepState answer(std::string_view bytes) {
        return upkeep_.on_bytes(bytes, backend, carry, pool);
    }
    IdleNews rest(std::string_view bytes) { return read_idle(bytes, backend, carry, pool); }
    const Upkeep& upkeep() const { return upkeep_; }

    Backend backend;
    Carry carry;
    BufferPool pool;

  private:
    Upkeep begin(UpkeepGoal goal) {
        std::string sql;
        if (goal == UpkeepGoal::relabel) return Upkeep::relabel(backend, app, sql);
        backend.taint.full_reset = true;
        return Upkeep::reset(backend, sql);
    }

    Upkeep upkeep_;
};

bool has(std::string_view types, char type) {
    return types.find(type) != std::string_view::npos;
}

TEST(UpkeepHostile, EveryTypeInEveryState) {
    for (const UpkeepGoal goal : {UpkeepGoal::relabel, UpkeepGoal::reset}) {
        for (const State& state : states) {
            for (int type = 0; type < 256; ++type) {
                const char c = static_cast<char>(type);
                const std::string bytes = backend_sample(c);
                testing::for_each_split(bytes, [&](const testing::Parts& parts) {
                    SCOPED_TRACE(state.name + ", type " + std::to_string(type));
                    Bench bench(goal);
                    bench.answer(state.answered);
                    for (const std::string_view part : parts)
                        bench.answer(part);
                    const bool failed = bench.upkeep().state() == UpkeepState::failed;
                    if (has(state.fine, c)) {
                        EXPECT_EQ(bench.upkeep().desync(), "");
                    } else {
                        EXPECT_TRUE(failed);
                        EXPECT_NE(bench.upkeep().desync(), "");
                    }
                });
            }
        }
    }
}

TEST(UpkeepHostile, BackendThatIsNotUsableIsNeverTakenForDone) {
    // Each would have ended in `done` or `refused` for a reader that only waits for ReadyForQuery.
    const std::vector<std::string> lies{
        ready(),
        error("22023", "no") + command_complete("SET") + ready(),
        fatal("57P01", "going") + ready(),
        diagnostic('E', "PANIC", "XX000", "gone") + ready(),
        data_row("x") + command_complete("SET") + ready(),
        copy_in_response() + command_complete("SET") + ready(),
        empty_query_response() + ready(),
        parse_complete() + command_complete("SET") + ready(),
        message('R', "\0\0\0\0"sv) + command_complete("SET") + ready(),
    };
    for (const std::string& lie : lies) {
        for (const UpkeepGoal goal : {UpkeepGoal::relabel, UpkeepGoal::reset}) {
            Bench bench(goal);
            EXPECT_EQ(bench.answer(lie), UpkeepState::failed) << lie;
        }
    }
}

TEST(UpkeepHostile, GoodbyeIsNoDesync) {
    for (const State& state : states) {
        Bench bench;
        bench.answer(state.answered);
        EXPECT_EQ(bench.answer(fatal("57P01", "terminating")), UpkeepState::failed) << state.name;
        EXPECT_EQ(bench.upkeep().desync(), "") << state.name;
        EXPECT_TRUE(bench.upkeep().gone()) << state.name;
    }
    Bench failed(UpkeepGoal::reset);
    EXPECT_EQ(failed.answer(error("57014", "canceled") + ready()), UpkeepState::failed);
    EXPECT_EQ(failed.upkeep().desync(), "");
    EXPECT_FALSE(failed.upkeep().gone());
}

TEST(UpkeepHostile, RefusalWithoutFieldsIsStillAnError) {
    for (const std::string_view body : {"\0"sv, "SERROR\0\0"sv, "C\0M\0\0"sv}) {
        Bench bench;
        EXPECT_EQ(bench.answer(message('E', body) + ready()), UpkeepState::refused);
        EXPECT_EQ(bench.upkeep().error().sqlstate, "08006");
        EXPECT_NE(bench.upkeep().error().message, "");
    }
}

TEST(UpkeepHostile, ImpossibleLengthsAreRefusedAtTheHeader) {
    for (const State& state : states) {
        for (const char type : backend_types) {
            for (const std::uint32_t length : {0U, 3U, 0x3fffffffU, 0x80000000U, 0xffffffffU}) {
                SCOPED_TRACE(state.name + ", type " + type + ", " + std::to_string(length));
                Bench bench;
                bench.answer(state.answered);
                const std::string bytes = header(type, length);
                const std::size_t before = testing::allocated_bytes();
                EXPECT_EQ(bench.answer(bytes), UpkeepState::failed);
                EXPECT_NE(bench.upkeep().desync(), "");
                EXPECT_LT(testing::allocated_bytes() - before, 64U * 1024);
            }
        }
    }
}

TEST(UpkeepHostile, ReportedSettingsAreBounded) {
    Bench bench;
    UpkeepState state = UpkeepState::running;
    for (std::size_t i = 0; i <= limits::reported_parameters_max; ++i)
        state = bench.answer(parameter_status("p" + std::to_string(i), "v"));
    EXPECT_EQ(state, UpkeepState::failed);
    EXPECT_EQ(bench.backend.parameters.size(), limits::reported_parameters_max);
}

// ---- at rest ----

TEST(IdleBackend, EveryType) {
    for (int type = 0; type < 256; ++type) {
        const char c = static_cast<char>(type);
        const std::string bytes = backend_sample(c);
        SCOPED_TRACE(type);
        Bench bench;
        const IdleNews news = bench.rest(bytes);
        if (has("NA", c)) {
            EXPECT_EQ(news.kind, IdleNews::Kind::nothing);
        } else if (c == 'S') {
            EXPECT_EQ(news.kind, IdleNews::Kind::parameters);
            EXPECT_EQ(bench.backend.parameter("TimeZone"), "UTC");
        } else {
            EXPECT_EQ(news.kind, IdleNews::Kind::desync);
            EXPECT_NE(news.desync, "");
        }
    }
}

TEST(IdleBackend, GoodbyeIsNoDesync) {
    const std::string goodbye = fatal("57P01", "terminating");
    EXPECT_EQ(Bench().rest(goodbye).kind, IdleNews::Kind::gone);
    EXPECT_EQ(Bench().rest(notice("x") + goodbye).kind, IdleNews::Kind::gone);
    // In part it cannot be read, but nobody may get this backend any more.
    EXPECT_EQ(Bench().rest(goodbye.substr(0, 9)).kind, IdleNews::Kind::gone);
}

TEST(IdleBackend, BrokenMessages) {
    const std::vector<std::string> broken{
        message('S', "half"),    message('S', "\0x\0"sv),  message('E', "S"), header('S', 3),
        header('N', 0x7fffffff), header('N', 0x80000000),  header('A', 9),    header('S', 65'537),
        header('E', 2),          std::string("HTTP/1.1 "),
    };
    for (const std::string& bytes : broken)
        EXPECT_EQ(Bench().rest(bytes).kind, IdleNews::Kind::desync) << bytes;
}

TEST(IdleBackend, MessageInPartIsKeptAndBounded) {
    Bench bench;
    const std::string status = parameter_status("TimeZone", "Europe/Berlin");
    for (std::size_t i = 0; i + 1 < status.size(); ++i)
        EXPECT_EQ(bench.rest(status.substr(i, 1)).kind, IdleNews::Kind::nothing);
    EXPECT_EQ(bench.rest(status.substr(status.size() - 1)).kind, IdleNews::Kind::parameters);
    EXPECT_EQ(bench.backend.parameter("TimeZone"), "Europe/Berlin");
    EXPECT_TRUE(bench.backend.held.empty());
}

TEST(IdleBackend, ReportedSettingsAreBounded) {
    Bench bench;
    IdleNews news;
    for (std::size_t i = 0; i <= limits::reported_parameters_max; ++i)
        news = bench.rest(parameter_status("p" + std::to_string(i), "v"));
    EXPECT_EQ(news.kind, IdleNews::Kind::desync);
    EXPECT_EQ(bench.backend.parameters.size(), limits::reported_parameters_max);
}

}  // namespace
}  // namespace schemux::core
