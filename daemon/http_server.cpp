#include "daemon/http_server.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_static_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <exception>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

using Response = http::response<http::string_body>;
using Parser = http::request_parser<http::empty_body>;

constexpr std::size_t read_buffer_bytes = 16 * 1024;
constexpr int max_drain_reads = 16;
constexpr std::chrono::milliseconds accept_retry{100};
// Of a stream: a reader that stalls is to be noticed soon, not when megabytes are buffered.
constexpr int stream_send_buffer_bytes = 64 * 1024;
// For browsers: when to come again, in milliseconds.
constexpr std::string_view stream_greeting = "retry: 2000\n\n";
constexpr std::string_view stream_heartbeat = ": still here\n\n";

bool is_readable_method(http::verb method) {
    return method == http::verb::get || method == http::verb::head;
}

Response make_response(unsigned status, unsigned version, bool keep_alive, HttpReply reply) {
    Response response{static_cast<http::status>(status), version};
    response.set(http::field::content_type, reply.content_type);
    response.set(http::field::cache_control, "no-store");
    response.set("X-Content-Type-Options", "nosniff");
    for (const auto& [name, value] : reply.headers)
        response.set(name, value);
    response.keep_alive(keep_alive);
    response.body() = std::move(reply.body);
    response.prepare_payload();
    return response;
}

Response error_response(http::status status, unsigned version, bool keep_alive) {
    HttpReply reply;
    reply.body = std::string(http::obsolete_reason(status)) + "\n";
    auto response = make_response(static_cast<unsigned>(status), version, keep_alive, reply);
    if (status == http::status::method_not_allowed) {
        response.set(http::field::allow, "GET, HEAD");
    }
    return response;
}

std::string_view view(const beast::string_view& text) {
    return {text.data(), text.size()};
}

// What a request that cannot be read is answered with; nullopt: with nothing.
std::optional<http::status> status_of_bad_request(const error_code& error, const Parser& parser) {
    if (error.category() != http::make_error_code(http::error::bad_line_ending).category()) {
        return std::nullopt;  // the connection's end, or the deadline
    }
    if (error == http::error::end_of_stream || error == http::error::partial_message) {
        return std::nullopt;
    }
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
        return http::status::request_header_fields_too_large;
    }
    if (error == http::error::body_limit) {
        return is_readable_method(parser.get().method()) ? http::status::payload_too_large
                                                         : http::status::method_not_allowed;
    }
    return http::status::bad_request;
}

}  // namespace

// Outlives the server as long as a connection's coroutine runs.
struct HttpServer::State {
    State(asio::io_context& io, HttpHandlers pages, HttpLimits bounds)
        : context(io), handlers(std::move(pages)), limits(bounds), acceptor(io), slot_freed(io) {}

    asio::io_context& context;
    HttpHandlers handlers;
    HttpLimits limits;
    tcp::acceptor acceptor;
    asio::steady_timer slot_freed;
    std::unordered_set<beast::tcp_stream*> connections;
    std::unordered_map<beast::tcp_stream*, EventWatch*> streams;
    bool stopped = false;

    using Request = http::request<http::empty_body>;
    HttpReply reply_to(const Request& request) const;
    asio::awaitable<Response> answer(const Request& request, std::shared_ptr<EventTopic>& topic);
    static asio::awaitable<void> accept_loop(std::shared_ptr<State> self);
    static asio::awaitable<void> serve(std::shared_ptr<State> self, tcp::socket socket);
    asio::awaitable<void> serve_requests(beast::tcp_stream& stream);
    asio::awaitable<void> serve_events(beast::tcp_stream& stream, EventWatch& watch) const;
    asio::awaitable<void> serve_topic(beast::tcp_stream& stream, std::shared_ptr<EventTopic> topic,
                                      Response response);
};

