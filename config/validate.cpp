#include "config/validate.h"

#include "config/address.h"
#include "config/backend_checks.h"
#include "config/login_rules.h"
#include "config/option_table.h"
#include "config/option_value.h"
#include "config/problem_words.h"
#include "config/service_checks.h"
#include "config/service_pattern.h"
#include "config/values.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace schemux::config {

namespace {

/// [A-Za-z_][A-Za-z0-9_]{0,62}, the NAME of the template grammar.
bool is_plain_name(std::string_view name) {
    const auto is_letter = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (name.empty() || name.size() > max_name_bytes || !is_letter(name[0])) return false;
    return std::all_of(name.begin(), name.end(),
                       [&](char c) { return is_letter(c) || is_digit(c); });
}

std::string check_plain_name(std::string_view name) {
    if (is_plain_name(name)) return {};
    if (name.size() > max_name_bytes)
        return "the name has " + std::to_string(name.size()) + " bytes; at most 63 are allowed";
    return quoted(name) + " must be letters, digits and '_', not starting with a digit";
}

/// Names that come in a startup packet: services and users.
std::string check_login_name(std::string_view name) {
    if (name.find('*') != std::string_view::npos) return "patterns with '*' are for services only";
    if (name.size() > max_name_bytes)
        return "the name has " + std::to_string(name.size()) + " bytes; at most 63 are allowed";
    const bool has_control = std::any_of(name.begin(), name.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    return has_control ? "the name has a control character" : "";
}

class Validator {
  public:
    explicit Validator(const Settings& settings) : settings_(settings) {}

    std::vector<Problem> run() {
        check_listeners();
        check_http();
        check_pool();
        for (Problem& problem : check_backends(settings_))
            problems_.push_back(std::move(problem));
        check_query_dsn();
        check_users();
        check_users_of(settings_.admin.users, "admin.users");
        check_users_of(settings_.admin.stats_users, "admin.stats_users");
        for (Problem& problem : check_login_rules(settings_))
            problems_.push_back(std::move(problem));
        check_services();
        for (Problem& problem : check_service_identities(settings_))
            problems_.push_back(std::move(problem));
        return std::move(problems_);
    }

  private:
    void error(std::string path, std::string message, std::string related = {}) {
        problems_.push_back(
            {Severity::error, std::move(path), std::move(message), std::move(related)});
    }
    void warning(std::string path, std::string message, std::string related = {}) {
        problems_.push_back(
            {Severity::warning, std::move(path), std::move(message), std::move(related)});
    }
    void error_unless_empty(const std::string& path, std::string message) {
        if (!message.empty()) error(path, std::move(message));
    }

    struct TcpEndpoint {
        IpAddress address;
        std::uint16_t port = 0;
        std::string path;
    };

    void check_listeners() {
        if (settings_.listen.empty()) error("listen", "at least one listener is needed");
        for (std::size_t i = 0; i < settings_.listen.size(); ++i) {
            const Listener& listener = settings_.listen[i];
            const std::string path = indexed("listen", i);
            if (listener.port == 0) error(path + ".port", "must be in the range 1..65535");
            if (!listener.address.empty() && listener.is_unix()) {
                error(path, "address and unix_socket_dir exclude each other; make two entries");
            } else if (listener.is_unix()) {
                check_unix_listener(listener, path);
            } else if (listener.address.empty()) {
                error(path, "needs address or unix_socket_dir");
            } else {
                check_tcp_listener(listener, path);
            }
            check_proxies(listener, path + ".proxies");
            check_listener_tls(listener, path + ".tls");
            check_listener_method(listener, path);
        }
    }

    void check_proxies(const Listener& listener, const std::string& path) {
        if (listener.proxies.empty()) return;
        if (listener.is_unix()) error(path, "a unix socket has no proxy in front");
        for (std::size_t i = 0; i < listener.proxies.size(); ++i) {
            if (!parse_ip_range(listener.proxies[i]))
                error(indexed(path, i), quoted(listener.proxies[i]) +
                                            " is no IP address or range such as 10.0.0.0/8");
        }
        if (settings_.auth.method == AuthMethod::trust)
            error(path, "trust is not for clients of a proxy", "auth.method");
    }

    static bool has_tls(const Listener& listener) { return listener.tls.mode != TlsMode::off; }

    void check_listener_tls(const Listener& listener, const std::string& path) {
        const ListenerTls& tls = listener.tls;
        const bool verifies = tls.mode >= TlsMode::verify_ca;
        if (!has_tls(listener)) {
            if (tls != ListenerTls{}) warning(path, "has no effect: the mode is off");
            return;
        }
        if (listener.is_unix()) error(path, "TLS is for addresses; a unix socket has none");
        if (tls.certificate.empty()) error(path + ".certificate", "TLS needs a certificate");
        if (tls.key.empty()) error(path + ".key", "TLS needs the certificate's key");
        if (verifies && tls.client_ca.empty())
            error(path + ".client_ca", "mode verify-ca and verify-full need it");
        if (!tls.crl.empty() && tls.client_ca.empty())
            error(path + ".crl", "is of use only with client_ca", path + ".client_ca");
    }

    /// A method that nobody could pass here.
    void check_listener_method(const Listener& listener, const std::string& path) {
        if (has_rules()) return;
        switch (settings_.auth.method) {
            case AuthMethod::trust:
            case AuthMethod::scram_sha_256:
            case AuthMethod::md5:
                return;
            case AuthMethod::reject:
                error(path, "nobody could log in: auth.method is reject and there are no rules",
                      "auth.method");
                return;
            case AuthMethod::password:
                if (!listener.is_unix() && !has_tls(listener))
                    error(path, "auth.method password needs tls here: nobody may read along",
                          "auth.method");
                return;
            case AuthMethod::cert:
                if (!has_tls(listener) || listener.tls.client_ca.empty())
                    error(path, "auth.method cert needs tls with client_ca here", "auth.method");
                return;
            case AuthMethod::peer:
                if (!listener.is_unix())
                    error(path, "auth.method peer is for unix sockets only", "auth.method");
                return;
        }
    }

    void check_unix_listener(const Listener& listener, const std::string& path) {
        const std::string socket = endpoint_of(listener);
        if (socket.size() > max_unix_path_bytes)
            error(path + ".unix_socket_dir",
                  "the socket path has " + std::to_string(socket.size()) + " bytes; at most " +
                      std::to_string(max_unix_path_bytes) + " fit");
        const auto [first, is_new] = unix_sockets_.emplace(socket, path);
        if (!is_new) error(path, "the same socket as " + first->second);
    }

    void check_tcp_listener(const Listener& listener, const std::string& path) {
        const auto address = check_endpoint(listener.address, listener.port, path);
        if (!address) return;
        if (settings_.auth.method == AuthMethod::trust && !address->is_loopback())
            error(path + ".address",
                  "auth.method trust is allowed only on loopback addresses and unix sockets, not "
                  "on " +
                      listener.address,
                  "auth.method");
    }

    /// Reports a bad address, or one that cannot be bound beside those before it.
    std::optional<IpAddress> check_endpoint(const std::string& text, std::uint16_t port,
                                            const std::string& path) {
        auto address = parse_ip_address(text);
        if (!address) {
            error(path + ".address",
                  quoted(text) + " is not a numeric IP address; names are not resolved");
            return {};
        }
        for (const TcpEndpoint& other : endpoints_) {
            if (other.port != port || other.address.is_v6 != address->is_v6) continue;
            const bool same = other.address == *address;
            if (!same && !other.address.is_unspecified() && !address->is_unspecified()) continue;
            error(path, (same ? "the same address and port as " : "overlaps ") + other.path);
            break;
        }
        endpoints_.push_back({*address, port, path});
        return address;
    }

    void check_http() {
        if (!settings_.http) return;
        if (settings_.http->port == 0) error("http.port", "must be in the range 1..65535");
        const auto address = check_endpoint(settings_.http->address, settings_.http->port, "http");
        if (address && !address->is_loopback())
            warning("http.address", "anybody who reaches " + settings_.http->address +
                                        " can read the metrics and status page");
        check_host_names(settings_.http->host_names);
    }

    void check_host_names(const std::vector<std::string>& names) {
        const auto fits = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '.' || c == '-' || c == '_';
        };
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (names[i].empty() || !std::all_of(names[i].begin(), names[i].end(), fits))
                error(indexed("http.host_names", i),
                      quoted(names[i]) + " is no host name; it stands without a port");
        }
    }

