#include "daemon/healthcheck.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <optional>
#include <string_view>

namespace schemux::daemon {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

namespace {

constexpr std::uint64_t max_answer_bytes = 64 * 1024;
constexpr std::size_t max_message_bytes = 200;

struct Url {
    std::string host;  // without brackets
    std::string port = "80";
    std::string authority;
    std::string target = "/";
};

std::optional<Url> parse_url(std::string_view text) {
    constexpr std::string_view scheme = "http://";
    if (!text.starts_with(scheme)) return std::nullopt;
    for (const char c : text) {
        if (c <= ' ' || c == 0x7F) return std::nullopt;  // no header of the caller's making
    }
    text.remove_prefix(scheme.size());
    Url url;
    const auto slash = text.find('/');
    url.authority = text.substr(0, slash);
    if (slash != std::string_view::npos) url.target = text.substr(slash);
    std::string_view rest = url.authority;
    if (rest.starts_with('[')) {
        const auto bracket = rest.find(']');
        if (bracket == std::string_view::npos) return std::nullopt;
        url.host = rest.substr(1, bracket - 1);
        rest.remove_prefix(bracket + 1);
    } else {
        const auto colon = rest.find(':');
        url.host = rest.substr(0, colon);
        rest = colon == std::string_view::npos ? "" : rest.substr(colon);
    }
    if (!rest.empty()) {
        if (!rest.starts_with(':') || rest.size() == 1) return std::nullopt;
        url.port = rest.substr(1);
    }
    if (url.host.empty()) return std::nullopt;
    return url;
}

std::string first_line(const std::string& text) {
    return text.substr(0, std::min(text.find_first_of("\r\n"), max_message_bytes));
}

asio::awaitable<HealthcheckResult> ask(Url url) {
    const auto executor = co_await asio::this_coro::executor;
    asio::ip::tcp::resolver resolver(executor);
    const auto addresses = co_await resolver.async_resolve(url.host, url.port, asio::use_awaitable);
    beast::tcp_stream stream(executor);
    co_await stream.async_connect(addresses, asio::use_awaitable);
    http::request<http::empty_body> request{http::verb::get, url.target, 11};
    request.set(http::field::host, url.authority);
    request.set(http::field::user_agent, "schemux-healthcheck");
    request.keep_alive(false);
    co_await http::async_write(stream, request, asio::use_awaitable);
    beast::flat_buffer buffer(max_answer_bytes);
    http::response_parser<http::string_body> parser;
    parser.body_limit(max_answer_bytes);
    co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
    const auto& response = parser.get();
    const unsigned status = response.result_int();
    co_return HealthcheckResult{status >= 200 && status < 300,
                                std::to_string(status) + " " + first_line(response.body())};
}

}  // namespace

HealthcheckResult run_healthcheck(const std::string& url, std::chrono::milliseconds limit) {
    const auto parsed = parse_url(url);
    if (!parsed) return {false, "not an http:// URL: " + first_line(url)};
    asio::io_context context;
    std::optional<HealthcheckResult> result;
    asio::co_spawn(context, ask(*parsed),
                   [&](const std::exception_ptr& failure, HealthcheckResult answer) {
                       if (!failure) {
                           result = std::move(answer);
                           return;
                       }
                       try {
                           std::rethrow_exception(failure);
                       } catch (const std::exception& error) {
                           result = HealthcheckResult{false, first_line(error.what())};
                       }
                   });
    context.run_for(limit);
    if (result) return *result;
    return {false, "no answer within " + std::to_string(limit.count()) + " ms"};
}

}  // namespace schemux::daemon
