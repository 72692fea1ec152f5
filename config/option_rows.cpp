// The rows themselves: what each key means, its default, its range and what a reload does with it.
// Only words and accessors; how rows are looked up and used is elsewhere.
#include "config/option_rows.h"

#include "config/option_row.h"

namespace schemux::config {

namespace {

constexpr std::uint64_t second = 1'000;
constexpr std::uint64_t hour = 3'600 * second;
constexpr std::uint64_t kib = 1024;
constexpr std::uint64_t mib = 1024 * kib;

constexpr std::uint64_t max_listeners = 64;
constexpr std::uint64_t max_services = 10'000;
constexpr std::uint64_t max_users = 10'000;
constexpr std::uint64_t max_names = 1'000;
constexpr std::uint64_t max_auth_methods = 4;

Scope open_listener(const Scope& scope) {
    return {.settings = scope.settings, .listener = &scope.settings->listen.emplace_back()};
}
Scope open_http(const Scope& scope) {
    scope.settings->http.emplace();
    return scope;
}
Scope open_user(const Scope& scope) {
    return {.settings = scope.settings, .user = &scope.settings->auth.users.emplace_back()};
}
Scope open_service(const Scope& scope) {
    return {.settings = scope.settings, .service = &scope.settings->services.emplace_back()};
}

void add_endpoints(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("listen", OptionType::section_list,
                "Where frontends connect; without it 127.0.0.1:6432.")
                .range(1, max_listeners)
                .on_reload(Reload::restart)
                .opens(open_listener)
                .done(),
            row("listen[].address", OptionType::text,
                "Numeric IPv4 or IPv6 address to listen on; this or unix_socket_dir.")
                .one_of("127.0.0.1")
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.listener->address; }),
            row("listen[].unix_socket_dir", OptionType::path,
                "Folder of a unix socket named .s.PGSQL.<port>; this or address.")
                .optional("/run/schemux")
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.listener->unix_socket_dir; }),
            row("listen[].port", OptionType::integer,
                "TCP port, or the number in the unix socket's name.")
                .by_default("6432")
                .range(1, 65535)
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.listener->port; }),
            reserved("listen[].tls", "TLS for frontends: mode, certificate, key, client_ca."),
            row("http", OptionType::section,
                "HTTP endpoint for /metrics, /livez, /readyz and the status page; off without it.")
                .optional("")
                .on_reload(Reload::restart)
                .opens(open_http)
                .done(),
            row("http.address", OptionType::text, "Numeric IPv4 or IPv6 address to listen on.")
                .by_default("127.0.0.1")
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->http->address; }),
            row("http.port", OptionType::integer, "TCP port.")
                .by_default("9632")
                .range(1, 65535)
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->http->port; }),
        });
}

void add_backend(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("backend", OptionType::section, "The one PostgreSQL database behind the pool.")
                .required("")
                .on_reload(Reload::new_connections)
                .done(),
            row("backend.dsn", OptionType::text,
                "libpq connection string or URI; several hosts are allowed.")
                .required("\"host=127.0.0.1 port=5432 dbname=app user=schemux\"")
                .on_reload(Reload::new_connections)
                .secret()
                .at([](const Scope& s) -> Field { return &s.settings->backend.dsn; }),
            row("backend.password_file", OptionType::path,
                "File whose first line is the password of the backend login.")
                .optional("backend.password")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->backend.password_file; }),
            row("backend.require_auth", OptionType::text_list,
                "Ways to log in that PostgreSQL may ask for: none, password, md5, scram-sha-256; "
                "by default all, but password only over a unix socket or loopback.")
                .optional("[scram-sha-256]")
                .range(1, max_auth_methods)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->backend.require_auth; }),
            reserved("backend.tls", "TLS towards PostgreSQL; until then sslmode in the dsn."),
            reserved("backend.control_connections",
                     "Connections beside the pool for the prober, listener and audit."),
            reserved("backend.password_command", "Program that prints the password."),
        });
}