    /// Below it a network that loses a packet would do.
    static constexpr std::chrono::milliseconds shortest_stall = std::chrono::seconds(1);
    static constexpr std::uint64_t least_memory = 64ULL * 1024 * 1024;

    void check_pool() {
        const Pool& pool = settings_.pool;
        if (pool.min_connections > pool.max_connections)
            error("pool.min_connections",
                  std::to_string(pool.min_connections) + " is more than pool.max_connections (" +
                      std::to_string(pool.max_connections) + ")",
                  "pool.max_connections");
        const bool both_end = pool.idle_timeout.count() > 0 && pool.lifetime.count() > 0;
        if (both_end && pool.idle_timeout >= pool.lifetime)
            warning("pool.idle_timeout",
                    "has no effect: pool.lifetime (" + format_duration(pool.lifetime) +
                        ") is not longer",
                    "pool.lifetime");
        const bool stalls = pool.client_stall_timeout.count() > 0;
        if (stalls && pool.client_stall_timeout < shortest_stall)
            error("pool.client_stall_timeout",
                  "must be 0 or at least " + format_duration(shortest_stall));
        const std::uint64_t memory = settings_.limits.memory;
        if (memory > 0 && memory < least_memory)
            warning("limits.memory", format_size(memory) + " is less than " +
                                         format_size(least_memory) +
                                         "; the process itself may leave no room for clients");
        if (settings_.limits.max_clients < pool.max_connections)
            warning("limits.max_clients",
                    std::to_string(settings_.limits.max_clients) +
                        " is less than pool.max_connections (" +
                        std::to_string(pool.max_connections) + "); the rest cannot be used",
                    "pool.max_connections");
    }

