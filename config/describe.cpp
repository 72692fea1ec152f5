#include "config/describe.h"

#include "config/address.h"
#include "config/dsn.h"
#include "config/option_table.h"
#include "config/option_value.h"
#include "config/values.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <unordered_map>

namespace schemux::config {

namespace {

std::string line(std::string_view title, const std::string& text) {
    constexpr std::size_t title_width = 10;
    std::string result(title);
    result.append(title_width - std::min(title_width, result.size()), ' ');
    return result + text + '\n';
}

std::string join(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) {
        if (!text.empty()) text += ", ";
        text += word;
    }
    return text;
}

std::string count(std::size_t number, std::string_view noun) {
    return std::to_string(number) + ' ' + std::string(noun) + (number == 1 ? "" : "s");
}

std::string or_never(std::chrono::milliseconds duration) {
    return duration.count() == 0 ? "never" : format_duration(duration);
}

std::string delimiters(const Templates& templates) {
    if (templates.braces && templates.angles) return "{{}} and <<>>";
    if (templates.braces) return "{{}} only";
    return templates.angles ? "<<>> only" : "off";
}

/// The value that the settings have for the row at `path`, outside lists.
std::string value_at(const Settings& settings, std::string_view path) {
    for (const NamedValue& value : list_values(settings))
        if (value.path == path) return value.value;
    return {};
}

/// Those that `policy` is said of.
std::string features_with(const SessionFeatures& features, FeaturePolicy policy) {
    std::vector<std::string> names;
    const auto add = [&](std::string_view name, FeaturePolicy one) {
        if (one == policy) names.emplace_back(name);
    };
    add("temp_table", features.temp_table);
    add("advisory_lock", features.advisory_lock);
    add("hold_cursor", features.hold_cursor);
    add("listen", features.listen);
    add("seed", features.seed);
    add("load", features.load);
    add("sequence", features.sequence);
    add("prepare", features.prepare);
    add("opaque", features.opaque);
    return join(names);
}

std::string describe_service_pool(const ServicePool& pool) {
    std::string text;
    if (pool.mode == ServiceMode::transaction) text += "; transaction mode";
    if (pool.mode == ServiceMode::session) text += "; session mode";
    if (pool.mode == ServiceMode::statement) text += "; statement mode";
    if (pool.paused) text += "; paused";
    if (pool.weight != ServicePool{}.weight) text += "; weight " + std::to_string(pool.weight);
    if (pool.guarantee > 0)
        text +=
            "; " + count(pool.guarantee, "backend") + (pool.reserve ? " reserved" : " guaranteed");
    if (pool.max > 0) text += "; at most " + count(pool.max, "backend");
    if (pool.queue > 0) text += "; at most " + count(pool.queue, "client") + " waiting";
    if (pool.acquire_timeout.count() > 0)
        text += "; acquire_timeout " + format_duration(pool.acquire_timeout);
    if (pool.query_timeout.count() > 0)
        text += "; query_timeout " + format_duration(pool.query_timeout);
    if (pool.transaction_timeout.count() > 0)
        text += "; transaction_timeout " + format_duration(pool.transaction_timeout);
    if (pool.idle_in_transaction_timeout.count() > 0) {
        text +=
            "; idle_in_transaction_timeout " + format_duration(pool.idle_in_transaction_timeout);
    }
    return text;
}

std::string describe_role(const Service& service) {
    return has_client_role(service) ? "the client's own role" : '"' + service.role + '"';
}

/// Who its backends are, and what that keeps its clients from.
std::string describe_identity(const Service& service) {
    std::string text;
    if (!service.backend.empty()) text += "; on backend \"" + service.backend + '"';
    if (!service.database.empty()) text += "; database \"" + service.database + '"';
    switch (isolation_of(service)) {
        case Isolation::automatic:
        case Isolation::shared:
            return text + "; isolation shared";
        case Isolation::guarded:
            return text + "; isolation guarded: each session is " + describe_role(service);
        case Isolation::strict:
            return text + "; isolation strict: logs in as " + describe_role(service);
    }
    return text;
}

std::string describe_service(const Service& service) {
    std::string text = service.schema.empty() ? std::string("no schema: {{tables.x}} becomes x")
                                              : "schema \"" + service.schema + '"';
    if (service.create_schema) text += " (created when it is missing)";
    text += describe_identity(service);
    for (const auto& [name, value] : service.settings)
        text.append("; ").append(name).append(" = ").append(value);
    if (!service.fixed_settings.empty()) text += "; fixed: " + join(service.fixed_settings);
    if (service.search_path) {
        text += service.search_path->empty() ? "; empty search_path"
                                             : "; search_path " + join(*service.search_path);
    }
    if (!service.allow_schemas.empty()) text += "; may name " + join(service.allow_schemas);
    if (!service.templates.braces || !service.templates.angles)
        text += "; templates " + delimiters(service.templates);
    if (service.literals == LiteralScope::relation) text += "; relation names in literals";
    if (service.literals == LiteralScope::all) text += "; templates in all literals";
    if (service.channels == ChannelScope::service) text += "; channels of its own";
    if (service.state == StateCare::verify) text += "; an audit behind each lease";
    if (service.state == StateCare::strict) text += "; a reset behind each lease";
    const std::string pins = features_with(service.session_features, FeaturePolicy::pin);
    if (service.session_features != SessionFeatures{})
        text += "; keeps a backend for " + (pins.empty() ? "nothing" : pins);
    if (service.session_features.listen == FeaturePolicy::share) text += "; shares a listener";
    const std::string rejected = features_with(service.session_features, FeaturePolicy::reject);
    if (!rejected.empty()) text += "; rejects " + rejected;
    if (service.max_clients > 0) text += "; at most " + count(service.max_clients, "client");
    text += describe_service_pool(service.pool);
    return text + "; users: " + (service.users.empty() ? "all" : join(service.users));
}

std::string user_names(const Auth& auth) {
    std::vector<std::string> names;
    for (const User& user : auth.users)
        names.push_back(user.name);
    if (!auth.users_file.empty()) names.push_back("those of " + auth.users_file);
    if (!auth.query.empty()) names.emplace_back("those that auth.query finds");
    return names.empty() ? "any name" : join(names);
}

std::string describe_auth(const Settings& settings) {
    const Auth& auth = settings.auth;
    std::string text = value_at(settings, "auth.method");
    if (!auth.hba_file.empty()) {
        text = "rules of " + auth.hba_file + ", then " + text;
    } else if (!auth.rules.empty()) {
        text = count(auth.rules.size(), "rule") + ", then " + text;
    }
    return text + "; users: " + user_names(auth);
}

/// `added` and `removed` lines for the elements of the section lists.
class Changes {
  public:
    Changes(const Settings& before, const Settings& after) : before_(before), after_(after) {}

