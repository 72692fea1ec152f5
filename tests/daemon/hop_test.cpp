// A coroutine that hops to a pool really goes on there, and comes back.

#include "daemon/hop.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace schemux::daemon {
namespace {

namespace asio = boost::asio;

asio::awaitable<void> visit(asio::thread_pool& pool, asio::io_context& home,
                            std::vector<std::thread::id>& seen) {
    seen.push_back(std::this_thread::get_id());
    co_await hop_to(pool);
    seen.push_back(std::this_thread::get_id());
    co_await hop_to(home);
    seen.push_back(std::this_thread::get_id());
}

TEST(Hop, SlowWorkRunsInThePoolAndTheRestAtHome) {
    asio::thread_pool pool(1);
    asio::io_context home;
    std::vector<std::thread::id> seen;
    {
        const auto busy = asio::make_work_guard(home);
        asio::co_spawn(home, visit(pool, home, seen),
                       [&home](const std::exception_ptr&) { home.stop(); });
        home.run();
    }
    pool.join();
    ASSERT_EQ(seen.size(), 3U);
    EXPECT_EQ(seen[0], std::this_thread::get_id());
    EXPECT_NE(seen[1], seen[0]);
    EXPECT_EQ(seen[2], seen[0]);
}

}  // namespace
}  // namespace schemux::daemon
