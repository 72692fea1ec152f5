#include "daemon/isolation_wiring.h"

#include "config/service_pattern.h"
#include "daemon/dsn.h"
#include "daemon/service_wiring.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

/// As libpq has it.
const std::string& database_of(const BackendTarget& target) {
    return target.dbname.empty() ? target.user : target.dbname;
}

}  // namespace

IsolatedService isolated_service(const config::Service& service, const BackendTarget& target) {
    return {service.name,      service.schema,
            service.role,      service.database.empty() ? database_of(target) : service.database,
            level_of(service), service.allow_schemas};
}

IsolationPlan isolation_plan(const config::Settings& settings, std::size_t place,
                             const BackendTarget& target) {
    IsolationPlan plan{target.user, database_of(target)};
    for (const config::Service& service : settings.services) {
        if (config::find_backend(settings, service.backend) != place) continue;
        if (config::has_client_role(service)) {
            plan.of_clients.push_back(service.name);
        } else if (config::is_pattern(service.name)) {
            plan.patterns.push_back(service.name);
        } else {
            plan.services.push_back(isolated_service(service, target));
        }
    }
    if (settings.auth.query_dsn.empty() || place != 0) return plan;
    const auto asker = resolve_dsn(settings.auth.query_dsn);
    if (const auto* other = std::get_if<BackendTarget>(&asker))
        plan.others.push_back({other->user, database_of(*other)});
    return plan;
}

AuditOptions audit_options(const config::Backend& backend, const BackendTarget& target,
                           const std::optional<protocol::Secret>& password) {
    AuditOptions options;
    options.dsn = backend.dsn;
    options.hosts = target.hosts;
    options.password = password;
    options.login = target.user;
    return options;
}

std::vector<AuditJob> audit_jobs(const config::Settings& settings,
                                 const std::vector<LoadedBackend>& backends) {
    std::vector<AuditJob> jobs;
    if (settings.isolation_audit == config::IsolationAudit::off) return jobs;
    const std::vector<const config::Backend*> all = config::all_backends(settings);
    for (std::size_t place = 0; place < all.size(); ++place) {
        const config::Backend& backend = *all[place];
        const BackendTarget& target = backends[place].target;
        AuditJob job;
        job.backend = backend.name;
        job.services = isolation_plan(settings, place, target).services;
        const bool any = std::any_of(
            job.services.begin(), job.services.end(),
            [](const IsolatedService& one) { return one.level == core::Isolation::strict; });
        if (!any) continue;
        job.options = audit_options(backend, target, {});
        job.password = {backend.password_command, backend.password_file};
        jobs.push_back(std::move(job));
    }
    return jobs;
}

}  // namespace schemux::daemon
