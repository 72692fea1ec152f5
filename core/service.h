// A service as the data plane sees it: what its name is mapped to and what its clients may do.
// Filled from the configuration by the daemon; immutable once a catalog is published.
#pragma once

#include "core/label.h"
#include "core/session_features.h"
#include "core/share.h"
#include "core/template_rewriter.h"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

/// When a client gives its backend back.
enum class PoolMode : std::uint8_t {
    transaction,
    session,    ///< when it goes
    statement,  ///< as transaction, but it may begin none
};

/// What becomes of a client that needs a backend for itself when too many have one.
enum class OverPinBudget : std::uint8_t { wait, error };

/// What is done at the end of a lease against state that nobody saw come.
enum class StateCare : std::uint8_t {
    fast,    ///< nothing more: the audit sampler looks at one in so many
    verify,  ///< each lease is followed by an audit, or by a reset
    strict,  ///< by a reset
};

/// What a client may take; 0: any time.
struct TimeLimits {
    std::chrono::milliseconds query{0};        ///< then it is cancelled
    std::chrono::milliseconds transaction{0};  ///< then the client is ended, as with the next ones
    std::chrono::milliseconds idle_in_transaction{0};
    std::chrono::milliseconds client_idle{0};
    std::chrono::milliseconds wait_notice{0};  ///< then it is told that it waits for a backend
};

/// What keeps a service's clients from other services' data.
enum class Isolation : std::uint8_t {
    shared,   ///< templates and search_path
    guarded,  ///< a role that each session has at first
    strict,   ///< a login role of its own
};

constexpr std::string_view name_of(Isolation isolation) {
    switch (isolation) {
        case Isolation::shared:
            return "shared";
        case Isolation::guarded:
            return "guarded";
        case Isolation::strict:
            return "strict";
    }
    return {};
}

/// Whose role its backends log in as, or, with `guarded`, its sessions have.
enum class RoleOf : std::uint8_t {
    service,
    clients,  ///< each client's own: no session has this one, but one that was made of it
    client,   ///< of the user that it was made for
};

/// What is asked about the schema when a client logs in.
enum class SchemaCare : std::uint8_t {
    none,    ///< it is the operator's
    check,   ///< without it there is no such service
    create,  ///< it is made if it is missing
};

/// Where services are told apart by which backends have them in their caches.
inline constexpr std::size_t cache_keys_max = 1 << 16;

struct Service {
    std::string name;
    std::string schema;  ///< empty: {{tables.x}} becomes x
    SchemaCare schema_care = SchemaCare::none;
    std::string search_path;  ///< raw text, as set_config takes it
    std::vector<std::string> allow_schemas;
    std::vector<std::string> users;  ///< who may log in; empty: everybody
    std::uint32_t max_clients = 0;   ///< at a time; 0: any number
    bool braces = true;
    bool angles = true;
    LiteralTemplates literals = LiteralTemplates::off;
    std::string channel_prefix;  ///< of all its channels, on the server (channel_speller.h)
    PoolMode mode = PoolMode::transaction;
    std::chrono::milliseconds acquire_timeout{10'000};
    std::shared_ptr<Share> share = std::make_shared<Share>();  ///< of the pool
    std::shared_ptr<SubPool> sub_pool{};  ///< keeps what `share` belongs to; null: the default one
    Isolation isolation = Isolation::shared;
    RoleOf role_of = RoleOf::service;
    std::string role;   ///< with `guarded`: of every session
    Settings settings;  ///< that a session begins with, unless its client says others
    std::vector<std::string> fixed_settings;  ///< of these, which its client may not say
    TimeLimits time_limits;
    std::size_t max_query_bytes = 1 << 20;
    std::chrono::milliseconds slow_query{0};  ///< is told of from then on; 0: as of all services
    StateCare state = StateCare::fast;
    bool close_placeholders = false;  ///< close backends that know an application's setting
    SessionFeatures session_features;
    std::size_t pin_budget = 1;  ///< clients that may keep a backend in transaction mode
    std::shared_ptr<PinBudget> pins = std::make_shared<PinBudget>();
    std::size_t pool_pin_budget = ~std::size_t{0};  ///< the same for those of all services
    std::shared_ptr<PinBudget> pool_pins = std::make_shared<PinBudget>();
    OverPinBudget over_pin_budget = OverPinBudget::error;
    std::chrono::milliseconds pin_timeout{0};  ///< 0: it keeps it as long as it likes
    std::size_t cluster = 0;                   ///< which of several serves it
    std::size_t index = 0;      ///< of its counters; stable for the life of the process
    std::size_t cache_key = 0;  ///< for ServicesSeen; below cache_keys_max, and seldom another's

    bool keeps_backend() const { return mode == PoolMode::session; }

    bool admits(std::string_view user) const {
        if (users.empty()) return true;
        for (const std::string& allowed : users) {
            if (allowed == user) return true;
        }
        return false;
    }
};

/// What templates mean to its clients, as far as the session does not matter.
inline TemplateContext template_context_of(const Service& service) {
    TemplateContext context;
    context.schema = service.schema;
    context.allowed_schemas = service.allow_schemas;
    context.braces = service.braces;
    context.angles = service.angles;
    context.literals = service.literals;
    context.channel_prefix = service.channel_prefix;
    return context;
}

/// All services by name; replaced as a whole when the configuration is read again.
class ServiceCatalog {
  public:
    void add(Service service) {
        std::string name = service.name;
        services_.emplace(std::move(name), std::make_shared<const Service>(std::move(service)));
    }
    std::shared_ptr<const Service> find(std::string_view name) const {
        const auto found = services_.find(name);
        return found == services_.end() ? nullptr : found->second;
    }
    const auto& all() const { return services_; }

  private:
    std::map<std::string, std::shared_ptr<const Service>, std::less<>> services_;
};

}  // namespace schemux::core
