#include "daemon/wiring.h"

#include "core/channel_speller.h"
#include "core/label.h"
#include "daemon/login_wiring.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

core::LiteralTemplates literal_templates(config::LiteralScope scope) {
    switch (scope) {
        case config::LiteralScope::off:
            return core::LiteralTemplates::off;
        case config::LiteralScope::relation:
            return core::LiteralTemplates::relation;
        case config::LiteralScope::all:
            return core::LiteralTemplates::all;
    }
    return core::LiteralTemplates::off;
}

/// The text of search_path as PostgreSQL takes it. `$user` must not be quoted away, but means the
/// same quoted.
std::string search_path_text(const config::Service& service) {
    std::vector<std::string> names;
    if (service.search_path) {
        names = *service.search_path;
    } else if (!service.schema.empty()) {
        names = {service.schema, "public"};
    } else {
        names = {"$user", "public"};
    }
    std::string text;
    for (const std::string& name : names) {
        if (!text.empty()) text += ", ";
        if (name == "public" || name == "pg_catalog") {
            text += name;
        } else {
            core::append_quoted_identifier(text, name);
        }
    }
    return text;
}

core::StateCare state_care(config::StateCare care) {
    switch (care) {
        case config::StateCare::fast:
            return core::StateCare::fast;
        case config::StateCare::verify:
            return core::StateCare::verify;
        case config::StateCare::strict:
            return core::StateCare::strict;
    }
    return core::StateCare::strict;
}

core::SessionFeatures session_features(const config::SessionFeatures& from) {
    using core::SessionFeature;
    core::SessionFeatures features;
    const auto set = [&features](SessionFeature feature, config::FeaturePolicy policy) {
        switch (policy) {
            case config::FeaturePolicy::pin:
                return features.set(feature, core::FeaturePolicy::pin);
            case config::FeaturePolicy::reject:
                return features.set(feature, core::FeaturePolicy::reject);
            case config::FeaturePolicy::allow:
                return features.set(feature, core::FeaturePolicy::allow);
            case config::FeaturePolicy::share:
                return features.set(feature, core::FeaturePolicy::share);
        }
    };
    set(SessionFeature::temp_table, from.temp_table);
    set(SessionFeature::advisory_lock, from.advisory_lock);
    set(SessionFeature::hold_cursor, from.hold_cursor);
    set(SessionFeature::listen, from.listen);
    set(SessionFeature::seed, from.seed);
    set(SessionFeature::load, from.load);
    set(SessionFeature::sequence, from.sequence);
    set(SessionFeature::prepare, from.prepare);
    set(SessionFeature::opaque, from.opaque);
    return features;
}

core::PoolMode pool_mode(config::PoolMode mode) {
    switch (mode) {
        case config::PoolMode::transaction:
            return core::PoolMode::transaction;
        case config::PoolMode::session:
            return core::PoolMode::session;
        case config::PoolMode::statement:
            return core::PoolMode::statement;
    }
    return core::PoolMode::transaction;
}

core::PoolMode service_mode(config::PoolMode pool, config::ServiceMode service) {
    switch (service) {
        case config::ServiceMode::inherit:
            return pool_mode(pool);
        case config::ServiceMode::transaction:
            return core::PoolMode::transaction;
        case config::ServiceMode::session:
            return core::PoolMode::session;
        case config::ServiceMode::statement:
            return core::PoolMode::statement;
    }
    return core::PoolMode::transaction;
}

core::TimeLimits time_limits(const config::Pool& pool, const config::ServicePool& service) {
    const auto own_or = [](std::chrono::milliseconds own, std::chrono::milliseconds other) {
        return own.count() > 0 ? own : other;
    };
    core::TimeLimits limits;
    limits.query = own_or(service.query_timeout, pool.query_timeout);
    limits.transaction = own_or(service.transaction_timeout, pool.transaction_timeout);
    limits.idle_in_transaction =
        own_or(service.idle_in_transaction_timeout, pool.idle_in_transaction_timeout);
    limits.client_idle = pool.client_idle_timeout;
    limits.wait_notice = pool.wait_notice;
    return limits;
}