    std::vector<std::string> run() {
        for (const NamedValue& value : list_values(before_))
            old_values_.emplace(value.path, value);
        for (const NamedValue& value : list_values(after_))
            new_values_.emplace(value.path, value);
        for (const Option& option : option_table()) {
            if (option.type == OptionType::section_list) compare_elements(option);
            if (option.path == "http" && before_.http.has_value() != after_.http.has_value())
                add(option, "http", after_.http ? "added" : "removed");
            if (option.field != nullptr) compare_values(option);
        }
        return std::move(lines_);
    }

  private:
    void add(const Option& option, const std::string& path, const std::string& what) {
        lines_.push_back(path + ": " + what + " (" + std::string(name_of(option.reload)) + ')');
    }

    void compare_elements(const Option& option) {
        const auto old_list = list_elements(before_, option);
        const auto new_list = list_elements(after_, option);
        const std::set<std::string> old_names(old_list.begin(), old_list.end());
        const std::set<std::string> new_names(new_list.begin(), new_list.end());
        for (const std::string& name : old_list)
            if (!new_names.contains(name)) add(option, name, "removed");
        for (const std::string& name : new_list)
            if (!old_names.contains(name)) add(option, name, "added");
    }

    /// The values that both sides have at this row; the rest came or went with its section.
    void compare_values(const Option& option) {
        const std::size_t brackets = option.path.find("[]");
        if (brackets == std::string_view::npos) {
            compare(option, std::string(option.path));
            return;
        }
        const Option* list = find_option(option.path.substr(0, brackets));
        for (const std::string& name : list_elements(after_, *list))
            compare(option, name + std::string(option.path.substr(brackets + 2)));
    }