HttpReply HttpServer::State::reply_to(const Request& request) const {
    const std::string_view target = view(request.target());
    const auto found = handlers.find(target.substr(0, target.find('?')));
    if (found != handlers.end()) return found->second({target, view(request[http::field::host])});
    HttpReply reply;
    reply.status = 404;
    reply.body = "not found; there are:\n";
    for (const auto& [path, handler] : handlers)
        reply.body += path + "\n";
    return reply;
}

/// `topic`: what is to follow it, if anything.
asio::awaitable<Response> HttpServer::State::answer(const Request& request,
                                                    std::shared_ptr<EventTopic>& topic) {
    const bool keep_alive = request.keep_alive();
    if (!is_readable_method(request.method()))
        co_return error_response(http::status::method_not_allowed, request.version(), keep_alive);
    try {
        HttpReply reply = reply_to(request);
        const auto later = std::move(reply.later);
        if (later) reply = co_await later();
        topic = std::move(reply.topic);
        if (topic && (streams.size() >= limits.streams || topic->is_closed())) {
            topic.reset();
            co_return error_response(http::status::service_unavailable, request.version(),
                                     keep_alive);
        }
        const unsigned status = reply.status;
        co_return make_response(status, request.version(), keep_alive, std::move(reply));
    } catch (const std::exception&) {
        co_return error_response(http::status::internal_server_error, request.version(),
                                 keep_alive);
    }
}

/// Until the topic is closed, the server stops, or the other side is gone or does not read.
asio::awaitable<void> HttpServer::State::serve_events(beast::tcp_stream& stream,
                                                      EventWatch& watch) const {
    error_code error;
    EventTopic::Message message;
    std::string_view text = stream_greeting;
    while (!stopped && !watch.is_over()) {
        stream.expires_after(limits.deadline);
        const auto bytes = asio::buffer(text.data(), text.size());
        co_await asio::async_write(stream, bytes, asio::redirect_error(asio::use_awaitable, error));
        if (error) co_return;
        message = watch.take();
        text = stream_heartbeat;
        if (!message && !stopped && !watch.is_over()) {
            watch.timer().expires_after(limits.heartbeat);
            co_await watch.timer().async_wait(asio::redirect_error(asio::use_awaitable, error));
            message = watch.take();
        }
        if (message) text = *message;
    }
}

/// The connection is a stream from now on, and counts as one.
asio::awaitable<void> HttpServer::State::serve_topic(beast::tcp_stream& stream,
                                                     std::shared_ptr<EventTopic> topic,
                                                     Response response) {
    EventWatch watch(context, std::move(topic));
    connections.erase(&stream);
    streams.emplace(&stream, &watch);
    slot_freed.cancel();
    error_code error;
    stream.socket().set_option(asio::socket_base::send_buffer_size(stream_send_buffer_bytes),
                               error);
    response.keep_alive(false);
    response.erase(http::field::content_length);  // it ends with the connection
    http::response_serializer<http::string_body> serializer(response);
    co_await http::async_write_header(stream, serializer,
                                      asio::redirect_error(asio::use_awaitable, error));
    if (!error) co_await serve_events(stream, watch);
    streams.erase(&stream);
}

