#include "config/login_rules.h"

#include "config/address.h"
#include "config/service_pattern.h"

#include <algorithm>
#include <utility>

namespace schemux::config {

namespace {

bool only_loopback(const LoginRule& rule) {
    return !rule.addresses.empty() &&
           std::all_of(rule.addresses.begin(), rule.addresses.end(), [](const std::string& text) {
               const auto range = parse_ip_range(text);
               return range && range->is_loopback();
           });
}

bool listens_elsewhere(const Settings& settings) {
    return std::any_of(settings.listen.begin(), settings.listen.end(), [](const Listener& one) {
        const auto address = parse_ip_address(one.address);
        return address && !address->is_loopback();
    });
}

bool has_proxies(const Settings& settings) {
    return std::any_of(settings.listen.begin(), settings.listen.end(),
                       [](const Listener& one) { return !one.proxies.empty(); });
}

template <typename Matches>
bool any_method(const Auth& auth, Matches matches) {
    return matches(auth.method) ||
           std::any_of(auth.rules.begin(), auth.rules.end(),
                       [&](const LoginRule& rule) { return matches(rule.method); });
}

class RuleCheck {
  public:
    RuleCheck(const LoginRule& rule, const Settings& settings) : rule_(rule), settings_(settings) {}

    std::vector<RuleProblem> run() {
        check_addresses();
        check_method();
        check_map();
        return std::move(problems_);
    }

  private:
    void problem(std::string key, std::string message) {
        problems_.push_back({std::move(key), std::move(message)});
    }

    void check_addresses() {
        if (rule_.type == RuleType::local && !rule_.addresses.empty())
            problem("addresses", "a unix socket has no address");
        for (const std::string& text : rule_.addresses) {
            if (!parse_ip_range(text))
                problem("addresses", '\'' + text +
                                         "' is no IP address or range such as 10.0.0.0/8; names "
                                         "are not resolved");
        }
    }

    void check_method() {
        const bool local = rule_.type == RuleType::local;
        const bool needs_certificate =
            rule_.method == AuthMethod::cert || rule_.client_certificate != ClientCertificate::any;
        if (needs_certificate && (local || rule_.type == RuleType::hostnossl))
            problem("method", "a certificate is there only with TLS: type hostssl");
        if (rule_.method == AuthMethod::peer && !local)
            problem("method", "peer is for unix sockets: type local");
        if (rule_.method == AuthMethod::trust && !local && !only_loopback(rule_) &&
            listens_elsewhere(settings_))
            problem("method",
                    "trust is allowed only for unix sockets and loopback addresses: type local, "
                    "or addresses such as 127.0.0.1");
        // The address is what another process says.
        if (rule_.method == AuthMethod::trust && !local && has_proxies(settings_))
            problem("method", "trust is not for clients of a proxy");
    }

    void check_map() {
        if (rule_.map.empty()) return;
        const auto& maps = settings_.auth.maps;
        const bool known = std::any_of(maps.begin(), maps.end(), [&](const IdentityMap& map) {
            return map.name == rule_.map;
        });
        if (!known) problem("map", '\'' + rule_.map + "' is not in auth.maps");
        const bool used = rule_.method == AuthMethod::cert || rule_.method == AuthMethod::peer ||
                          rule_.client_certificate == ClientCertificate::verify_full;
        if (!used) problem("map", "is of use only with cert, peer or a certificate for the user");
    }

    const LoginRule& rule_;
    const Settings& settings_;
    std::vector<RuleProblem> problems_;
};

class AuthCheck {
  public:
    explicit AuthCheck(const Settings& settings) : settings_(settings), auth_(settings.auth) {}

    std::vector<Problem> run() {
        if (!auth_.rules.empty() && !auth_.hba_file.empty())
            error("auth.hba_file", "excludes auth.rules", "auth.rules");
        for (std::size_t i = 0; i < auth_.rules.size(); ++i)
            check_rule(auth_.rules[i], "auth.rules[" + std::to_string(i) + ']');
        for (std::size_t i = 0; i < auth_.maps.size(); ++i)
            check_map(auth_.maps[i], "auth.maps[" + std::to_string(i) + ']');
        if (auth_.query.empty() && !auth_.query_dsn.empty())
            error("auth.query_dsn", "is of use only with auth.query");
        if (!auth_.query.empty() && auth_.query.find("$1") == std::string::npos)
            error("auth.query", "the user's name is $1, which is not in it");
        return std::move(problems_);
    }

  private:
    void error(std::string path, std::string message, std::string related = {}) {
        problems_.push_back(
            {Severity::error, std::move(path), std::move(message), std::move(related)});
    }

    void check_rule(const LoginRule& rule, const std::string& path) {
        for (RuleProblem& problem : check_login_rule(rule, settings_))
            error(path + '.' + problem.key, std::move(problem.message));
        for (std::size_t i = 0; i < rule.services.size(); ++i) {
            if (!has_service(rule.services[i]))
                error(path + ".services[" + std::to_string(i) + ']',
                      '\'' + rule.services[i] + "' is not in services", "services");
        }
    }

    static bool matches(const Service& service, const std::string& name) {
        if (!is_pattern(service.name)) return false;
        const auto parsed = ServicePattern::parse(service.name);
        const auto* pattern = std::get_if<ServicePattern>(&parsed);
        return pattern != nullptr && pattern->match(name).has_value();
    }

    bool has_service(const std::string& name) const {
        // Which ones those are is known later.
        if (!settings_.services_file.empty() || !settings_.services_query.sql.empty()) return true;
        return std::any_of(settings_.services.begin(), settings_.services.end(),
                           [&name](const Service& service) {
                               return service.name == name || matches(service, name);
                           });
    }

    void check_map(const IdentityMap& map, const std::string& path) {
        const auto stars = [](const std::string& text) {
            return std::count(text.begin(), text.end(), '*');
        };
        if (stars(map.identity) > 1) error(path + ".identity", "one '*' is understood, no more");
        if (stars(map.user) > stars(map.identity))
            error(path + ".user", "'*' is what stands for it in identity, where there is none",
                  path + ".identity");
    }

    const Settings& settings_;
    const Auth& auth_;
    std::vector<Problem> problems_;
};

}  // namespace

std::vector<RuleProblem> check_login_rule(const LoginRule& rule, const Settings& settings) {
    return RuleCheck(rule, settings).run();
}

std::vector<Problem> check_login_rules(const Settings& settings) {
    return AuthCheck(settings).run();
}

bool asks_for_passwords(const Auth& auth) {
    return any_method(auth, [](AuthMethod method) {
        return method == AuthMethod::scram_sha_256 || method == AuthMethod::password ||
               method == AuthMethod::md5;
    });
}

bool takes_md5_hashes(const Auth& auth) {
    return any_method(auth, [](AuthMethod method) {
        return method == AuthMethod::password || method == AuthMethod::md5;
    });
}

}  // namespace schemux::config
