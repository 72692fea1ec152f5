// What the relay counts of statements, what it tells of slow ones, and of who has a backend for
// long. The clock is the test's.

#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace schemux::core::relay_script {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// One client and one backend; bytes come whole or one by one.
class Conversation {
  public:
    explicit Conversation(const StatementPolicy& policy, const Scene& scene = {},
                          bool bytewise = false)
        : world_(scene), bytewise_(bytewise) {
        world_.context().statistics.configure(policy);
    }
    Conversation& client(const std::string& bytes, std::size_t number = 0) {
        feed(bytes, [&](std::string_view part) { world_.from_frontend(number, part); });
        return *this;
    }
    Conversation& server(const std::string& bytes, std::size_t number = 0) {
        feed(bytes, [&](std::string_view part) { world_.from_backend(number, part); });
        return *this;
    }
    Conversation& after(std::chrono::nanoseconds time) {
        world_.context().now += time;
        return *this;
    }
    World& world() { return world_; }
    Relay& relay(std::size_t number = 0) { return *world_.client(number).relay; }
    /// `service: text calls/errors/rows total wait`, in milliseconds.
    std::vector<std::string> counted() {
        std::vector<std::string> lines;
        const auto ms = [](std::chrono::nanoseconds time) { return std::to_string(time / 1ms); };
        for (const StatementLine& line : world_.context().statistics.top(100)) {
            const StatementFigures& figures = line.figures;
            lines.push_back(line.text + " | " + std::to_string(figures.calls) + '/' +
                            std::to_string(figures.errors) + '/' + std::to_string(figures.rows) +
                            " in " + ms(figures.total) + " behind " + ms(figures.wait));
        }
        return lines;
    }

  private:
    template <class Feed>
    void feed(const std::string& bytes, Feed&& feed) {
        if (!bytewise_) return feed(bytes);
        for (const char& byte : bytes)
            feed(std::string_view(&byte, 1));
    }

    World world_;
    bool bytewise_;
};

using Lines = std::vector<std::string>;

/// The answer to an Execute.
std::string told(std::string_view value) {
    return data_row(value) + command_complete("SELECT 1");
}

const StatementPolicy counting{.statements = 100};

Scene named(const std::string& name) {
    Scene scene;
    scene.service.name = name;
    return scene;
}

TEST(RelayStatistics, AQueryIsOneCallWithAllItsStatements) {
    for (const bool bytewise : {false, true}) {
        Conversation talk(counting, {}, bytewise);
        talk.client(query("select 5; update t set a = 7"))
            .after(3ms)
            .server(one_row("1", "SELECT 2"))
            .after(2ms)
            .server(command_complete("UPDATE 40") + ready());
        EXPECT_EQ(talk.counted(), (Lines{"select ?; update t set a = ? | 1/0/42 in 5 behind 0"}));
        talk.client(query("select 6;  update t set a=8"))
            .server(command_complete("COPY") + ready());
        EXPECT_EQ(talk.counted(), (Lines{"select ?; update t set a = ? | 2/0/42 in 5 behind 0"}));
    }
}

TEST(RelayStatistics, NothingIsCountedUnlessItIsWanted) {
    Conversation talk({});
    talk.client(query("select 1")).after(1h).server(one_row("1") + ready());
    EXPECT_EQ(talk.counted(), Lines{});
    EXPECT_FALSE(talk.relay().has_slow_calls());
    talk.client(query("begin")).server(command_complete("BEGIN") + ready('T')).after(24h);
    EXPECT_FALSE(talk.relay().long_lease());
}

TEST(RelayStatistics, ItMayBeWantedLaterOn) {
    Conversation talk({});
    talk.client(query("select 1")).server(one_row("1") + ready());
    talk.world().context().statistics.configure(counting);
    talk.client(query("select 1")).server(one_row("1") + ready());
    EXPECT_EQ(talk.counted(), (Lines{"select ? | 1/0/1 in 0 behind 0"}));
}

