// How metrics are put together, for the files that collect them. It must not know which there are.
#pragma once

#include "core/counters.h"

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace schemux::daemon {

using Labels = std::vector<prometheus::ClientMetric::Label>;

prometheus::ClientMetric::Label label(std::string name, std::string value);
prometheus::MetricFamily family(std::string name, std::string help, prometheus::MetricType type);
void add_value(prometheus::MetricFamily& to, Labels labels, double value);
/// Of one value without labels.
prometheus::MetricFamily single(std::string name, std::string help, prometheus::MetricType type,
                                double value);

/// Sums one histogram over the workers that have it.
class HistogramSum {
  public:
    void add(const core::DurationHistogram& from);
    prometheus::ClientMetric metric(Labels labels) const;

  private:
    std::array<std::uint64_t, core::DurationHistogram::bounds_us.size() + 1> counts_{};
    std::uint64_t sum_us_ = 0;
};

}  // namespace schemux::daemon
