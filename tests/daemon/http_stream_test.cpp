// Server-sent events over real sockets: what a watcher gets, and that watchers are bounded, ended
// when they stall or the server stops, and in nobody's way.
#include "daemon/http_server.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <future>
#include <string>
#include <thread>
#include <vector>

namespace schemux::daemon {
namespace {

class Watcher {
  public:
    explicit Watcher(std::uint16_t port, const std::string& method = "GET",
                     const std::string& path = "/stream", int receive_buffer = 0)
        : descriptor_(socket(AF_INET, SOCK_STREAM, 0)) {
        const timeval patience{20, 0};
        setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (receive_buffer > 0)
            setsockopt(descriptor_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(int));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        EXPECT_EQ(connect(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        const std::string request = method + " " + path + " HTTP/1.1\r\nHost: x\r\n\r\n";
        EXPECT_EQ(::send(descriptor_, request.data(), request.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.size()));
    }
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;
    ~Watcher() { close(descriptor_); }

    /// Up to and including `mark`, or all there is up to the end.
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
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return std::exchange(pending_, {}) + (n < 0 ? "(error)" : "");
            pending_.append(buffer.data(), static_cast<std::size_t>(n));
        }
    }
    /// Until it is a watcher.
    void begin() { EXPECT_TRUE(read_until("retry: 2000\n\n").starts_with("HTTP/1.1 200 OK\r\n")); }

  private:
    int descriptor_;
    std::string pending_;
};

class HttpStreamTest : public testing::Test {
  protected:
    void start(HttpLimits limits = {}) {
        HttpHandlers handlers;
        handlers["/stream"] = [this](const HttpRequest&) {
            HttpReply reply{200, "text/event-stream"};
            reply.topic = topic_;
            return reply;
        };
        handlers["/page"] = [](const HttpRequest&) { return HttpReply{200, "text/plain", "END"}; };
        server_.emplace(context_, std::move(handlers), limits);
        ASSERT_EQ(server_->listen("127.0.0.1", 0), std::nullopt);
        thread_ = std::thread([this] { context_.run(); });
    }
    template <class Work>
    auto on_thread(Work work) {
        std::packaged_task<decltype(work())()> task(work);
        auto result = task.get_future();
        boost::asio::post(context_, std::move(task));
        return result.get();
    }
    void TearDown() override {
        if (!thread_.joinable()) return;
        on_thread([this] { server_->stop(); });
        guard_.reset();
        thread_.join();  // returns by itself: a stopped server has no work left
    }
    std::size_t watchers() {
        return on_thread([this] { return topic_->watchers(); });
    }
    void publish(const std::string& data) {
        on_thread([this, data] { topic_->publish(data); });
    }
    std::uint16_t port() const { return server_->local_port(); }

