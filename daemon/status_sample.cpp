#include "daemon/status_sample.h"

#include <cassert>
#include <numeric>

namespace schemux::daemon {

namespace {

// Counters that somebody writes meanwhile are read one after the other.
std::uint64_t difference(std::uint64_t before, std::uint64_t after) {
    return after > before ? after - before : 0;
}

}  // namespace

void DurationCounts::add(const core::DurationHistogram& from) {
    for (std::size_t at = 0; at < counts_.size(); ++at)
        counts_[at] += from.bucket(at);
}

void DurationCounts::add(const DurationCounts& other) {
    for (std::size_t at = 0; at < counts_.size(); ++at)
        counts_[at] += other.counts_[at];
}

DurationCounts DurationCounts::since(const DurationCounts& before) const {
    DurationCounts made;
    for (std::size_t at = 0; at < counts_.size(); ++at)
        made.counts_[at] = difference(before.counts_[at], counts_[at]);
    return made;
}

std::optional<double> DurationCounts::quantile(double part) const {
    assert(part > 0 && part <= 1);
    constexpr auto& bounds = core::DurationHistogram::bounds_us;
    const std::uint64_t all = std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
    if (all == 0) return {};
    const double rank = part * static_cast<double>(all);
    double below = 0;
    double lower_us = 0;
    for (std::size_t at = 0; at < bounds.size(); ++at) {
        const auto upper_us = static_cast<double>(bounds[at]);
        const auto count = static_cast<double>(counts_[at]);
        if (count > 0 && below + count >= rank)
            return (lower_us + (upper_us - lower_us) * (rank - below) / count) / 1e6;
        below += count;
        lower_us = upper_us;
    }
    return lower_us / 1e6;
}

void ServiceSample::add(const core::ServiceCounters& from) {
    clients += from.clients.value();
    waiting += from.clients_waiting.value();
    leases += from.leases_active.value();
    for (std::size_t at = 0; at < pinned.size(); ++at)
        pinned[at] += from.pinned[at].value();
    transactions += from.transactions.value();
    queries += from.queries_simple.value() + from.queries_extended.value();
    for (const core::Counter& kind : from.errors)
        errors += kind.value();
    wait.add(from.wait);
    query.add(from.query);
}

void ServiceSample::add(const ServiceSample& other) {
    clients += other.clients;
    waiting += other.waiting;
    leases += other.leases;
    for (std::size_t at = 0; at < pinned.size(); ++at)
        pinned[at] += other.pinned[at];
    transactions += other.transactions;
    queries += other.queries;
    errors += other.errors;
    wait.add(other.wait);
    query.add(other.query);
}

ServiceRates rates_between(const ServiceSample& before, const ServiceSample& after,
                           double seconds) {
    assert(seconds > 0);
    const auto rate = [seconds](std::uint64_t from, std::uint64_t to) {
        return static_cast<double>(difference(from, to)) / seconds;
    };
    return {rate(before.transactions, after.transactions), rate(before.queries, after.queries),
            rate(before.errors, after.errors), after.wait.since(before.wait),
            after.query.since(before.query)};
}

}  // namespace schemux::daemon
