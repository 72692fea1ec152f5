#include "daemon/admission.h"

#include "daemon/worker.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace sqlstate = protocol::sqlstate;

namespace {

protocol::ErrorFields fatal(std::string_view code, std::string message) {
    return protocol::make_error(code, std::move(message), protocol::Severity::fatal);
}

protocol::ErrorFields too_many(std::string_view what, const std::string& name, std::string hint) {
    auto error = fatal(sqlstate::too_many_connections,
                       "too many connections for " + std::string(what) + " \"" + name + '"');
    error.hint = std::move(hint);
    return error;
}

/// Takes its places among the clients of its user and of its service, or says which is full.
std::optional<protocol::ErrorFields> take_places(const Policy& policy, ClientCounts& counts,
                                                 const std::string& user, NewSession& session) {
    const auto own = policy.max_clients_of_user.find(user);
    const std::uint32_t of_user =
        own == policy.max_clients_of_user.end() ? policy.max_clients_per_user : own->second;
    auto by_user = counts.enter(CountedBy::user, user, of_user);
    if (!by_user)
        return too_many("role", user,
                        "limits.max_clients_per_user, or max_clients of the user, sets how many.");
    const core::Service& service = *session.service;
    auto by_service = counts.enter(CountedBy::service, service.name, service.max_clients);
    if (!by_service)
        return too_many("database", service.name,
                        "services[].max_clients of the service sets how many.");
    session.places.push_back(std::move(*by_user));
    session.places.push_back(std::move(*by_service));
    return {};
}

/// Every session of a guarded service is its role's from the first to the last.
std::optional<protocol::ErrorFields> check_role(const core::Service& service,
                                                const core::Settings& asked) {
    if (service.isolation != core::Isolation::guarded) return {};
    const auto role = std::find_if(asked.begin(), asked.end(),
                                   [](const auto& setting) { return setting.first == "role"; });
    if (role == asked.end() || role->second == service.role) return {};
    auto error = fatal(sqlstate::insufficient_privilege,
                       "permission denied to set role \"" + role->second + '"');
    error.hint = "Clients of service \"" + service.name + "\" are role \"" + service.role +
                 "\": its isolation is guarded.";
    return error;
}

/// Later ones win.
core::Settings settings_of(const core::Service& service, const core::Settings& asked) {
    core::Settings settings;
    settings.emplace_back("search_path", service.search_path);
    settings.insert(settings.end(), service.settings.begin(), service.settings.end());
    settings.insert(settings.end(), asked.begin(), asked.end());
    const auto& fixed = service.fixed_settings;
    std::copy_if(service.settings.begin(), service.settings.end(), std::back_inserter(settings),
                 [&fixed](const auto& setting) {
                     return std::find(fixed.begin(), fixed.end(), setting.first) != fixed.end();
                 });
    if (service.isolation == core::Isolation::guarded) settings.emplace_back("role", service.role);
    return settings;
}

/// As PostgreSQL says it of a database that allows no connections.
protocol::ErrorFields refuse_disabled(const std::string& database) {
    auto error = fatal(sqlstate::object_not_in_prerequisite_state,
                       "database \"" + database + "\" is not currently accepting connections");
    error.hint = "It was disabled in schemux's admin console; ENABLE undoes that.";
    return error;
}

protocol::ErrorFields no_such_database(const std::string& name, std::string hint) {
    auto error = fatal(sqlstate::invalid_catalog_name, "database \"" + name + "\" does not exist");
    error.hint = std::move(hint);
    return error;
}

/// Where the role is each client's own.
std::variant<ServicePointer, protocol::ErrorFields> service_of_user(
    const Policy& policy, const protocol::StartupParameters& asked) {
    const std::string key = Tenants::key_of(asked.database, asked.user);
    ServicePointer service = policy.tenants ? policy.tenants->find(key) : nullptr;
    if (service) return service;
    auto error = fatal(sqlstate::invalid_authorization_specification,
                       "\"" + asked.user + "\" can be no client's own role");
    error.hint = "Clients of \"" + asked.database +
                 "\" are the role that they log in as: its name has at most 63 bytes, no control "
                 "character, and does not belong to PostgreSQL itself.";
    return error;
}

}  // namespace

bool asks_for_console(const Policy& policy, std::string_view database) {
    return policy.console.is_on() && (database == "schemux" || database == "pgbouncer");
}

std::optional<core::ConsoleRights> console_rights(const Policy& policy, const std::string& user) {
    if (policy.console.admins.contains(user)) return core::ConsoleRights::admin;
    if (policy.console.stats_users.contains(user)) return core::ConsoleRights::stats;
    return {};
}

protocol::ErrorFields refuse_console(const std::string& database) {
    auto error = fatal(sqlstate::insufficient_privilege,
                       "permission denied for database \"" + database + "\"");
    error.hint = "It is schemux's admin console; admin.users and admin.stats_users may use it.";
    return error;
}

