// What an engine tells of a peer that reads slowly or not at all, how it leaves one, and who has
// the thread meanwhile. Every test with each engine.

#include "daemon/io_engine.h"
#include "daemon/uring_engine.h"

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
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace schemux::daemon {
namespace {

constexpr std::size_t more_than_sockets_hold = 64 << 20;
constexpr int small_buffer = 32 * 1024;
constexpr auto patience = std::chrono::seconds(10);

class Handler final : public StreamHandler {
  public:
    void on_bytes(std::string_view bytes) override { received += bytes; }
    void on_drained() override { drained = true; }
    void on_hang_up() override { hung_up = true; }
    void on_end(int error) override { end = error; }
    std::string received;
    std::optional<int> end;
    bool drained = false;
    bool hung_up = false;
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

using MakePair = Pair (*)();

/// A sandbox may forbid io_uring; then the daemon takes epoll, too.
std::vector<IoEngine> engines() {
    std::vector<IoEngine> possible{IoEngine::epoll};
    if (UringEngine::why_not().empty()) possible.push_back(IoEngine::io_uring);
    return possible;
}

class StreamEngineTest : public testing::TestWithParam<std::tuple<IoEngine, MakePair>> {
  protected:
    void SetUp() override {
        engine_ = make_engine(
            kind(), io_, [] { return std::chrono::steady_clock::now(); }, [] { return false; });
        pair_ = std::get<MakePair>(GetParam())();
        stream_ = engine_->add({pair_.near}, handler_);
        engine_->start();
    }
    ~StreamEngineTest() override { ::close(pair_.far); }

    StreamEngine& engine() { return *engine_; }
    IoEngine kind() const { return std::get<IoEngine>(GetParam()); }
    int far_end() const { return pair_.far; }
    Stream& stream() { return *stream_; }
    Handler& handler() { return handler_; }

    void send(std::size_t size) {
        core::Output output;
        const std::string bytes(size, 'x');
        output.forward(bytes);
        engine_->send(*stream_, output);
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
        std::uint64_t seen = engine_->progress(*stream_);
        auto since = std::chrono::steady_clock::now();
        while (std::chrono::steady_clock::now() - since < std::chrono::milliseconds(300)) {
            io_.poll();
            const std::uint64_t now = engine_->progress(*stream_);
            if (now != std::exchange(seen, now)) since = std::chrono::steady_clock::now();
        }
    }

    /// Turns enough for what the far end has sent.
    void settle_shortly() {
        for (int turn = 0; turn < 20; ++turn) {
            io_.poll();
            ::usleep(200);
        }
    }

  private:
    boost::asio::io_context io_;
    std::unique_ptr<StreamEngine> engine_;
    Handler handler_;
    Pair pair_;
    Stream* stream_ = nullptr;
};

std::string name_of_case(const testing::TestParamInfo<std::tuple<IoEngine, MakePair>>& info) {
    const bool uring = std::get<IoEngine>(info.param) == IoEngine::io_uring;
    return std::string(uring ? "Uring" : "Epoll") + (info.index % 2 == 0 ? "Unix" : "Tcp");
}
INSTANTIATE_TEST_SUITE_P(Engines, StreamEngineTest,
                         testing::Combine(testing::ValuesIn(engines()),
                                          testing::Values(unix_pair, tcp_pair)),
                         name_of_case);

TEST_P(StreamEngineTest, ProgressIsWhatThePeerTakesEvenIfNoMoreCanBeSent) {
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

TEST_P(StreamEngineTest, DropLeavesAPeerThatDoesNotReadAtOnce) {
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

TEST_P(StreamEngineTest, BytesComeInTheirOrderAndTheEndBehindThem) {
    std::string all;
    for (int part = 0; part < 100; ++part) {
        const std::string bytes(1'000, static_cast<char>('a' + part % 26));
        all += bytes;
        ASSERT_EQ(::send(far_end(), bytes.data(), bytes.size(), 0),
                  static_cast<ssize_t>(bytes.size()));
        if (part % 10 == 0) settle_shortly();
    }
    ::shutdown(far_end(), SHUT_WR);
    EXPECT_TRUE(runs_until([&] { return handler().end.has_value(); }));
    EXPECT_EQ(handler().end, 0);
    EXPECT_EQ(handler().received, all);
    engine().close(&stream());
}

TEST_P(StreamEngineTest, NothingComesWhileReadingIsPausedAndAllOfItBehind) {
    engine().pause(stream());
    ASSERT_EQ(::send(far_end(), "first", 5, 0), 5);
    settle_shortly();
    ASSERT_EQ(::send(far_end(), "second", 6, 0), 6);
    settle_shortly();
    EXPECT_EQ(handler().received, "");
    EXPECT_TRUE(engine().has_news(stream()));
    EXPECT_EQ(engine().unread_tail(stream(), 4), "cond");
    engine().resume(stream());
    EXPECT_TRUE(runs_until([&] { return handler().received == "firstsecond"; }));
    ASSERT_EQ(::send(far_end(), "third", 5, 0), 5);
    EXPECT_TRUE(runs_until([&] { return handler().received == "firstsecondthird"; }));
    EXPECT_FALSE(engine().has_news(stream()));
    engine().close(&stream());
}

TEST_P(StreamEngineTest, APeerThatGoesWhileReadingIsPausedIsToldOfAtOnceAndEndsBehindItsBytes) {
    engine().pause(stream());
    ASSERT_EQ(::send(far_end(), "last words", 10, 0), 10);
    settle_shortly();
    ::shutdown(far_end(), SHUT_WR);
    EXPECT_TRUE(runs_until([&] { return handler().hung_up; }));
    EXPECT_EQ(handler().received, "");
    EXPECT_FALSE(handler().end);
    engine().resume(stream());
    EXPECT_TRUE(runs_until([&] { return handler().end.has_value(); }));
    EXPECT_EQ(handler().received, "last words");
    engine().close(&stream());
}

TEST_P(StreamEngineTest, WhatIsSentArrivesInItsOrderHoweverMuch) {
    std::string sent;
    std::string arrived;
    const auto take = [&] {
        std::string buffer(1 << 16, '\0');
        const ssize_t got = ::recv(far_end(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got > 0) arrived.append(buffer, 0, static_cast<std::size_t>(got));
        return arrived.size() == sent.size();
    };
    for (int part = 0; part < 300; ++part) {
        const std::string bytes(static_cast<std::size_t>(part) * 97 % 20'000 + 1,
                                static_cast<char>('a' + part % 26));
        sent += bytes;
        core::Output output;
        output.forward(bytes);
        engine().send(stream(), output);
        if (part % 7 == 0) take();
        if (part % 11 == 0) settle_shortly();
    }
    EXPECT_TRUE(runs_until(take));
    EXPECT_EQ(arrived, sent);
    EXPECT_TRUE(runs_until([&] { return !engine().has_unsent(stream()); }));
    engine().shut_down(stream());
    EXPECT_TRUE(runs_until([&] { return read_far(1) == 0; }));
    engine().close(&stream());
}

TEST_P(StreamEngineTest, AReleasedSocketIsNobodysAndWhole) {
    ASSERT_EQ(::send(far_end(), "before", 6, 0), 6);
    EXPECT_TRUE(runs_until([&] { return handler().received == "before"; }));
    const int fd = engine().release(&stream()).fd;
    ASSERT_EQ(::send(far_end(), "behind", 6, 0), 6);
    settle_shortly();
    EXPECT_EQ(handler().received, "before");
    Handler next;
    Stream* again = engine().add({fd}, next);
    EXPECT_TRUE(runs_until([&] { return next.received == "behind"; }));
    engine().close(again);
}

/// What the thread does when bytes have come, and somebody may want it while it lingers.
class LingeringTest : public testing::TestWithParam<IoEngine> {
  protected:
    void SetUp() override {
        engine_ = make_engine(
            GetParam(), io_,
            [this] {
                ++batches_;
                return std::chrono::steady_clock::now();
            },
            [this] { return may_linger_(); });
        engine_->add({pair_.near}, handler_);
        engine_->start();
        io_.poll();  // what the start itself takes
        batches_ = 0;
    }
    ~LingeringTest() override { ::close(pair_.far); }

    int batches_behind_one_byte() {
        EXPECT_EQ(::send(pair_.far, "x", 1, 0), 1);
        io_.run_one_for(patience);
        return batches_;
    }
    int far_end() const { return pair_.far; }
    StreamEngine& engine() { return *engine_; }

    std::function<bool()> may_linger_ = [] { return false; };

  private:
    boost::asio::io_context io_;
    std::unique_ptr<StreamEngine> engine_;
    Handler handler_;
    Pair pair_ = unix_pair();
    int batches_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Engines, LingeringTest, testing::ValuesIn(engines()),
                         [](const auto& engine) { return std::string(name_of(engine.param)); });

TEST_P(LingeringTest, WhoWantsTheThreadWhileItLingersGetsItAtOnce) {
    int looks = 0;
    may_linger_ = [&] {
        if (++looks > 1) return false;
        engine().wake();  // from another thread, behind this look and before the wait
        return true;
    };
    EXPECT_EQ(batches_behind_one_byte(), 2);  // the byte, and the doorbell
}

TEST_P(LingeringTest, NobodyRingsWhereNobodyLingers) {
    engine().wake();
    EXPECT_EQ(batches_behind_one_byte(), 1);
}

TEST_P(LingeringTest, BytesThatComeMeanwhileAreABatchOfTheSameTurn) {
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