TEST(RelayStatistics, EachExecuteOfAPipelineHasItsOwnTime) {
    for (const bool bytewise : {false, true}) {
        Conversation talk(counting, {}, bytewise);
        const std::string two = parse("", "select $1::int") + bind("", "") + execute() +
                                parse("", "update t set a = 2") + bind("", "") + execute() + sync();
        talk.client(two)
            .after(4ms)
            .server(parse_complete() + bind_complete() + told("1"))
            .after(9ms)
            .server(parse_complete() + bind_complete() + command_complete("UPDATE 3"))
            .after(20ms)
            .server(ready());
        EXPECT_EQ(talk.counted(), (Lines{"update t set a = ? | 1/0/3 in 9 behind 0",
                                         "select $1::int | 1/0/1 in 4 behind 0"}));
    }
}

TEST(RelayStatistics, APreparedStatementIsKnownOnWhateverBackend) {
    Conversation talk(counting, two_backends());
    talk.client(parse("s", "select 'x'") + sync()).server(parse_complete() + ready());
    talk.world().next_server = 1;
    talk.client(bind("", "s") + execute() + sync())
        .after(2ms)
        .server(parse_complete() + bind_complete() + told("x") + ready(), 1);
    EXPECT_EQ(talk.counted(), (Lines{"select ? | 1/0/1 in 2 behind 0"}));
}

TEST(RelayStatistics, NamedPortalsAreKnown) {
    Conversation talk(counting);
    talk.client(query("begin")).server(command_complete("BEGIN") + ready('T'));
    talk.client(parse("", "select a from t") + bind("c1", "") + execute("c1", 5) + sync())
        .after(1ms)
        .server(parse_complete() + bind_complete() + data_row("1") + portal_suspended() +
                ready('T'));
    talk.client(parse("", "select 'other'") + execute("c1") + sync())
        .after(2ms)
        .server(parse_complete() + data_row("1") + command_complete("SELECT 1") + ready('T'));
    EXPECT_EQ(talk.counted(),
              (Lines{"select a from t | 2/0/1 in 3 behind 0", "begin | 1/0/0 in 0 behind 0"}));
}

TEST(RelayStatistics, ErrorsAreTheCallsThatFailed) {
    for (const bool bytewise : {false, true}) {
        Conversation talk(counting, {}, bytewise);
        talk.client(query("select 1/0"))
            .server(error("22012", "division by zero") + ready())
            .client(query("select 1"))
            .server(one_row("1") + ready());
        talk.client(parse("", "selec 1") + bind("", "") + execute() + parse("", "select 2") +
                    bind("", "") + execute() + sync())
            .after(1ms)
            .server(error("42601", "syntax error") + ready());
        Lines lines = talk.counted();
        EXPECT_EQ(lines[0], "selec ? | 1/1/0 in 1 behind 0");
        EXPECT_EQ(lines.size(), 3U);
        for (const std::string& line : lines)
            EXPECT_NE(line, "select ? | 2/0/1 in 0 behind 0") << "what was skipped is no call";
    }
}

TEST(RelayStatistics, TheWaitForABackendIsTheFirstCalls) {
    Conversation talk(counting);
    talk.world().hold_grants = true;
    talk.client(query("begin")).after(70ms);
    talk.world().grant_waiting();
    talk.after(1ms).server(command_complete("BEGIN") + ready('T'));
    talk.after(1h).client(query("select 1")).after(5ms).server(one_row("1") + ready('T'));
    EXPECT_EQ(talk.counted(),
              (Lines{"select ? | 1/0/1 in 5 behind 0", "begin | 1/0/0 in 1 behind 70"}));
}

TEST(RelayStatistics, TemplatesStayAsTheyAreWritten) {
    Conversation talk(counting, with_schema("app"));
    talk.client(query("select * from {{tables.users}} where id = 5"));
    talk.server(one_row("1") + ready());
    EXPECT_EQ(talk.counted(),
              (Lines{"select * from {{tables.users}} where id = ? | 1/0/1 in 0 behind 0"}));
}

