// The metrics of the pools, their connections and what connects, a value for each cluster: the one
// of `backend` has no label of its own, another one has its name as `backend`.
// It must not know services or the front door.
#pragma once

#include "daemon/cluster.h"

#include <prometheus/metric_family.h>

#include <vector>

namespace schemux::daemon {

void collect_clusters(const Clusters& clusters, std::vector<prometheus::MetricFamily>& out);

}  // namespace schemux::daemon
