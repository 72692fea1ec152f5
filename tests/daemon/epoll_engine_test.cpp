// What the engine tells of a peer that reads slowly or not at all, and how it leaves one.

#include "daemon/epoll_engine.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace schemux::daemon {
namespace {

constexpr std::size_t more_than_sockets_hold = 64 << 20;
constexpr int small_buffer = 32 * 1024;
constexpr auto patience = std::chrono::seconds(10);

class Handler final : public StreamHandler {
  public:
    void on_bytes(std::string_view /*bytes*/) override {}
    void on_drained() override { drained = true; }
    void on_end(int /*error*/) override {}
    bool drained = false;
};

struct Pair {
    int near = -1;
    int far = -1;
};

Pair unix_pair() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
    return {ends[0], ends[1]};
}

/// The far end takes little at a time.
Pair tcp_pair() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener, raw, size), 0);
    EXPECT_EQ(::listen(listener, 1), 0);
    EXPECT_EQ(::getsockname(listener, raw, &size), 0);
    Pair pair;
    pair.far = ::socket(AF_INET, SOCK_STREAM, 0);
    ::setsockopt(pair.far, SOL_SOCKET, SO_RCVBUF, &small_buffer, sizeof small_buffer);
    EXPECT_EQ(::connect(pair.far, raw, size), 0);
    pair.near = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    ::close(listener);
    return pair;
}

class EpollEngineTest : public testing::TestWithParam<Pair (*)()> {
  protected:
    EpollEngineTest() {
        pair_ = GetParam()();
        stream_ = engine_.add(pair_.near, handler_);
        engine_.start();
    }
    ~EpollEngineTest() override { ::close(pair_.far); }

    EpollEngine& engine() { return engine_; }
    Stream& stream() { return *stream_; }
    Handler& handler() { return handler_; }

    void send(std::size_t size) {
        core::Output output;
        const std::string bytes(size, 'x');
        output.forward(bytes);
        engine_.send(*stream_, output);
    }
    /// What the far end had to read, at most `size`; negative: as errno.
    ssize_t read_far(std::size_t size) {
        std::string buffer(size, '\0');
        const ssize_t got = ::recv(pair_.far, buffer.data(), size, MSG_DONTWAIT);
        return got < 0 ? -errno : got;
    }
    bool runs_until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            io_.poll();
        }
        return true;
    }
    /// Until what is under way in the kernel has arrived.
    void settle() {
        std::uint64_t seen = engine_.progress(*stream_);
        auto since = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - since < std::chrono::milliseconds(300)) {
            io_.poll();
            const std::uint64_t now = engine_.progress(*stream_);
            if (now != std::exchange(seen, now)) since = std::chrono::steady_clock::now();
        }
    }

  private:
    boost::asio::io_context io_;
    EpollEngine engine_{io_, [] { return EpollEngine::Clock::now(); }};
    Handler handler_;
    Pair pair_;
    Stream* stream_ = nullptr;
};

std::string name_of_pair(const testing::TestParamInfo<Pair (*)()>& info) {
    return info.index == 0 ? "Unix" : "Tcp";
}
INSTANTIATE_TEST_SUITE_P(Sockets, EpollEngineTest, testing::Values(unix_pair, tcp_pair),
                         name_of_pair);

TEST_P(EpollEngineTest, ProgressIsWhatThePeerTakesEvenIfNoMoreCanBeSent) {
    send(more_than_sockets_hold);
    settle();
    const std::size_t queued = engine().queued_bytes(stream());
    ASSERT_GT(queued, 0U);
    const std::uint64_t before = engine().progress(stream());

    // A part of what its own kernel holds for it, far from what makes the socket writable again.
    for (int part = 0; part < 8; ++part)
        EXPECT_GT(read_far(8192), 0);

    EXPECT_TRUE(runs_until([&] { return engine().progress(stream()) != before; }));
    engine().drop(&stream());
}

TEST_P(EpollEngineTest, DropLeavesAPeerThatDoesNotReadAtOnce) {
    send(more_than_sockets_hold);
    ASSERT_GT(engine().queued_bytes(stream()), 0U);
    engine().drop(&stream());

    // What the peer has may be read, what we had is gone, and the end is seen without a wait.
    ssize_t got = 1;
    std::size_t all = 0;
    ASSERT_TRUE(runs_until([&] {
        got = read_far(1 << 20);
        if (got > 0) all += static_cast<std::size_t>(got);
        return got == 0 || (got < 0 && got != -EAGAIN);
    }));
    EXPECT_TRUE(got == 0 || got == -ECONNRESET) << got;
    EXPECT_LT(all, more_than_sockets_hold);
    EXPECT_FALSE(handler().drained);
}

/// What the thread does when bytes have come, and somebody may want it while it lingers.
class LingeringTest : public testing::Test {
  protected:
    LingeringTest() {
        engine_.add(pair_.near, handler_);
        engine_.start();
    }
    ~LingeringTest() override { ::close(pair_.far); }

    int batches_behind_one_byte() {
        EXPECT_EQ(::send(pair_.far, "x", 1, 0), 1);
        io_.run_one_for(patience);
        return batches_;
    }

    int far_end() const { return pair_.far; }

    std::function<bool()> may_linger_ = [] { return false; };
    boost::asio::io_context io_;
    EpollEngine engine_{io_,
                        [this] {
                            ++batches_;
                            return EpollEngine::Clock::now();
                        },
                        [this] { return may_linger_(); }};

  private:
    Handler handler_;
    Pair pair_ = unix_pair();
    int batches_ = 0;
};

TEST_F(LingeringTest, WhoWantsTheThreadWhileItLingersGetsItAtOnce) {
    int looks = 0;
    may_linger_ = [&] {
        if (++looks > 1) return false;
        engine_.wake();  // from another thread, behind this look and before the wait
        return true;
    };
    EXPECT_EQ(batches_behind_one_byte(), 2);  // the byte, and the doorbell
}

TEST_F(LingeringTest, NobodyRingsWhereNobodyLingers) {
    engine_.wake();
    EXPECT_EQ(batches_behind_one_byte(), 1);
}

TEST_F(LingeringTest, BytesThatComeMeanwhileAreABatchOfTheSameTurn) {
    int looks = 0;
    may_linger_ = [&] {
        if (++looks > 1) return false;
        EXPECT_EQ(::send(far_end(), "y", 1, 0), 1);
        return true;
    };
    EXPECT_EQ(batches_behind_one_byte(), 2);
}

}  // namespace
}  // namespace schemux::daemon