void add_pool(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("pool", OptionType::section, "The one bounded set of backend connections.").done(),
            row("pool.max_connections", OptionType::integer,
                "Most backend connections, over all services and workers, connecting ones "
                "included.")
                .by_default("20")
                .range(1, 10'000)
                .at([](const Scope& s) -> Field { return &s.settings->pool.max_connections; }),
            row("pool.min_connections", OptionType::integer,
                "Backend connections kept open even when nothing needs them.")
                .by_default("0")
                .range(0, 10'000)
                .at([](const Scope& s) -> Field { return &s.settings->pool.min_connections; }),
            row("pool.mode", OptionType::choice, "When a frontend gives its backend back.")
                .by_default("transaction")
                .choices({"transaction", "session"}, {"statement"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.mode; }),
            row("pool.acquire_timeout", OptionType::duration,
                "Longest wait for a backend before the frontend gets an error.")
                .by_default("10s")
                .range(1, 24 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.acquire_timeout; }),
            row("pool.connect_timeout", OptionType::duration,
                "Longest time to make one backend connection, login included.")
                .by_default("5s")
                .range(100, hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.connect_timeout; }),
            row("pool.idle_timeout", OptionType::duration,
                "A backend unused for this long is closed, down to min_connections; 0 is never.")
                .by_default("10m")
                .range(0, 720 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->pool.idle_timeout; }),
            row("pool.lifetime", OptionType::duration,
                "A backend older than this is closed at its next release; 0 is never.")
                .by_default("1h")
                .range(0, 720 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.lifetime; }),
            row("pool.client_stall_timeout", OptionType::duration,
                "A frontend that reads nothing of its answers for this long is ended; 0 is never.")
                .by_default("0")
                .range(0, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->pool.client_stall_timeout; }),
            row("pool.audit_sample", OptionType::integer,
                "One release of so many is followed by an audit: a backend with state that nobody "
                "saw come is closed; 0 is none.")
                .by_default("1000")
                .range(0, 1'000'000)
                .at([](const Scope& s) -> Field { return &s.settings->pool.audit_sample; }),
            row("pool.pin_budget", OptionType::integer,
                "Most backends that frontends of all services may keep for themselves; 0: three "
                "quarters of max_connections.")
                .by_default("0")
                .range(0, 10'000)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.pin_budget; }),
        });
}

void add_pool_statements(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("pool.statements_per_backend", OptionType::integer,
                "Prepared statements kept on one backend; the least used is closed for a new one.")
                .by_default("400")
                .range(4, 100'000)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field {
                    return &s.settings->pool.statements_per_backend;
                }),
            row("pool.statement_memory_per_backend", OptionType::size,
                "Memory of PostgreSQL's that they may take together, as estimated from their "
                "length.")
                .by_default("32MiB")
                .range(64 * kib, 4096 * mib)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field {
                    return &s.settings->pool.statement_memory_per_backend;
                }),
            row("pool.rotate_backends", OptionType::boolean,
                "For tests: a frontend gets another backend for each transaction if it can.")
                .by_default("false")
                .at([](const Scope& s) -> Field { return &s.settings->pool.rotate_backends; }),
            reserved("pool.query_timeout", "Longest time for one query."),
            reserved("pool.transaction_timeout", "Longest time for one transaction."),
            reserved("pool.idle_in_transaction_timeout", "Longest idle time in a transaction."),
            reserved("pool.client_idle_timeout", "Longest idle time of a frontend."),
            reserved("pool.max_backend_memory", "Recycles a backend that grew beyond this."),
        });
}

void add_auth(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("auth", OptionType::section, "How frontends log in.")
                .required("")
                .on_reload(Reload::new_connections)
                .done(),
            row("auth.method", OptionType::choice,
                "How a frontend proves its user; trust asks for nothing and is for loopback only.")
                .required("trust")
                .choices({"trust", "scram-sha-256"}, {"password", "cert", "peer"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->auth.method; }),
            row("auth.users", OptionType::section_list,
                "The users that may log in; under trust any name without it.")
                .optional("")
                .range(0, max_users)
                .on_reload(Reload::new_connections)
                .opens(open_user)
                .done(),
            row("auth.users[].name", OptionType::text, "The user of the startup packet.")
                .required("alice")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.user->name; }),
            row("auth.users[].password", OptionType::text,
                "The user's password, best as ${NAME} from the environment.")
                .optional("${ALICE_PASSWORD}")
                .on_reload(Reload::new_connections)
                .secret()
                .at([](const Scope& s) -> Field { return &s.user->password; }),
            row("auth.users[].password_file", OptionType::path,
                "File whose first line is the user's password, or its SCRAM-SHA-256 verifier.")
                .optional("alice.password")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.user->password_file; }),
            row("auth.users[].scram_verifier", OptionType::text,
                "What PostgreSQL keeps in pg_authid.rolpassword: SCRAM-SHA-256$4096:...")
                .optional("\"SCRAM-SHA-256$4096:...\"")
                .on_reload(Reload::new_connections)
                .secret()
                .at([](const Scope& s) -> Field { return &s.user->scram_verifier; }),
            reserved("auth.rules", "Different methods by address, user and service."),
            reserved("auth.query", "Looks users up in the backend's database."),
        });
}

