#include "config/backend_checks.h"

#include "config/problem_words.h"
#include "config/suggest.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

namespace schemux::config {

namespace {

/// It stands in metrics and in the log.
bool is_backend_name(std::string_view name) {
    const auto fits = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-' || c == '.';
    };
    return name.size() <= max_name_bytes && std::all_of(name.begin(), name.end(), fits);
}

class Checker {
  public:
    explicit Checker(const Settings& settings) : settings_(settings) {}

    std::vector<Problem> run() {
        for (const Backend* backend : all_backends(settings_)) {
            check_name(*backend);
            check_require_auth(*backend);
            check_password(*backend);
            check_bound(*backend);
        }
        for (std::size_t i = 0; i < settings_.services.size(); ++i)
            check_service(settings_.services[i], indexed("services", i));
        for (const Backend* backend : all_backends(settings_))
            check_guarantees(*backend);
        return std::move(problems_);
    }

  private:
    void error(std::string path, std::string message, std::string related = {}) {
        problems_.push_back(
            {Severity::error, std::move(path), std::move(message), std::move(related)});
    }

    void check_name(const Backend& backend) {
        if (backend.name.empty()) return;
        const std::string path = backend.path + ".name";
        if (!is_backend_name(backend.name))
            error(path, quoted(backend.name) + " must be letters, digits, '_', '-' and '.'");
        if (!names_.insert(backend.name).second)
            error(path, "backend " + quoted(backend.name) + " is listed twice");
    }

    void check_password(const Backend& backend) {
        if (backend.password_command.empty()) return;
        const std::string path = backend.path + ".password_command";
        if (!backend.password_file.empty())
            error(path, "excludes password_file", backend.path + ".password_file");
        if (!backend.password_command[0].starts_with('/'))
            error(path + "[0]", "must be the program's whole path");
    }

    void check_require_auth(const Backend& backend) {
        static constexpr std::array<std::string_view, 4> known{"none", "password", "md5",
                                                               "scram-sha-256"};
        const std::vector<std::string>& names = backend.require_auth;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (std::find(known.begin(), known.end(), names[i]) == known.end())
                error(indexed(backend.path + ".require_auth", i),
                      quoted(names[i]) +
                          " is no way to log in; known are none, password, md5, scram-sha-256");
        }
    }

    /// That of the one without a name is the pool's.
    void check_bound(const Backend& backend) {
        if (backend.name.empty()) return;
        const std::uint32_t most = connections_of(settings_, backend);
        if (backend.min_connections > most)
            error(backend.path + ".min_connections",
                  std::to_string(backend.min_connections) + " is more than max_connections (" +
                      std::to_string(most) + ")",
                  backend.path + ".max_connections");
    }

    void check_service(const Service& service, const std::string& path) {
        const std::string& name = service.backend;
        if (find_backend(settings_, name)) return;
        std::string message = "there is no backend " + quoted(name);
        std::vector<std::string_view> known(names_.begin(), names_.end());
        if (known.empty()) message += "; backends lists them by name";
        if (const auto near = nearest_word(name, known))
            message += "; did you mean " + quoted(*near) + '?';
        error(path + ".backend", message, "backends");
    }

    /// What is promised must be there.
    void check_guarantees(const Backend& backend) {
        const std::uint32_t most = connections_of(settings_, backend);
        const auto place = &backend == &settings_.backend ? std::optional<std::size_t>(0)
                                                          : find_backend(settings_, backend.name);
        const bool has_own = backend.max_connections > 0;
        std::uint64_t all = 0;
        for (std::size_t i = 0; i < settings_.services.size(); ++i) {
            if (find_backend(settings_, settings_.services[i].backend) != place) continue;
            all += settings_.services[i].pool.guarantee;
            if (all <= most) continue;
            const std::string bound =
                has_own ? backend.path + ".max_connections" : "pool.max_connections";
            error(indexed("services", i) + ".pool.guarantee",
                  "the guarantees up to here are " + std::to_string(all) + ", more than " + bound +
                      " (" + std::to_string(most) + ")",
                  bound);
            return;
        }
    }

    const Settings& settings_;
    std::set<std::string> names_;
    std::vector<Problem> problems_;
};

}  // namespace

std::vector<const Backend*> all_backends(const Settings& settings) {
    std::vector<const Backend*> all{&settings.backend};
    for (const Backend& backend : settings.backends)
        all.push_back(&backend);
    return all;
}

std::optional<std::size_t> find_backend(const Settings& settings, const std::string& name) {
    if (name.empty() || name == settings.backend.name) return 0;
    for (std::size_t i = 0; i < settings.backends.size(); ++i) {
        if (settings.backends[i].name == name) return i + 1;
    }
    return {};
}

std::uint32_t connections_of(const Settings& settings, const Backend& backend) {
    return backend.max_connections > 0 ? backend.max_connections : settings.pool.max_connections;
}

std::uint32_t least_connections_of(const Settings& settings, const Backend& backend) {
    if (backend.min_connections > 0) return backend.min_connections;
    return std::min(settings.pool.min_connections, connections_of(settings, backend));
}

std::vector<Problem> check_backends(const Settings& settings) {
    return Checker(settings).run();
}

}  // namespace schemux::config
