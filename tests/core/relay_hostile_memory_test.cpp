// What a hostile client can make the relay hold: a length is a claim, and memory follows what has
// come, up to a bound.

#include "tests/support/counting_new.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {
namespace {

/// A client that is logged in, on a worker that has had a busy connection before.
struct Bench {
    Bench() {
        context.namer = &namer;
        relay.start(&welcome);
        context.settle();
        context.buffers.give(std::string(4096, 'x'));
    }

    void begin(const std::string& asked) {
        ASSERT_EQ(relay.on_frontend_bytes(asked).next, Next::acquire);
        context.settle();
        relay.on_granted(backend);
        context.settle();
    }

    WorkerContext context;
    StatementNamer namer;
    ServiceCounters counters;
    Settings welcome;
    Backend backend;
    Relay relay{context, std::make_shared<const Service>(), counters, {}, {1, "key", "p"}};
};

TEST(RelayHostileMemory, HeaderThatClaimsAGigabyteAllocatesNoMoreThanItsRefusal) {
    for (const std::uint32_t length : {protocol::large_message_max, 0x7fffffffU, 0xffffffffU}) {
        for (const char type : std::string_view("BCDEFHPQSXcdfp?")) {
            Bench bench;
            const std::string bytes = header(type, length);
            testing::forget_largest_allocation();
            bench.relay.on_frontend_bytes(bytes);
            bench.context.settle();
            EXPECT_LT(testing::largest_allocation(), 1024U) << type << ' ' << length;
        }
    }
}

TEST(RelayHostileMemory, HeldMessageTakesAtMostTwiceItsBytes) {
    Bench bench;
    const std::size_t cap = Service{}.max_query_bytes;
    const std::string chunk(4096, 'x');
    testing::forget_largest_allocation();
    bench.relay.on_frontend_bytes(header('Q', static_cast<std::uint32_t>(cap)));
    bench.context.settle();
    for (std::size_t sent = 0; sent + 2 * chunk.size() < cap; sent += chunk.size()) {
        ASSERT_EQ(bench.relay.on_frontend_bytes(chunk).next, Next::proceed);
        bench.context.settle();
        ASSERT_LE(testing::largest_allocation(), 2 * (sent + chunk.size()) + 8192);
    }
    EXPECT_GT(testing::largest_allocation(), cap / 2);  // it did hold it
}

TEST(RelayHostileMemory, QueryOverTheCapIsNotHeld) {
    Bench bench;
    const std::string chunk(65'536, 'x');
    testing::forget_largest_allocation();
    bench.relay.on_frontend_bytes(header('Q', protocol::large_message_max));
    for (std::size_t count = 0; count < 256; ++count) {
        bench.context.settle();
        ASSERT_EQ(bench.relay.on_frontend_bytes(chunk).next, Next::proceed);
    }
    EXPECT_LT(testing::largest_allocation(), chunk.size());
}

TEST(RelayHostileMemory, BindAndCopyDataStreamWhateverTheirSize) {
    for (const char type : {'d', 'B'}) {
        Bench bench;
        bench.begin(type == 'd' ? query("copy t from stdin") : parse("", "select 1"));
        if (type == 'd') bench.relay.on_backend_bytes(copy_in_response());
        bench.context.settle();
        const std::string chunk(65'536, 'x');
        // Our own name for a statement may be longer than the client's.
        const std::uint32_t longest = protocol::large_message_max - backend_name_bytes;
        const std::string names(type == 'd' ? 0 : 2, '\0');
        testing::forget_largest_allocation();
        bench.relay.on_frontend_bytes(header(type, longest) + names);
        for (std::size_t count = 0; count < 256; ++count) {
            bench.context.settle();
            ASSERT_EQ(bench.relay.on_frontend_bytes(chunk).next, Next::proceed);
            EXPECT_EQ(bench.context.to_backend.size(), chunk.size());
        }
        EXPECT_LT(testing::largest_allocation(), chunk.size());
    }
}

TEST(RelayHostileMemory, NamesOfStatementsAreBounded) {
    World world{Scene{}};
    auto received = [&world, seen = std::size_t{0}]() mutable {
        const std::string bytes = world.client(0).received.substr(seen);
        seen += bytes.size();
        return bytes;
    };
    received();
    world.from_frontend(0, parse("s0", "select 1") + sync());
    world.from_backend(0, parse_complete() + ready());
    // The server has the text: further names for it are answered here, and the Sync there.
    for (std::size_t i = 1; i < limits::client_statements_max; ++i) {
        world.from_frontend(0, parse("s" + std::to_string(i), "select 1") + sync());
        world.from_backend(0, ready());
    }
    EXPECT_EQ(world.client(0).relay->phase(), RelayPhase::idle);
    EXPECT_EQ(received().size(),
              limits::client_statements_max * (parse_complete() + ready()).size());
    world.from_frontend(0, parse("one", "select 1") + bind("", "one") + sync());
    EXPECT_EQ(world.describe(received()),
              world.describe(own_error("54000", "too many prepared statements in this session") +
                             ready()));
    // One that goes makes room for one.
    world.from_frontend(0, close_statement("s7") + parse("one", "select 1") + sync());
    world.from_backend(0, ready());
    EXPECT_EQ(world.describe(received()),
              world.describe(close_complete() + parse_complete() + ready()));
}

}  // namespace
}  // namespace schemux::core::relay_script
