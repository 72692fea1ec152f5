// The small HTTP server for /metrics, /livez, /readyz and the status page: GET and HEAD only, every
// size, time and count bounded. Runs on the control thread's io_context, away from the data plane.
// Who watches a topic (server-sent events) keeps a connection for long; those have a bound of their
// own, so that watchers cannot keep a probe or a scrape out.
// Knows nothing of what the pages say.
#pragma once

#include "daemon/event_topic.h"

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace schemux::daemon {

struct HttpRequest {
    std::string_view target;  ///< whole, query included
    std::string_view host;    ///< empty: the request did not say
};

struct HttpReply {
    unsigned status = 200;
    std::string content_type = "text/plain; charset=utf-8";
    std::string body{};
    std::vector<std::pair<std::string, std::string>> headers{};
    /// Instead of a body: what is published there, as text/event-stream, until it is closed.
    std::shared_ptr<EventTopic> topic{};
    /// Instead of all that: to be waited for.
    std::function<boost::asio::awaitable<HttpReply>()> later{};
};

/// Called on the io_context's thread. An exception becomes status 500.
using HttpHandler = std::function<HttpReply(const HttpRequest& request)>;
using HttpHandlers = std::map<std::string, HttpHandler, std::less<>>;  ///< by path, without query

struct HttpLimits {
    std::size_t connections = 64;  ///< more wait in the kernel's queue
    std::uint32_t header_bytes = 8 * 1024;
    std::chrono::milliseconds deadline{5000};     ///< for one request, its answer, and idleness
    std::size_t streams = 16;                     ///< that watch a topic; more get status 503
    std::chrono::milliseconds heartbeat{15'000};  ///< of a stream with nothing to say
};

class HttpServer {
  public:
    HttpServer(boost::asio::io_context& context, HttpHandlers handlers, HttpLimits limits = {});
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    ~HttpServer();

    /// Binds and starts to serve. `address` is numeric; port 0 takes a free one. Gives the error
    /// as text, or nullopt.
    std::optional<std::string> listen(const std::string& address, std::uint16_t port);

    /// The port bound by listen(), 0 before.
    std::uint16_t local_port() const;

    /// What is under way goes on as it began. On the io_context's thread, or before it runs.
    void set_handlers(HttpHandlers handlers);
    /// Closes the listener and all connections. On the io_context's thread, or when it is stopped.
    void stop();

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace schemux::daemon
