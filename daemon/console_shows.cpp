#include "daemon/console_shows.h"

#include "core/session_features.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

using core::ConsoleTable;

/// Stands for the connections that belong to no service.
constexpr const char* shared_name = "*shared*";

const ConsoleTotals& of(const std::map<std::string, ConsoleTotals>& all, const std::string& name) {
    static const ConsoleTotals nothing;
    const auto found = all.find(name);
    return found == all.end() ? nothing : found->second;
}

std::uint64_t sum(const Cluster& cluster, core::Counter WorkerCounters::*member) {
    std::uint64_t all = 0;
    for (const auto& worker : cluster.workers())
        all += (worker->counters().*member).value();
    return all;
}

std::string name_of(const Cluster& cluster) {
    return cluster.name().empty() ? "backend" : cluster.name();
}

/// One row of SHOW TOTALS, and the columns of SHOW STATS that it sums.
struct Measure {
    std::string_view name;
    std::uint64_t ConsoleTotals::*member;
    std::uint64_t ConsoleTotals::*count;  ///< that an average is by; null: by second
};

constexpr std::array measures{
    Measure{"server_assignment_count", &ConsoleTotals::assignments, nullptr},
    Measure{"xact_count", &ConsoleTotals::transactions, nullptr},
    Measure{"query_count", &ConsoleTotals::queries, nullptr},
    Measure{"client_bytes", &ConsoleTotals::received, nullptr},
    Measure{"server_bytes", &ConsoleTotals::sent, nullptr},
    Measure{"xact_time", &ConsoleTotals::transaction_us, &ConsoleTotals::transactions},
    Measure{"query_time", &ConsoleTotals::query_us, &ConsoleTotals::queries},
    Measure{"wait_time", &ConsoleTotals::wait_us, nullptr},
    Measure{"client_login_count", &ConsoleTotals::logins, nullptr},
};

std::uint64_t average(const ConsoleTotals& lately, const Measure& measure) {
    const std::uint64_t by =
        measure.count == nullptr
            ? static_cast<std::uint64_t>(ConsoleShows::period / std::chrono::seconds(1))
            : lately.*measure.count;
    return by == 0 ? 0 : lately.*measure.member / by;
}

}  // namespace

void ConsoleTotals::add(const core::ServiceCounters& counters) {
    clients += counters.clients.value();
    waiting += counters.clients_waiting.value();
    leases += counters.leases_active.value();
    for (std::size_t at = 0; at <= core::DurationHistogram::bounds_us.size(); ++at)
        assignments += counters.wait.bucket(at);
    transactions += counters.transactions.value();
    queries += counters.queries_simple.value() + counters.queries_extended.value();
    received += counters.received_bytes.value();
    sent += counters.sent_bytes.value();
    transaction_us += counters.transaction.sum_us();
    query_us += counters.query.sum_us();
    wait_us += counters.wait.sum_us();
    logins += counters.logins.value();
    for (const core::Counter& kind : counters.errors)
        errors += kind.value();
    rewrites += counters.rewrites.value();
    template_errors += counters.template_errors.value();
    refused += counters.queue_refusals.value();
    timed_out += counters.acquire_timeouts.value();
    for (std::size_t at = 0; at < pinned.size(); ++at)
        pinned[at] += counters.pinned[at].value();
}

void ConsoleShows::start() {
    look();
}

void ConsoleShows::look() {
    before_ = std::exchange(last_, totals());
    timer_.expires_after(period);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) look();
    });
}

ConsoleShows::ByName ConsoleShows::totals() const {
    const std::vector<std::string> names = services_.names();
    ByName all;
    for (const auto& cluster : clusters_) {
        for (const auto& worker : cluster->workers()) {
            worker->visit_counters([&](std::size_t index, const core::ServiceCounters& counters) {
                if (index < names.size()) all[names[index]].add(counters);
            });
        }
    }
    return all;
}

ConsoleTotals ConsoleShows::lately(const std::string& name) const {
    const ConsoleTotals& from = of(before_, name);
    ConsoleTotals grown = of(last_, name);
    for (const Measure& measure : measures)
        grown.*measure.member -= from.*measure.member;
    return grown;
}