void add_services(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services", OptionType::section_list,
                "The logical databases that frontends may name.")
                .required("")
                .range(1, max_services)
                .opens(open_service)
                .done(),
            row("services[].name", OptionType::text, "The database of the startup packet.")
                .required("app")
                .at([](const Scope& s) -> Field { return &s.service->name; }),
            row("services[].schema", OptionType::text,
                "Schema that {{tables.x}} and {{schema}} stand for; without it x and public.")
                .optional("app")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->schema; }),
            row("services[].users", OptionType::text_list,
                "Users that may log in to the service; without it all.")
                .optional("[alice]")
                .range(1, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->users; }),
            row("services[].search_path", OptionType::text_list,
                "Schemas of search_path, unquoted; without it the service's schema, then public.")
                .optional("[app, public]")
                .range(0, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->search_path; }),
            row("services[].allow_schemas", OptionType::text_list,
                "Other schemas that {{tables.<schema>.x}} may name.")
                .by_default("[]")
                .range(0, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->allow_schemas; }),
            row("services[].templates", OptionType::section, "Which delimiters make a template.")
                .on_reload(Reload::new_connections)
                .done(),
            row("services[].templates.braces", OptionType::boolean, "Expand {{tables.x}}.")
                .by_default("true")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->templates.braces; }),
            row("services[].templates.angles", OptionType::boolean, "Expand <<tables.x>>.")
                .by_default("true")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->templates.angles; }),
            row("services[].literals", OptionType::choice,
                "Templates in string literals: none, those that are only a relation name, or all.")
                .by_default("off")
                .choices({"off", "relation", "all"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->literals; }),
        });
}

template <FeaturePolicy SessionFeatures::*member>
Option feature(std::string_view path, std::string_view policy, std::string_view sentence) {
    return row(path, OptionType::choice, sentence)
        .by_default(policy)
        .choices({"allow", "pin", "reject"})
        .on_reload(Reload::new_connections)
        .at([](const Scope& s) -> Field { return &(s.service->session_features.*member); });
}

void add_session_features(std::vector<Option>& rows) {
    using Features = SessionFeatures;
    rows.insert(
        rows.end(),
        {
            row("services[].state", OptionType::choice,
                "Against state that no text shows (triggers, casts): fast leaves it to "
                "pool.audit_sample, verify has an audit behind each lease, strict a reset.")
                .by_default("fast")
                .choices({"fast", "verify", "strict"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->state; }),
            row("services[].placeholder", OptionType::choice,
                "A setting like app.x stays known to its backend, as an empty text: allow it, or "
                "close the backend behind the lease.")
                .by_default("allow")
                .choices({"allow", "close_backend"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->placeholder; }),
            row("services[].session_features", OptionType::section,
                "What cannot go with a frontend to another backend, in transaction mode: pin keeps "
                "the backend for it, reject refuses it, allow lets it last until the transaction "
                "ends.")
                .on_reload(Reload::new_connections)
                .done(),
            feature<&Features::temp_table>("services[].session_features.temp_table", "pin",
                                           "Temporary tables, and whatever else is in pg_temp."),
            feature<&Features::advisory_lock>("services[].session_features.advisory_lock", "pin",
                                              "Advisory locks of the session."),
            feature<&Features::hold_cursor>("services[].session_features.hold_cursor", "pin",
                                            "Cursors that are declared WITH HOLD."),
            row("services[].session_features.listen", OptionType::choice,
                "LISTEN; NOTIFY needs nothing. With share one session beyond the pool listens for "
                "all, and nobody keeps a backend.")
                .by_default("pin")
                .choices({"allow", "pin", "reject", "share"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->session_features.listen; }),
            feature<&Features::seed>("services[].session_features.seed", "pin",
                                     "The seed of random(); until the frontend goes."),
            feature<&Features::load>("services[].session_features.load", "pin",
                                     "LOAD; until the frontend goes."),
            feature<&Features::sequence>(
                "services[].session_features.sequence", "allow",
                "What lastval() and currval() give; pin: from the first use until the frontend "
                "goes."),
            feature<&Features::prepare>("services[].session_features.prepare", "allow",
                                        "SQL's PREPARE; it goes with the frontend in any case."),
            feature<&Features::opaque>(
                "services[].session_features.opaque", "allow",
                "Commands and functions whose effects are not known: DO, CALL, a function of the "
                "database. With allow, what they leave of the above pins."),
        });
}

