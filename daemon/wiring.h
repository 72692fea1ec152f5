// From the configuration to what the rest of the daemon and core understand. The only place that
// knows both.
#pragma once

#include "config/settings.h"
#include "daemon/cluster.h"
#include "daemon/connector.h"
#include "daemon/log.h"
#include "daemon/service_index.h"
#include "daemon/service_wiring.h"
#include "daemon/shared_state.h"
#include "daemon/tls_policy.h"

#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace schemux::daemon {

struct KnownUsers {
    std::shared_ptr<Credentials> credentials;
    std::vector<std::string> names;
    std::shared_ptr<UserLookup> lookup{};  ///< null: there is no auth.query
};

/// `index` and `clusters`, one for each of config::all_backends, outlive it. `roster`: null without
/// services_query.
std::shared_ptr<const Policy> make_policy(const config::Settings& settings, ServiceIndex& index,
                                          Clusters& clusters, KnownUsers known,
                                          std::shared_ptr<const ServiceRoster> roster);
std::variant<TlsPolicy, TlsError> make_tls_policy(const config::ListenerTls& tls);
BackendAccess make_backend_access(const config::Settings& settings, const config::Backend& backend,
                                  BackendTarget target);
LogOptions make_log_options(const config::Log& log);
LogLevel make_log_level(config::LogLevel level);

}  // namespace schemux::daemon