std::variant<ServicePointer, protocol::ErrorFields> choose_service(
    const Policy& policy, const protocol::StartupParameters& asked) {
    if (asks_for_console(policy, asked.database)) return refuse_console(asked.database);
    if (policy.users && !policy.users->contains(asked.user)) {
        return fatal(sqlstate::invalid_authorization_specification,
                     "role \"" + asked.user + "\" does not exist");
    }
    ServicePointer service = policy.services.find(asked.database);
    if (!service && policy.tenants) service = policy.tenants->find(asked.database);
    if (!service && policy.tenants && !policy.tenants->complete()) {
        auto error = fatal(sqlstate::cannot_connect_now, "the services are not known yet");
        error.hint = "services_query was not answered since schemux started; its log says why.";
        return error;
    }
    if (!service)
        return no_such_database(
            asked.database,
            "The database name selects a service of schemux; no service has this name.");
    if (!service->admits(asked.user)) {
        return fatal(sqlstate::insufficient_privilege,
                     "permission denied for database \"" + asked.database + "\"");
    }
    if (service->role_of == core::RoleOf::clients) return service_of_user(policy, asked);
    return service;
}

std::optional<protocol::ErrorFields> hand_over_secret(const Policy& policy,
                                                      core::FrontendLogin::Accepted& accepted) {
    if (!policy.tenants) return {};
    const auto chosen = choose_service(policy, accepted.parameters);
    const auto* found = std::get_if<ServicePointer>(&chosen);
    if (found == nullptr || (*found)->role_of != core::RoleOf::client) return {};
    SharedState& shared = *policy.clusters[(*found)->cluster];
    core::SubPool& sub_pool = *(*found)->sub_pool;
    const core::BackendIdentity& who = sub_pool.identity();
    if (who.role.empty()) return {};
    core::FrontendLogin::Proved proved = std::move(accepted.proved);
    if (proved.password.empty()) proved.password = policy.credentials->password_of(who.role);
    shared.client_secrets->learn(who.role, std::move(proved));
    auto refusal = shared.client_secrets->refusal(who, std::chrono::steady_clock::now());
    if (!refusal) return {};
    if (!refusal->outdated) return std::move(refusal->error);
    shared.pool.end_rest(sub_pool);
    return {};
}

std::optional<WantedSchema> schema_of(const core::Service& service) {
    if (service.schema_care == core::SchemaCare::none) return {};
    WantedSchema wanted;
    wanted.schema = service.schema;
    wanted.create = service.schema_care == core::SchemaCare::create;
    wanted.owner = service.role;
    if (!service.sub_pool) return wanted;
    wanted.database = service.sub_pool->identity().database;
    if (wanted.owner.empty()) wanted.owner = service.sub_pool->identity().role;
    return wanted;
}

std::optional<protocol::ErrorFields> refuse_for_schema(const WantedSchema& wanted,
                                                       const SchemaState& state,
                                                       const std::string& service) {
    switch (state.is) {
        case SchemaState::Is::there:
        case SchemaState::Is::unknown:  // PostgreSQL will say what is wrong
            return {};
        case SchemaState::Is::missing:
            return no_such_database(
                service, "The name selects a service of schemux whose schema \"" + wanted.schema +
                             "\" does not exist (see create_schema).");
        case SchemaState::Is::refused:
            break;
    }
    auto error =
        fatal(state.sqlstate, "schema \"" + wanted.schema + "\" cannot be created: " + state.why);
    error.hint =
        "create_schema of service \"" + service +
        "\" needs the backend's login to have CREATE on the database" +
        (wanted.owner.empty() ? "." : ", and to be a member of role \"" + wanted.owner + "\".");
    return error;
}

std::variant<NewSession, protocol::ErrorFields> admit(
    const Policy& policy, ProcessState& process, const core::FrontendLogin::Accepted& accepted) {
    const protocol::StartupParameters& asked = accepted.parameters;
    auto chosen = choose_service(policy, asked);
    if (auto* error = std::get_if<protocol::ErrorFields>(&chosen)) return std::move(*error);
    NewSession session;
    session.service = std::get<ServicePointer>(std::move(chosen));
    if (process.disabled.contains(session.service->name)) return refuse_disabled(asked.database);
    if (auto full = take_places(policy, process.client_counts, asked.user, session))
        return std::move(*full);
    if (auto error = check_role(*session.service, asked.settings)) return std::move(*error);
    session.label = core::Label::of(settings_of(*session.service, asked.settings));
    session.reply = accepted.reply;
    session.long_key = asked.minor >= protocol::long_key_minor;
    protocol::append_authentication_ok(session.reply);
    return session;
}

}  // namespace schemux::daemon
