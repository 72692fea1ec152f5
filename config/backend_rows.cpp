// The rows of `backend` and `backends`. Only words and accessors, as in option_rows.cpp.
#include "config/option_row.h"
#include "config/option_rows.h"

#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {

namespace {

constexpr std::uint64_t max_auth_methods = 4;
constexpr std::uint64_t max_arguments = 100;
constexpr std::uint64_t max_connections = 10'000;

/// The same keys say where `backend` is and where each of `backends` is.
struct Paths {
    std::string_view dsn;
    std::string_view password_file;
    std::string_view password_command;
    std::string_view tls_negotiation;
    std::string_view require_auth;
    std::string_view on_connect;
};
constexpr Paths single{"backend.dsn",
                       "backend.password_file",
                       "backend.password_command",
                       "backend.tls_negotiation",
                       "backend.require_auth",
                       "backend.on_connect"};
constexpr Paths listed{"backends[].dsn",
                       "backends[].password_file",
                       "backends[].password_command",
                       "backends[].tls_negotiation",
                       "backends[].require_auth",
                       "backends[].on_connect"};

enum class Where : std::uint8_t { alone, in_list };

template <Where where>
Backend& backend_in(const Scope& scope) {
    return where == Where::in_list ? *scope.backend : scope.settings->backend;
}

Scope open_backend(const Scope& scope) {
    std::vector<Backend>& all = scope.settings->backends;
    Backend& backend = all.emplace_back();
    backend.path = "backends[" + std::to_string(all.size() - 1) + ']';
    return {.settings = scope.settings, .backend = &backend};
}

template <Where where>
void add_access(std::vector<Option>& rows) {
    const Paths& paths = where == Where::in_list ? listed : single;
    rows.insert(
        rows.end(),
        {
            row(paths.dsn, OptionType::text,
                "libpq connection string or URI; several hosts are allowed.")
                .required("\"host=127.0.0.1 port=5432 dbname=app user=schemux\"")
                .on_reload(Reload::new_connections)
                .secret()
                .at([](const Scope& s) -> Field { return &backend_in<where>(s).dsn; }),
            row(paths.password_file, OptionType::path,
                "File whose first line is the password of the backend login.")
                .optional("backend.password")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &backend_in<where>(s).password_file; }),
            row(paths.password_command, OptionType::text_list,
                "Program, by its whole path, and arguments that print the password of the backend "
                "login in one line; run, without a shell, for the first connection and when the "
                "password is refused.")
                .optional("[/usr/local/bin/database-token, --user, schemux]")
                .range(1, max_arguments)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &backend_in<where>(s).password_command; }),
            row(paths.tls_negotiation, OptionType::choice,
                "postgres: the server is asked whether it speaks TLS; direct: the handshake comes "
                "at once, which PostgreSQL 17 and newer take and which saves a round trip.")
                .by_default("postgres")
                .choices({"postgres", "direct"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &backend_in<where>(s).tls_negotiation; }),
            row(paths.require_auth, OptionType::text_list,
                "Ways to log in that PostgreSQL may ask for: none, password, md5, scram-sha-256; "
                "by default all, but password only over a unix socket or loopback.")
                .optional("[scram-sha-256]")
                .range(1, max_auth_methods)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &backend_in<where>(s).require_auth; }),
            row(paths.on_connect, OptionType::text,
                "SQL that each new connection runs first, as to LOAD a library; what it sets or "
                "leaves in the session is discarded: settings go to options in the dsn.")
                .optional("\"LOAD 'auto_explain'\"")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &backend_in<where>(s).on_connect; }),
        });
}

/// What the one backend has from `pool`.
void add_pool(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("backends[].max_connections", OptionType::integer,
                "Most connections to it, over all its services and its workers; 0: as many as "
                "pool.max_connections says.")
                .by_default("0")
                .range(0, max_connections)
                .at([](const Scope& s) -> Field { return &s.backend->max_connections; }),
            row("backends[].min_connections", OptionType::integer,
                "Connections to it that are opened at once and kept; 0: as many as "
                "pool.min_connections says.")
                .by_default("0")
                .range(0, max_connections)
                .at([](const Scope& s) -> Field { return &s.backend->min_connections; }),
        });
}

}  // namespace

void add_backend_rows(std::vector<Option>& rows) {
    rows.push_back(row("backend", OptionType::section,
                       "The PostgreSQL database behind the pool; with backends, which may stand in "
                       "its place, that of the services which name none.")
                       .one_of("")
                       .on_reload(Reload::new_connections)
                       .done());
    add_access<Where::alone>(rows);
    rows.push_back(
        reserved("backend.tls", "TLS towards PostgreSQL, beside sslmode and its kin in the dsn."));
    rows.push_back(reserved("backend.control_connections",
                            "Connections beside the pool for the prober, listener and audit."));
}

void add_backends_rows(std::vector<Option>& rows) {
    rows.push_back(row("backends", OptionType::section_list,
                       "Several clusters by name, each with its own bound and its own workers; "
                       "services name theirs, and without backend the first is the others'.")
                       .optional("")
                       .range(1, max_backends)
                       .on_reload(Reload::restart)
                       .opens(open_backend)
                       .done());
    rows.push_back(
        row("backends[].name", OptionType::text, "What services call it, and metrics and the log.")
            .required("reports")
            .on_reload(Reload::restart)
            .at([](const Scope& s) -> Field { return &s.backend->name; }));
    add_access<Where::in_list>(rows);
    add_pool(rows);
}

}  // namespace schemux::config
