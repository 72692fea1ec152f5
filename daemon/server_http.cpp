// What the server answers on its HTTP port: metrics, probes, and the status page with its JSON,
// which the configuration may turn off. Starting and stopping: server.cpp.
#include "daemon/http_host.h"
#include "daemon/server.h"
#include "daemon/status_page.h"

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace {

constexpr const char* json_type = "application/json";

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
        return HttpReply{200, json_type, status_->status_text()};
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
        status_ = std::make_unique<StatusFeed>(io_, clusters_, services_, [this] {
            const HttpReply said = ready();
            return Readiness{said.status == 200, said.body.substr(0, said.body.find('\n'))};
        });
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
