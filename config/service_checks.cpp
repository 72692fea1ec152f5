#include "config/service_checks.h"

#include "config/problem_words.h"
#include "config/service_pattern.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace schemux::config {

namespace {

constexpr std::size_t setting_name_max = 2 * max_name_bytes + 1;

/// A database or role as PostgreSQL takes it, which is quoted wherever it stands.
std::string check_server_name(std::string_view name) {
    if (name.size() > max_name_bytes)
        return "the name has " + std::to_string(name.size()) + " bytes; at most 63 are allowed";
    const bool has_control = std::any_of(name.begin(), name.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    return has_control ? "the name has a control character" : "";
}

class Checker {
  public:
    explicit Checker(const Settings& settings) : settings_(settings) {}

    std::vector<Problem> run() {
        std::size_t strict = 0;
        for (std::size_t i = 0; i < settings_.services.size(); ++i) {
            service_ = &settings_.services[i];
            path_ = "services[" + std::to_string(i) + ']';
            pattern_.reset();
            if (is_pattern(service_->name)) check_pattern();
            check_server_names();
            check_names();
            check_isolation();
            if (has_client_role(*service_)) check_client_role();
            check_database();
            check_settings();
            if (isolation_of(*service_) == Isolation::strict) ++strict;
        }
        const std::size_t many = settings_.pool.max_connections / 3;
        if (strict > many && strict > 1)
            warn("services", std::to_string(strict) +
                                 " services have a login of their own, more than a third of "
                                 "pool.max_connections (" +
                                 std::to_string(settings_.pool.max_connections) +
                                 "): backends will often be closed for another one's sake");
        return std::move(problems_);
    }

  private:
    void error(std::string_view key, std::string message, std::string related = {}) {
        problems_.push_back({Severity::error, path_ + '.' + std::string(key), std::move(message),
                             std::move(related)});
    }
    void warn(std::string path, std::string message) {
        problems_.push_back({Severity::warning, std::move(path), std::move(message), {}});
    }

    void check_pattern() {
        auto parsed = ServicePattern::parse(service_->name);
        if (const auto* wrong = std::get_if<std::string>(&parsed)) return error("name", *wrong);
        pattern_ = std::get<ServicePattern>(std::move(parsed));
        const Service& service = *service_;
        const std::array<std::pair<std::string_view, std::string_view>, 4> texts{
            {{"schema", service.schema},
             {"database", service.database},
             {"role", service.role},
             {"role_password_file", service.role_password_file}}};
        for (const auto& [key, text] : texts) {
            if (std::string wrong = pattern_->check(text); !wrong.empty()) error(key, wrong);
        }
        const bool distinct = pattern_->mentions(service.schema) ||
                              pattern_->mentions(service.database) ||
                              pattern_->mentions(service.role) || has_client_role(service);
        if (!distinct)
            warn(path_ + ".name",
                 "all services that it matches have the same schema, database "
                 "and role");
        if (pattern_->mentions(service.role) && pattern_->sample(service.role) == "x")
            warn(path_ + ".role",
                 "clients can name any role, a superuser too: let the name begin with something");
        if (service.pool.guarantee > 0)
            error("pool.guarantee", "cannot be given to each of any number of services");
        if (pattern_->mentions(service.role_password_file) && !pattern_->mentions(service.role))
            error("role_password_file", "one role has one password", path_ + ".role");
    }

    /// A star in a name that TLS calls is that of the pattern.
    void check_server_names() {
        const auto stars = [](const std::string& text) {
            return std::count(text.begin(), text.end(), '*');
        };
        const bool one = stars(service_->name) == 1 && !service_->name.starts_with('/');
        for (std::size_t i = 0; i < service_->server_names.size(); ++i) {
            const std::string key = "server_names[" + std::to_string(i) + ']';
            const auto here = stars(service_->server_names[i]);
            if (!pattern_ && here > 0)
                error(key, "a '*' is for services of a pattern", path_ + ".name");
            if (pattern_ && !one)
                error(key, "are for services and for patterns with one '*'", path_ + ".name");
            if (pattern_ && one && here != 1)
                error(key, "needs one '*', which is what the pattern's stands for",
                      path_ + ".name");
        }
    }

    /// As it would be for a name.
    std::string sample(const std::string& text) const {
        return pattern_ ? pattern_->sample(text) : text;
    }

    void check_names() {
        if (service_->create_schema && service_->schema.empty())
            error("create_schema", "there is no schema", path_ + ".schema");
        if (!service_->schema.empty()) {
            if (std::string wrong = check_schema_name(sample(service_->schema)); !wrong.empty())
                error("schema", wrong);
        }
        if (!service_->database.empty()) {
            if (std::string wrong = check_server_name(sample(service_->database)); !wrong.empty())
                error("database", wrong);
        }
        if (service_->role.empty()) return;
        if (std::string wrong = check_role_name(sample(service_->role)); !wrong.empty())
            error("role", wrong);
    }

    void check_isolation() {
        const Service& service = *service_;
        const Isolation isolation = isolation_of(service);
        const bool has_secret =
            !service.role_password.empty() || !service.role_password_file.empty();
        if (!service.role_password.empty() && !service.role_password_file.empty())
            error("role_password", "excludes role_password_file", path_ + ".role_password_file");
        switch (isolation) {
            case Isolation::automatic:
            case Isolation::shared:
                if (!service.role.empty())
                    error("role", "is for isolation guarded or strict, not shared",
                          path_ + ".isolation");
                if (service.role.empty() && has_secret)
                    error("role_password", "there is no role", path_ + ".role");
                return;
            case Isolation::guarded:
                if (has_secret)
                    error("role_password", "isolation guarded does not log in as the role",
                          path_ + ".isolation");
                break;
            case Isolation::strict:
                break;
        }
        if (service.role.empty())
            return error("isolation", "guarded and strict need a role", path_ + ".role");
        if (has_client_role(service) || (pattern_ && pattern_->mentions(service.role))) return;
        const std::size_t backend = find_backend(settings_, service.backend).value_or(0);
        const auto [first, is_new] =
            roles_.emplace(std::to_string(backend) + ' ' + service.role, service.name);
        if (!is_new)
            warn(path_ + ".role", "service " + quoted(first->second) +
                                      " has the same role: nothing keeps the two apart");
    }

    /// Each of any number of users has its own login and its own part of the pool.
    void check_client_role() {
        const Service& service = *service_;
        const std::string role = path_ + ".role";
        if (!service.role_password.empty())
            error("role_password", "with role client the clients' own secrets are used", role);
        if (!service.role_password_file.empty())
            error("role_password_file", "with role client the clients' own secrets are used", role);
        if (service.pool.guarantee > 0 && !pattern_)
            error("pool.guarantee", "cannot be given to each of any number of users", role);
        if (service.pool.reserve)
            error("pool.reserve", "cannot be given to each of any number of users", role);
    }

    void check_database() {
        if (service_->database.empty()) return;
        if (service_->session_features.listen == FeaturePolicy::share)
            error("session_features.listen",
                  "share listens in the dsn's database, and not in this one", path_ + ".database");
    }

    void check_settings() {
        for (const auto& [name, value] : service_->settings) {
            std::string wrong = check_setting_name(name);
            if (wrong.empty() && value.find('\0') != std::string::npos) wrong = "has a zero byte";
            if (!wrong.empty()) error("settings." + name, wrong);
        }
        for (std::size_t i = 0; i < service_->fixed_settings.size(); ++i) {
            const std::string& name = service_->fixed_settings[i];
            if (!service_->settings.contains(name))
                error("fixed_settings[" + std::to_string(i) + ']',
                      quoted(name) + " is not in settings", path_ + ".settings");
        }
    }

    const Settings& settings_;
    const Service* service_ = nullptr;
    std::string path_;
    std::optional<ServicePattern> pattern_;
    std::map<std::string, std::string> roles_;
    std::vector<Problem> problems_;
};

}  // namespace

std::string check_role_name(std::string_view name) {
    if (std::string wrong = check_server_name(name); !wrong.empty()) return wrong;
    if (name.starts_with("pg_") || name == "public" || name == "none")
        return quoted(name) + " belongs to PostgreSQL itself";
    return {};
}

std::string check_setting_name(std::string_view name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    };
    if (name.empty() || name.size() > setting_name_max) return "is no setting of PostgreSQL";
    if (!std::all_of(name.begin(), name.end(), fits))
        return "must be letters in lower case, digits, '_' and '.'";
    if (name == "search_path") return "is a key of its own: search_path";
    if (name == "role" || name == "session_authorization") return "is what the key role is for";
    if (name == "client_encoding") return "is for clients to say";
    return {};
}

bool is_valid_match(const Service& service) {
    if (!service.schema.empty() && !check_schema_name(service.schema).empty()) return false;
    if (!service.database.empty() && !check_server_name(service.database).empty()) return false;
    if (!service.role.empty() && !check_role_name(service.role).empty()) return false;
    // Names of the catalogs and of the console are nobody's.
    if (!check_server_name(service.name).empty() || service.name == "schemux") return false;
    const auto fits = [](const std::string& name) {
        return !name.empty() && check_server_name(name).empty();
    };
    return !service.search_path ||
           std::all_of(service.search_path->begin(), service.search_path->end(), fits);
}

std::vector<Problem> check_service_identities(const Settings& settings) {
    return Checker(settings).run();
}

}  // namespace schemux::config