void add_pin_bounds(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services[].pin_budget", OptionType::integer,
                "Most frontends of the service that may keep a backend; 0: half of the pool.")
                .by_default("0")
                .range(0, 10'000)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->pin_budget; }),
            row("services[].over_pin_budget", OptionType::choice,
                "When so many keep one: wait as for a backend (never inside a transaction), or an "
                "error.")
                .by_default("wait")
                .choices({"wait", "error"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->over_pin_budget; }),
            row("services[].pin_timeout", OptionType::duration,
                "A frontend that keeps a backend for this long is ended behind its transaction; 0 "
                "is never.")
                .by_default("0")
                .range(0, 720 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->pin_timeout; }),
        });
}

void add_reserved_service_keys(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            reserved("services[].backend", "The named cluster behind the service."),
            reserved("services[].database", "Another database than the dsn's."),
            reserved("services[].role", "Another login role than the dsn's."),
            reserved("services[].isolation", "shared, guarded or strict."),
            reserved("services[].create_schema", "Creates the schema when it is missing."),
            reserved("services[].settings", "PostgreSQL settings of the service's sessions."),
            reserved("services[].pool", "The service's weight, guarantee, max and mode."),
            reserved("services[].migrations", "Folders of the service's migrations."),
        });
}

void add_process(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("workers", OptionType::integer, "Threads of the data plane.")
                .by_default("1")
                .range(1, 64)
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->workers; }),
            row("log", OptionType::section, "What is written to standard error.").done(),
            row("log.format", OptionType::choice,
                "json lines or text for people; auto is text on a terminal, else json.")
                .by_default("auto")
                .choices({"auto", "json", "text"})
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->log.format; }),
            row("log.level", OptionType::choice, "The least severe event that is written.")
                .by_default("info")
                .choices({"debug", "info", "warning", "error"})
                .at([](const Scope& s) -> Field { return &s.settings->log.level; }),
            row("limits", OptionType::section, "Bounds on what frontends may take.").done(),
            row("limits.max_query_bytes", OptionType::size,
                "Longest query text that is held whole to expand templates in it.")
                .by_default("1MiB")
                .range(kib, 256 * mib)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->limits.max_query_bytes; }),
            row("limits.max_clients", OptionType::integer, "Most frontends at a time.")
                .by_default("10000")
                .range(1, 1'000'000)
                .at([](const Scope& s) -> Field { return &s.settings->limits.max_clients; }),
            row("limits.login_timeout", OptionType::duration,
                "Longest time from accept to the end of the login.")
                .by_default("10s")
                .range(100, hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->limits.login_timeout; }),
            row("drain_timeout", OptionType::duration,
                "How long running transactions may take to finish when the daemon stops.")
                .by_default("25s")
                .range(0, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->drain_timeout; }),
        });
}

void add_reserved_sections(std::vector<Option>& rows) {
    rows.insert(rows.end(),
                {
                    reserved("backends", "Several clusters by name."),
                    reserved("admin", "Who may use the admin console."),
                    reserved("io_engine", "epoll or io_uring."),
                    reserved("peers", "Other schemux processes behind the same address."),
                });
}

}  // namespace

std::vector<Option> make_option_rows() {
    std::vector<Option> rows;
    add_endpoints(rows);
    add_backend(rows);
    add_pool(rows);
    add_pool_statements(rows);
    add_auth(rows);
    add_services(rows);
    add_session_features(rows);
    add_pin_bounds(rows);
    add_reserved_service_keys(rows);
    add_process(rows);
    add_reserved_sections(rows);
    return rows;
}

}  // namespace schemux::config
