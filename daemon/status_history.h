// Samples over time: what happened per second since the last one, what happened to each service in
// the last few seconds, and a bounded past of the process as a whole for the sparklines.
// It must not know where samples come from nor who looks, and has no clock.
#pragma once

#include "daemon/status_sample.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace schemux::daemon {

/// Of all pools together.
struct PoolNumbers {
    std::uint64_t maximum = 0;
    std::uint64_t open = 0;
    std::uint64_t leased = 0;
    std::uint64_t waiting = 0;
};

/// A point of the sparklines.
struct HistoryPoint {
    std::chrono::system_clock::time_point time;
    PoolNumbers pool;
    std::uint64_t clients = 0;
    ServiceRates rates;
};

class StatusHistory {
  public:
    using Clock = std::chrono::steady_clock;

    /// Rates of a service and all percentiles are those of the last one to two of these.
    static constexpr std::chrono::milliseconds window{5'000};
    static constexpr std::chrono::minutes past{10};
    static constexpr std::size_t points_max = 700;

    struct Sample {
        Clock::time_point at;
        std::chrono::system_clock::time_point time;
        PoolNumbers pool;
        std::vector<ServiceSample> services;  ///< by their indices
    };
    /// Each later than the last.
    void take(Sample&& sample);

    /// Null before the first one.
    const Sample* last() const { return last_ ? &*last_ : nullptr; }
    const ServiceSample& totals() const { return totals_; }
    const std::deque<HistoryPoint>& points() const { return points_; }
    /// Those of all services: per second since the last sample but one, durations of the window.
    const std::optional<ServiceRates>& rates() const { return rates_; }
    /// None before there is anything to compare with.
    std::optional<ServiceRates> rates_of(std::size_t service) const;
    /// Those with the most queries of the window, then the most clients, then the first ones; no
    /// more than `most`.
    std::vector<std::size_t> busiest(std::size_t services, std::size_t most) const;

  private:
    struct Mark {
        Clock::time_point at;
        ServiceSample totals;
        std::vector<ServiceSample> services;
    };
    void note_rates(Clock::time_point at, const ServiceSample& totals);
    void move_marks();
    ServiceSample sample_of(std::size_t service) const;
    std::uint64_t queries_of(std::size_t service) const;

    std::optional<Sample> last_;
    ServiceSample totals_;
    std::optional<ServiceRates> rates_;
    std::deque<Mark> marks_;  ///< two at most; the first is what the window begins with
    std::deque<HistoryPoint> points_;
};

}  // namespace schemux::daemon
