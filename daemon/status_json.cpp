#include "daemon/status_json.h"

#include "daemon/json_text.h"
#include "daemon/log_text.h"
#include "daemon/statement_log.h"

#include <cmath>
#include <string_view>

namespace schemux::daemon {

namespace {

using Time = std::chrono::system_clock::time_point;

double unix_seconds(Time time) {
    const auto exact = std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch();
    return static_cast<double>(exact.count()) / 1e3;
}

/// More digits would say nothing.
double rounded(double value, double unit) {
    return std::round(value / unit) * unit;
}

std::optional<double> quantile(const std::optional<ServiceRates>& rates,
                               DurationCounts ServiceRates::*which, double part) {
    return rates ? ((*rates).*which).quantile(part) : std::nullopt;
}

std::optional<double> rate(const std::optional<ServiceRates>& rates, double ServiceRates::*which) {
    if (!rates) return {};
    return rounded((*rates).*which * 100, 1) / 100;
}

void write_load(JsonText& json, const ServiceSample& now,
                const std::optional<ServiceRates>& rates) {
    json.number("clients", now.clients);
    json.number("waiting", now.waiting);
    json.number("leases", now.leases);
    json.number("transactions_per_second", rate(rates, &ServiceRates::transactions_per_second));
    json.number("queries_per_second", rate(rates, &ServiceRates::queries_per_second));
    json.number("errors_per_second", rate(rates, &ServiceRates::errors_per_second));
    json.number("wait_p50_seconds", quantile(rates, &ServiceRates::wait, 0.5));
    json.number("wait_p99_seconds", quantile(rates, &ServiceRates::wait, 0.99));
    json.number("query_p50_seconds", quantile(rates, &ServiceRates::query, 0.5));
    json.number("query_p99_seconds", quantile(rates, &ServiceRates::query, 0.99));
    json.key("pins").begin_object();
    for (std::size_t at = 0; at < now.pinned.size(); ++at) {
        if (now.pinned[at] > 0)
            json.number(core::name_of(static_cast<core::SessionFeature>(at)), now.pinned[at]);
    }
    json.end_object();
}

void write_pool(JsonText& json, const PoolStatus& pool) {
    json.begin_object();
    json.text("name", pool.name);
    json.flag("up", pool.is_up);
    json.key("pool").begin_object();
    json.number("maximum", pool.maximum);
    json.number("open", pool.open);
    json.number("idle", pool.idle);
    json.number("leased", pool.leased);
    json.number("connecting", pool.connecting);
    json.number("upkeep", pool.upkeep);
    json.number("waiting", pool.waiting);
    json.end_object().end_object();
}

void write_events(JsonText& json, const std::vector<RecentEvent>& events) {
    json.key("events").begin_array();
    for (auto event = events.rbegin(); event != events.rend(); ++event) {
        json.begin_object();
        json.number("number", event->number);
        json.number("time_seconds", unix_seconds(event->time));
        json.text("level", name_of(event->level));
        json.text("event", event->id);
        json.text("message", event->message);
        // Pairs, since a key may come twice.
        json.key("fields").begin_array();
        for (const auto& [name, value] : event->fields)
            json.begin_array().text(name).text(value).end_array();
        json.end_array().end_object();
    }
    json.end_array();
}

double in_seconds(std::chrono::nanoseconds time) {
    return rounded(std::chrono::duration<double>(time).count(), 1e-6);
}

void write_statements(JsonText& json, const std::vector<core::StatementLine>& statements,
                      bool with_ids) {
    json.key("statements").begin_array();
    for (const core::StatementLine& line : statements) {
        const core::StatementFigures& figures = line.figures;
        const auto calls = static_cast<std::int64_t>(figures.calls == 0 ? 1 : figures.calls);
        json.begin_object();
        json.text("service", line.service);
        if (with_ids) json.text("fingerprint", fingerprint_text(line.id));
        json.text("statement", line.text);
        json.number("calls", figures.calls);
        json.number("total_seconds", in_seconds(figures.total));
        json.number("mean_seconds", in_seconds(figures.total / calls));
        json.number("longest_seconds", in_seconds(figures.longest));
        json.number("wait_seconds", in_seconds(figures.wait));
        json.number("rows", figures.rows);
        json.number("errors", figures.errors);
        json.end_object();
    }
    json.end_array();
}

template <class Value>
void write_series(JsonText& json, std::string_view name, const std::deque<HistoryPoint>& points,
                  Value value) {
    json.key(name).begin_array();
    for (const HistoryPoint& point : points)
        json.number(value(point));
    json.end_array();
}

/// A list for each series, all as long as that of the times.
void write_history(JsonText& json, const std::deque<HistoryPoint>& points) {
    const auto series = [&](std::string_view name, auto value) {
        write_series(json, name, points, value);
    };
    const auto rate_series = [&](std::string_view name, double ServiceRates::*which) {
        series(name, [which](const HistoryPoint& p) { return rate(p.rates, which); });
    };
    json.key("history").begin_object();
    series("time_seconds", [](const HistoryPoint& p) { return unix_seconds(p.time); });
    series("clients", [](const HistoryPoint& p) { return p.clients; });
    series("maximum", [](const HistoryPoint& p) { return p.pool.maximum; });
    series("open", [](const HistoryPoint& p) { return p.pool.open; });
    series("leased", [](const HistoryPoint& p) { return p.pool.leased; });
    series("waiting", [](const HistoryPoint& p) { return p.pool.waiting; });
    rate_series("transactions_per_second", &ServiceRates::transactions_per_second);
    rate_series("queries_per_second", &ServiceRates::queries_per_second);
    rate_series("errors_per_second", &ServiceRates::errors_per_second);
    series("wait_p99_seconds", [](const HistoryPoint& p) { return p.rates.wait.quantile(0.99); });
    series("query_p99_seconds", [](const HistoryPoint& p) { return p.rates.query.quantile(0.99); });
    json.end_object();
}

}  // namespace

std::string status_json(const Status& status, const std::deque<HistoryPoint>* history) {
    JsonText json;
    json.begin_object();
    json.text("version", status.version);
    json.number("time_seconds", unix_seconds(status.time));
    json.number("uptime_seconds", rounded(status.uptime_seconds, 1));
    json.flag("ready", status.is_ready);
    json.text("readiness", status.readiness);
    json.key("clusters").begin_array();
    for (const PoolStatus& pool : status.pools)
        write_pool(json, pool);
    json.end_array();
    json.key("totals").begin_object();
    write_load(json, status.totals, status.rates);
    json.end_object();
    json.number("services_total", std::uint64_t{status.services_total});
    json.key("services").begin_array();
    for (const ServiceStatus& service : status.services) {
        json.begin_object();
        json.text("name", service.name);
        json.text("backend", service.backend);
        write_load(json, service.now, service.rates);
        json.end_object();
    }
    json.end_array();
    write_statements(json, status.statements, false);
    write_events(json, status.events);
    if (history != nullptr) write_history(json, *history);
    json.end_object();
    return json.take();
}

std::string statements_json(const std::vector<core::StatementLine>& statements) {
    JsonText json;
    json.begin_object();
    write_statements(json, statements, true);
    json.end_object();
    return json.take();
}

std::string events_json(const std::vector<RecentEvent>& events) {
    JsonText json;
    json.begin_object();
    write_events(json, events);
    json.end_object();
    return json.take();
}

}  // namespace schemux::daemon
