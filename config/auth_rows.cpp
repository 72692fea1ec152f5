// The rows of how frontends log in. Only words and accessors, as in option_rows.cpp.
#include "config/option_row.h"
#include "config/option_rows.h"

namespace schemux::config {

namespace {

constexpr std::uint64_t max_users = 10'000;
constexpr std::uint64_t max_rules = 1'000;
constexpr std::uint64_t max_names = 1'000;
constexpr std::uint64_t max_clients = 1'000'000;

Names methods() {
    return {"trust", "scram-sha-256", "password", "cert", "peer", "md5", "reject"};
}

Scope open_user(const Scope& scope) {
    return {.settings = scope.settings, .user = &scope.settings->auth.users.emplace_back()};
}
Scope open_rule(const Scope& scope) {
    return {.settings = scope.settings, .rule = &scope.settings->auth.rules.emplace_back()};
}
Scope open_map(const Scope& scope) {
    return {.settings = scope.settings, .map = &scope.settings->auth.maps.emplace_back()};
}

void add_rule_rows(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("auth.rules", OptionType::section_list,
                "Who must prove how who it is: the first rule that fits decides, then method.")
                .optional("")
                .range(0, max_rules)
                .on_reload(Reload::new_connections)
                .opens(open_rule)
                .done(),
            row("auth.rules[].type", OptionType::choice,
                "How the frontend came: local is a unix socket, host an address, hostssl and "
                "hostnossl one with and without TLS.")
                .by_default("any")
                .choices({"any", "local", "host", "hostssl", "hostnossl"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->type; }),
            row("auth.rules[].addresses", OptionType::text_list,
                "Addresses that the frontend comes from, with the length of their prefix; without "
                "it all.")
                .optional("[10.0.0.0/8]")
                .range(1, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->addresses; }),
            row("auth.rules[].services", OptionType::text_list,
                "The services that it asks for; without it all.")
                .optional("[app]")
                .range(1, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->services; }),
            row("auth.rules[].users", OptionType::text_list,
                "The users that it wants to be; without it all.")
                .optional("[alice]")
                .range(1, max_names)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->users; }),
            row("auth.rules[].method", OptionType::choice, "As auth.method.")
                .required("scram-sha-256")
                .choices(methods())
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->method; }),
            row("auth.rules[].client_certificate", OptionType::choice,
                "verify-ca: beside the method a certificate of the listener's client_ca is "
                "needed; verify-full: one for the user.")
                .by_default("any")
                .choices({"any", "verify-ca", "verify-full"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->client_certificate; }),
            row("auth.rules[].map", OptionType::text,
                "The entries of auth.maps that say who may be which user, for cert and peer.")
                .optional("machines")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.rule->map; }),
            row("auth.hba_file", OptionType::path,
                "Rules in a file as PostgreSQL's pg_hba.conf, in place of auth.rules.")
                .optional("pg_hba.conf")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->auth.hba_file; }),
        });
}

void add_map_rows(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("auth.maps", OptionType::section_list,
                "Which names of certificates, or of the operating system, may be which user.")
                .optional("")
                .range(0, max_rules)
                .on_reload(Reload::new_connections)
                .opens(open_map)
                .done(),
            row("auth.maps[].name", OptionType::text, "What rules call it; entries may share it.")
                .required("machines")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.map->name; }),
            row("auth.maps[].identity", OptionType::text,
                "A certificate's common name or one of its alternative names, or the system's "
                "name; one * is any text.")
                .required("\"*.machines.example\"")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.map->identity; }),
            row("auth.maps[].user", OptionType::text,
                "The user that it may be; * is what the identity's * stands for.")
                .required("\"*\"")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.map->user; }),
        });
}

void add_user_rows(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("auth.users", OptionType::section_list,
                "The users that may log in; under trust, cert and peer any name without it.")
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
            row("auth.users[].max_clients", OptionType::integer,
                "Most frontends of the user at a time. 0: limits.max_clients_per_user.")
                .by_default("0")
                .range(0, max_clients)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.user->max_clients; }),
            row("auth.users_file", OptionType::path,
                "Further users, in a file as PgBouncer's userlist.txt: \"name\" \"password\".")
                .optional("userlist.txt")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->auth.users_file; }),
            row("auth.query", OptionType::text,
                "SQL that looks up users that are nowhere else, by a connection of its own; $1 is "
                "the name. Its one row is the name, the secret as in pg_authid, and, if it likes, "
                "the second since 1970 at which that ends.")
                .optional("\"SELECT rolname, rolpassword, extract(epoch FROM rolvaliduntil) FROM "
                          "pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin\"")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->auth.query; }),
            row("auth.query_dsn", OptionType::text,
                "Where and as whom auth.query runs; without it as the pool's connections do.")
                .optional("\"host=127.0.0.1 dbname=app user=schemux_auth\"")
                .on_reload(Reload::new_connections)
                .secret()
                .at([](const Scope& s) -> Field { return &s.settings->auth.query_dsn; }),
            row("auth.query_cache", OptionType::duration,
                "How long an answer of auth.query is remembered; a wrong password asks again.")
                .by_default("30s")
                .range(0, 24 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->auth.query_cache; }),
        });
}

}  // namespace

void add_auth_rows(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("auth", OptionType::section, "How frontends log in.")
                .required("")
                .on_reload(Reload::new_connections)
                .done(),
            row("auth.method", OptionType::choice,
                "How a frontend proves its user, where no rule says another way. trust asks for "
                "nothing and is for loopback only; password is taken over TLS or a unix socket "
                "only; cert is the common name of a verified client certificate, peer the "
                "system's name of who is at a unix socket; md5 is weak, for what knows nothing "
                "better; reject lets nobody in.")
                .required("trust")
                .choices(methods())
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->auth.method; }),
        });
    add_rule_rows(rows);
    add_map_rows(rows);
    add_user_rows(rows);
}

}  // namespace schemux::config
