#include "daemon/wiring.h"

#include "daemon/login_wiring.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

ConsolePolicy make_console_policy(const config::Admin& admin) {
    ConsolePolicy policy;
    policy.admins.insert(admin.users.begin(), admin.users.end());
    policy.stats_users.insert(admin.stats_users.begin(), admin.stats_users.end());
    switch (admin.compat) {
        case config::ConsoleCompat::legacy:
            policy.profile = core::ConsoleProfile::legacy;
            break;
        case config::ConsoleCompat::v1_18:
            policy.profile = core::ConsoleProfile::v1_18;
            break;
        case config::ConsoleCompat::v1_24:
            policy.profile = core::ConsoleProfile::v1_24;
            break;
        case config::ConsoleCompat::v1_26:
            policy.profile = core::ConsoleProfile::v1_26;
            break;
    }
    return policy;
}

core::SlowText slow_text(config::SlowQueryText text) {
    switch (text) {
        case config::SlowQueryText::fingerprint:
            return core::SlowText::fingerprint;
        case config::SlowQueryText::client:
            return core::SlowText::client;
        case config::SlowQueryText::rewritten:
            return core::SlowText::rewritten;
        case config::SlowQueryText::none:
            return core::SlowText::none;
    }
    return core::SlowText::none;
}

core::StatementPolicy statement_policy(const config::Settings& settings) {
    core::StatementPolicy policy;
    policy.statements = settings.statistics.statements;
    policy.slow_query = settings.log.slow_query;
    policy.slow_text = slow_text(settings.log.slow_query_text);
    policy.long_lease = settings.log.long_lease;
    return policy;
}

}  // namespace

std::shared_ptr<const Policy> make_policy(const config::Settings& settings, ServiceIndex& index,
                                          Clusters& clusters, KnownUsers known,
                                          std::shared_ptr<const ServiceRoster> roster) {
    auto policy = std::make_shared<Policy>();
    for (const auto& cluster : clusters)
        policy->clusters.push_back(&cluster->shared());
    add_services(*policy, settings, index, clusters, std::move(roster));
    const bool makes_schemas =
        std::any_of(settings.services.begin(), settings.services.end(),
                    [](const config::Service& service) { return service.create_schema; });
    if (policy->tenants || makes_schemas) {
        for (const config::Backend* backend : config::all_backends(settings))
            policy->schemas.push_back(
                std::make_shared<SchemaKeeper>(make_control_options(*backend, "schemux schemas")));
    }
    for (const config::Service& service : settings.services) {
        for (const std::string& name : service.server_names)
            policy->server_names.add(name, service.name);
    }
    // Who is looked up is known only then.
    const bool listed = !settings.auth.users.empty() || !settings.auth.users_file.empty();
    if (listed && settings.auth.query.empty())
        policy->users.emplace(known.names.begin(), known.names.end());
    for (const config::User& user : settings.auth.users) {
        if (user.max_clients > 0) policy->max_clients_of_user[user.name] = user.max_clients;
    }
    policy->console = make_console_policy(settings.admin);
    policy->top_tenants = settings.http ? settings.http->top_tenants : 0;
    policy->max_clients_per_user = settings.limits.max_clients_per_user;
    policy->max_clients_per_address = settings.limits.max_clients_per_address;
    policy->authentication = client_authentication(settings.auth.method);
    policy->rules = make_login_rules(settings.auth);
    policy->credentials = std::move(known.credentials);
    policy->lookup = std::move(known.lookup);
    policy->login_timeout = settings.limits.login_timeout;
    policy->idle_timeout = settings.pool.idle_timeout;
    policy->lifetime = settings.pool.lifetime;
    policy->client_stall_timeout = settings.pool.client_stall_timeout;
    policy->health_check_after = settings.pool.health_check_after;
    policy->max_backend_memory = settings.pool.max_backend_memory;
    policy->service_affinity = settings.pool.service_affinity;
    policy->audit_sample = settings.pool.audit_sample;
    policy->max_clients = settings.limits.max_clients;
    policy->statements_per_backend = {settings.pool.statements_per_backend,
                                      settings.pool.statement_memory_per_backend};
    policy->rotate_backends = settings.pool.rotate_backends;
    policy->statements = statement_policy(settings);
    return policy;
}

std::variant<TlsPolicy, TlsError> make_tls_policy(const config::ListenerTls& tls) {
    if (tls.mode == config::TlsMode::off) return TlsPolicy{};
    TlsPolicy policy;
    const bool may_do_without =
        tls.mode == config::TlsMode::allow || tls.mode == config::TlsMode::prefer;
    policy.use = may_do_without ? core::ClientTls::offered : core::ClientTls::required;
    policy.certificate_is_user = tls.mode == config::TlsMode::verify_full;
    TlsServerOptions options;
    options.certificate = tls.certificate;
    options.key = tls.key;
    options.client_ca = tls.client_ca;
    options.crl = tls.crl;
    options.ciphers = tls.ciphers;
    options.certificate_required = tls.mode >= config::TlsMode::verify_ca;
    options.only_newest = tls.min_version == config::TlsVersion::v1_3;
    auto made = TlsContext::for_server(options);
    if (auto* wrong = std::get_if<TlsError>(&made)) return std::move(*wrong);
    policy.context = std::get<std::shared_ptr<const TlsContext>>(std::move(made));
    return policy;
}

BackendAccess make_backend_access(const config::Settings& settings, const config::Backend& backend,
                                  BackendTarget target) {
    BackendAccess access{std::move(target), settings.pool.connect_timeout, {}, backend.on_connect};
    access.password = {backend.password_command, backend.password_file};
    access.direct_tls = backend.tls_negotiation == config::TlsNegotiation::direct;
    const std::vector<std::string>& names = backend.require_auth;
    if (names.empty()) return access;
    const auto listed = [&names](std::string_view name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    access.methods = core::AcceptedMethods{listed("none"), listed("password"), listed("md5"),
                                           listed("scram-sha-256")};
    return access;
}

LogLevel make_log_level(config::LogLevel level) {
    switch (level) {
        case config::LogLevel::debug:
            return LogLevel::debug;
        case config::LogLevel::info:
            return LogLevel::info;
        case config::LogLevel::warning:
            return LogLevel::warning;
        case config::LogLevel::error:
            return LogLevel::error;
    }
    return LogLevel::info;
}

LogOptions make_log_options(const config::Log& log) {
    LogOptions options;
    options.file = log.file;
    options.level = make_log_level(log.level);
    switch (log.format) {
        case config::LogFormat::automatic:
            options.format = LogFormat::automatic;
            break;
        case config::LogFormat::json:
            options.format = LogFormat::json;
            break;
        case config::LogFormat::text:
            options.format = LogFormat::text;
            break;
    }
    return options;
}

}  // namespace schemux::daemon