    /// Both are asked with the same login, whose password is not known before it is needed.
    void check_query_dsn() {
        if (settings_.backend.password_command.empty()) return;
        if (!settings_.auth.query.empty() && settings_.auth.query_dsn.empty())
            error("auth.query_dsn", "is needed beside backend.password_command",
                  settings_.backend.path + ".password_command");
    }

    void check_users() {
        const Auth& auth = settings_.auth;
        if (needs_secrets() && auth.users.empty() && auth.users_file.empty() && auth.query.empty())
            error("auth.users", "nobody could log in: auth.method needs users with a password",
                  "auth.method");
        if (auth.method == AuthMethod::md5)
            warning("auth.method",
                    "md5 can be broken by whoever reads along; scram-sha-256 cannot");
        for (std::size_t i = 0; i < settings_.auth.users.size(); ++i) {
            const std::string& name = settings_.auth.users[i].name;
            const std::string path = indexed("auth.users", i) + ".name";
            if (name.empty()) continue;
            error_unless_empty(path, check_login_name(name));
            if (!users_.insert(name).second)
                error(path, "user " + quoted(name) + " is listed twice");
            check_secret(settings_.auth.users[i], indexed("auth.users", i));
        }
    }

    bool needs_secrets() const { return asks_for_passwords(settings_.auth); }
    bool has_rules() const {
        return !settings_.auth.rules.empty() || !settings_.auth.hba_file.empty();
    }

    void check_secret(const User& user, const std::string& path) {
        const int secrets = int{!user.password.empty()} + int{!user.password_file.empty()} +
                            int{!user.scram_verifier.empty()};
        if (secrets > 1)
            error(path, "password, password_file and scram_verifier exclude each other");
        const std::string method = method_name();
        // Beside rules a user may have another way in.
        if (needs_secrets() && secrets == 0 && !has_rules())
            error(path, "needs password, password_file or scram_verifier: auth.method is " + method,
                  "auth.method");
        if (!needs_secrets() && secrets > 0 && !has_rules())
            warning(path, "the password is never asked for: auth.method is " + method,
                    "auth.method");
    }

    std::string method_name() const {
        const Option& option = *find_option("auth.method");
        return std::string(option.choices[static_cast<std::size_t>(settings_.auth.method)]);
    }

    void check_services() {
        const bool listed_elsewhere =
            !settings_.services_file.empty() || !settings_.services_query.sql.empty();
        if (settings_.services.empty() && !listed_elsewhere)
            error("services", "at least one service is needed");
        error_unless_empty("services_query.channel", check_channel());
        for (std::size_t i = 0; i < settings_.services.size(); ++i) {
            const Service& service = settings_.services[i];
            const std::string path = indexed("services", i);
            if (!service.name.empty()) check_service_name(service, path + ".name");
            if (!service.schema.empty()) check_schema(service, path + ".schema");
            check_users_of(service.users, path + ".users");
            check_server_names(service, path + ".server_names");
            check_names(service.allow_schemas, path + ".allow_schemas", check_schema_name);
            if (service.search_path && !is_pattern(service.name))
                check_names(*service.search_path, path + ".search_path", check_plain_name);
            check_service_pool(service.pool, path + ".pool");
        }
    }

