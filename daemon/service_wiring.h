// From the services of the configuration to those of core: the listed ones at once, those of
// patterns when somebody asks for one. With wiring.h the only place that knows both.
#pragma once

#include "config/settings.h"
#include "daemon/service_index.h"
#include "daemon/shared_state.h"

namespace schemux::daemon {

/// `index` and `shared` outlive the policy.
void add_services(Policy& policy, const config::Settings& settings, ServiceIndex& index,
                  SharedState& shared);
/// Tells the pool what each service is entitled to; nothing while all are paused.
void share_out(core::SharedPool& pool, const config::Settings& settings, ServiceIndex& index,
               bool paused);

}  // namespace schemux::daemon
