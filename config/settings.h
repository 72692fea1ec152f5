// The whole configuration as plain values, with the defaults that the option table states.
// Only what this version acts on is here; reserved keys live in the option table alone.
// It must not know YAML, files, core's policy structs or how any of this is put to work.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {

// The order of enum values is the order of the choices in the option table.
enum class IoEngine : std::uint8_t { automatic, epoll, io_uring };
enum class PoolMode : std::uint8_t { transaction, session, statement };
enum class AuthMethod : std::uint8_t { trust, scram_sha_256, password, cert, peer, md5, reject };
enum class RuleType : std::uint8_t { any, local, host, hostssl, hostnossl };
enum class ClientCertificate : std::uint8_t { any, verify_ca, verify_full };
enum class TlsMode : std::uint8_t { off, allow, prefer, require, verify_ca, verify_full };
enum class TlsNegotiation : std::uint8_t { postgres, direct };
enum class TlsVersion : std::uint8_t { v1_2, v1_3 };
enum class ChannelScope : std::uint8_t { database, service };
enum class LiteralScope : std::uint8_t { off, relation, all };

/// `share` is for `listen` only.
enum class FeaturePolicy : std::uint8_t { allow, pin, reject, share };
enum class StateCare : std::uint8_t { fast, verify, strict };
enum class Placeholder : std::uint8_t { allow, close_backend };
enum class OverPinBudget : std::uint8_t { wait, error };

/// What keeps a service's clients from other services' data; `automatic` says isolation_of().
enum class Isolation : std::uint8_t {
    automatic,
    shared,   ///< nothing but templates and search_path
    guarded,  ///< SET ROLE: against mistakes
    strict,   ///< a login role of its own: PostgreSQL's permissions
};

/// Whose version of the admin console ours is column by column.
enum class ConsoleCompat : std::uint8_t { legacy, v1_18, v1_24, v1_26 };

/// What is done with what the isolation audit finds at the start and at reloads.
enum class IsolationAudit : std::uint8_t { off, warn, require };

enum class LogFormat : std::uint8_t { automatic, json, text };
enum class LogLevel : std::uint8_t { debug, info, warning, error };
enum class SlowQueryText : std::uint8_t { fingerprint, client, rewritten, none };

/// TLS for the frontends of one listener. `allow` and `prefer` leave it to the frontend.
struct ListenerTls {
    TlsMode mode = TlsMode::off;
    std::string certificate{};  ///< with its chain, as PEM
    std::string key{};
    std::string client_ca{};  ///< empty: no certificate is asked for
    std::string crl{};
    TlsVersion min_version = TlsVersion::v1_2;
    std::string ciphers{};  ///< up to TLS 1.2; empty: OpenSSL's default

    friend bool operator==(const ListenerTls&, const ListenerTls&) = default;
};

/// Where frontends connect: exactly one of `address` and `unix_socket_dir` is set.
struct Listener {
    std::string address{};          ///< numeric IPv4 or IPv6 address
    std::string unix_socket_dir{};  ///< the socket is `<dir>/.s.PGSQL.<port>`
    std::uint16_t port = 6432;
    std::vector<std::string> proxies{};  ///< that say for whom they come; empty: none
    ListenerTls tls{};

    bool is_unix() const { return !unix_socket_dir.empty(); }
};

/// The HTTP endpoint for metrics and health; none is opened without the section.
struct Http {
    std::string address = "127.0.0.1";
    std::uint16_t port = 9632;
    std::uint32_t top_tenants = 0;  ///< that metrics tell of by name
    bool status_page = true;
    std::vector<std::string> host_names{};  ///< by which the status page may be called
};

/// A cluster of PostgreSQL.
struct Backend {
    std::string name{};            ///< of `backends`; empty: it is `backend`
    std::string path = "backend";  ///< where it stands in the file
    std::string dsn{};             ///< libpq conninfo or URI; may hold secrets, never print it
    std::string password_file{};   ///< empty: the dsn says it all
    std::vector<std::string> password_command{};  ///< prints it; empty: none
    TlsNegotiation tls_negotiation = TlsNegotiation::postgres;
    /// How PostgreSQL may let us log in; empty: as is safe on the way to it.
    std::vector<std::string> require_auth{};
    std::string on_connect{};  ///< SQL that each new connection runs first
    // Of those that have a name; pool has them for `backend`.
    std::uint32_t max_connections = 0;  ///< 0: pool.max_connections
    std::uint32_t min_connections = 0;  ///< 0: pool.min_connections
};

inline constexpr std::size_t max_backends = 64;