TEST(RelayStatistics, ALostBackendIsTheErrorOfWhatRan) {
    Conversation talk({.statements = 100, .slow_query = 1s});
    talk.client(query("select 1")).after(2s);
    talk.relay().on_backend_lost();
    EXPECT_EQ(talk.counted(), (Lines{"select ? | 1/1/0 in 2000 behind 0"}));
    ASSERT_TRUE(talk.relay().has_slow_calls());
    EXPECT_EQ(talk.relay().take_slow_calls()[0].sqlstate, "08006");
}

// ---- slow ones ----

TEST(RelayStatistics, WhatIsSlowIsToldOnce) {
    Conversation talk({.slow_query = 100ms});
    talk.client(query("select 'secret'")).after(99ms).server(one_row("1") + ready());
    EXPECT_FALSE(talk.relay().has_slow_calls());
    talk.client(query("select 'secret'")).after(100ms).server(one_row("1") + ready());
    ASSERT_TRUE(talk.relay().has_slow_calls());
    const std::vector<SlowCall> slow = talk.relay().take_slow_calls();
    ASSERT_EQ(slow.size(), 1U);
    EXPECT_EQ(slow[0].text, "select ?");
    EXPECT_EQ(slow[0].duration, 100ms);
    EXPECT_EQ(slow[0].rows, 1U);
    EXPECT_EQ(slow[0].sqlstate, "");
    EXPECT_EQ(slow[0].traceparent, "");
    EXPECT_FALSE(talk.relay().has_slow_calls());
    EXPECT_EQ(talk.counted(), Lines{});
}

TEST(RelayStatistics, AServiceHasItsOwnThreshold) {
    Scene scene = named("own");
    scene.service.slow_query = 5ms;
    for (const auto general : {0ms, 1h / 1ms * 1ms}) {
        Conversation talk({.slow_query = general}, scene);
        talk.client(query("select 1")).after(5ms).server(error("XX000", "no") + ready());
        ASSERT_TRUE(talk.relay().has_slow_calls());
        EXPECT_EQ(talk.relay().take_slow_calls()[0].sqlstate, "XX000");
    }
}

std::string slow_text_of(SlowText which, const std::string& bytes, const std::string& answer) {
    Conversation talk({.slow_query = 1ms, .slow_text = which}, with_schema("app"));
    talk.client(bytes).after(1s).server(answer);
    std::vector<SlowCall> slow = talk.relay().take_slow_calls();
    return slow.size() == 1 ? slow[0].text : "none";
}

TEST(RelayStatistics, TheTextIsAsItIsAskedFor) {
    const std::string text = "select 'lit' from {{tables.users}}";
    const std::string plain = "select 'lit'";
    const std::string simple = one_row("1") + ready();
    const std::string extended = parse_complete() + bind_complete() + told("1") + ready();
    const auto run_of = [](const std::string& sql) {
        return parse("", sql) + bind("", "") + execute() + sync();
    };
    for (const bool prepared : {false, true}) {
        const auto asked = [&](SlowText which, const std::string& sql) {
            return slow_text_of(which, prepared ? run_of(sql) : query(sql),
                                prepared ? extended : simple);
        };
        EXPECT_EQ(asked(SlowText::fingerprint, text), "select ? from {{tables.users}}");
        EXPECT_EQ(asked(SlowText::client, text), text);
        EXPECT_EQ(asked(SlowText::client, plain), plain);
        EXPECT_EQ(asked(SlowText::rewritten, text), "select 'lit' from \"app\".users");
        EXPECT_EQ(asked(SlowText::rewritten, plain), plain);
        EXPECT_EQ(asked(SlowText::none, text), "");
    }
}

TEST(RelayStatistics, TheTraceIsTold) {
    const std::string text = "select 1 /*traceparent='" + std::string(trace) + "'*/";
    for (const bool prepared : {false, true}) {
        Conversation talk({.slow_query = 1ms});
        const std::string run = parse("s", text) + bind("", "s") + execute() + sync();
        talk.client(prepared ? run : query(text)).after(1s);
        talk.server((prepared ? parse_complete() + bind_complete() + told("1") : one_row("1")) +
                    ready());
        const std::vector<SlowCall> slow = talk.relay().take_slow_calls();
        ASSERT_EQ(slow.size(), 1U);
        EXPECT_EQ(slow[0].traceparent, trace);
        EXPECT_EQ(slow[0].text, "select ?");
    }
}

