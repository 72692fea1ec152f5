// TLS over the streams of each engine: the same contract as without it.
#include "daemon/tls_streams.h"

#include "daemon/io_engine.h"
#include "daemon/uring_engine.h"
#include "tests/daemon/tls_support.h"

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
#include <utility>
#include <vector>

namespace schemux::daemon {
namespace {

using testing::SelfSigned;
using testing::TlsClient;

constexpr auto patience = std::chrono::seconds(10);

struct Handler final : StreamHandler {
    void on_bytes(std::string_view bytes) override {
        received += bytes;
        ++batches;
        if (then) std::exchange(then, {})();
    }
    void on_drained() override { drained = true; }
    void on_hang_up() override { hung_up = true; }
    void on_end(int error) override { end = error; }
    std::string received;
    std::function<void()> then;
    std::optional<int> end;
    int batches = 0;
    bool drained = false;
    bool hung_up = false;
};

std::vector<IoEngine> engines() {
    std::vector<IoEngine> possible{IoEngine::epoll};
    if (UringEngine::why_not().empty()) possible.push_back(IoEngine::io_uring);
    return possible;
}

class TlsStreamsTest : public ::testing::TestWithParam<IoEngine> {
  protected:
    void SetUp() override {
        engine_ = make_engine(
            GetParam(), io_, [] { return std::chrono::steady_clock::now(); }, [] { return false; });
        streams_ = std::make_unique<TlsStreams>(*engine_);
        std::array<int, 2> ends{-1, -1};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
        far_ = ends[1];
        auto tls = std::make_unique<TlsSession>(certificate_.context());
        shake_hands(*tls);
        stream_ = streams_->add({ends[0], std::move(tls)}, handler_);
        engine_->start();
        io_.poll();
    }
    ~TlsStreamsTest() override { ::close(far_); }

    TlsStreams& streams() { return *streams_; }
    Stream& stream() { return *stream_; }
    Handler& handler() { return handler_; }
    TlsClient& client() { return client_; }
    int far_end() const { return far_; }

    /// What the client has to say goes out.
    void push() {
        const std::string cipher = client_.take();
        ASSERT_EQ(::send(far_, cipher.data(), cipher.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(cipher.size()));
    }
    void say(std::string_view text) {
        client_.write(text);
        push();
    }
    /// What has come for the client; the socket's end too.
    std::string hear() {
        std::string buffer(1 << 20, '\0');
        const ssize_t got = ::recv(far_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        far_ended_ = got == 0;
        if (got > 0) client_.receive(std::string_view(buffer).substr(0, std::size_t(got)));
        return client_.read();
    }
    bool far_ended() const { return far_ended_; }

    bool runs_until(const std::function<bool()>& condition) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) return false;
            io_.poll();
        }
        return true;
    }
    void settle_shortly() {
        for (int turn = 0; turn < 20; ++turn) {
            io_.poll();
            ::usleep(200);
        }
    }

  private:
    void shake_hands(TlsSession& tls) {
        TlsSession::Progress progress = TlsSession::Progress::needs_bytes;
        for (int turn = 0; turn < 4 && progress != TlsSession::Progress::done; ++turn) {
            client_.handshake();
            const std::string flight = client_.take();
            std::string_view bytes = flight;
            std::string answer;
            progress = tls.handshake(bytes, answer);
            client_.receive(answer);
        }
        ASSERT_EQ(progress, TlsSession::Progress::done);
    }

