#include "daemon/metric_families.h"

#include <limits>
#include <utility>

namespace schemux::daemon {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

ClientMetric::Label label(std::string name, std::string value) {
    ClientMetric::Label pair;
    pair.name = std::move(name);
    pair.value = std::move(value);
    return pair;
}

MetricFamily family(std::string name, std::string help, MetricType type) {
    MetricFamily made;
    made.name = std::move(name);
    made.help = std::move(help);
    made.type = type;
    return made;
}

void add_value(MetricFamily& to, Labels labels, double value) {
    ClientMetric metric;
    metric.label = std::move(labels);
    if (to.type == MetricType::Counter) metric.counter.value = value;
    if (to.type == MetricType::Gauge) metric.gauge.value = value;
    to.metric.push_back(std::move(metric));
}

MetricFamily single(std::string name, std::string help, MetricType type, double value) {
    MetricFamily made = family(std::move(name), std::move(help), type);
    add_value(made, {}, value);
    return made;
}

void HistogramSum::add(const core::DurationHistogram& from) {
    for (std::size_t at = 0; at < counts_.size(); ++at)
        counts_[at] += from.bucket(at);
    sum_us_ += from.sum_us();
}

ClientMetric HistogramSum::metric(Labels labels) const {
    ClientMetric made;
    made.label = std::move(labels);
    std::uint64_t cumulative = 0;
    for (std::size_t at = 0; at < counts_.size(); ++at) {
        cumulative += counts_[at];
        ClientMetric::Bucket bucket;
        bucket.cumulative_count = cumulative;
        bucket.upper_bound = at < core::DurationHistogram::bounds_us.size()
                                 ? static_cast<double>(core::DurationHistogram::bounds_us[at]) / 1e6
                                 : std::numeric_limits<double>::infinity();
        made.histogram.bucket.push_back(bucket);
    }
    made.histogram.sample_count = cumulative;
    made.histogram.sample_sum = static_cast<double>(sum_us_) / 1e6;
    return made;
}

}  // namespace schemux::daemon
