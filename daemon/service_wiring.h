// From the services of the configuration to those of core: the listed ones at once, those of
// patterns when somebody asks for one. With wiring.h the only place that knows both.
#pragma once

#include "config/service_list.h"
#include "config/settings.h"
#include "daemon/cluster.h"
#include "daemon/service_index.h"
#include "daemon/shared_state.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

/// Never `automatic`: what that comes to.
core::Isolation level_of(const config::Service& service);

/// The services that services_query gave last. Thread-safe.
class ServiceRoster {
  public:
    using List = std::shared_ptr<const config::ListedServices>;

    /// Null: it gave none yet.
    List get() const {
        const std::lock_guard lock(mutex_);
        return list_;
    }
    /// The names of those that are other ones than before.
    std::vector<std::string> set(List list);

  private:
    mutable std::mutex mutex_;
    List list_;
};

/// What their services have had together is counted under this name.
inline constexpr std::string_view roster_name = "services_query";

/// `index` and `clusters`, one for each of config::all_backends, outlive the policy.
void add_services(Policy& policy, const config::Settings& settings, ServiceIndex& index,
                  const Clusters& clusters, std::shared_ptr<const ServiceRoster> roster);
/// The service that a client of this name would have: a listed one, or one of the first pattern
/// that fits. Nothing: there is none.
std::optional<config::Service> find_service(const config::Settings& settings,
                                            const std::string& name);
/// Tells the pools what each service is entitled to; nothing while all are paused.
void share_out(const Clusters& clusters, const config::Settings& settings, ServiceIndex& index,
               bool paused);

}  // namespace schemux::daemon