    boost::asio::io_context context_;
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_ =
        boost::asio::make_work_guard(context_);
    std::shared_ptr<EventTopic> topic_ = std::make_shared<EventTopic>();
    std::optional<HttpServer> server_;
    std::thread thread_;
};

TEST_F(HttpStreamTest, EachWatcherGetsWhatIsPublishedWhileItWatches) {
    start();
    publish("too early");
    Watcher one(port());
    const std::string header = one.read_until("retry: 2000\n\n");
    EXPECT_NE(header.find("Content-Type: text/event-stream\r\n"), std::string::npos);
    EXPECT_NE(header.find("Connection: close\r\n"), std::string::npos);
    EXPECT_EQ(header.find("Content-Length"), std::string::npos);
    publish("first");
    EXPECT_EQ(one.read_until("\n\n"), "data: first\n\n");
    Watcher two(port());
    two.begin();
    publish("second");
    EXPECT_EQ(one.read_until("\n\n"), "data: second\n\n");
    EXPECT_EQ(two.read_until("\n\n"), "data: second\n\n");
}

TEST_F(HttpStreamTest, SaysThatItIsThereWhenThereIsNothingToSay) {
    HttpLimits limits;
    limits.heartbeat = std::chrono::milliseconds(5);
    start(limits);
    Watcher watcher(port());
    watcher.begin();
    EXPECT_EQ(watcher.read_until("\n\n"), ": still here\n\n");
    EXPECT_EQ(watcher.read_until("\n\n"), ": still here\n\n");
}

TEST_F(HttpStreamTest, HeadAndOtherMethodsDoNotWatch) {
    start();
    Watcher head(port(), "HEAD");
    EXPECT_TRUE(head.read_until("\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
    Watcher post(port(), "POST");
    EXPECT_TRUE(post.read_until("\r\n\r\n").starts_with("HTTP/1.1 405"));
    EXPECT_EQ(watchers(), 0U);
}

TEST_F(HttpStreamTest, WatchersAboveTheBoundAreRefused) {
    HttpLimits limits;
    limits.streams = 2;
    start(limits);
    std::optional<Watcher> one(port());
    Watcher two(port());
    one->begin();
    two.begin();
    Watcher three(port());
    EXPECT_TRUE(three.read_until("\r\n\r\n").starts_with("HTTP/1.1 503"));
    EXPECT_EQ(watchers(), 2U);
    one.reset();
    while (watchers() == 2)
        publish("anything");  // a write finds out that nobody is there
    Watcher four(port());
    four.begin();
}

TEST_F(HttpStreamTest, WatchersKeepNobodyElseOut) {
    HttpLimits limits;
    limits.connections = 1;
    start(limits);
    Watcher one(port());
    one.begin();
    Watcher two(port());
    two.begin();
    Watcher page(port(), "GET", "/page");
    EXPECT_TRUE(page.read_until("END").ends_with("END"));
}

TEST_F(HttpStreamTest, WatcherThatDoesNotReadIsEnded) {
    HttpLimits limits;
    limits.deadline = std::chrono::milliseconds(200);
    start(limits);
    Watcher stalled(port(), "GET", "/stream", 4096);
    stalled.begin();
    Watcher reader(port());
    reader.begin();
    const std::string large(200'000, 'x');
    while (watchers() == 2) {
        publish(large);
        EXPECT_EQ(reader.read_until("\n\n").size(), large.size() + 8);
    }
    EXPECT_EQ(watchers(), 1U);
    publish("more");
    EXPECT_EQ(reader.read_until("\n\n"), "data: more\n\n");
}

TEST_F(HttpStreamTest, ClosingTheTopicEndsItsWatchers) {
    start();
    Watcher watcher(port());
    watcher.begin();
    on_thread([this] { topic_->close(); });
    EXPECT_EQ(watcher.read_until(""), "");
    Watcher late(port());
    EXPECT_TRUE(late.read_until("\r\n\r\n").starts_with("HTTP/1.1 503"));
}

TEST_F(HttpStreamTest, StopEndsWatchersAtOnce) {
    start();
    Watcher watcher(port());
    watcher.begin();
    on_thread([this] { server_->stop(); });
    EXPECT_EQ(watcher.read_until("").find("data"), std::string::npos);
}

TEST_F(HttpStreamTest, HandlersMayBeReplaced) {
    start();
    on_thread([this] {
        HttpHandlers handlers;
        handlers["/new"] = [](const HttpRequest& request) {
            HttpReply reply{200, "text/plain", std::string(request.host) + "END"};
            reply.headers = {{"X-Frame-Options", "DENY"}};
            return reply;
        };
        server_->set_handlers(std::move(handlers));
    });
    Watcher gone(port(), "GET", "/page");
    EXPECT_TRUE(gone.read_until("\r\n\r\n").starts_with("HTTP/1.1 404"));
    Watcher fresh(port(), "GET", "/new");
    const std::string answer = fresh.read_until("END");
    EXPECT_NE(answer.find("X-Frame-Options: DENY\r\n"), std::string::npos);
    EXPECT_TRUE(answer.ends_with("xEND"));
}

}  // namespace
}  // namespace schemux::daemon
