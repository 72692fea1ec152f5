// The HTTP server over real sockets: what it serves, what it refuses, and that its bounds hold.
#include "daemon/http_server.h"

#include "daemon/healthcheck.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace schemux::daemon {
namespace {

// A client of plain blocking sockets, so that the test does not share code with the server.
class Client {
  public:
    explicit Client(std::uint16_t port) : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {
        const timeval patience{20, 0};
        setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    }
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client() { close(descriptor_); }

    void send(const std::string& text) const {
        for (std::size_t at = 0; at < text.size();) {
            const ssize_t n = ::send(descriptor_, text.data() + at, text.size() - at, MSG_NOSIGNAL);
            if (n <= 0) return;
            at += static_cast<std::size_t>(n);
        }
    }
    // Up to and including `mark`, or to the end of the connection.
    std::string read_until(const std::string& mark) {
        std::array<char, 4096> buffer{};
        for (;;) {
            const auto found = pending_.find(mark);
            if (!mark.empty() && found != std::string::npos) {
                std::string text = pending_.substr(0, found + mark.size());
                pending_.erase(0, found + mark.size());
                return text;
            }
            const ssize_t n = recv(descriptor_, buffer.data(), buffer.size(), 0);
            // A process that is stopped and goes on gets this where a receive has a timeout.
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return "(error) " + std::string(strerror(errno)) + pending_;
            if (n == 0) return std::exchange(pending_, {});
            pending_.append(buffer.data(), static_cast<std::size_t>(n));
        }
    }
    std::string read_all() { return read_until(""); }

