// The rows of `services`. Only words and accessors, as in option_rows.cpp.
#include "config/option_row.h"
#include "config/option_rows.h"

namespace schemux::config {

namespace {

constexpr std::uint64_t max_weight = 10'000;
constexpr std::uint64_t max_held = 10'000;
constexpr std::uint64_t max_queue = 1'000'000;
constexpr std::uint64_t max_names = 1'000;
constexpr std::uint64_t max_clients = 1'000'000;

Scope open_service(const Scope& scope) {
    return {.settings = scope.settings, .service = &scope.settings->services.emplace_back()};
}

/// Which frontends get there.
void add_who(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services[].users", OptionType::text_list,
                "Users that may log in to the service; without it all.")
                .optional("[alice]")
                .range(1, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->users; }),
            row("services[].server_names", OptionType::text_list,
                "Names of the server by which clients mean this service, whatever database they "
                "ask for: the name that a client's TLS calls (SNI); for a pattern with one *, "
                "which is "
                "then what one * of the name stands for.")
                .optional("[users.db.example]")
                .range(1, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->server_names; }),
            row("services[].max_clients", OptionType::integer,
                "Most frontends of the service at a time. 0: any number.")
                .by_default("0")
                .range(0, max_clients)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->max_clients; }),
        });
}

/// As whom its backends log in, and where.
void add_identity(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services[].backend", OptionType::text,
                "Which of backends it is on, by name; without it the default one.")
                .optional("reports")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->backend; }),
            row("services[].database", OptionType::text,
                "Another database of the same server than the dsn's.")
                .optional("reports")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->database; }),
            row("services[].role", OptionType::text,
                "The service's own role: its login with isolation strict, SET ROLE with guarded. "
                "client: the role that each client logged in as, whose secret is passed on (a role "
                "of this name cannot be meant).")
                .optional("users_svc")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->role; }),
            row("services[].role_password", OptionType::text, "The role's password, as ${NAME}.")
                .optional("${USERS_SVC_PASSWORD}")
                .secret()
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->role_password; }),
            row("services[].role_password_file", OptionType::path,
                "The role's password, as the first line of a file; read again when PostgreSQL "
                "refuses it.")
                .optional("users_svc.password")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->role_password_file; }),
            row("services[].isolation", OptionType::choice,
                "What keeps its clients from other services' data: shared only templates and "
                "search_path, guarded SET ROLE (against mistakes), strict a login of its own (by "
                "PostgreSQL's permissions); auto is strict with a role, else shared.")
                .by_default("auto")
                .choices({"auto", "shared", "guarded", "strict"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->isolation; }),
        });
}

/// What its sessions begin with.
void add_settings(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services[].settings", OptionType::text_map,
                "PostgreSQL's settings that its sessions begin with; a client may say others.")
                .optional("{statement_timeout: 5s}")
                .range(0, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->settings; }),
            row("services[].fixed_settings", OptionType::text_list,
                "Which of them a client may not say otherwise, neither at its login (there the "
                "service's value holds) nor in a text (42501).")
                .by_default("[]")
                .range(0, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->fixed_settings; }),
        });
}

void add_services(std::vector<Option>& rows) {
    rows.insert(rows.end(), {
                                row("services", OptionType::section_list,
                                    "The logical databases that frontends may name.")
                                    .one_of("")
                                    .range(1, max_services)
                                    .opens(open_service)
                                    .done(),
                            });
}

void add_names(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services[].name", OptionType::text,
                "The database of the startup packet; with * a pattern, where schema, database, "
                "role, settings and search_path may say * for what it matched, or /a regular "
                "expression, where they may say \\1.")
                .required("app")
                .at([](const Scope& s) -> Field { return &s.service->name; }),
            row("services[].schema", OptionType::text,
                "Schema that {{tables.x}} and {{schema}} stand for; without it x and public.")
                .optional("app")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->schema; }),
            row("services[].create_schema", OptionType::boolean,
                "Creates the schema, of the role if there is one, when a client logs in and it is "
                "missing.")
                .by_default("false")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->create_schema; }),
        });
}