    void compare(const Option& option, const std::string& path) {
        const auto old_value = old_values_.find(path);
        const auto new_value = new_values_.find(path);
        if (old_value == old_values_.end() || new_value == new_values_.end()) return;
        const std::string& from = old_value->second.value;
        const std::string& to = new_value->second.value;
        if (from == to) return;
        const auto shown = [](const std::string& text) { return text.empty() ? "(none)" : text; };
        add(option, path, option.secret ? "changed" : shown(from) + " -> " + shown(to));
    }

    const Settings& before_;
    const Settings& after_;
    std::unordered_map<std::string, NamedValue> old_values_;
    std::unordered_map<std::string, NamedValue> new_values_;
    std::vector<std::string> lines_;
};

std::string describe_proxies(const Listener& listener) {
    return listener.proxies.empty() ? "" : ", behind proxies " + join(listener.proxies);
}

std::string describe_tls(const Listener& listener) {
    if (listener.tls.mode == TlsMode::off) return {};
    const Option& option = *find_option("listen[].tls.mode");
    return ", TLS " + std::string(option.choices[static_cast<std::size_t>(listener.tls.mode)]);
}

std::string describe_backend(const Settings& settings, const Backend& backend) {
    if (backend.name.empty()) return show_dsn(backend.dsn);
    return backend.name + ": " + show_dsn(backend.dsn) + "; at most " +
           count(connections_of(settings, backend), "connection") + " (at least " +
           std::to_string(least_connections_of(settings, backend)) + ')';
}

}  // namespace

std::string describe(const Settings& settings) {
    std::string text;
    std::string_view title = "listen";
    for (const Listener& listener : settings.listen) {
        text += line(title,
                     endpoint_of(listener) + describe_tls(listener) + describe_proxies(listener));
        title = "";
    }
    text +=
        line("http", settings.http ? format_endpoint(settings.http->address, settings.http->port)
                                   : std::string("off"));
    title = "backend";
    for (const Backend* backend : all_backends(settings)) {
        text += line(title, describe_backend(settings, *backend));
        title = "";
    }
    const Pool& pool = settings.pool;
    text += line("pool", "at most " + count(pool.max_connections, "backend connection") +
                             " (at least " + std::to_string(pool.min_connections) + ") for " +
                             count(settings.services.size(), "service") + " and " +
                             count(settings.workers, "worker"));
    text += line("", value_at(settings, "pool.mode") + " mode; acquire_timeout " +
                         format_duration(pool.acquire_timeout) + ", connect_timeout " +
                         format_duration(pool.connect_timeout) + ", idle_timeout " +
                         or_never(pool.idle_timeout) + ", lifetime " + or_never(pool.lifetime));
    if (pool.paused) text += line("", "paused");
    text += line("auth", describe_auth(settings));
    text += line("limits", count(settings.limits.max_clients, "client") + ", queries up to " +
                               format_size(settings.limits.max_query_bytes) + ", login_timeout " +
                               format_duration(settings.limits.login_timeout));
    text += line("drain", format_duration(settings.drain_timeout));
    text += line("log",
                 value_at(settings, "log.format") + ", level " + value_at(settings, "log.level"));
    text += line(
        "services",
        std::to_string(settings.services.size()) +
            (settings.services_query.sql.empty() ? "" : ", and those that services_query gives"));
    for (const Service& service : settings.services)
        text += "  " + service.name + ": " + describe_service(service) + '\n';
    return text;
}

std::vector<std::string> describe_changes(const Settings& before, const Settings& after) {
    return Changes(before, after).run();
}

}  // namespace schemux::config