  private:
    int descriptor_;
    std::string pending_;
};

class HttpServerTest : public testing::Test {
  protected:
    void start(HttpLimits limits = {}) {
        HttpHandlers handlers;
        handlers["/metrics"] = [](const HttpRequest&) {
            return HttpReply{200, "text/plain; version=0.0.4", "a_metric 1\n"};
        };
        handlers["/readyz"] = [this](const HttpRequest& request) {
            return HttpReply{ready_ ? 200U : 503U, "text/plain",
                             std::string(request.target) + "\nmore\n"};
        };
        handlers["/broken"] = [](const HttpRequest&) -> HttpReply {
            throw std::runtime_error("secret detail");
        };
        handlers["/large"] = [](const HttpRequest&) {
            return HttpReply{200, "text/plain", std::string(1'000'000, 'x') + "END"};
        };
        server_.emplace(context_, std::move(handlers), limits);
        ASSERT_EQ(server_->listen("127.0.0.1", 0), std::nullopt);
        ASSERT_NE(server_->local_port(), 0);
        thread_ = std::thread([this] { context_.run(); });
    }
    void TearDown() override {
        if (!thread_.joinable()) return;
        boost::asio::post(context_, [this] { server_->stop(); });
        guard_.reset();
        // Returns by itself: a stopped server has no work left. A hang here is a failure.
        thread_.join();
    }
    std::uint16_t port() const { return server_->local_port(); }
    std::string ask(const std::string& request) const {
        Client client(port());
        client.send(request);
        return client.read_all();
    }
    std::string url(const std::string& path) const {
        return "http://127.0.0.1:" + std::to_string(port()) + path;
    }

    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_ =
        boost::asio::make_work_guard(context_);
    std::optional<HttpServer> server_;
    std::thread thread_;
    std::atomic<bool> ready_ = true;
};

const std::string closing = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

std::string status_line(const std::string& answer) {
    return answer.substr(0, answer.find('\r'));
}

TEST_F(HttpServerTest, ServesAPageWithItsTypeAndLength) {
    start();
    const std::string answer = ask("GET /metrics" + closing);
    EXPECT_EQ(status_line(answer), "HTTP/1.1 200 OK");
    EXPECT_NE(answer.find("Content-Type: text/plain; version=0.0.4\r\n"), std::string::npos);
    EXPECT_NE(answer.find("Content-Length: 11\r\n"), std::string::npos);
    EXPECT_TRUE(answer.ends_with("\r\n\r\na_metric 1\n"));
}

TEST_F(HttpServerTest, HandlerGetsTheQueryAndChoosesTheStatus) {
    start();
    EXPECT_TRUE(ask("GET /readyz?verbose" + closing).ends_with("/readyz?verbose\nmore\n"));
    ready_ = false;
    EXPECT_EQ(status_line(ask("GET /readyz" + closing)), "HTTP/1.1 503 Service Unavailable");
}

TEST_F(HttpServerTest, HeadSendsTheHeaderAlone) {
    start();
    const std::string answer = ask("HEAD /metrics" + closing);
    EXPECT_NE(answer.find("Content-Length: 11\r\n"), std::string::npos);
    EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(HttpServerTest, KeepsTheConnectionForMoreRequestsAlsoPipelined) {
    start();
    Client client(port());
    const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    client.send(request);
    EXPECT_EQ(status_line(client.read_until("a_metric 1\n")), "HTTP/1.1 200 OK");
    client.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n" + request + "GET /nope" + closing);
    EXPECT_EQ(status_line(client.read_until("\r\n\r\n")), "HTTP/1.1 200 OK");
    EXPECT_EQ(status_line(client.read_until("a_metric 1\n")), "HTTP/1.1 200 OK");
    EXPECT_EQ(status_line(client.read_all()), "HTTP/1.1 404 Not Found");
}

TEST_F(HttpServerTest, UnknownPathListsTheKnownOnes) {
    start();
    const std::string answer = ask("GET /" + closing);
    EXPECT_EQ(status_line(answer), "HTTP/1.1 404 Not Found");
    EXPECT_NE(answer.find("/metrics\n"), std::string::npos);
    EXPECT_NE(answer.find("/readyz\n"), std::string::npos);
}

TEST_F(HttpServerTest, OtherMethodsAreRefusedWithAndWithoutABody) {
    start();
    for (const std::string request :
         {"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
          "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
          "DELETE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"}) {
        const std::string answer = ask(request);
        EXPECT_EQ(status_line(answer), "HTTP/1.1 405 Method Not Allowed") << request;
        EXPECT_NE(answer.find("Allow: GET, HEAD\r\n"), std::string::npos);
    }
}

TEST_F(HttpServerTest, BodiesLargeHeadersAndNonsenseAreRefused) {
    start();
    EXPECT_EQ(status_line(ask("GET /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")),
              "HTTP/1.1 413 Payload Too Large");
    const std::string large(9000, 'a');
    EXPECT_EQ(status_line(ask("GET /metrics HTTP/1.1\r\nX: " + large + "\r\n\r\n")),
              "HTTP/1.1 431 Request Header Fields Too Large");
    EXPECT_EQ(status_line(ask("GET /" + large + large + closing)),
              "HTTP/1.1 431 Request Header Fields Too Large");
    EXPECT_EQ(status_line(ask("\x16\x03\x01 this is not HTTP\r\n\r\n")),
              "HTTP/1.1 400 Bad Request");
}

TEST_F(HttpServerTest, ThrowingHandlerIsA500WithoutItsDetail) {
    start();
    const std::string answer = ask("GET /broken" + closing);
    EXPECT_EQ(status_line(answer), "HTTP/1.1 500 Internal Server Error");
    EXPECT_EQ(answer.find("secret"), std::string::npos);
}

TEST_F(HttpServerTest, LargeAnswerArrivesWhole) {
    start();
    const std::string answer = ask("GET /large" + closing);
    EXPECT_GT(answer.size(), 1'000'000U);
    EXPECT_TRUE(answer.ends_with("xEND"));
}

TEST_F(HttpServerTest, SlowClientIsClosedAtTheDeadline) {
    HttpLimits limits;
    limits.deadline = std::chrono::milliseconds(50);
    start(limits);
    Client client(port());
    client.send("GET /metrics HTT");
    EXPECT_EQ(client.read_all(), "");  // the end, with no answer to half a request
}

TEST_F(HttpServerTest, ConnectionsAboveTheBoundWaitForAFreeSlot) {
    HttpLimits limits;
    limits.connections = 2;
    start(limits);
    const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    std::optional<Client> first(port());
    Client second(port());
    for (Client* client : {&*first, &second}) {
        client->send(request);
        EXPECT_EQ(status_line(client->read_until("a_metric 1\n")), "HTTP/1.1 200 OK");
    }
    ready_ = false;
    Client third(port());  // accepted by the kernel only
    third.send("GET /readyz" + closing);
    // A server that took the third would have answered it with 503 by the end of these.
    for (int round = 0; round < 5; ++round) {
        second.send(request);
        EXPECT_EQ(status_line(second.read_until("a_metric 1\n")), "HTTP/1.1 200 OK");
    }
    ready_ = true;
    first.reset();
    EXPECT_EQ(status_line(third.read_all()), "HTTP/1.1 200 OK");
}

TEST_F(HttpServerTest, StopEndsIdleConnectionsAtOnce) {
    start();
    Client client(port());
    client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    client.read_until("a_metric 1\n");
    boost::asio::post(context_, [this] { server_->stop(); });
    EXPECT_EQ(client.read_all(), "");
}

TEST(HttpServerListen, ErrorsAreText) {
    boost::asio::io_context context;
    HttpServer one(context, {});
    EXPECT_NE(one.listen("not an address", 0), std::nullopt);
    ASSERT_EQ(one.listen("127.0.0.1", 0), std::nullopt);
    HttpServer two(context, {});
    const auto error = two.listen("127.0.0.1", one.local_port());
    ASSERT_TRUE(error.has_value());
    EXPECT_NE(error->find("in use"), std::string::npos);
    EXPECT_EQ(two.local_port(), 0);
}

TEST_F(HttpServerTest, HealthcheckFollowsTheStatus) {
    start();
    auto result = run_healthcheck(url("/readyz?x"));
    EXPECT_TRUE(result.healthy);
    EXPECT_EQ(result.message, "200 /readyz?x");
    ready_ = false;
    result = run_healthcheck(url("/readyz"));
    EXPECT_FALSE(result.healthy);
    EXPECT_EQ(result.message, "503 /readyz");
    EXPECT_FALSE(run_healthcheck(url("/nope")).healthy);
}

TEST(Healthcheck, NothingThereIsUnhealthy) {
    // A bound port on which nobody listens.
    const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    ASSERT_EQ(bind(descriptor, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length), 0);
    const std::string base = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    const auto refused = run_healthcheck(base + "/readyz");
    EXPECT_FALSE(refused.healthy);
    EXPECT_NE(refused.message.find("refused"), std::string::npos) << refused.message;
    ASSERT_EQ(listen(descriptor, 1), 0);  // connects, but nobody ever answers
    const auto silent = run_healthcheck(base + "/readyz", std::chrono::milliseconds(50));
    EXPECT_EQ(silent.message, "no answer within 50 ms");
    close(descriptor);
}

TEST(Healthcheck, OnlyHttpUrlsAreAsked) {
    for (const char* url : {"https://127.0.0.1/", "127.0.0.1:80", "http://", "http://[::1/",
                            "http://a:/", "http://a/ b", "http://a/\r\nX: y"}) {
        const auto result = run_healthcheck(url);
        EXPECT_FALSE(result.healthy);
        EXPECT_TRUE(result.message.starts_with("not an http:// URL")) << url;
    }
}

}  // namespace
}  // namespace schemux::daemon
