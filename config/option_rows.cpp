// The rows themselves: what each key means, its default, its range and what a reload does with it.
// Only words and accessors; how rows are looked up and used is elsewhere.
#include "config/option_rows.h"

#include "config/option_row.h"

namespace schemux::config {

namespace {

constexpr std::uint64_t max_listeners = 64;
constexpr std::uint64_t max_proxies = 1'000;
constexpr std::uint64_t max_clients = 1'000'000;
constexpr std::uint64_t max_top_tenants = 1'000;
constexpr std::uint64_t max_admins = 1'000;
constexpr std::uint64_t max_host_names = 100;
constexpr std::uint64_t max_counted_statements = 10'000;

Scope open_listener(const Scope& scope) {
    return {.settings = scope.settings, .listener = &scope.settings->listen.emplace_back()};
}
Scope open_http(const Scope& scope) {
    scope.settings->http.emplace();
    return scope;
}
void add_endpoints(std::vector<Option>& rows) {
    rows.insert(rows.end(),
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
                    row("listen[].proxies", OptionType::text_list,
                        "Addresses or ranges of the load balancers in front, which say in a header "
                        "of the PROXY protocol, version 2, for whom they come; nobody else is "
                        "served here.")
                        .optional("[10.0.0.7, 10.1.0.0/16]")
                        .range(1, max_proxies)
                        .on_reload(Reload::restart)
                        .at([](const Scope& s) -> Field { return &s.listener->proxies; }),
                });
    add_listener_tls_rows(rows);
}

void add_http(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
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
            row("http.top_tenants", OptionType::integer,
                "Metrics tell of so many tenants of patterns and of services_query by name, those "
                "that had the most backend time. 0: of none.")
                .by_default("0")
                .range(0, max_top_tenants)
                .at([](const Scope& s) -> Field { return &s.settings->http->top_tenants; }),
            row("http.status_page", OptionType::boolean,
                "The page for people at /, and its JSON below /api/v1. false: neither is there.")
                .by_default("true")
                .at([](const Scope& s) -> Field { return &s.settings->http->status_page; }),
            row("http.host_names", OptionType::text_list,
                "Names that browsers may call the status page by, besides numeric addresses and "
                "localhost; under any other name it is refused.")
                .optional("[schemux.example]")
                .range(1, max_host_names)
                .at([](const Scope& s) -> Field { return &s.settings->http->host_names; }),
        });
}

void add_workers(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("workers", OptionType::integer, "Threads of the data plane, for each cluster.")
                .by_default("1")
                .range(1, 64)
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->workers; }),
            row("io_engine", OptionType::choice,
                "How workers read and write; auto takes io_uring where there is one.")
                .by_default("epoll")
                .choices({"auto", "epoll", "io_uring"})
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->io_engine; }),
        });
}

/// What it tells of what it does.
void add_log(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("log", OptionType::section, "What is written of what happens.").done(),
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
            row("log.file", OptionType::path,
                "The file that it is appended to; SIGHUP opens it anew, for logrotate. Without it "
                "standard error.")
                .optional("/var/log/schemux/schemux.log")
                .on_reload(Reload::restart)
                .at([](const Scope& s) -> Field { return &s.settings->log.file; }),
            row("log.slow_query", OptionType::duration,
                "A query that takes this long on its backend is an event, slow_query; 0 is never.")
                .by_default("0")
                .range(0, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->log.slow_query; }),
            row("log.slow_query_text", OptionType::choice,
                "Which text it has: the fingerprint, with ? for constants; the client's or the "
                "rewritten one, which may have secrets as literals; or none. Values of parameters "
                "are in none of them.")
                .by_default("fingerprint")
                .choices({"fingerprint", "client", "rewritten", "none"})
                .at([](const Scope& s) -> Field { return &s.settings->log.slow_query_text; }),
            row("log.long_lease", OptionType::duration,
                "A frontend that has its backend for this long is an event, lease_held, once for "
                "each lease; 0 is never.")
                .by_default("1m")
                .range(0, 720 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->log.long_lease; }),
            row("statistics", OptionType::section, "What is counted of statements.").done(),
            row("statistics.statements", OptionType::integer,
                "Statements of each service, told apart by their fingerprints, whose calls and "
                "time each worker counts, those that take the most; 0: none.")
                .by_default("200")
                .range(0, max_counted_statements)
                .at([](const Scope& s) -> Field { return &s.settings->statistics.statements; }),
        });
}

