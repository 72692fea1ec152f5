// What the server answers on its HTTP port: metrics, probes, and the status page with its JSON,
// which the configuration may turn off. Starting and stopping: server.cpp.
#include "daemon/http_host.h"
#include "daemon/http_query.h"
#include "daemon/server.h"
#include "daemon/status_page.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;

namespace {

constexpr const char* json_type = "application/json";

constexpr std::size_t statements_told = 100;
constexpr std::size_t statements_told_max = 1'000;

struct StatementsAsked {
    std::string service{};  ///< empty: all
    std::size_t most = statements_told;
};

/// `?service=orders&limit=20`; what it does not know it does not look at.
StatementsAsked statements_asked(std::string_view target) {
    StatementsAsked asked;
    if (const auto service = query_value(target, "service")) asked.service = *service;
    if (const auto limit = query_value(target, "limit")) {
        std::size_t number = 0;
        const auto [end, error] =
            std::from_chars(limit->data(), limit->data() + limit->size(), number);
        if (error == std::errc())
            asked.most = std::clamp<std::size_t>(number, 1, statements_told_max);
    }
    return asked;
}

/// For people, and so for browsers.
HttpHandler for_own_names(std::vector<std::string> names, HttpHandler handler) {
    return [names = std::move(names), handler = std::move(handler)](const HttpRequest& request) {
        if (is_own_host(request.host, names)) return handler(request);
        return HttpReply{403, "text/plain; charset=utf-8",
                         "this name is neither an address nor localhost nor one of "
                         "http.host_names\n"};
    };
}

}  // namespace

/// As the configuration in use says; a reload asks again.
HttpHandlers Server::http_handlers() {
    HttpHandlers handlers;
    handlers["/metrics"] = [this](const HttpRequest&) {
        return HttpReply{200, "text/plain; version=0.0.4; charset=utf-8", metrics_->text()};
    };
    handlers["/livez"] = [](const HttpRequest&) { return HttpReply{200, "text/plain", "ok\n"}; };
    handlers["/readyz"] = [this](const HttpRequest&) { return ready(); };
    if (!status_) return handlers;
    const auto add = [&](const char* path, HttpHandler handler) {
        handlers[path] = for_own_names(settings_.http->host_names, std::move(handler));
    };
    add("/", [](const HttpRequest&) { return status_page(); });
    add("/api/v1/status", [this](const HttpRequest&) {
        HttpReply reply;
        reply.later = [this]() -> asio::awaitable<HttpReply> {
            co_await feed_statements();
            // A reload may have turned it off meanwhile.
            if (!status_) co_return HttpReply{404};
            co_return HttpReply{200, json_type, status_->status_text()};
        };
        return reply;
    });
    add("/api/v1/statements", [this](const HttpRequest& request) {
        HttpReply reply;
        reply.later = [this,
                       asked = statements_asked(request.target)]() -> asio::awaitable<HttpReply> {
            const std::vector<core::StatementLine> lines =
                co_await top_statements(asked.most, asked.service);
            co_return HttpReply{200, json_type, statements_json(lines)};
        };
        return reply;
    });
    add("/api/v1/events", [](const HttpRequest&) {
        return HttpReply{200, json_type, StatusFeed::events_text()};
    });
    add("/api/v1/stream", [topic = status_->topic()](const HttpRequest&) {
        return HttpReply{200, "text/event-stream", {}, {}, topic};
    });
    return handlers;
}

/// The status page comes and goes with the configuration.
void Server::renew_http() {
    if (!http_) return;
    const bool wanted = settings_.http && settings_.http->status_page;
    if (!wanted) {
        status_.reset();
    } else if (!status_) {
        const auto readiness = [this] {
            const HttpReply said = ready();
            return Readiness{said.status == 200, said.body.substr(0, said.body.find('\n'))};
        };
        const auto ask_statements = [this] {
            asio::co_spawn(io_, feed_statements(), asio::detached);
        };
        status_ =
            std::make_unique<StatusFeed>(io_, clusters_, services_, readiness, ask_statements);
        status_->start();
    }
    http_->set_handlers(http_handlers());
}

std::optional<std::string> Server::serve_http() {
    if (!settings_.http) return {};
    http_ = std::make_unique<HttpServer>(io_, HttpHandlers{});
    renew_http();
    return http_->listen(settings_.http->address, settings_.http->port);
}

HttpReply Server::ready() const {
    if (stops_ > 0) return {503, "text/plain", "draining\n"};
    const bool unreachable = std::all_of(clusters_.begin(), clusters_.end(),
                                         [](const auto& cluster) { return cluster->is_away(); });
    if (unreachable) return {503, "text/plain", "PostgreSQL cannot be reached\n"};
    if (roster_ && !roster_->get())
        return {503, "text/plain", "services_query was not answered yet\n"};
    return {200, "text/plain", "ok\n"};
}

}  // namespace schemux::daemon
