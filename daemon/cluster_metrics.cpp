#include "daemon/cluster_metrics.h"

#include "daemon/metric_families.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace schemux::daemon {

using prometheus::MetricFamily;
using prometheus::MetricType;

namespace {

Labels labels_of(const Cluster& cluster, Labels more = {}) {
    if (!cluster.name().empty()) more.push_back(label("backend", cluster.name()));
    return more;
}

double sum(const Cluster& cluster, core::Counter WorkerCounters::*member) {
    std::uint64_t all = 0;
    for (const auto& worker : cluster.workers())
        all += (worker->counters().*member).value();
    return static_cast<double>(all);
}

template <class Value>
double as_double(Value value) {
    return static_cast<double>(value);
}

struct Row {
    const char* name;
    const char* help;
    MetricType type;
    double (*value)(const Cluster&);
};

constexpr auto gauge = MetricType::Gauge;
constexpr auto counter = MetricType::Counter;

const std::array rows{
    Row{"schemux_backend_up", "0 while no connection to PostgreSQL is there or can be made.", gauge,
        [](const Cluster& c) { return c.is_away() ? 0.0 : 1.0; }},
    Row{"schemux_backend_connections_max",
        "The bound: pool.max_connections, or that of the one of backends.", gauge,
        [](const Cluster& c) { return as_double(c.shared().pool.maximum()); }},
    Row{"schemux_pool_waiting", "Tickets in the wait queue.", gauge,
        [](const Cluster& c) { return as_double(c.shared().pool.waiting()); }},
    Row{"schemux_backend_connections_evicted_total",
        "Connections closed because another role or database needed the slot.", counter,
        [](const Cluster& c) { return as_double(c.shared().pool.evictions()); }},
    Row{"schemux_backend_identities", "Pairs of database and login role that services have now.",
        gauge, [](const Cluster& c) { return as_double(c.shared().pool.sub_pools().size()); }},
    Row{"schemux_backend_connections_closed_total", "Connections to PostgreSQL closed.", counter,
        [](const Cluster& c) { return sum(c, &WorkerCounters::backends_closed); }},
    Row{"schemux_backend_migrations_total", "Backends that moved to another worker.", counter,
        [](const Cluster& c) { return sum(c, &WorkerCounters::migrations); }},
    Row{"schemux_backend_upkeep_failures_total", "Backends closed since they could not be reset.",
        counter, [](const Cluster& c) { return sum(c, &WorkerCounters::upkeep_failures); }},
    Row{"schemux_audits_total", "Backends that were looked at between two leases.", counter,
        [](const Cluster& c) { return sum(c, &WorkerCounters::audits); }},
    Row{"schemux_backends_outgrown_total",
        "Backends closed since they took more than pool.max_backend_memory.", counter,
        [](const Cluster& c) { return sum(c, &WorkerCounters::backends_outgrown); }},
    Row{"schemux_clients_shed_total",
        "Clients ended since the process was about to exceed limits.memory.", counter,
        [](const Cluster& c) { return sum(c, &WorkerCounters::clients_shed); }},
    Row{"schemux_desync_total", "Backends closed for answering what nobody asked; must stay 0.",
        counter, [](const Cluster& c) { return sum(c, &WorkerCounters::desyncs); }},
    Row{"schemux_backend_connections_opened_total", "Connections to PostgreSQL opened.", counter,
        [](const Cluster& c) { return as_double(c.connector().counters().opened.value()); }},
    Row{"schemux_backend_connect_failures_total",
        "Connections to PostgreSQL that could not be opened.", counter,
        [](const Cluster& c) { return as_double(c.connector().counters().failed.value()); }},
    Row{"schemux_backend_cancel_requests_total", "Cancel requests sent to PostgreSQL.", counter,
        [](const Cluster& c) { return as_double(c.connector().counters().cancels_sent.value()); }},
    Row{"schemux_primary_checks_total",
        "Times that a server was asked whether it is still the primary.", counter,
        [](const Cluster& c) {
            return as_double(c.connector().counters().servers_doubted.value());
        }},
    Row{"schemux_primary_moves_total",
        "Times that the primary was found to be another server, or none.", counter,
        [](const Cluster& c) { return as_double(c.connector().counters().servers_moved.value()); }},
    Row{"schemux_listener_connections", "1 while the session is connected that listens for all.",
        gauge, [](const Cluster& c) { return as_double(c.listener().connections().value()); }},
    Row{"schemux_listener_channels", "Channels that it listens on.", gauge,
        [](const Cluster& c) { return as_double(c.listener().channels().value()); }},
    Row{"schemux_listener_lost_total",
        "Times that it lost its connection: notifications may have been missed.", counter,
        [](const Cluster& c) { return as_double(c.listener().losses().value()); }},
};

MetricFamily connection_states(const Clusters& clusters) {
    MetricFamily states = family(
        "schemux_backend_connections",
        "Connections to PostgreSQL that count against the bound, by state.", MetricType::Gauge);
    for (const auto& cluster : clusters) {
        const core::SharedPool& pool = cluster->shared().pool;
        const auto add = [&](const char* state, double value) {
            add_value(states, labels_of(*cluster, {label("state", state)}), value);
        };
        const double open = pool.open();
        const double connecting = pool.connecting();
        const double idle = pool.idle();
        const double leased = sum(*cluster, &WorkerCounters::backends_leased);
        const double upkeep = sum(*cluster, &WorkerCounters::backends_upkeep);
        add("connecting", connecting);
        add("idle", idle);
        add("leased", leased);
        add("upkeep", upkeep);
        // What is left is on its way: parked, moving between workers, or closing.
        add("other", std::max(0.0, open - connecting - idle - leased - upkeep));
    }
    return states;
}

MetricFamily audit_findings(const Clusters& clusters) {
    MetricFamily findings = family(
        "schemux_audit_findings_total",
        "State that nobody saw come; its backend was closed. Must stay 0.", MetricType::Counter);
    for (const auto& cluster : clusters) {
        for (std::size_t at = 0; at < core::audit_kind_count; ++at) {
            std::uint64_t found = 0;
            for (const auto& worker : cluster->workers())
                found += worker->counters().audit_findings[at].value();
            const auto kind = static_cast<core::AuditKind>(at);
            add_value(findings,
                      labels_of(*cluster, {label("kind", std::string(core::name_of(kind)))}),
                      static_cast<double>(found));
        }
    }
    return findings;
}

MetricFamily connect_times(const Clusters& clusters) {
    MetricFamily times =
        family("schemux_backend_connect_duration_seconds",
               "Time to open a connection to PostgreSQL, or to fail.", MetricType::Histogram);
    for (const auto& cluster : clusters) {
        HistogramSum connects;
        connects.add(cluster->connector().counters().connect);
        times.metric.push_back(connects.metric(labels_of(*cluster)));
    }
    return times;
}

}  // namespace

void collect_clusters(const Clusters& clusters, std::vector<MetricFamily>& out) {
    out.push_back(connection_states(clusters));
    for (const Row& row : rows) {
        MetricFamily made = family(row.name, row.help, row.type);
        for (const auto& cluster : clusters)
            add_value(made, labels_of(*cluster), row.value(*cluster));
        out.push_back(std::move(made));
    }
    out.push_back(audit_findings(clusters));
    out.push_back(connect_times(clusters));
}

}  // namespace schemux::daemon
