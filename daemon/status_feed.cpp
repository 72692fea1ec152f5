#include "daemon/status_feed.h"

#include "daemon/version.h"

#include <cassert>
#include <utility>

namespace schemux::daemon {

namespace {

using Clock = std::chrono::steady_clock;

// A timer is seldom exact: a look that is due in less than this is due now.
constexpr std::chrono::milliseconds slack{100};

std::uint64_t sum_of(const Cluster& cluster, core::Counter WorkerCounters::*member) {
    std::uint64_t sum = 0;
    for (const auto& worker : cluster.workers())
        sum += (worker->counters().*member).value();
    return sum;
}

PoolStatus status_of(const Cluster& cluster) {
    const core::SharedPool& pool = cluster.shared().pool;
    return {cluster.name(),    !cluster.is_away(),
            pool.maximum(),    pool.open(),
            pool.idle(),       sum_of(cluster, &WorkerCounters::backends_leased),
            pool.connecting(), sum_of(cluster, &WorkerCounters::backends_upkeep),
            pool.waiting()};
}

StatusHistory::Sample take_sample(const Clusters& clusters, Clock::time_point now) {
    StatusHistory::Sample sample;
    sample.at = now;
    sample.time = std::chrono::system_clock::now();
    for (const auto& cluster : clusters) {
        const PoolStatus pool = status_of(*cluster);
        sample.pool.maximum += pool.maximum;
        sample.pool.open += pool.open;
        sample.pool.leased += pool.leased;
        sample.pool.waiting += pool.waiting;
        for (const auto& worker : cluster->workers()) {
            worker->visit_counters([&](std::size_t index, const core::ServiceCounters& counters) {
                if (index >= sample.services.size()) sample.services.resize(index + 1);
                sample.services[index].add(counters);
            });
        }
    }
    return sample;
}

/// Whose clients those with these counters are, by the services' indices.
std::vector<const Cluster*> clusters_by_service(const Clusters& clusters, std::size_t services) {
    std::vector<const Cluster*> made(services, nullptr);
    if (clusters.size() < 2) return made;
    for (const auto& cluster : clusters) {
        for (const auto& worker : cluster->workers()) {
            worker->visit_counters([&](std::size_t index, const core::ServiceCounters& counters) {
                const bool first = index < made.size() && made[index] == nullptr;
                if (first || (index < made.size() && counters.clients.value() > 0))
                    made[index] = cluster.get();
            });
        }
    }
    return made;
}

std::vector<RecentEvent> last_events(std::size_t most) {
    std::vector<RecentEvent> events = recent_events().list();
    if (events.size() > most)
        events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(most));
    return events;
}

}  // namespace

StatusFeed::StatusFeed(boost::asio::io_context& context, const Clusters& clusters,
                       const ServiceIndex& services, std::function<Readiness()> readiness,
                       AskStatements ask_statements)
    : clusters_(clusters),
      services_(services),
      readiness_(std::move(readiness)),
      ask_statements_(std::move(ask_statements)),
      timer_(context) {
    assert(readiness_ && ask_statements_);
}

void StatusFeed::take_statements(std::vector<core::StatementLine> statements) {
    statements_ = std::move(statements);
}

StatusFeed::~StatusFeed() {
    stop();
}

void StatusFeed::start() {
    look();
    wait();
}

void StatusFeed::stop() {
    topic_->close();
    timer_.cancel();
}

void StatusFeed::wait() {
    timer_.expires_after(interval);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || topic_->is_closed()) return;
        const bool watched = topic_->watchers() > 0;
        look_if_due((watched ? interval : unwatched_interval) - slack);
        if (watched) {
            ask_statements_();
            topic_->publish(status_json(status(), nullptr));
        }
        wait();
    });
}

void StatusFeed::look() {
    history_.take(take_sample(clusters_, Clock::now()));
}

void StatusFeed::look_if_due(Clock::duration since) {
    const StatusHistory::Sample* last = history_.last();
    if (last == nullptr || Clock::now() - last->at >= since) look();
}

Status StatusFeed::status() const {
    const StatusHistory::Sample& last = *history_.last();
    Readiness readiness = readiness_();
    Status made;
    made.version = version;
    made.time = last.time;
    made.uptime_seconds = std::chrono::duration<double>(last.at - started_).count();
    made.is_ready = readiness.is_ready;
    made.readiness = std::move(readiness.words);
    for (const auto& cluster : clusters_)
        made.pools.push_back(status_of(*cluster));
    made.totals = history_.totals();
    made.rates = history_.rates();
    const std::vector<std::string> names = services_.names();
    const std::vector<const Cluster*> homes = clusters_by_service(clusters_, names.size());
    made.services_total = names.size();
    for (const std::size_t index : history_.busiest(names.size(), services_max)) {
        ServiceStatus& service = made.services.emplace_back();
        service.name = names[index];
        if (homes[index] != nullptr) service.backend = homes[index]->name();
        if (index < last.services.size()) service.now = last.services[index];
        service.rates = history_.rates_of(index);
    }
    made.statements = statements_;
    made.events = last_events(events_max);
    return made;
}

std::string StatusFeed::status_text() {
    look_if_due(interval - slack);
    return status_json(status(), &history_.points());
}

std::string StatusFeed::events_text() {
    return events_json(recent_events().list());
}

}  // namespace schemux::daemon