    boost::asio::io_context io_;
    SelfSigned certificate_;
    std::unique_ptr<StreamEngine> engine_;
    std::unique_ptr<TlsStreams> streams_;
    TlsClient client_;
    Handler handler_;
    Stream* stream_ = nullptr;
    int far_ = -1;
    bool far_ended_ = false;
};

INSTANTIATE_TEST_SUITE_P(Engines, TlsStreamsTest, ::testing::ValuesIn(engines()),
                         [](const auto& one) {
                             return one.param == IoEngine::io_uring ? "Uring" : "Epoll";
                         });

core::Output output_of(const std::vector<std::string>& parts) {
    core::Output output;
    for (const std::string& part : parts)
        output.forward(part);
    return output;
}

TEST_P(TlsStreamsTest, BytesGoBothWaysAndABatchIsOneCall) {
    client().write("one");
    client().write("two");
    push();
    ASSERT_TRUE(runs_until([&] { return handler().received == "onetwo"; }));
    EXPECT_EQ(handler().batches, 1);
    const std::vector<std::string> parts{"good", std::string(600, 'x'), "day"};
    EXPECT_TRUE(streams().send(stream(), output_of(parts)));
    std::string heard;
    ASSERT_TRUE(runs_until([&] { return (heard += hear()).size() == 607; }));
    EXPECT_EQ(heard, "good" + std::string(600, 'x') + "day");
    streams().close(&stream());
}

TEST_P(TlsStreamsTest, MoreThanTheSocketHoldsArrivesInItsOrder) {
    std::string sent;
    for (int part = 0; part < 40; ++part) {
        const std::string bytes(40'000, static_cast<char>('a' + part % 26));
        sent += bytes;
        streams().send(stream(), output_of({bytes}));
    }
    EXPECT_GT(streams().queued_bytes(stream()), 0U);
    EXPECT_TRUE(streams().has_unsent(stream()));
    std::string heard;
    ASSERT_TRUE(runs_until([&] { return (heard += hear()).size() == sent.size(); }));
    EXPECT_EQ(heard, sent);
    EXPECT_TRUE(runs_until([&] { return handler().drained; }));
    streams().close(&stream());
}

TEST_P(TlsStreamsTest, WhatIsReadAheadWhilePausedComesOnce) {
    streams().pause(stream());
    say("a query, ");
    settle_shortly();
    EXPECT_EQ(handler().received, "");
    EXPECT_TRUE(streams().has_news(stream()));
    EXPECT_EQ(streams().unread_tail(stream(), 5), "ery, ");
    say("goodbye");
    settle_shortly();
    EXPECT_EQ(streams().unread_tail(stream(), 4), "dbye");
    EXPECT_EQ(streams().unread_tail(stream(), 100), "a query, goodbye");
    streams().resume(stream());
    ASSERT_TRUE(runs_until([&] { return handler().received == "a query, goodbye"; }));
    say("!");
    ASSERT_TRUE(runs_until([&] { return handler().received == "a query, goodbye!"; }));
    streams().close(&stream());
}

TEST_P(TlsStreamsTest, APeerThatGoesWhilePausedEndsBehindWhatItSaid) {
    streams().pause(stream());
    say("last words");
    client().end();
    push();
    ::shutdown(far_end(), SHUT_WR);
    ASSERT_TRUE(runs_until([&] { return handler().hung_up; }));
    EXPECT_EQ(streams().unread_tail(stream(), 5), "words");
    EXPECT_FALSE(handler().end);
    streams().resume(stream());
    ASSERT_TRUE(runs_until([&] { return handler().end.has_value(); }));
    EXPECT_EQ(handler().end, 0);
    EXPECT_EQ(handler().received, "last words");
    streams().close(&stream());
}

TEST_P(TlsStreamsTest, AGoodbyeIsTheEndAndToldOnce) {
    client().end();
    push();
    ASSERT_TRUE(runs_until([&] { return handler().end.has_value(); }));
    EXPECT_EQ(handler().end, 0);
    handler().end.reset();
    ::shutdown(far_end(), SHUT_WR);
    settle_shortly();
    EXPECT_FALSE(handler().end);
    streams().close(&stream());
    ASSERT_TRUE(runs_until([&] {
        hear();
        return far_ended();
    }));
    EXPECT_TRUE(client().closed());
}

TEST_P(TlsStreamsTest, WhatWasAlteredEndsIt) {
    client().write("something");
    std::string cipher = client().take();
    cipher.back() = static_cast<char>(cipher.back() ^ 1);
    ASSERT_GT(::send(far_end(), cipher.data(), cipher.size(), 0), 0);
    ASSERT_TRUE(runs_until([&] { return handler().end.has_value(); }));
    EXPECT_EQ(handler().end, EPROTO);
    EXPECT_EQ(handler().received, "");
    streams().drop(&stream());
}

TEST_P(TlsStreamsTest, AHandlerMayCloseItFromWithin) {
    handler().then = [this] { streams().close(&stream()); };
    client().write("enough");
    client().end();
    push();
    ASSERT_TRUE(runs_until([&] { return handler().received == "enough"; }));
    settle_shortly();
    EXPECT_FALSE(handler().end);  // closed: nothing comes any more
}

TEST_P(TlsStreamsTest, NewKeysAreAnswered) {
    client().ask_for_new_keys();
    say("under new keys");
    ASSERT_TRUE(runs_until([&] { return handler().received == "under new keys"; }));
    EXPECT_TRUE(streams().send(stream(), output_of({"so am I"})));
    std::string heard;
    ASSERT_TRUE(runs_until([&] { return (heard += hear()) == "so am I"; }));
    streams().close(&stream());
}

TEST_P(TlsStreamsTest, AReleasedConnectionGoesOnElsewhere) {
    say("before");
    ASSERT_TRUE(runs_until([&] { return handler().received == "before"; }));
    Connection connection = streams().release(&stream());
    ASSERT_NE(connection.tls, nullptr);
    Handler next;
    Stream* again = streams().add(std::move(connection), next);
    say("behind");
    ASSERT_TRUE(runs_until([&] { return next.received == "behind"; }));
    EXPECT_TRUE(streams().send(*again, output_of({"heard"})));
    std::string heard;
    ASSERT_TRUE(runs_until([&] { return (heard += hear()) == "heard"; }));
    streams().close(again);
}

}  // namespace
}  // namespace schemux::daemon
