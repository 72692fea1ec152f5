// A connection before it is in an engine: plain first, then over TLS, then handed on.
#include "daemon/login_stream.h"

#include "tests/daemon/tls_support.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {
namespace {

using testing::SelfSigned;
using testing::TlsClient;
namespace asio = boost::asio;

class LoginStreamTest : public ::testing::Test {
  protected:
    LoginStreamTest() {
        std::array<int, 2> ends{-1, -1};
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()), 0);
        far_ = ends[1];
        stream_.emplace(std::make_shared<LoginStream::Socket>(
            io_, asio::generic::stream_protocol(AF_UNIX, 0), ends[0]));
    }
    ~LoginStreamTest() override { ::close(far_); }

    void run(asio::awaitable<void> what) { asio::co_spawn(io_, std::move(what), asio::detached); }
    /// Until nothing is left to do, also on the helper.
    void poll() {
        for (int turn = 0; turn < 50; ++turn) {
            io_.restart();
            io_.poll();
            ::usleep(200);
        }
    }
    void push() {
        const std::string bytes = client_.take();
        EXPECT_EQ(::send(far_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    }
    std::string hear() {
        std::array<char, 8192> buffer{};
        const ssize_t got = ::recv(far_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got > 0) client_.receive({buffer.data(), static_cast<std::size_t>(got)});
        return client_.read();
    }
    asio::awaitable<void> shake_hands(bool slow) {
        secured_ = co_await stream_->secure(std::make_unique<TlsSession>(certificate_.context()),
                                            {}, slow, helper_, io_);
    }
    asio::awaitable<void> read_once() {
        const auto got = co_await stream_->read();
        received_ = got ? std::string(*got) : "(end)";
    }
    void secure(bool slow = false) {
        run(shake_hands(slow));
        client_.handshake();
        push();
        poll();
        hear();
        client_.handshake();
        push();
        poll();
        ASSERT_EQ(secured_, LoginStream::Secured::yes);
    }

    asio::io_context io_;
    asio::thread_pool helper_{1};
    SelfSigned certificate_;
    TlsClient client_;
    std::optional<LoginStream> stream_;
    std::optional<LoginStream::Secured> secured_;
    std::string received_;
    int far_ = -1;
};

TEST_F(LoginStreamTest, PlainBytesThenEncryptedOnes) {
    run(read_once());
    EXPECT_EQ(::send(far_, "plain", 5, 0), 5);
    poll();
    EXPECT_EQ(received_, "plain");
    secure();
    client_.write("secret");
    push();
    run(read_once());
    poll();
    EXPECT_EQ(received_, "secret");
}

TEST_F(LoginStreamTest, TheHandshakeMayRunElsewhere) {
    secure(true);
    client_.write("secret");
    push();
    run(read_once());
    poll();
    EXPECT_EQ(received_, "secret");
}

TEST_F(LoginStreamTest, NewKeysAreAnsweredAlsoWhereItIsHandedOn) {
    secure();
    client_.ask_for_new_keys();
    client_.write("hello");
    push();
    run(read_once());
    poll();
    EXPECT_EQ(received_, "hello");
    Connection connection = stream_->release();
    std::string bytes;
    EXPECT_TRUE(connection.tls->encrypt("good day", bytes));
    EXPECT_EQ(::send(connection.fd, bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(hear(), "good day");
    ::close(connection.fd);
}

TEST_F(LoginStreamTest, GarbageIsNoHandshake) {
    run(shake_hands(false));
    EXPECT_GT(::send(far_, "GET / HTTP/1.1\r\n\r\n", 18, 0), 0);
    poll();
    EXPECT_EQ(secured_, LoginStream::Secured::no);
    EXPECT_NE(stream_->why(), "");
}

TEST_F(LoginStreamTest, AHandshakeHasABound) {
    run(shake_hands(false));
    // A ClientHello of 98,304 bytes, which OpenSSL would wait for.
    const std::string begin("\x16\x03\x01\x40\x00\x01\x01\x80\x00\x03\x03", 11);
    const std::string more("\x16\x03\x01\x40\x00", 5);
    std::string hello = begin + std::string(0x4000 - 6, 'x');
    for (int record = 0; record < 5; ++record)
        hello += more + std::string(0x4000, 'x');
    for (std::size_t at = 0; at < hello.size() && !secured_; at += 4096) {
        [[maybe_unused]] const ssize_t sent =
            ::send(far_, hello.data() + at, std::min<std::size_t>(4096, hello.size() - at), 0);
        poll();
    }
    EXPECT_EQ(secured_, LoginStream::Secured::no);
    EXPECT_EQ(stream_->why(), "the handshake is too long");
}

TEST_F(LoginStreamTest, AGoodbyeReadsWhatStillComes) {
    bool over = false;
    run([](LoginStream& stream, bool& done) -> asio::awaitable<void> {
        co_await stream.say_goodbye();
        done = true;
    }(*stream_, over));
    EXPECT_EQ(::send(far_, "late", 4, 0), 4);
    poll();
    EXPECT_FALSE(over);
    std::array<char, 8> buffer{};
    EXPECT_EQ(::recv(far_, buffer.data(), buffer.size(), MSG_DONTWAIT), 0);
    ::shutdown(far_, SHUT_WR);
    poll();
    EXPECT_TRUE(over);
}

TEST_F(LoginStreamTest, AClientThatGoesInTheHandshakeIsGone) {
    run(shake_hands(false));
    ::shutdown(far_, SHUT_WR);
    poll();
    EXPECT_EQ(secured_, LoginStream::Secured::gone);
}

}  // namespace
}  // namespace schemux::daemon