core::SharePolicy share_policy(const config::ServicePool& from) {
    core::SharePolicy policy;
    policy.weight = from.weight;
    policy.guarantee = from.guarantee;
    policy.reserve = from.reserve;
    policy.paused = from.paused;
    if (from.max > 0) policy.cap = from.max;
    if (from.queue > 0) policy.queue = from.queue;
    return policy;
}

core::Service make_service(const config::Settings& settings, const config::Service& from,
                           ServiceIndex& index) {
    core::Service service;
    service.name = from.name;
    service.schema = from.schema;
    service.search_path = search_path_text(from);
    service.allow_schemas = from.allow_schemas;
    service.users = from.users;
    service.braces = from.templates.braces;
    service.angles = from.templates.angles;
    service.literals = literal_templates(from.literals);
    if (from.channels == config::ChannelScope::service)
        service.channel_prefix = core::channel_prefix(from.name);
    service.mode = service_mode(settings.pool.mode, from.pool.mode);
    service.max_clients = from.max_clients;
    service.share = index.share_of(from.name);
    service.state = state_care(from.state);
    service.close_placeholders = from.placeholder == config::Placeholder::close_backend;
    service.session_features = session_features(from.session_features);
    service.pin_budget = from.pin_budget > 0
                             ? from.pin_budget
                             : std::max<std::size_t>(1, settings.pool.max_connections / 2);
    service.pins = index.pins_of(from.name);
    service.pool_pin_budget =
        settings.pool.pin_budget > 0
            ? settings.pool.pin_budget
            : std::max<std::size_t>(1, std::size_t{settings.pool.max_connections} * 3 / 4);
    service.pool_pins = index.pool_pins();
    service.over_pin_budget = from.over_pin_budget == config::OverPinBudget::wait
                                  ? core::OverPinBudget::wait
                                  : core::OverPinBudget::error;
    service.pin_timeout = from.pin_timeout;
    service.acquire_timeout = from.pool.acquire_timeout.count() > 0 ? from.pool.acquire_timeout
                                                                    : settings.pool.acquire_timeout;
    service.time_limits = time_limits(settings.pool, from.pool);
    service.max_query_bytes = settings.limits.max_query_bytes;
    service.index = index.index_of(from.name);
    return service;
}

}  // namespace

std::shared_ptr<const Policy> make_policy(const config::Settings& settings, ServiceIndex& index,
                                          KnownUsers known) {
    auto policy = std::make_shared<Policy>();
    for (const config::Service& service : settings.services) {
        policy->services.add(make_service(settings, service, index));
        for (const std::string& name : service.server_names)
            policy->service_of_server_name.emplace(name, service.name);
    }
    // Who is looked up is known only then.
    const bool listed = !settings.auth.users.empty() || !settings.auth.users_file.empty();
    if (listed && settings.auth.query.empty())
        policy->users.emplace(known.names.begin(), known.names.end());
    for (const config::User& user : settings.auth.users) {
        if (user.max_clients > 0) policy->max_clients_of_user[user.name] = user.max_clients;
    }
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
    policy->min_connections = settings.pool.min_connections;
    policy->statements_per_backend = {settings.pool.statements_per_backend,
                                      settings.pool.statement_memory_per_backend};
    policy->rotate_backends = settings.pool.rotate_backends;
    return policy;
}

void share_out(core::SharedPool& pool, const config::Settings& settings, ServiceIndex& index,
               bool paused) {
    std::map<core::Share*, core::SharePolicy> policies;
    // What a service had that is no more holds for nobody.
    for (const std::string& name : index.names())
        policies[index.share_of(name).get()] = {};
    for (const config::Service& service : settings.services)
        policies[index.share_of(service.name).get()] = share_policy(service.pool);
    for (auto& [share, policy] : policies)
        policy.paused = policy.paused || paused;
    pool.configure({policies.begin(), policies.end()},
                   std::chrono::steady_clock::now().time_since_epoch());
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

BackendAccess make_backend_access(const config::Settings& settings, BackendTarget target) {
    BackendAccess access{
        std::move(target), settings.pool.connect_timeout, {}, settings.backend.on_connect};
    access.password = {settings.backend.password_command, settings.backend.password_file};
    access.direct_tls = settings.backend.tls_negotiation == config::TlsNegotiation::direct;
    const std::vector<std::string>& names = settings.backend.require_auth;
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
