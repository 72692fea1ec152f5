// What the workers' counters said at one instant, as plain values that can be added, compared with
// earlier ones and kept: of one service, or of all.
// It must not know workers, names or clocks.
#pragma once

#include "core/counters.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace schemux::daemon {

/// How many durations fell into each bucket of a core::DurationHistogram.
class DurationCounts {
  public:
    void add(const core::DurationHistogram& from);
    void add(const DurationCounts& other);
    /// Those that came after `before` was taken.
    DurationCounts since(const DurationCounts& before) const;
    /// In seconds: as if those of a bucket were spread evenly over it. What is longer than the
    /// last bound counts as that long. None of no durations.
    std::optional<double> quantile(double part) const;

  private:
    std::array<std::uint64_t, core::DurationHistogram::bounds_us.size() + 1> counts_{};
};

struct ServiceSample {
    std::uint64_t clients = 0;
    std::uint64_t waiting = 0;
    std::uint64_t leases = 0;
    std::array<std::uint64_t, core::session_feature_count> pinned{};
    std::uint64_t transactions = 0;
    std::uint64_t queries = 0;
    std::uint64_t errors = 0;
    DurationCounts wait;
    DurationCounts query;

    void add(const core::ServiceCounters& from);
    void add(const ServiceSample& other);
};

/// What happened between two samples.
struct ServiceRates {
    double transactions_per_second = 0;
    double queries_per_second = 0;
    double errors_per_second = 0;
    DurationCounts wait;
    DurationCounts query;
};

/// `seconds`: between them; more than none.
ServiceRates rates_between(const ServiceSample& before, const ServiceSample& after, double seconds);

}  // namespace schemux::daemon
