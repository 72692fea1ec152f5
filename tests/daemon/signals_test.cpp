// Signals become callbacks on the io_context's thread; real signals, raised in this process.
#include "daemon/signals.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <utility>
#include <vector>

namespace schemux::daemon {
namespace {

TEST(SignalHandler, CountsStopsAndKeepsReloadsAndPausesApart) {
    boost::asio::io_context context;
    std::vector<std::pair<int, unsigned>> stops;
    std::size_t reloads = 0;
    std::vector<bool> pauses;
    SignalHandler handler(context,
                          {[&](int number, unsigned times) { stops.emplace_back(number, times); },
                           [&] { ++reloads; }, [&](bool pause) { pauses.push_back(pause); }});
    // Each is delivered before the next is raised: signals of one kind may merge while pending.
    std::size_t raised = 0;
    for (const int number : {SIGHUP, SIGUSR1, SIGTERM, SIGINT, SIGUSR2, SIGHUP}) {
        std::raise(number);
        ++raised;
        // Asio's own wake-ups count as handlers, so one run is not always enough.
        while (stops.size() + reloads + pauses.size() < raised) {
            ASSERT_EQ(context.run_one_for(std::chrono::seconds(10)), 1U);
        }
    }
    EXPECT_EQ(stops, (std::vector<std::pair<int, unsigned>>{{SIGTERM, 1U}, {SIGINT, 2U}}));
    EXPECT_EQ(reloads, 2U);
    EXPECT_EQ(pauses, (std::vector<bool>{true, false}));
    handler.cancel();
    context.run();  // returns, because nothing listens any more
}

TEST(SignalHandler, WritingToAClosedSocketIsAnErrorNotAnEnd) {
    boost::asio::io_context context;
    const SignalHandler handler(context, {});
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    close(ends[1]);
    EXPECT_EQ(write(ends[0], "x", 1), -1);
    EXPECT_EQ(errno, EPIPE);
    close(ends[0]);
}

}  // namespace
}  // namespace schemux::daemon