asio::awaitable<void> HttpServer::State::serve_requests(beast::tcp_stream& stream) {
    beast::flat_static_buffer<read_buffer_bytes> buffer;
    error_code error;
    for (bool keep_alive = true; keep_alive && !stopped;) {
        stream.expires_after(limits.deadline);
        Parser parser;
        parser.header_limit(limits.header_bytes);
        parser.body_limit(0);
        co_await http::async_read(stream, buffer, parser,
                                  asio::redirect_error(asio::use_awaitable, error));
        Response response;
        std::shared_ptr<EventTopic> topic;
        if (error) {
            const auto status = status_of_bad_request(error, parser);
            if (!status) co_return;
            response = error_response(*status, 11, false);
        } else {
            response = co_await answer(parser.get(), topic);
        }
        if (topic && parser.get().method() == http::verb::get) {
            co_await serve_topic(stream, std::move(topic), std::move(response));
            co_return;
        }
        keep_alive = response.keep_alive();
        if (!error && parser.get().method() == http::verb::head) {
            // The header of the whole answer, Content-Length included, without its body.
            http::response_serializer<http::string_body> serializer(response);
            co_await http::async_write_header(stream, serializer,
                                              asio::redirect_error(asio::use_awaitable, error));
        } else {
            co_await http::async_write(stream, response,
                                       asio::redirect_error(asio::use_awaitable, error));
        }
        if (error) co_return;
    }
    // Closing with bytes unread would reset the connection, and could destroy the answer on its
    // way. So what is still sent is read first, within the deadline and a bound.
    stream.socket().shutdown(tcp::socket::shutdown_send, error);
    for (int reads = 0; reads < max_drain_reads && !error; ++reads) {
        buffer.clear();
        co_await stream.async_read_some(buffer.prepare(buffer.max_size()),
                                        asio::redirect_error(asio::use_awaitable, error));
    }
}

asio::awaitable<void> HttpServer::State::serve(std::shared_ptr<State> self, tcp::socket socket) {
    beast::tcp_stream stream(std::move(socket));
    self->connections.insert(&stream);
    co_await self->serve_requests(stream);
    self->connections.erase(&stream);
    self->slot_freed.cancel();
}

asio::awaitable<void> HttpServer::State::accept_loop(std::shared_ptr<State> self) {
    error_code error;
    while (!self->stopped) {
        if (self->connections.size() >= self->limits.connections) {
            self->slot_freed.expires_at(asio::steady_timer::time_point::max());
            co_await self->slot_freed.async_wait(asio::redirect_error(asio::use_awaitable, error));
            continue;
        }
        tcp::socket socket(self->context);
        co_await self->acceptor.async_accept(socket,
                                             asio::redirect_error(asio::use_awaitable, error));
        if (self->stopped) co_return;
        if (error) {
            // Out of descriptors, most likely: trying at once again would spin.
            self->slot_freed.expires_after(accept_retry);
            co_await self->slot_freed.async_wait(asio::redirect_error(asio::use_awaitable, error));
            continue;
        }
        asio::co_spawn(self->context, serve(self, std::move(socket)), asio::detached);
    }
}

HttpServer::HttpServer(asio::io_context& context, HttpHandlers handlers, HttpLimits limits)
    : state_(std::make_shared<State>(context, std::move(handlers), limits)) {}

HttpServer::~HttpServer() {
    stop();
}

std::optional<std::string> HttpServer::listen(const std::string& address, std::uint16_t port) {
    error_code error;
    const auto numeric = asio::ip::make_address(address, error);
    if (error) return "http address \"" + address + "\": " + error.message();
    const tcp::endpoint endpoint(numeric, port);
    tcp::acceptor& acceptor = state_->acceptor;
    acceptor.open(endpoint.protocol(), error);
    if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
        error_code ignored;
        acceptor.close(ignored);
        return "http " + address + ":" + std::to_string(port) + ": " + error.message();
    }
    asio::co_spawn(state_->context, State::accept_loop(state_), asio::detached);
    return std::nullopt;
}

std::uint16_t HttpServer::local_port() const {
    error_code error;
    const auto endpoint = state_->acceptor.local_endpoint(error);
    return error ? std::uint16_t{0} : endpoint.port();
}

void HttpServer::set_handlers(HttpHandlers handlers) {
    state_->handlers = std::move(handlers);
}

void HttpServer::stop() {
    state_->stopped = true;
    error_code ignored;
    state_->acceptor.close(ignored);
    state_->slot_freed.cancel();
    for (beast::tcp_stream* stream : state_->connections)
        stream->cancel();
    for (const auto& [stream, watch] : state_->streams) {
        stream->cancel();
        watch->wake();
    }
}

}  // namespace schemux::daemon
