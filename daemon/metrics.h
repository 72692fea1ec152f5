// What schemux knows of itself, as Prometheus metrics: read from the workers' counters when
// somebody scrapes, so that the data plane pays nothing for it. Labels are bounded by the
// configuration.
#pragma once

#include "core/counters.h"
#include "daemon/acceptor.h"
#include "daemon/cluster.h"
#include "daemon/isolation_watch.h"
#include "daemon/service_index.h"
#include "daemon/shared_state.h"
#include "daemon/worker.h"

#include <prometheus/collectable.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

/// Set by reloads and the start; read by a scrape on the same (control) thread.
struct ReloadState {
    bool successful = true;
    std::chrono::system_clock::time_point last_success = std::chrono::system_clock::now();
};

/// What services_query came to.
struct ServicesAnswer {
    std::size_t services = 0;
    std::int64_t answered_at = 0;  ///< of the Unix epoch; 0: not yet
    std::uint64_t failures = 0;
};

class Metrics final : public prometheus::Collectable {
  public:
    Metrics(const ProcessState& process, const Acceptor& acceptor, const Clusters& clusters,
            const ServiceIndex& services, const ReloadState& reload,
            const IsolationWatch& isolation);

    /// Called for each collection; nothing: there is no services_query.
    void ask_for_answer(std::function<std::optional<ServicesAnswer>()> answer) {
        answer_ = std::move(answer);
    }

    std::vector<prometheus::MetricFamily> Collect() const override;
    /// The Prometheus text format, version 0.0.4.
    std::string text() const;

  private:
    void collect_services(std::vector<prometheus::MetricFamily>& out) const;
    void collect_tenants(std::vector<prometheus::MetricFamily>& out) const;
    void collect_isolation_audit(std::vector<prometheus::MetricFamily>& out) const;
    void collect_process(std::vector<prometheus::MetricFamily>& out) const;

    const ProcessState& process_;
    const Acceptor& acceptor_;
    const Clusters& clusters_;
    const ServiceIndex& services_;
    const ReloadState& reload_;
    std::function<std::optional<ServicesAnswer>()> answer_ = [] { return std::nullopt; };
    const IsolationWatch& isolation_;
};

}  // namespace schemux::daemon
