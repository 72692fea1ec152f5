// What the data plane costs in memory: in steady state, nothing is allocated per message.

#include "tests/support/counting_new.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

const std::string none = command_complete("SELECT 0");

/// A client and a backend without anything around them that could allocate.
struct Bench {
    Bench() {
        context.namer = &namer;
        relay.start(&welcome);
        context.settle();
        // A worker has had a busy connection before.
        context.buffers.give(std::string(4096, 'x'));
        context.buffers.give(std::string(4096, 'x'));
    }

    Step settle(Step step) {
        while (step.next == Next::acquire || step.next == Next::release) {
            context.settle();
            step = step.next == Next::acquire ? relay.on_granted(backend) : relay.resume();
        }
        context.settle();
        return step;
    }
    void round(const std::string& asked, const std::string& answered) {
        settle(relay.on_frontend_bytes(asked));
        settle(relay.on_backend_bytes(answered));
    }

    WorkerContext context;
    StatementNamer namer;
    ServiceCounters counters;
    Settings welcome;
    Backend backend;
    Relay relay{context, std::make_shared<const Service>(), counters, {}, {1, "key", "p"}};
};

TEST(RelayMemory, SimpleQueriesAllocateNothing) {
    Bench bench;
    const std::string asked = query("select a, b from t where c = 17");
    const std::string answered = one_row("1") + ready();
    for (int i = 0; i < 100; ++i)
        bench.round(asked, answered);
    const std::size_t before = testing::allocations();
    for (int i = 0; i < 10'000; ++i)
        bench.round(asked, answered);
    EXPECT_EQ(testing::allocations() - before, 0U);
    EXPECT_EQ(bench.relay.phase(), RelayPhase::idle);
}

TEST(RelayMemory, RewrittenQueriesAllocateNothing) {
    Bench bench;
    const std::string asked = query("select a, b from {{tables.t}} where c = 17");
    const std::string answered = one_row("1") + ready();
    for (int i = 0; i < 100; ++i)
        bench.round(asked, answered);
    const std::size_t before = testing::allocations();
    for (int i = 0; i < 10'000; ++i)
        bench.round(asked, answered);
    EXPECT_EQ(testing::allocations() - before, 0U);
}

TEST(RelayMemory, NamedStatementsAllocateNothing) {
    Bench bench;
    bench.round(parse("s1", "select a from t where b = $1") + sync(), parse_complete() + ready());
    const std::string asked = bind("", "s1") + execute() + sync();
    const std::string answered = bind_complete() + data_row("1") + none + ready();
    for (int i = 0; i < 100; ++i)
        bench.round(asked, answered);
    const std::size_t before = testing::allocations();
    for (int i = 0; i < 10'000; ++i)
        bench.round(asked, answered);
    EXPECT_EQ(testing::allocations() - before, 0U);
    EXPECT_EQ(bench.relay.phase(), RelayPhase::idle);
}

TEST(RelayMemory, UnnamedStatementsAllocateNothing) {
    Bench bench;
    const std::string asked =
        parse("", "select a from t where b = 1") + bind("", "") + execute() + sync();
    const std::string answered =
        parse_complete() + bind_complete() + data_row("1") + none + ready();
    for (int i = 0; i < 100; ++i)
        bench.round(asked, answered);
    const std::size_t before = testing::allocations();
    for (int i = 0; i < 10'000; ++i)
        bench.round(asked, answered);
    EXPECT_EQ(testing::allocations() - before, 0U);
}

}  // namespace
}  // namespace schemux::core::relay_script
