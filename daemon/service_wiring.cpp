#include "daemon/service_wiring.h"

#include "config/service_checks.h"
#include "config/service_pattern.h"
#include "config/validate.h"
#include "core/channel_speller.h"
#include "core/label.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

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

/// Who its backends are for PostgreSQL.
core::BackendIdentity identity_of(const config::Service& service) {
    core::BackendIdentity identity;
    identity.database = service.database;
    if (config::isolation_of(service) != config::Isolation::strict) return identity;
    if (!config::has_client_role(service)) identity.role = service.role;
    return identity;
}

RoleSecret secret_of(const config::Service& service) {
    RoleSecret secret;
    secret.file = service.role_password_file;
    if (!service.role_password.empty())
        secret.password = std::make_shared<const protocol::Secret>(service.role_password);
    return secret;
}

/// Which cluster it is on; that there is one of the name was checked.
std::size_t place_of(const config::Settings& settings, const config::Service& service) {
    return config::find_backend(settings, service.backend).value_or(0);
}

/// All but its part of the pool and its counters, which are a name's or a pattern's.
core::Service make_service(const config::Settings& settings, const config::Service& from) {
    core::Service service;
    service.cluster = place_of(settings, from);
    const std::uint32_t connections =
        config::connections_of(settings, *config::all_backends(settings)[service.cluster]);
    service.isolation = level_of(from);
    if (config::has_client_role(from)) {
        service.role_of = core::RoleOf::clients;
    } else if (service.isolation == core::Isolation::guarded) {
        service.role = from.role;
    }
    service.settings.assign(from.settings.begin(), from.settings.end());
    service.fixed_settings = from.fixed_settings;
    service.name = from.name;
    service.cache_key = std::hash<std::string>{}(from.name) % core::cache_keys_max;
    service.schema = from.schema;
    service.schema_care = from.create_schema ? core::SchemaCare::create : core::SchemaCare::none;
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
    service.state = state_care(from.state);
    service.close_placeholders = from.placeholder == config::Placeholder::close_backend;
    service.session_features = session_features(from.session_features);
    service.pin_budget =
        from.pin_budget > 0 ? from.pin_budget : std::max<std::size_t>(1, connections / 2);
    service.pool_pin_budget = settings.pool.pin_budget > 0
                                  ? settings.pool.pin_budget
                                  : std::max<std::size_t>(1, std::size_t{connections} * 3 / 4);
    service.over_pin_budget = from.over_pin_budget == config::OverPinBudget::wait
                                  ? core::OverPinBudget::wait
                                  : core::OverPinBudget::error;
    service.pin_timeout = from.pin_timeout;
    service.acquire_timeout = from.pool.acquire_timeout.count() > 0 ? from.pool.acquire_timeout
                                                                    : settings.pool.acquire_timeout;
    service.time_limits = time_limits(settings.pool, from.pool);
    service.max_query_bytes = settings.limits.max_query_bytes;
    service.slow_query = from.slow_query;
    return service;
}

/// A pattern, ready to be matched.
struct Mould {
    config::ServicePattern pattern;
    config::Service service;
};

/// What the name makes of it; nothing if that is no valid service.
std::optional<config::Service> fill(const Mould& mould, const std::string& name) {
    const auto captures = mould.pattern.match(name);
    if (!captures) return {};
    const auto put = [&](std::string& text) { text = mould.pattern.expand(text, *captures); };
    config::Service service = mould.service;
    service.name = name;
    put(service.schema);
    put(service.database);
    put(service.role);
    // A path is only as good as what is put into it.
    const bool plain = config::check_schema_name(service.role).empty();
    if (mould.pattern.mentions(service.role_password_file) && !plain) return {};
    put(service.role_password_file);
    for (auto& [setting, value] : service.settings)
        put(value);
    if (service.search_path) {
        for (std::string& schema : *service.search_path)
            put(schema);
    }
    if (!config::is_valid_match(service)) return {};
    // Of what a client may name, nothing is a word of the configuration.
    if (config::has_client_role(service) != config::has_client_role(mould.service)) return {};
    return service;
}

std::vector<Mould> moulds_of(const config::Settings& settings) {
    std::vector<Mould> moulds;
    for (const config::Service& service : settings.services) {
        if (!config::is_pattern(service.name)) continue;
        auto parsed = config::ServicePattern::parse(service.name);
        if (auto* pattern = std::get_if<config::ServicePattern>(&parsed))
            moulds.push_back({std::move(*pattern), service});
    }
    return moulds;
}

