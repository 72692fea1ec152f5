// What people read about a configuration: the summary of `schemux check-config` and the list of
// changes of a reload. It must never show a secret.
#pragma once

#include "config/settings.h"

#include <string>
#include <vector>

namespace schemux::config {

/// Several lines, each ended by a line break.
std::string describe(const Settings& settings);

/// One line for each changed key, `pool.max_connections: 20 -> 40 (live)`, in the order of the
/// option table; elements of lists are named, `services[orders]: added (live)`.
std::vector<std::string> describe_changes(const Settings& before, const Settings& after);

}  // namespace schemux::config
