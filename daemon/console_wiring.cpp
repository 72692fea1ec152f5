#include "daemon/console_wiring.h"

#include "config/option_value.h"
#include "daemon/service_wiring.h"

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

std::string mode_name(config::PoolMode mode) {
    switch (mode) {
        case config::PoolMode::transaction:
            return "transaction";
        case config::PoolMode::session:
            return "session";
        case config::PoolMode::statement:
            return "statement";
    }
    return {};
}

std::string mode_name(config::ServiceMode mode, config::PoolMode inherited) {
    switch (mode) {
        case config::ServiceMode::inherit:
            return mode_name(inherited);
        case config::ServiceMode::transaction:
            return mode_name(config::PoolMode::transaction);
        case config::ServiceMode::session:
            return mode_name(config::PoolMode::session);
        case config::ServiceMode::statement:
            return mode_name(config::PoolMode::statement);
    }
    return {};
}

ConsoleService service_view(const config::Settings& settings, const config::Service& from,
                            const std::vector<LoadedBackend>& backends) {
    ConsoleService view;
    view.cluster = config::find_backend(settings, from.backend).value_or(0);
    const BackendTarget& target = backends[view.cluster].target;
    const std::uint32_t most =
        config::connections_of(settings, *config::all_backends(settings)[view.cluster]);
    view.name = from.name;
    view.schema = from.schema;
    view.isolation = core::name_of(level_of(from));
    view.role = from.role;
    view.database = from.database.empty() ? target.dbname : from.database;
    if (!target.hosts.empty()) {
        view.host = target.hosts.front().name();
        view.port = target.hosts.front().port;
    }
    view.mode = mode_name(from.pool.mode, settings.pool.mode);
    view.cap = from.pool.max == 0 ? most : std::min(most, from.pool.max);
    view.max_clients = from.max_clients;
    view.lifetime_s = settings.pool.lifetime / std::chrono::seconds(1);
    view.paused = from.pool.paused || settings.pool.paused;
    if (from.templates.braces) view.placeholders = "{{tables.x}}";
    if (from.templates.angles) view.placeholders += view.placeholders.empty() ? "" : " ";
    if (from.templates.angles) view.placeholders += "<<tables.x>>";
    return view;
}

std::string seconds(std::chrono::milliseconds time) {
    return std::to_string(time / std::chrono::seconds(1));
}

/// Under PgBouncer's names, which exporters and people look for, with its units.
void add_known_names(const config::Settings& settings, std::vector<ConsoleSetting>& out) {
    const config::Pool& pool = settings.pool;
    const config::Limits& limits = settings.limits;
    const std::array<std::pair<const char*, std::string>, 10> known{{
        {"max_client_conn", std::to_string(limits.max_clients)},
        {"max_user_connections", "0"},
        {"max_user_client_connections", std::to_string(limits.max_clients_per_user)},
        {"default_pool_size", std::to_string(pool.max_connections)},
        {"min_pool_size", std::to_string(pool.min_connections)},
        {"pool_mode", mode_name(pool.mode)},
        {"query_wait_timeout", seconds(pool.acquire_timeout)},
        {"server_idle_timeout", seconds(pool.idle_timeout)},
        {"server_lifetime", seconds(pool.lifetime)},
        {"client_login_timeout", seconds(limits.login_timeout)},
    }};
    for (const auto& [key, value] : known)
        out.push_back({key, value, "", false});
}

}  // namespace

ConsoleView make_console_view(const config::Settings& settings,
                              const std::vector<LoadedBackend>& backends,
                              const std::vector<std::string>& users) {
    ConsoleView view;
    view.paused = settings.pool.paused;
    for (const config::Service& service : settings.services)
        view.services.push_back(service_view(settings, service, backends));
    for (const LoadedBackend& backend : backends)
        view.identities.push_back({backend.target.dbname, backend.target.user});
    for (const std::string& name : users) {
        std::uint32_t most = settings.limits.max_clients_per_user;
        for (const config::User& user : settings.auth.users) {
            if (user.name == name && user.max_clients > 0) most = user.max_clients;
        }
        view.users.push_back({name, most});
    }
    add_known_names(settings, view.settings);
    for (config::NamedValue& value : config::list_values(settings)) {
        const config::Option& option = *value.option;
        const bool changes = option.reload != config::Reload::restart;
        view.settings.push_back({std::move(value.path),
                                 option.secret ? "****" : std::move(value.value),
                                 std::string(option.default_text), changes});
    }
    return view;
}

}  // namespace schemux::daemon