/// The services of the configuration whose role is their clients' own, by name.
std::map<std::string, config::Service, std::less<>> of_clients(const config::Settings& settings) {
    std::map<std::string, config::Service, std::less<>> found;
    for (const config::Service& service : settings.services) {
        if (config::has_client_role(service) && !config::is_pattern(service.name))
            found.emplace(service.name, service);
    }
    return found;
}

/// Makes the services of the roster, of patterns and of the users whose own role they have, for as
/// long as one configuration is in force.
class TenantMaker {
  public:
    TenantMaker(const config::Settings& settings, ServiceIndex& index, const Clusters& clusters,
                std::shared_ptr<const ServiceRoster> roster)
        : settings_(settings),
          index_(index),
          clusters_(clusters),
          roster_(std::move(roster)),
          of_clients_(of_clients(settings)),
          moulds_(moulds_of(settings)) {
        // The copy is for the pool's and the limits' sake.
        settings_.services.clear();
        settings_.auth = {};
    }

    bool has_any() const { return roster_ || !of_clients_.empty() || !moulds_.empty(); }

    /// `key` as Tenants has it. The one that is listed, or of the first pattern that fits.
    std::shared_ptr<const core::Service> make(const std::string& key) const {
        const std::size_t mark = key.find(Tenants::user_mark);
        const auto source = find(key.substr(0, mark));
        if (!source) return nullptr;
        core::Service service = make_service(settings_, source->service);
        // Anybody can think of a name that fits: without its schema it is nobody's.
        if (source->names_schema && service.schema_care == core::SchemaCare::none)
            service.schema_care = core::SchemaCare::check;
        core::BackendIdentity identity = identity_of(source->service);
        if (mark == key.npos) {
            if (!identity.role.empty())
                clusters_[service.cluster]->shared().role_secrets->add(identity.role,
                                                                       secret_of(source->service));
            return complete(std::move(service), identity, *source);
        }
        const std::string user = key.substr(mark + 1);
        const bool may_be = service.role_of == core::RoleOf::clients && !user.empty() &&
                            config::check_role_name(user).empty();
        if (!may_be) return nullptr;
        service.role_of = core::RoleOf::client;
        (service.isolation == core::Isolation::guarded ? service.role : identity.role) = user;
        if (of_clients_.contains(service.name)) service.pins = index_.pins_of(service.name);
        return complete(std::move(service), identity, *source);
    }

  private:
    /// What a service is made of.
    struct Source {
        config::Service service;
        std::string group;          ///< under whose name it is counted
        bool names_schema = false;  ///< the schema is in the name that a client says
    };

    std::optional<Source> find(const std::string& name) const {
        if (const auto own = of_clients_.find(name); own != of_clients_.end())
            return Source{own->second, name};
        if (const auto list = roster_ ? roster_->get() : nullptr) {
            const auto listed = list->find(name);
            if (listed != list->end()) return Source{listed->second, std::string(roster_name)};
        }
        for (const Mould& mould : moulds_) {
            auto filled = fill(mould, name);
            if (!filled) continue;
            return Source{std::move(*filled), mould.service.name,
                          mould.pattern.mentions(mould.service.schema)};
        }
        return {};
    }

    std::shared_ptr<const core::Service> complete(core::Service service,
                                                  const core::BackendIdentity& identity,
                                                  const Source& source) const {
        SharedState& shared = clusters_[service.cluster]->shared();
        service.sub_pool = shared.pool.sub_pool(identity);
        const auto counted = index_.known_share_of(source.group);
        service.share = shared.pool.lend_share(service.sub_pool, share_policy(source.service.pool),
                                               counted.get());
        service.pool_pins = shared.pins;
        service.index = index_.index_of(source.group);
        return std::make_shared<const core::Service>(std::move(service));
    }

    config::Settings settings_;
    ServiceIndex& index_;
    const Clusters& clusters_;
    const std::shared_ptr<const ServiceRoster> roster_;
    const std::map<std::string, config::Service, std::less<>> of_clients_;
    const std::vector<Mould> moulds_;
};

}  // namespace

