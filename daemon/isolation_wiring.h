// From the services of the configuration to what is said of them to PostgreSQL's permissions, and
// to what is proved of those: one plan and one audit for each cluster.
#pragma once

#include "config/settings.h"
#include "daemon/isolation_audit.h"
#include "daemon/isolation_watch.h"
#include "daemon/loading.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace schemux::daemon {

IsolatedService isolated_service(const config::Service& service, const BackendTarget& target);
/// With all the services that are listed of the cluster at this place of config::all_backends.
IsolationPlan isolation_plan(const config::Settings& settings, std::size_t place,
                             const BackendTarget& target);
/// With the login that the dsn has. `password`: of its password_file.
AuditOptions audit_options(const config::Backend& backend, const BackendTarget& target,
                           const std::optional<protocol::Secret>& password);
/// None: nobody wants any, or no service says that it is kept apart.
std::vector<AuditJob> audit_jobs(const config::Settings& settings,
                                 const std::vector<LoadedBackend>& backends);

}  // namespace schemux::daemon