struct Pool {
    std::uint32_t max_connections = 20;  ///< the bound over all services and workers
    std::uint32_t min_connections = 0;
    PoolMode mode = PoolMode::transaction;
    std::chrono::milliseconds acquire_timeout = std::chrono::seconds(10);
    std::chrono::milliseconds connect_timeout = std::chrono::seconds(5);
    std::chrono::milliseconds idle_timeout = std::chrono::minutes(10);        ///< 0: never
    std::chrono::milliseconds lifetime = std::chrono::hours(1);               ///< 0: never
    std::chrono::milliseconds client_stall_timeout{0};                        ///< 0: never
    std::chrono::milliseconds health_check_after = std::chrono::seconds(30);  ///< 0: never
    std::uint32_t pin_budget = 0;        ///< of all services; 0: three quarters of max_connections
    std::uint32_t audit_sample = 1'000;  ///< one release of so many; 0: none
    std::uint32_t statements_per_backend = 400;
    std::uint64_t statement_memory_per_backend = 32 * 1024 * 1024;
    // 0: any time, or never.
    std::chrono::milliseconds query_timeout{0};
    std::chrono::milliseconds transaction_timeout{0};
    std::chrono::milliseconds idle_in_transaction_timeout{0};
    std::chrono::milliseconds client_idle_timeout{0};
    std::chrono::milliseconds wait_notice{0};
    std::uint64_t max_backend_memory = 0;  ///< bytes; 0: any
    bool service_affinity = true;
    bool paused = false;           ///< nobody is served: clients wait
    bool rotate_backends = false;  ///< for tests: no frontend has a backend twice in a row
};

/// One of the three secrets where the method asks for one.
struct User {
    std::string name{};
    std::string password{};       ///< from ${NAME}, one hopes; a verifier is taken too
    std::string password_file{};  ///< the same as its first line
    std::string scram_verifier{};
    std::uint32_t max_clients = 0;  ///< 0: limits.max_clients_per_user
};

/// Who must prove how who it is; the first rule that fits decides.
struct LoginRule {
    RuleType type = RuleType::any;
    std::vector<std::string> addresses{};  ///< with or without a prefix length; empty: any
    std::vector<std::string> services{};   ///< empty: any
    bool service_is_user = false;          ///< beside `services`, the one with the user's name
    std::vector<std::string> users{};      ///< empty: any
    AuthMethod method = AuthMethod::reject;
    ClientCertificate client_certificate = ClientCertificate::any;
    std::string map{};
    unsigned line = 0;  ///< of hba_file; 0: it is from the configuration

    friend bool operator==(const LoginRule&, const LoginRule&) = default;
};

/// Who may be which user: `*` in the identity, at most once, is any text, which stands for `*` in
/// the user's name.
struct IdentityMap {
    std::string name{};
    std::string identity{};
    std::string user{};

    friend bool operator==(const IdentityMap&, const IdentityMap&) = default;
};

struct Auth {
    AuthMethod method = AuthMethod::trust;  ///< a file has to say it: there is no silent trust
    std::vector<LoginRule> rules{};         ///< in front of `method`
    std::string hba_file{};                 ///< in place of `rules`
    std::vector<IdentityMap> maps{};
    std::vector<User> users{};  ///< empty, as the next two: any name, under trust
    std::string users_file{};
    std::string query{};
    std::string query_dsn{};  ///< may hold secrets; empty: the backend's
    std::chrono::milliseconds query_cache = std::chrono::seconds(30);  ///< 0: none
};

struct Templates {
    bool braces = true;  ///< {{tables.x}}
    bool angles = true;  ///< <<tables.x>>

    friend bool operator==(const Templates&, const Templates&) = default;
};

/// What of a session cannot travel from backend to backend.
struct SessionFeatures {
    FeaturePolicy temp_table = FeaturePolicy::pin;
    FeaturePolicy advisory_lock = FeaturePolicy::pin;
    FeaturePolicy hold_cursor = FeaturePolicy::pin;
    FeaturePolicy listen = FeaturePolicy::pin;
    FeaturePolicy seed = FeaturePolicy::pin;
    FeaturePolicy load = FeaturePolicy::pin;
    FeaturePolicy sequence = FeaturePolicy::allow;
    FeaturePolicy prepare = FeaturePolicy::allow;
    FeaturePolicy opaque = FeaturePolicy::allow;

    friend bool operator==(const SessionFeatures&, const SessionFeatures&) = default;
};

enum class ServiceMode : std::uint8_t { inherit, transaction, session, statement };

/// A service's part of the pool.
struct ServicePool {
    std::uint32_t weight = 1;
    std::uint32_t guarantee = 0;
    bool reserve = false;
    std::uint32_t max = 0;                         ///< 0: the whole pool
    std::uint32_t queue = 0;                       ///< 0: however many there are
    std::chrono::milliseconds acquire_timeout{0};  ///< 0: pool.acquire_timeout
    ServiceMode mode = ServiceMode::inherit;
    bool paused = false;  ///< its clients wait
    // 0: as in `pool`.
    std::chrono::milliseconds query_timeout{0};
    std::chrono::milliseconds transaction_timeout{0};
    std::chrono::milliseconds idle_in_transaction_timeout{0};

    friend bool operator==(const ServicePool&, const ServicePool&) = default;
};

using TextMap = std::map<std::string, std::string>;

