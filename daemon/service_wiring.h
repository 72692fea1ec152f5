// From the services of the configuration to those of core: the listed ones at once, those of
// patterns when somebody asks for one. With wiring.h the only place that knows both.
#pragma once

#include "config/settings.h"
#include "daemon/service_index.h"
#include "daemon/shared_state.h"

#include <optional>
#include <string>

namespace schemux::daemon {

/// Never `automatic`: what that comes to.
core::Isolation level_of(const config::Service& service);

/// `index` and `shared` outlive the policy.
void add_services(Policy& policy, const config::Settings& settings, ServiceIndex& index,
                  SharedState& shared);
/// The service that a client of this name would have: a listed one, or one of the first pattern
/// that fits. Nothing: there is none.
std::optional<config::Service> find_service(const config::Settings& settings,
                                            const std::string& name);
/// Tells the pool what each service is entitled to; nothing while all are paused.
void share_out(core::SharedPool& pool, const config::Settings& settings, ServiceIndex& index,
               bool paused);

}  // namespace schemux::daemon