    std::string check_channel() const {
        const std::string& channel = settings_.services_query.channel;
        return channel.empty() ? "" : check_plain_name(channel);
    }

    void check_service_pool(const ServicePool& pool, const std::string& path) {
        if (pool.max > 0 && pool.guarantee > pool.max)
            error(path + ".guarantee",
                  std::to_string(pool.guarantee) + " is more than max (" +
                      std::to_string(pool.max) + ")",
                  path + ".max");
        if (pool.reserve && pool.guarantee == 0)
            warning(path + ".reserve", "has no effect without a guarantee");
    }

    void check_service_name(const Service& service, const std::string& path) {
        if (!is_pattern(service.name)) error_unless_empty(path, check_login_name(service.name));
        if (service.name == "schemux" || service.name == "pgbouncer")
            error(path, quoted(service.name) + " is the name of the admin console");
        const auto [first, is_new] = service_paths_.emplace(service.name, path);
        if (!is_new)
            error(path, "service " + quoted(service.name) + " is already defined as " +
                            parent_of_name(first->second));
    }

    void check_schema(const Service& service, const std::string& path) {
        if (is_pattern(service.name) || !check_schema_name(service.schema).empty()) return;
        const std::size_t backend = find_backend(settings_, service.backend).value_or(0);
        const std::string where = std::to_string(backend) + ' ' + service.database + '\0';
        const auto [first, is_new] = schema_owners_.emplace(where + service.schema, service.name);
        if (!is_new) warning(path, "service " + quoted(first->second) + " has the same schema");
    }

    void check_server_names(const Service& service, const std::string& path) {
        for (std::size_t i = 0; i < service.server_names.size(); ++i) {
            const std::string& name = service.server_names[i];
            const bool shouts =
                std::any_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
            if (shouts || name.empty()) error(indexed(path, i), "must be in lower case");
            if (!server_names_.insert(name).second)
                error(indexed(path, i), quoted(name) + " means another service already");
        }
    }

    void check_users_of(const std::vector<std::string>& users, const std::string& path) {
        std::set<std::string_view> seen;
        for (std::size_t i = 0; i < users.size(); ++i) {
            const std::string& user = users[i];
            const std::string item = indexed(path, i);
            const std::string wrong = check_login_name(user);
            error_unless_empty(item, wrong);
            if (!seen.insert(user).second) error(item, quoted(user) + " is listed twice");
            if (wrong.empty() && all_users_are_listed() && !users_.contains(user))
                error(item, "user " + quoted(user) + " is not in auth.users", "auth.users");
        }
    }

    bool all_users_are_listed() const {
        const Auth& auth = settings_.auth;
        return !auth.users.empty() && auth.users_file.empty() && auth.query.empty();
    }

    void check_names(const std::vector<std::string>& names, const std::string& path,
                     std::string (*check)(std::string_view)) {
        std::set<std::string_view> seen;
        for (std::size_t i = 0; i < names.size(); ++i) {
            error_unless_empty(indexed(path, i), check(names[i]));
            if (!seen.insert(names[i]).second)
                error(indexed(path, i), quoted(names[i]) + " is listed twice");
        }
    }

    static std::string parent_of_name(const std::string& path) {
        return path.substr(0, path.rfind('.'));
    }

    const Settings& settings_;
    std::vector<Problem> problems_;
    std::vector<TcpEndpoint> endpoints_;
    std::unordered_map<std::string, std::string> unix_sockets_;
    std::unordered_map<std::string, std::string> service_paths_;
    std::unordered_map<std::string, std::string> schema_owners_;
    std::unordered_set<std::string> users_;
    std::unordered_set<std::string> server_names_;
};

}  // namespace

std::string check_schema_name(std::string_view name) {
    if (std::string wrong = check_plain_name(name); !wrong.empty()) return wrong;
    if (name.starts_with("pg_") || name == "information_schema")
        return quoted(name) + " belongs to PostgreSQL itself";
    return {};
}

std::vector<Problem> validate(const Settings& settings) {
    return Validator(settings).run();
}

}  // namespace schemux::config