namespace {

void show_state(ConsoleTable& out, const ConsoleView& view) {
    out.add({{"key", "active"}, {"value", view.paused ? "no" : "yes"}});
    out.add({{"key", "paused"}, {"value", view.paused ? "yes" : "no"}});
    out.add({{"key", "suspended"}, {"value", "no"}});
}

void show_config(ConsoleTable& out, const ConsoleView& view) {
    for (const ConsoleSetting& setting : view.settings)
        out.add({{"key", setting.key},
                 {"value", setting.value},
                 {"default", setting.default_value},
                 {"changeable", setting.changeable ? "yes" : "no"}});
}

void show_isolation(ConsoleTable& out, const ConsoleView& view) {
    for (const ConsoleService& service : view.services)
        out.add({{"service", service.name}, {"level", service.isolation}, {"role", service.role}});
}

}  // namespace

core::ConsoleTable ConsoleShows::table(core::ConsoleShow show, core::ConsoleColumns columns,
                                       const ConsoleView& view) const {
    ConsoleTable out(std::move(columns));
    fill(out, show, view);
    return out;
}

void ConsoleShows::fill(ConsoleTable& out, core::ConsoleShow show, const ConsoleView& view) const {
    using core::ConsoleShow;
    switch (show) {
        case ConsoleShow::databases:
            return show_databases(out, view);
        case ConsoleShow::pools:
            return show_pools(out, view);
        case ConsoleShow::lists:
            return show_lists(out, view);
        case ConsoleShow::users:
            return show_users(out, view);
        case ConsoleShow::stats:
        case ConsoleShow::stats_totals:
        case ConsoleShow::stats_averages:
            return show_stats(out, view, show);
        case ConsoleShow::totals:
            return show_totals(out);
        case ConsoleShow::services:
            return show_services(out, view);
        case ConsoleShow::backends:
            return show_backends(out);
        case ConsoleShow::queue:
            return show_queue(out, view);
        case ConsoleShow::pins:
            return show_pins(out, view);
        case ConsoleShow::templates:
            return show_templates(out, view);
        case ConsoleShow::mem:
            return show_mem(out);
        case ConsoleShow::events:
            return list_events(out, recent_events().list());
        case ConsoleShow::isolation:
            return show_isolation(out, view);
        case ConsoleShow::state:
            return show_state(out, view);
        case ConsoleShow::config:
            return show_config(out, view);
        // Workers are asked: server_lists.cpp.
        case ConsoleShow::clients:
        case ConsoleShow::servers:
        case ConsoleShow::sockets:
        case ConsoleShow::active_sockets:
        case ConsoleShow::statements:
        case ConsoleShow::labels:
        case ConsoleShow::leases:
        case ConsoleShow::help:
        case ConsoleShow::version:
        // There are none: peers and names are not looked up by themselves.
        case ConsoleShow::peers:
        case ConsoleShow::peer_pools:
        case ConsoleShow::dns_hosts:
        case ConsoleShow::dns_zones:
            break;
    }
}

void ConsoleShows::show_databases(ConsoleTable& out, const ConsoleView& view) const {
    const ByName all = totals();
    for (const ConsoleService& service : view.services) {
        const ConsoleTotals& now = of(all, service.name);
        const core::ConsoleValue role =
            service.role.empty() ? core::ConsoleValue() : core::ConsoleValue(service.role);
        out.add({{"name", service.name},
                 {"host", service.host},
                 {"port", service.port},
                 {"database", service.database},
                 {"force_user", role},
                 {"pool_size", service.cap},
                 {"min_pool_size", 0},
                 {"reserve_pool_size", 0},
                 {"reserve_pool", 0},
                 {"server_lifetime", service.lifetime_s},
                 {"pool_mode", service.mode},
                 {"max_connections", service.cap},
                 {"current_connections", now.leases},
                 {"max_client_connections", service.max_clients},
                 {"current_client_connections", now.clients},
                 {"paused", service.paused ? 1 : 0},
                 {"disabled", service.disabled ? 1 : 0}});
    }
}

/// A service has the backends that its clients hold; those that rest belong to nobody.
void ConsoleShows::show_pools(ConsoleTable& out, const ConsoleView& view) const {
    const auto add = [&out](const std::string& database, const std::string& user,
                            const ConsoleTotals& now, std::uint64_t idle, std::uint64_t upkeep,
                            std::uint64_t connecting, const std::string& mode) {
        const std::uint64_t active = now.clients - std::min(now.clients, now.waiting);
        const core::ConsoleValue nobody_waits =
            now.waiting == 0 ? core::ConsoleValue("0") : core::ConsoleValue();
        out.add({{"database", database},
                 {"user", user},
                 {"cl_active", active},
                 {"cl_waiting", now.waiting},
                 {"cl_active_cancel_req", 0},
                 {"cl_waiting_cancel_req", 0},
                 {"sv_active", now.leases},
                 {"sv_active_cancel", 0},
                 {"sv_being_canceled", 0},
                 {"sv_idle", idle},
                 {"sv_used", 0},
                 {"sv_tested", upkeep},
                 {"sv_login", connecting},
                 {"maxwait", nobody_waits},
                 {"maxwait_us", nobody_waits},
                 {"pool_mode", mode}});
    };
    const ByName all = totals();
    for (const ConsoleService& service : view.services)
        add(service.name,
            service.role.empty() ? name_of(*clusters_[service.cluster]) : service.role,
            of(all, service.name), 0, 0, 0, service.mode);
    for (const auto& cluster : clusters_) {
        const core::SharedPool& pool = cluster->shared().pool;
        add(shared_name, name_of(*cluster), {}, pool.idle(),
            sum(*cluster, &WorkerCounters::backends_upkeep), pool.connecting(), "transaction");
    }
    ConsoleTotals own;
    own.clients = view.consoles;
    add("pgbouncer", "pgbouncer", own, 0, 0, 0, "statement");
}

