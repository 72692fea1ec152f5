#include "daemon/metrics.h"

#include "daemon/cluster_metrics.h"
#include "daemon/log_text.h"
#include "daemon/metric_families.h"
#include "daemon/process_stats.h"
#include "daemon/version.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

namespace schemux::daemon {

using prometheus::MetricFamily;
using prometheus::MetricType;

namespace {

using Counters = std::vector<const core::ServiceCounters*>;

double total(const Counters& all, core::Counter core::ServiceCounters::*member) {
    std::uint64_t sum = 0;
    for (const core::ServiceCounters* counters : all)
        sum += (counters->*member).value();
    return static_cast<double>(sum);
}

struct CounterRow {
    const char* name;
    const char* help;
    MetricType type;
    core::Counter core::ServiceCounters::*member;
};

const std::array counter_rows{
    CounterRow{"schemux_client_connections", "Clients logged in now.", MetricType::Gauge,
               &core::ServiceCounters::clients},
    CounterRow{"schemux_clients_waiting", "Clients waiting for a backend now.", MetricType::Gauge,
               &core::ServiceCounters::clients_waiting},
    CounterRow{"schemux_leases", "Backends that clients of the service have now.",
               MetricType::Gauge, &core::ServiceCounters::leases_active},
    CounterRow{"schemux_client_logins_total", "Clients that logged in.", MetricType::Counter,
               &core::ServiceCounters::logins},
    CounterRow{"schemux_transactions_total", "Leases that ended at a transaction's end.",
               MetricType::Counter, &core::ServiceCounters::transactions},
    CounterRow{"schemux_client_received_bytes_total", "Bytes received from clients.",
               MetricType::Counter, &core::ServiceCounters::received_bytes},
    CounterRow{"schemux_client_sent_bytes_total", "Bytes sent to clients.", MetricType::Counter,
               &core::ServiceCounters::sent_bytes},
    CounterRow{"schemux_rewrites_total", "Query texts in which templates were expanded.",
               MetricType::Counter, &core::ServiceCounters::rewrites},
    CounterRow{"schemux_template_errors_total", "Query texts refused for their templates.",
               MetricType::Counter, &core::ServiceCounters::template_errors},
    CounterRow{"schemux_statements_reprepared_total",
               "Prepared statements sent again since the backend did not have them.",
               MetricType::Counter, &core::ServiceCounters::statements_reprepared},
    CounterRow{"schemux_label_switches_total",
               "Backends whose settings were changed before a lease.", MetricType::Counter,
               &core::ServiceCounters::label_switches},
    CounterRow{"schemux_scrubs_total", "Backends that were reset after a lease.",
               MetricType::Counter, &core::ServiceCounters::scrubs},
    CounterRow{"schemux_local_resets_total",
               "DISCARD ALL and the like answered without a backend: there was nothing to reset.",
               MetricType::Counter, &core::ServiceCounters::local_resets},
    CounterRow{"schemux_notifications_total",
               "Notifications that clients got from the shared listener.", MetricType::Counter,
               &core::ServiceCounters::notifications},
    CounterRow{"schemux_cancel_requests_total", "Cancel requests that found their client.",
               MetricType::Counter, &core::ServiceCounters::cancels},
    CounterRow{"schemux_acquire_timeouts_total", "Clients that waited for a backend in vain.",
               MetricType::Counter, &core::ServiceCounters::acquire_timeouts},
    CounterRow{"schemux_queue_refusals_total",
               "Clients refused at once: the queue is full, or the wait would be too long.",
               MetricType::Counter, &core::ServiceCounters::queue_refusals},
    CounterRow{"schemux_query_timeouts_total", "Queries that were cancelled for query_timeout.",
               MetricType::Counter, &core::ServiceCounters::query_timeouts},
    CounterRow{"schemux_client_timeouts_total",
               "Clients ended for transaction_timeout, idle_in_transaction_timeout, "
               "client_idle_timeout or pin_timeout.",
               MetricType::Counter, &core::ServiceCounters::clients_timed_out},
    CounterRow{"schemux_client_stall_timeouts_total", "Clients ended since they did not read.",
               MetricType::Counter, &core::ServiceCounters::stall_timeouts},
    CounterRow{"schemux_pins_total", "Clients that began to keep a backend for themselves.",
               MetricType::Counter, &core::ServiceCounters::pins},
};

struct HistogramRow {
    const char* name;
    const char* help;
    core::DurationHistogram core::ServiceCounters::*member;
};

const std::array histogram_rows{
    HistogramRow{"schemux_wait_duration_seconds", "Time from asking for a backend to having it.",
                 &core::ServiceCounters::wait},
    HistogramRow{"schemux_query_duration_seconds",
                 "Time from a query's first message to ReadyForQuery.",
                 &core::ServiceCounters::query},
    HistogramRow{"schemux_transaction_duration_seconds", "Time a backend was leased.",
                 &core::ServiceCounters::transaction},
};

constexpr std::array<const char*, core::error_class_count> error_class_names{
    "connection", "feature", "data",      "integrity",    "transaction", "prepared",
    "access",     "syntax",  "resources", "intervention", "other"};

}  // namespace

Metrics::Metrics(const ProcessState& process, const Acceptor& acceptor, const Clusters& clusters,
                 const ServiceIndex& services, const ReloadState& reload,
                 const IsolationWatch& isolation)
    : process_(process),
      acceptor_(acceptor),
      clusters_(clusters),
      services_(services),
      reload_(reload),
      isolation_(isolation) {}

namespace {

void collect_pins(const std::vector<std::string>& names, const std::vector<Counters>& by_service,
                  std::vector<MetricFamily>& out) {
    MetricFamily pinned = family(
        "schemux_pinned_backends",
        "Backends that clients keep now, by why; one may count for several.", MetricType::Gauge);
    MetricFamily seconds =
        family("schemux_pinned_seconds_total", "Time that clients kept backends, when they ended.",
               MetricType::Counter);
    for (std::size_t index = 0; index < names.size(); ++index) {
        for (std::size_t at = 0; at < core::session_feature_count; ++at) {
            std::uint64_t sum = 0;
            for (const core::ServiceCounters* counters : by_service[index])
                sum += counters->pinned[at].value();
            const auto feature = static_cast<core::SessionFeature>(at);
            add_value(pinned,
                      {label("service", names[index]),
                       label("reason", std::string(core::name_of(feature)))},
                      static_cast<double>(sum));
        }
        add_value(seconds, {label("service", names[index])},
                  total(by_service[index], &core::ServiceCounters::pinned_us) / 1e6);
    }
    out.push_back(std::move(pinned));
    out.push_back(std::move(seconds));
}

void collect_shares(const std::vector<std::string>& names, const ServiceIndex& services,
                    std::vector<MetricFamily>& out) {
    MetricFamily held = family("schemux_backends_held",
                               "Backends that clients hold or were promised.", MetricType::Gauge);
    MetricFamily seconds = family("schemux_backend_seconds_total",
                                  "Time that clients held backends.", MetricType::Counter);
    for (const std::string& name : names) {
        const auto share = services.find_share(name);
        if (!share) continue;
        add_value(held, {label("service", name)}, static_cast<double>(share->uses()));
        add_value(seconds, {label("service", name)},
                  std::chrono::duration<double>(share->had()).count());
    }
    out.push_back(std::move(held));
    out.push_back(std::move(seconds));
}

void collect_answer(const ServicesAnswer& answer, std::vector<MetricFamily>& out) {
    out.push_back(single("schemux_services_query_services",
                         "Services that services_query gave last.", MetricType::Gauge,
                         static_cast<double>(answer.services)));
    out.push_back(single("schemux_services_query_timestamp_seconds",
                         "When it was answered last; 0: not yet.", MetricType::Gauge,
                         static_cast<double>(answer.answered_at)));
    out.push_back(single("schemux_services_query_failures_total", "Times that it was not answered.",
                         MetricType::Counter, static_cast<double>(answer.failures)));
}

void collect_isolation(const ServiceIndex& services, std::vector<MetricFamily>& out) {
    MetricFamily made =
        family("schemux_service_isolation",
               "1: what keeps the service's clients from other services' data.", MetricType::Gauge);
    for (const auto& [name, isolation] : services.isolations())
        add_value(made,
                  {label("service", name), label("level", std::string(core::name_of(isolation)))},
                  1);
    out.push_back(std::move(made));
}

}  // namespace

void Metrics::collect_services(std::vector<MetricFamily>& out) const {
    const std::vector<std::string> names = services_.names();
    std::vector<Counters> by_service(names.size());
    const auto take = [&](std::size_t index, const core::ServiceCounters& counters) {
        if (index < by_service.size()) by_service[index].push_back(&counters);
    };
    for (const auto& cluster : clusters_) {
        for (const auto& worker : cluster->workers())
            worker->visit_counters(take);
    }
    for (const CounterRow& row : counter_rows) {
        MetricFamily made = family(row.name, row.help, row.type);
        for (std::size_t index = 0; index < names.size(); ++index) {
            add_value(made, {label("service", names[index])}, total(by_service[index], row.member));
        }
        out.push_back(std::move(made));
    }
    MetricFamily queries =
        family("schemux_queries_total", "Simple queries and executions of extended ones.",
               MetricType::Counter);
    MetricFamily errors = family("schemux_errors_total", "Errors that clients were told, by kind.",
                                 MetricType::Counter);
    for (std::size_t index = 0; index < names.size(); ++index) {
        const Counters& all = by_service[index];
        add_value(queries, {label("service", names[index]), label("protocol", "simple")},
                  total(all, &core::ServiceCounters::queries_simple));
        add_value(queries, {label("service", names[index]), label("protocol", "extended")},
                  total(all, &core::ServiceCounters::queries_extended));
        for (std::size_t kind = 0; kind < error_class_names.size(); ++kind) {
            std::uint64_t sum = 0;
            for (const core::ServiceCounters* counters : all)
                sum += counters->errors[kind].value();
            add_value(errors,
                      {label("service", names[index]), label("class", error_class_names[kind])},
                      static_cast<double>(sum));
        }
    }
    collect_pins(names, by_service, out);
    collect_shares(names, services_, out);
    collect_isolation(services_, out);
    out.push_back(std::move(queries));
    out.push_back(std::move(errors));
    for (const HistogramRow& row : histogram_rows) {
        MetricFamily made = family(row.name, row.help, MetricType::Histogram);
        for (std::size_t index = 0; index < names.size(); ++index) {
            HistogramSum sum;
            for (const core::ServiceCounters* counters : by_service[index]) {
                sum.add(counters->*row.member);
            }
            made.metric.push_back(sum.metric({label("service", names[index])}));
        }
        out.push_back(std::move(made));
    }
}

/// Of those that had the most backend time since they were made: no more than are asked for.
void Metrics::collect_tenants(std::vector<MetricFamily>& out) const {
    const std::shared_ptr<const Policy> policy = process_.policy.get();
    if (policy->top_tenants == 0 || !policy->tenants) return;
    const auto tenants = policy->tenants->known();
    const std::vector<std::string> names = services_.names();
    struct Part {
        core::Nanoseconds had{};
        std::uint32_t uses = 0;
    };
    // What they had may grow while they are compared. Users of one that have a service each are
    // one tenant, and none where the service itself is listed.
    std::map<std::pair<std::size_t, std::string_view>, Part> parts;
    for (const auto& tenant : tenants) {
        if (names.at(tenant->index) == tenant->name) continue;
        Part& part = parts[{tenant->index, tenant->name}];
        part.had += tenant->share->had();
        part.uses += tenant->share->uses();
    }
    const std::size_t most = std::min<std::size_t>(policy->top_tenants, parts.size());
    std::vector<decltype(parts)::const_pointer> had;
    had.reserve(parts.size());
    for (const auto& part : parts)
        had.push_back(&part);
    const auto end = had.begin() + static_cast<std::ptrdiff_t>(most);
    std::partial_sort(had.begin(), end, had.end(), [](const auto* left, const auto* right) {
        return left->second.had > right->second.had;
    });
    MetricFamily held =
        family("schemux_tenant_backends_held",
               "Backends that clients of the tenant hold or were promised.", MetricType::Gauge);
    MetricFamily seconds = family(
        "schemux_tenant_backend_seconds_total",
        "Time that its clients held backends, since it was asked for first.", MetricType::Counter);
    // Clients made the names up: what is no text would have all metrics refused.
    for (auto one = had.begin(); one != end; ++one) {
        const auto& [tenant, part] = **one;
        const Labels labels{label("service", names.at(tenant.first)),
                            label("tenant", well_formed_utf8(tenant.second))};
        add_value(held, labels, static_cast<double>(part.uses));
        add_value(seconds, labels, std::chrono::duration<double>(part.had).count());
    }
    out.push_back(std::move(held));
    out.push_back(std::move(seconds));
}

/// Nothing while nothing is known.
void Metrics::collect_isolation_audit(std::vector<MetricFamily>& out) const {
    const auto state = isolation_.state();
    if (!state) return;
    out.push_back(single("schemux_isolation_audit_ok",
                         "1: PostgreSQL's permissions keep the listed services apart.",
                         MetricType::Gauge, state->holes == 0 ? 1 : 0));
    out.push_back(single("schemux_isolation_audit_holes", "What does not keep them apart.",
                         MetricType::Gauge, static_cast<double>(state->holes)));
    const auto when = std::chrono::duration<double>(state->when.time_since_epoch());
    out.push_back(single("schemux_isolation_audit_timestamp_seconds",
                         "When that was looked at last.", MetricType::Gauge, when.count()));
}

void Metrics::collect_process(std::vector<MetricFamily>& out) const {
    out.push_back(single("schemux_client_connections_accepted_total", "Connections accepted.",
                         MetricType::Counter, static_cast<double>(acceptor_.accepted())));
    out.push_back(single("schemux_client_connections_refused_total",
                         "Connections refused at limits.max_clients or max_clients_per_address.",
                         MetricType::Counter, static_cast<double>(acceptor_.refused())));
    out.push_back(single("schemux_logins_in_progress", "Clients that have not logged in yet.",
                         MetricType::Gauge, acceptor_.logging_in()));
    MetricFamily refused = family("schemux_client_login_failures_total",
                                  "Logins that were refused: for a password and the like, for "
                                  "the service, at a limit.",
                                  MetricType::Counter);
    for (std::size_t at = 0; at < login_failure_count; ++at) {
        const auto why = static_cast<LoginFailure>(at);
        add_value(refused, {label("reason", std::string(name_of(why)))},
                  static_cast<double>(acceptor_.login_failures(why)));
    }
    out.push_back(std::move(refused));
    MetricFamily handshakes =
        family("schemux_tls_handshakes_total", "TLS handshakes with clients.", MetricType::Counter);
    add_value(handshakes, {label("result", "ok")}, static_cast<double>(acceptor_.encrypted()));
    add_value(handshakes, {label("result", "failed")},
              static_cast<double>(acceptor_.not_encrypted()));
    out.push_back(std::move(handshakes));
    MetricFamily lookups = family("schemux_auth_lookups_total",
                                  "Logins for which auth.query was asked.", MetricType::Counter);
    add_value(lookups, {label("result", "ok")}, static_cast<double>(acceptor_.lookups_answered()));
    add_value(lookups, {label("result", "failed")},
              static_cast<double>(acceptor_.lookups_failed()));
    out.push_back(std::move(lookups));
    out.push_back(single("schemux_tls_certificate_not_after_timestamp_seconds",
                         "When the first of the listeners' certificates ends; 0: none has one.",
                         MetricType::Gauge, static_cast<double>(acceptor_.certificates_end())));
    out.push_back(single("schemux_memory_short", "1 while large texts and new clients are refused.",
                         MetricType::Gauge,
                         process_.memory.load() == MemoryState::enough ? 0.0 : 1.0));
    out.push_back(single("schemux_config_last_reload_successful",
                         "Whether the last reading of the configuration succeeded.",
                         MetricType::Gauge, reload_.successful ? 1 : 0));
    const auto when = std::chrono::duration<double>(reload_.last_success.time_since_epoch());
    out.push_back(single("schemux_config_last_reload_success_timestamp_seconds",
                         "When the configuration in use was read.", MetricType::Gauge,
                         when.count()));
    if (const auto answer = answer_()) collect_answer(*answer, out);
    MetricFamily build =
        family("schemux_build_info", "Always 1; the version is a label.", MetricType::Gauge);
    add_value(build, {label("version", version)}, 1);
    out.push_back(std::move(build));
    const ProcessStats process = read_process_stats();
    out.push_back(single("process_cpu_seconds_total", "CPU time of the process.",
                         MetricType::Counter, process.cpu_seconds));
    out.push_back(single("process_resident_memory_bytes", "Resident memory of the process.",
                         MetricType::Gauge, process.resident_bytes));
    out.push_back(
        single("process_open_fds", "Open file descriptors.", MetricType::Gauge, process.open_fds));
    out.push_back(single("process_max_fds", "The limit of open file descriptors.",
                         MetricType::Gauge, process.max_fds));
    out.push_back(single("process_start_time_seconds", "When the process started.",
                         MetricType::Gauge, process.start_seconds));
}

std::vector<MetricFamily> Metrics::Collect() const {
    std::vector<MetricFamily> out;
    collect_services(out);
    collect_clusters(clusters_, out);
    collect_tenants(out);
    collect_isolation_audit(out);
    collect_process(out);
    return out;
}

std::string Metrics::text() const {
    return prometheus::TextSerializer().Serialize(Collect());
}

}  // namespace schemux::daemon