struct Service {
    std::string name{};                ///< or a pattern: is_pattern()
    std::string schema{};              ///< empty: {{tables.x}} becomes x
    std::string backend{};             ///< its name; empty: the default one
    std::string database{};            ///< empty: the dsn's
    std::string role{};                ///< empty: the dsn's user
    std::string role_password{};       ///< from ${NAME}, one hopes
    std::string role_password_file{};  ///< the same as its first line
    Isolation isolation = Isolation::automatic;
    TextMap settings{};  ///< that its sessions begin with, if the client says nothing else
    std::vector<std::string> fixed_settings{};  ///< of these, which the client may not say
    std::vector<std::string> users{};           ///< empty: everybody
    std::vector<std::string> server_names{};
    std::optional<std::vector<std::string>>
        search_path{};  ///< unquoted names; none: schema, public
    std::vector<std::string> allow_schemas{};
    Templates templates{};
    LiteralScope literals = LiteralScope::off;
    ChannelScope channels = ChannelScope::database;
    StateCare state = StateCare::fast;
    Placeholder placeholder = Placeholder::allow;
    SessionFeatures session_features{};
    std::uint32_t max_clients = 0;  ///< 0: as many as there may be
    ServicePool pool{};
    std::uint32_t pin_budget = 0;  ///< 0: half of the pool
    OverPinBudget over_pin_budget = OverPinBudget::wait;
    std::chrono::milliseconds pin_timeout{0};  ///< 0: never
    std::chrono::milliseconds slow_query{0};   ///< 0: log.slow_query
    bool create_schema = false;

    friend bool operator==(const Service&, const Service&) = default;
};

/// The role that means the one that the client logged in as.
inline constexpr std::string_view client_role = "client";

inline bool has_client_role(const Service& service) {
    return service.role == client_role;
}

/// Of the configuration and services_file together, and as many again of services_query.
inline constexpr std::size_t max_services = 10'000;

/// Further services, which PostgreSQL knows.
struct ServicesQuery {
    std::string sql{};  ///< empty: none
    std::chrono::milliseconds interval = std::chrono::seconds(30);
    std::string channel{};  ///< a NOTIFY there says that they have changed; empty: none does

    friend bool operator==(const ServicesQuery&, const ServicesQuery&) = default;
};

/// A role of its own is for `strict`, if nothing else is said.
inline Isolation isolation_of(const Service& service) {
    if (service.isolation != Isolation::automatic) return service.isolation;
    return service.role.empty() ? Isolation::shared : Isolation::strict;
}

struct Log {
    LogFormat format = LogFormat::automatic;
    LogLevel level = LogLevel::info;
    std::string file;                         ///< empty: standard error
    std::chrono::milliseconds slow_query{0};  ///< 0: never
    SlowQueryText slow_query_text = SlowQueryText::fingerprint;
    std::chrono::milliseconds long_lease = std::chrono::minutes(1);  ///< 0: never
};

/// What is counted of statements.
struct Statistics {
    std::uint32_t statements = 200;  ///< of each service, on each worker; 0: none
};

/// Who may use the admin console; nobody: there is none.
struct Admin {
    std::vector<std::string> users{};
    std::vector<std::string> stats_users{};  ///< may look, and change nothing
    ConsoleCompat compat = ConsoleCompat::v1_26;
};

struct Limits {
    std::uint64_t max_query_bytes = 1024 * 1024;
    std::uint64_t memory = 0;  ///< bytes of the process; 0: any
    std::uint32_t max_clients = 10'000;
    std::uint32_t max_clients_per_user = 0;     ///< 0: any number
    std::uint32_t max_clients_per_address = 0;  ///< 0: any number
    std::chrono::milliseconds login_timeout = std::chrono::seconds(10);
};

struct Settings {
    std::vector<Listener> listen{Listener{"127.0.0.1", "", 6432}};
    std::optional<Http> http{};
    Backend backend{};                ///< the default one
    std::vector<Backend> backends{};  ///< the others
    Pool pool{};
    Auth auth{};
    std::vector<Service> services{};  ///< those of services_file last
    std::string services_file{};
    std::size_t services_in_file = 0;  ///< how many of `services` are of services_file
    ServicesQuery services_query{};
    IsolationAudit isolation_audit = IsolationAudit::warn;
    std::uint32_t workers = 1;
    IoEngine io_engine = IoEngine::epoll;
    Log log{};
    Admin admin{};
    Statistics statistics{};
    Limits limits{};
    std::chrono::milliseconds drain_timeout = std::chrono::seconds(25);
};

/// All of them, the default one first.
std::vector<const Backend*> all_backends(const Settings& settings);
/// Its place among them; nothing: there is none of the name.
std::optional<std::size_t> find_backend(const Settings& settings, const std::string& name);
/// How many connections there may be to it.
std::uint32_t connections_of(const Settings& settings, const Backend& backend);
std::uint32_t least_connections_of(const Settings& settings, const Backend& backend);

}  // namespace schemux::config