/// What its templates and names mean.
void add_texts(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
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
            row("services[].channels", OptionType::choice,
                "Who hears a NOTIFY: all who LISTEN in the database, or the service's clients; "
                "then channels are called service:channel there.")
                .by_default("database")
                .choices({"database", "service"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->channels; }),
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

template <std::chrono::milliseconds ServicePool::*member>
Option time_limit(std::string_view path, std::string_view sentence) {
    return row(path, OptionType::duration, sentence)
        .by_default("0")
        .range(0, 24 * hour)
        .on_reload(Reload::new_connections)
        .at([](const Scope& s) -> Field { return &(s.service->pool.*member); });
}

void add_service_pool(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services[].pool", OptionType::section, "The service's part of the pool.").done(),
            row("services[].pool.weight", OptionType::integer,
                "Its part of the backends' time when more is wanted than there is, relative to the "
                "other services'.")
                .by_default("1")
                .range(1, max_weight)
                .at([](const Scope& s) -> Field { return &s.service->pool.weight; }),
            row("services[].pool.guarantee", OptionType::integer,
                "Below so many backends it is served before all others; lent while it needs less.")
                .by_default("0")
                .range(0, max_held)
                .at([](const Scope& s) -> Field { return &s.service->pool.guarantee; }),
            row("services[].pool.reserve", OptionType::boolean,
                "Its guarantee is kept free for it, and never lent.")
                .by_default("false")
                .at([](const Scope& s) -> Field { return &s.service->pool.reserve; }),
            row("services[].pool.max", OptionType::integer,
                "Backends that it has at most, even if others are idle; 0: the whole pool.")
                .by_default("0")
                .range(0, max_held)
                .at([](const Scope& s) -> Field { return &s.service->pool.max; }),
            row("services[].pool.queue", OptionType::integer,
                "Clients that may wait for a backend; one more is refused at once. 0: any number.")
                .by_default("0")
                .range(0, max_queue)
                .at([](const Scope& s) -> Field { return &s.service->pool.queue; }),
            row("services[].pool.paused", OptionType::boolean,
                "Its clients are given no backend: they wait.")
                .by_default("false")
                .at([](const Scope& s) -> Field { return &s.service->pool.paused; }),
            row("services[].pool.acquire_timeout", OptionType::duration,
                "Longest wait for a backend; a client that would wait longer at the pace of the "
                "last ones is refused at once. 0: pool.acquire_timeout.")
                .by_default("0")
                .range(0, 24 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->pool.acquire_timeout; }),
            row("services[].pool.mode", OptionType::choice,
                "When its clients give their backend back; inherit: as pool.mode says.")
                .by_default("inherit")
                .choices({"inherit", "transaction", "session", "statement"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->pool.mode; }),
            time_limit<&ServicePool::query_timeout>(
                "services[].pool.query_timeout",
                "Longest time for one query. 0: pool.query_timeout."),
            time_limit<&ServicePool::transaction_timeout>(
                "services[].pool.transaction_timeout",
                "Longest time for one transaction. 0: pool.transaction_timeout."),
            time_limit<&ServicePool::idle_in_transaction_timeout>(
                "services[].pool.idle_in_transaction_timeout",
                "Longest idle time in a transaction. 0: pool.idle_in_transaction_timeout."),
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
            row("services[].slow_query", OptionType::duration,
                "A query of the service that takes this long is in the log; 0: log.slow_query.")
                .by_default("0")
                .range(0, 24 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.service->slow_query; }),
        });
}

void add_reserved_service_keys(std::vector<Option>& rows) {
    rows.insert(rows.end(),
                {
                    reserved("services[].migrations", "Folders of the service's migrations."),
                });
}

/// Where further services are listed.
void add_lists(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("services_file", OptionType::path,
                "A file of further services, under the key services as here; read again when it "
                "changes.")
                .optional("services.yaml")
                .at([](const Scope& s) -> Field { return &s.settings->services_file; }),
            row("services_query", OptionType::section,
                "Further services that PostgreSQL knows; for their clients no schemux is "
                "restarted.")
                .optional("")
                .done(),
            row("services_query.sql", OptionType::text,
                "A query of the backend's dsn with a row for each service and a column for each of "
                "its keys: name, schema, \"pool.max\" …; lists are JSON, NULL is the default.")
                .required("SELECT name, schema FROM tenants")
                .at([](const Scope& s) -> Field { return &s.settings->services_query.sql; }),
            row("services_query.interval", OptionType::duration, "How often it is asked.")
                .by_default("30s")
                .range(second, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->services_query.interval; }),
            row("services_query.channel", OptionType::text,
                "It is asked at once when there is a NOTIFY on this channel.")
                .optional("tenants_changed")
                .at([](const Scope& s) -> Field { return &s.settings->services_query.channel; }),
        });
}

}  // namespace

void add_service_rows(std::vector<Option>& rows) {
    add_services(rows);
    add_names(rows);
    add_who(rows);
    add_identity(rows);
    add_settings(rows);
    add_texts(rows);
    add_session_features(rows);
    add_service_pool(rows);
    add_pin_bounds(rows);
    add_reserved_service_keys(rows);
    add_lists(rows);
}

}  // namespace schemux::config