void ConsoleShows::show_lists(ConsoleTable& out, const ConsoleView& view) const {
    std::uint64_t clients = 0;
    for (const auto& [name, now] : totals())
        clients += now.clients;
    std::uint64_t idle = 0;
    std::uint64_t open = 0;
    for (const auto& cluster : clusters_) {
        idle += cluster->shared().pool.idle();
        open += cluster->shared().pool.open();
    }
    const auto row = [&out](const char* name, std::uint64_t items) {
        out.add({{"list", name}, {"items", items}});
    };
    row("databases", view.services.size());
    row("users", view.users.size());
    row("peers", 0);
    row("pools", view.services.size() + clusters_.size());
    row("peer_pools", 0);
    row("free_clients", 0);
    row("used_clients", clients);
    row("login_clients", acceptor_.logging_in());
    row("free_servers", idle);
    row("used_servers", open - std::min(open, idle));
    row("dns_names", 0);
    row("dns_zones", 0);
    row("dns_queries", 0);
    row("dns_pending", 0);
}

void ConsoleShows::show_users(ConsoleTable& out, const ConsoleView& view) const {
    for (const ConsoleUser& user : view.users)
        out.add({{"name", user.name},
                 {"pool_size", ""},
                 {"reserve_pool_size", ""},
                 {"max_user_connections", 0},
                 {"current_connections", 0},
                 {"max_user_client_connections", user.max_clients},
                 {"current_client_connections", 0}});
}

/// One row has the names of all three SHOW STATS…; each takes what is its own.
void ConsoleShows::show_stats(ConsoleTable& out, const ConsoleView& view,
                              core::ConsoleShow show) const {
    const ByName all = totals();
    for (const ConsoleService& service : view.services) {
        const ConsoleTotals& now = of(all, service.name);
        const ConsoleTotals grown = lately(service.name);
        const auto value = [&](std::size_t at) {
            return show == core::ConsoleShow::stats_averages ? average(grown, measures[at])
                                                             : now.*measures[at].member;
        };
        const auto mean = [&](std::size_t at) { return average(grown, measures[at]); };
        out.add({{"database", service.name},
                 {"total_server_assignment_count", value(0)},
                 {"server_assignment_count", value(0)},
                 {"total_xact_count", value(1)},
                 {"xact_count", value(1)},
                 {"total_query_count", value(2)},
                 {"query_count", value(2)},
                 {"total_requests", value(2)},
                 {"total_received", value(3)},
                 {"bytes_received", value(3)},
                 {"total_sent", value(4)},
                 {"bytes_sent", value(4)},
                 {"total_xact_time", value(5)},
                 {"xact_time", value(5)},
                 {"total_query_time", value(6)},
                 {"query_time", value(6)},
                 {"total_wait_time", value(7)},
                 {"wait_time", value(7)},
                 {"total_client_login_count", value(8)},
                 {"client_login_count", value(8)},
                 {"avg_server_assignment_count", mean(0)},
                 {"avg_xact_count", mean(1)},
                 {"avg_query_count", mean(2)},
                 {"avg_recv", mean(3)},
                 {"avg_sent", mean(4)},
                 {"avg_xact_time", mean(5)},
                 {"avg_query_time", mean(6)},
                 {"avg_wait_time", mean(7)},
                 {"avg_client_login_count", mean(8)}});
    }
}