core::Isolation level_of(const config::Service& service) {
    switch (config::isolation_of(service)) {
        case config::Isolation::automatic:
        case config::Isolation::shared:
            return core::Isolation::shared;
        case config::Isolation::guarded:
            return core::Isolation::guarded;
        case config::Isolation::strict:
            return core::Isolation::strict;
    }
    return core::Isolation::shared;
}

std::optional<config::Service> find_service(const config::Settings& settings,
                                            const std::string& name) {
    for (const config::Service& service : settings.services) {
        if (service.name == name && !config::is_pattern(name)) return service;
    }
    for (const Mould& mould : moulds_of(settings)) {
        if (auto filled = fill(mould, name)) return filled;
    }
    return {};
}

std::vector<std::string> ServiceRoster::set(List list) {
    std::vector<std::string> changed;
    const std::lock_guard lock(mutex_);
    const auto has_same = [](const List& other, const std::string& name,
                             const config::Service& service) {
        if (!other) return false;
        const auto found = other->find(name);
        return found != other->end() && found->second == service;
    };
    if (list_) {
        for (const auto& [name, service] : *list_) {
            if (!has_same(list, name, service)) changed.push_back(name);
        }
    }
    // One that a pattern made before is the list's now.
    for (const auto& [name, service] : *list) {
        if (!list_ || !list_->contains(name)) changed.push_back(name);
    }
    list_ = std::move(list);
    return changed;
}

void add_services(Policy& policy, const config::Settings& settings, ServiceIndex& index,
                  const Clusters& clusters, std::shared_ptr<const ServiceRoster> roster) {
    std::vector<std::map<std::string, RoleSecret>> secrets(clusters.size());
    for (const config::Service& from : settings.services) {
        index.set_isolation(from.name, level_of(from));
        const std::size_t place = place_of(settings, from);
        SharedState& shared = clusters[place]->shared();
        if (config::is_pattern(from.name)) {
            // What its services have had together is counted under its own name.
            index.index_of(from.name);
            index.share_of(from.name, shared.pool.default_sub_pool());
            continue;
        }
        core::Service service = make_service(settings, from);
        const core::BackendIdentity identity = identity_of(from);
        if (!identity.role.empty()) secrets[place].insert_or_assign(identity.role, secret_of(from));
        service.sub_pool = shared.pool.sub_pool(identity);
        service.share = index.share_of(from.name, service.sub_pool);
        service.pins = index.pins_of(from.name);
        service.pool_pins = shared.pins;
        service.index = index.index_of(from.name);
        policy.services.add(std::move(service));
    }
    for (std::size_t place = 0; place < clusters.size(); ++place)
        clusters[place]->shared().role_secrets->update(secrets[place]);
    if (roster) {
        index.index_of(std::string(roster_name));
        index.share_of(std::string(roster_name), clusters[0]->shared().pool.default_sub_pool());
    }
    const bool complete = !roster || roster->get();
    const auto maker =
        std::make_shared<const TenantMaker>(settings, index, clusters, std::move(roster));
    if (!maker->has_any()) return;
    policy.tenants = std::make_shared<Tenants>(
        [maker](const std::string& name) { return maker->make(name); }, complete);
}

void share_out(const Clusters& clusters, const config::Settings& settings, ServiceIndex& index,
               bool paused) {
    std::map<core::Share*, core::SharePolicy> policies;
    // What a service had that is no more holds for nobody.
    for (const std::string& name : index.names()) {
        if (const auto share = index.known_share_of(name)) policies[share.get()] = {};
    }
    for (const config::Service& service : settings.services) {
        if (config::is_pattern(service.name)) continue;
        if (const auto share = index.known_share_of(service.name))
            policies[share.get()] = share_policy(service.pool);
    }
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    for (const auto& cluster : clusters) {
        core::SharedPool& pool = cluster->shared().pool;
        std::set<const core::SubPool*> its;
        for (const auto& sub_pool : pool.sub_pools())
            its.insert(sub_pool.get());
        std::vector<std::pair<core::Share*, core::SharePolicy>> shares;
        for (auto& [share, policy] : policies) {
            policy.paused = policy.paused || paused;
            if (its.contains(share->sub_pool())) shares.emplace_back(share, policy);
        }
        pool.configure(shares, now, paused);
    }
}

}  // namespace schemux::daemon
