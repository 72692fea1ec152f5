#include "daemon/status_history.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

namespace schemux::daemon {

namespace {

double seconds_between(StatusHistory::Clock::time_point from, StatusHistory::Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

}  // namespace

void StatusHistory::take(Sample&& sample) {
    assert(!last_ || sample.at > last_->at);
    ServiceSample totals;
    for (const ServiceSample& service : sample.services)
        totals.add(service);
    note_rates(sample.at, totals);
    last_ = std::move(sample);
    totals_ = totals;
    if (rates_) points_.push_back({last_->time, last_->pool, totals_.clients, *rates_});
    while (points_.size() > points_max ||
           (!points_.empty() && last_->time - points_.front().time > past))
        points_.pop_front();
    move_marks();
}

void StatusHistory::note_rates(Clock::time_point at, const ServiceSample& totals) {
    if (!last_) return;
    rates_ = rates_between(totals_, totals, seconds_between(last_->at, at));
    const Mark& mark = marks_.front();
    rates_->wait = totals.wait.since(mark.totals.wait);
    rates_->query = totals.query.since(mark.totals.query);
}

/// The older mark goes when the newer one alone is old enough for a window.
void StatusHistory::move_marks() {
    if (!marks_.empty() && last_->at - marks_.back().at < window) return;
    if (marks_.size() == 2) marks_.pop_front();
    marks_.push_back({last_->at, totals_, last_->services});
}

ServiceSample StatusHistory::sample_of(std::size_t service) const {
    if (!last_ || service >= last_->services.size()) return {};
    return last_->services[service];
}

std::optional<ServiceRates> StatusHistory::rates_of(std::size_t service) const {
    if (!last_ || marks_.front().at == last_->at) return {};
    const Mark& mark = marks_.front();
    const ServiceSample before =
        service < mark.services.size() ? mark.services[service] : ServiceSample{};
    return rates_between(before, sample_of(service), seconds_between(mark.at, last_->at));
}

std::uint64_t StatusHistory::queries_of(std::size_t service) const {
    if (!last_ || service >= last_->services.size()) return 0;
    const Mark& mark = marks_.front();
    const std::uint64_t before =
        service < mark.services.size() ? mark.services[service].queries : 0;
    return last_->services[service].queries - std::min(before, last_->services[service].queries);
}

std::vector<std::size_t> StatusHistory::busiest(std::size_t services, std::size_t most) const {
    struct Rank {
        std::uint64_t queries = 0;
        std::uint64_t clients = 0;
        std::size_t service = 0;
    };
    std::vector<Rank> ranks(services);
    for (std::size_t at = 0; at < services; ++at) {
        const bool known = last_ && at < last_->services.size();
        ranks[at] = {queries_of(at), known ? last_->services[at].clients : 0, at};
    }
    const std::size_t count = std::min(services, most);
    const auto end = ranks.begin() + static_cast<std::ptrdiff_t>(count);
    std::partial_sort(ranks.begin(), end, ranks.end(), [](const Rank& left, const Rank& right) {
        if (left.queries != right.queries) return left.queries > right.queries;
        if (left.clients != right.clients) return left.clients > right.clients;
        return left.service < right.service;
    });
    std::vector<std::size_t> made(count);
    std::transform(ranks.begin(), end, made.begin(), [](const Rank& rank) { return rank.service; });
    return made;
}

}  // namespace schemux::daemon