void ConsoleShows::show_totals(ConsoleTable& out) const {
    ConsoleTotals now;
    ConsoleTotals grown;
    for (const auto& [name, one] : totals()) {
        const ConsoleTotals recent = lately(name);
        for (const Measure& measure : measures) {
            now.*measure.member += one.*measure.member;
            grown.*measure.member += recent.*measure.member;
        }
    }
    for (const Measure& measure : measures)
        out.add({{"name", "total_" + std::string(measure.name)}, {"value", now.*measure.member}});
    for (const Measure& measure : measures)
        out.add({{"name", "avg_" + std::string(measure.name)}, {"value", average(grown, measure)}});
}

void ConsoleShows::show_services(ConsoleTable& out, const ConsoleView& view) const {
    const ByName all = totals();
    for (const ConsoleService& service : view.services) {
        const ConsoleTotals& now = of(all, service.name);
        const auto share = services_.find_share(service.name);
        std::uint64_t pinned = 0;
        for (const std::uint64_t reason : now.pinned)
            pinned += reason;
        out.add({{"service", service.name},
                 {"backend", name_of(*clusters_[service.cluster])},
                 {"schema", service.schema},
                 {"isolation", service.isolation},
                 {"mode", service.mode},
                 {"clients", now.clients},
                 {"waiting", now.waiting},
                 {"leases", now.leases},
                 {"transactions", now.transactions},
                 {"queries", now.queries},
                 {"errors", now.errors},
                 {"rewrites", now.rewrites},
                 {"template_errors", now.template_errors},
                 {"pinned", pinned},
                 {"wait_time_us", now.wait_us},
                 {"backend_time_us", share ? share->had().count() / 1'000 : 0},
                 {"paused", service.paused ? 1 : 0},
                 {"disabled", service.disabled ? 1 : 0}});
    }
}

void ConsoleShows::show_backends(ConsoleTable& out) const {
    for (const auto& cluster : clusters_) {
        const core::SharedPool& pool = cluster->shared().pool;
        out.add({{"backend", name_of(*cluster)},
                 {"maximum", pool.maximum()},
                 {"minimum", pool.minimum()},
                 {"open", pool.open()},
                 {"idle", pool.idle()},
                 {"leased", sum(*cluster, &WorkerCounters::backends_leased)},
                 {"upkeep", sum(*cluster, &WorkerCounters::backends_upkeep)},
                 {"connecting", pool.connecting()},
                 {"waiting", pool.waiting()},
                 {"reachable", cluster->is_away() ? 0 : 1},
                 {"error", cluster->shared().last_failure.get()}});
    }
}

void ConsoleShows::show_queue(ConsoleTable& out, const ConsoleView& view) const {
    const ByName all = totals();
    for (const ConsoleService& service : view.services) {
        const ConsoleTotals& now = of(all, service.name);
        out.add({{"service", service.name},
                 {"waiting", now.waiting},
                 {"leases", now.leases},
                 {"served", now.assignments},
                 {"refused", now.refused},
                 {"timed_out", now.timed_out},
                 {"wait_time_us", now.wait_us},
                 {"paused", service.paused ? 1 : 0}});
    }
}

void ConsoleShows::show_templates(ConsoleTable& out, const ConsoleView& view) const {
    const ByName all = totals();
    for (const ConsoleService& service : view.services) {
        const ConsoleTotals& now = of(all, service.name);
        out.add({{"service", service.name},
                 {"schema", service.schema},
                 {"placeholders", service.placeholders},
                 {"rewrites", now.rewrites},
                 {"errors", now.template_errors}});
    }
}

/// The objects themselves; what they point to is not in here.
void ConsoleShows::show_mem(ConsoleTable& out) const {
    std::uint64_t clients = 0;
    std::uint64_t backends = 0;
    for (const auto& cluster : clusters_) {
        clients += cluster->session_count();
        backends += cluster->shared().pool.open();
    }
    const auto row = [&out](const char* name, std::size_t size, std::uint64_t used) {
        out.add({{"name", name},
                 {"size", size},
                 {"used", used},
                 {"free", 0},
                 {"memtotal", size * used}});
    };
    row("client_cache", sizeof(Session) + sizeof(core::Relay), clients);
    row("server_cache", sizeof(BackendConnection), backends);
}

/// Who keeps nothing has no row.
void ConsoleShows::show_pins(ConsoleTable& out, const ConsoleView& view) const {
    const ByName all = totals();
    for (const ConsoleService& service : view.services) {
        const ConsoleTotals& now = of(all, service.name);
        for (std::size_t at = 0; at < now.pinned.size(); ++at) {
            if (now.pinned[at] == 0) continue;
            const auto reason = static_cast<core::SessionFeature>(at);
            out.add({{"service", service.name},
                     {"reason", std::string(core::name_of(reason))},
                     {"clients", now.pinned[at]}});
        }
    }
}

}  // namespace schemux::daemon