void add_process(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("limits", OptionType::section, "Bounds on what frontends may take.").done(),
            row("limits.max_query_bytes", OptionType::size,
                "Longest query text that is held whole to expand templates in it.")
                .by_default("1MiB")
                .range(kib, 256 * mib)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->limits.max_query_bytes; }),
            row("limits.memory", OptionType::size,
                "Memory that the process may have, as the kernel counts it; from 85 % on new "
                "frontends and large texts are refused, from 95 % on those that take the most are "
                "ended (53200). 0: any.")
                .by_default("0")
                .range(0, std::uint64_t{1024} * 1024 * mib)
                .at([](const Scope& s) -> Field { return &s.settings->limits.memory; }),
            row("limits.max_clients", OptionType::integer, "Most frontends at a time.")
                .by_default("10000")
                .range(1, max_clients)
                .at([](const Scope& s) -> Field { return &s.settings->limits.max_clients; }),
            row("limits.max_clients_per_user", OptionType::integer,
                "Most frontends of one user at a time. 0: any number.")
                .by_default("0")
                .range(0, max_clients)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field {
                    return &s.settings->limits.max_clients_per_user;
                }),
            row("limits.max_clients_per_address", OptionType::integer,
                "Most frontends from one IP address at a time, those that log in included. 0: any "
                "number.")
                .by_default("0")
                .range(0, max_clients)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field {
                    return &s.settings->limits.max_clients_per_address;
                }),
            row("limits.login_timeout", OptionType::duration,
                "Longest time from accept to the end of the login.")
                .by_default("10s")
                .range(100, hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->limits.login_timeout; }),
            row("isolation_audit", OptionType::choice,
                "What is done when PostgreSQL's permissions do not keep listed services with "
                "isolation strict from one another, at the start and at a reload: warn says so in "
                "the log, require neither starts nor takes the new configuration.")
                .by_default("warn")
                .choices({"off", "warn", "require"})
                .at([](const Scope& s) -> Field { return &s.settings->isolation_audit; }),
            row("drain_timeout", OptionType::duration,
                "How long running transactions may take to finish when the daemon stops.")
                .by_default("25s")
                .range(0, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->drain_timeout; }),
        });
}

void add_admin(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("admin", OptionType::section,
                "The admin console: databases schemux and pgbouncer; off without users.")
                .optional("")
                .done(),
            row("admin.users", OptionType::text_list,
                "Who may use it, once logged in as anybody does.")
                .optional("[alice]")
                .range(1, max_admins)
                .at([](const Scope& s) -> Field { return &s.settings->admin.users; }),
            row("admin.stats_users", OptionType::text_list,
                "Who may look there, and change nothing.")
                .optional("[monitor]")
                .range(1, max_admins)
                .at([](const Scope& s) -> Field { return &s.settings->admin.stats_users; }),
            row("admin.compat", OptionType::choice,
                "The version of PgBouncer whose columns SHOW has, for tools that rely on them.")
                .by_default("1.26")
                .choices({"legacy", "1.18", "1.24", "1.26"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->admin.compat; }),
        });
}

void add_reserved_sections(std::vector<Option>& rows) {
    rows.insert(rows.end(),
                {
                    reserved("peers", "Other schemux processes behind the same address."),
                });
}

}  // namespace

std::vector<Option> make_option_rows() {
    std::vector<Option> rows;
    add_endpoints(rows);
    add_http(rows);
    add_backend_rows(rows);
    add_pool_rows(rows);
    add_backends_rows(rows);
    add_auth_rows(rows);
    add_service_rows(rows);
    add_workers(rows);
    add_log(rows);
    add_process(rows);
    add_admin(rows);
    add_reserved_sections(rows);
    return rows;
}

}  // namespace schemux::config