TEST(RelayStatistics, OfManySlowOnesInOneReadSomeAreTold) {
    Conversation talk({.slow_query = 1ms});
    std::string asked;
    std::string told;
    for (int count = 0; count < 20; ++count) {
        asked += query("select 1");
        told += one_row("1") + ready('T');
    }
    talk.client(query("begin")).server(command_complete("BEGIN") + ready('T'));
    talk.client(asked);
    for (int count = 0; count < 20; ++count)
        talk.after(1s).server(one_row("1") + ready('T'));
    EXPECT_EQ(talk.relay().take_slow_calls().size(), limits::slow_calls_told_max);
}

// ---- long leases ----

TEST(RelayStatistics, ALongLeaseIsToldOnce) {
    Conversation talk({.long_lease = 10s});
    talk.client(query("select 'x', pg_sleep(60)")).after(9s);
    EXPECT_FALSE(talk.relay().long_lease());
    talk.after(1s);
    const auto lease = talk.relay().long_lease();
    ASSERT_TRUE(lease);
    EXPECT_EQ(lease->held, 10s);
    EXPECT_EQ(lease->use, LeaseUse::active);
    EXPECT_EQ(lease->last->text, "select ?, pg_sleep(?)");
    EXPECT_FALSE(talk.after(1h).relay().long_lease());
    talk.server(one_row("1") + ready());
    EXPECT_FALSE(talk.after(1h).relay().long_lease()) << "it has none";
    talk.client(query("begin")).server(command_complete("BEGIN") + ready('T')).after(10s);
    const auto next = talk.relay().long_lease();
    ASSERT_TRUE(next);
    EXPECT_EQ(next->use, LeaseUse::idle_in_transaction);
    EXPECT_EQ(next->last->text, "begin");
}

TEST(RelayStatistics, AnOpenBatchHoldsALease) {
    Conversation talk({.long_lease = 10s});
    talk.client(parse("", "select 1") + bind("", "") + execute() + flush());
    talk.server(parse_complete() + bind_complete() + told("1")).after(10s);
    const auto lease = talk.relay().long_lease();
    ASSERT_TRUE(lease);
    EXPECT_EQ(lease->use, LeaseUse::open_batch);
    EXPECT_EQ(name_of(lease->use), "open_batch");
}

TEST(RelayStatistics, InSessionModeOnlyWorkIsNews) {
    Scene scene;
    scene.service.mode = PoolMode::session;
    Conversation talk({.long_lease = 10s}, scene);
    talk.client(query("select 1")).server(one_row("1") + ready()).after(1h);
    EXPECT_FALSE(talk.relay().long_lease());
    talk.client(query("begin")).server(command_complete("BEGIN") + ready('T')).after(10s);
    const auto lease = talk.relay().long_lease();
    ASSERT_TRUE(lease);
    EXPECT_EQ(lease->held, 10s);
}

// ---- at no cost ----

TEST(RelayStatistics, NoneOfItChangesWhatIsSent) {
    Script script;
    script
        .that([](World& world) {
            world.context().statistics.configure(
                {.statements = 3, .slow_query = 1ms, .slow_text = SlowText::client});
        })
        .frontend(query("select 1"))
        .backend_gets(query("select 1"))
        .backend(one_row("1") + ready())
        .frontend_gets(one_row("1") + ready())
        .released()
        .frontend(parse("", "select 2") + bind("", "") + execute() + sync())
        .backend_gets(parse("", "select 2") + bind("", "") + execute() + sync())
        .backend(parse_complete() + bind_complete() + told("2") + ready())
        .frontend_gets(parse_complete() + bind_complete() + told("2") + ready())
        .released();
    script.check();
}

}  // namespace
}  // namespace schemux::core::relay_script
