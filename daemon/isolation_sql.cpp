#include "daemon/isolation_sql.h"

#include "core/label.h"

#include <algorithm>
#include <map>
#include <set>

namespace schemux::daemon {

namespace {

std::string identifier(std::string_view name) {
    std::string quoted;
    core::append_quoted_identifier(quoted, name);
    return quoted;
}

std::string literal(std::string_view text) {
    std::string quoted;
    core::append_ascii_literal(quoted, text);
    return quoted;
}

/// For a comment: nothing ends the line.
std::string plain(std::string_view text) {
    std::string line(text);
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, '?');
    return line;
}

/// A DO statement; what is quoted in the body may have dollars in it.
std::string do_block(const std::string& body) {
    std::string tag = "$schemux$";
    for (int i = 2; body.find(tag) != std::string::npos; ++i)
        tag = "$schemux" + std::to_string(i) + '$';
    return "DO " + tag + "\nBEGIN\n" + body + "END\n" + tag + ";\n";
}

/// As pg_dump does it: a name is not taken for a connection string, nor for psql's own words.
std::string connect_to(std::string_view database) {
    std::string value;
    for (const char c : database) {
        if (c == '\'' || c == '\\') value += '\\';
        if (c == '"') value += '"';
        value += c;
    }
    return "\\connect -reuse-previous=on \"dbname='" + plain(value) + "'\"\n";
}

constexpr std::string_view no_powers =
    "NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS";
constexpr std::string_view table_rights = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE";

struct Role {
    bool logs_in = false;
    bool is_set = false;  ///< SET ROLE, by the dsn's login
    std::set<std::string> services;
};

/// Creates it, or takes from it what it must not have: only a superuser may say NOSUPERUSER, so
/// that is said only if need be.
std::string make_role(const std::string& name, const Role& role) {
    const std::string login = role.logs_in ? "LOGIN" : "NOLOGIN";
    const std::string powers(no_powers);
    const auto exists = [&](const std::string& condition) {
        return "EXISTS (SELECT FROM pg_catalog.pg_roles\n            WHERE rolname = " +
               literal(name) + condition + ") THEN\n";
    };
    const std::string alter = "        ALTER ROLE " + identifier(name) + ' ';
    std::string body = "    IF NOT " + exists("");
    body += "        CREATE ROLE " + identifier(name) + ' ' + login + ' ' + powers + ";\n";
    body += "    END IF;\n    IF " + exists(
                                         " AND (rolsuper OR rolcreaterole OR rolcreatedb OR\n"
                                         "                rolreplication OR rolbypassrls)");
    body += alter + powers + ";\n    END IF;\n    IF ";
    body += exists(std::string(" AND ") + (role.logs_in ? "NOT " : "") + "rolcanlogin");
    return do_block(body + alter + login + ";\n    END IF;\n");
}

/// The login may become the role, but is not it unless it says so.
std::string let_set_role(const std::string& role, const std::string& login) {
    const std::string grant = "GRANT " + identifier(role) + " TO " + identifier(login);
    const std::string who = literal(login);
    std::string body;
    body += "    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + who +
            " AND rolsuper) THEN\n";
    body += "        RAISE WARNING '% is a superuser: isolation guarded guards nothing', " + who +
            ";\n";
    body += "    ELSIF current_setting('server_version_num')::int >= 160000 THEN\n";
    // An older server does not parse the options, nor does this block as long as it is text.
    body += "        EXECUTE " + literal(grant + " WITH INHERIT FALSE, SET TRUE") + ";\n";
    body += "    ELSE\n";
    body += "        " + grant + ";\n";
    body += "        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + who +
            " AND rolinherit) THEN\n";
    body += "            ALTER ROLE " + identifier(login) + " NOINHERIT;\n";
    body += "        END IF;\n    END IF;\n";
    return do_block(body);
}

std::string joined(const std::set<std::string>& names) {
    std::string text;
    for (const std::string& name : names)
        text += (text.empty() ? "" : ", ") + plain(name);
    return text;
}

std::string roles_sql(const IsolationPlan& plan, const std::map<std::string, Role>& roles) {
    std::string sql = "-- Roles.\n\nBEGIN;\n";
    for (const auto& [name, role] : roles) {
        sql += "\n-- of " + joined(role.services) + '\n';
        sql += make_role(name, role);
        if (role.logs_in)
            sql += "-- Its password is the services' role_password or role_password_file:\n--   " +
                   plain("\\password " + identifier(name)) + '\n';
        if (role.is_set && name != plan.login) sql += let_set_role(name, plan.login);
    }
    return sql + "\nCOMMIT;\n";
}

/// What `creator`, an SQL expression for a name, makes in the schema later.
std::string defaults_of(const std::string& creator, const IsolatedService& service) {
    const std::string schema = literal(service.schema);
    const std::string role = literal(service.role);
    const auto grant = [&](std::string_view rights, std::string_view what) {
        return "        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I '\n"
               "            'GRANT " +
               std::string(rights) + " ON " + std::string(what) + " TO %I', " + creator + ", " +
               schema + ", " + role + ");\n";
    };
    return "    IF pg_has_role(" + creator + ", 'USAGE') THEN\n" + grant(table_rights, "TABLES") +
           grant("USAGE, SELECT, UPDATE", "SEQUENCES") + grant("EXECUTE", "ROUTINES") +
           "    END IF;\n";
}

/// Functions are everybody's as soon as there are, unless their creator's defaults say otherwise;
/// and that they can say only for all schemas at once. Not for superusers, who make extensions.
std::string keep_functions(const std::string& creator) {
    const std::string who = literal(creator);
    const std::string revoke = "ALTER DEFAULT PRIVILEGES FOR ROLE " + identifier(creator) +
                               " REVOKE EXECUTE ON ROUTINES FROM PUBLIC";
    return do_block("    IF NOT pg_has_role(" + who + ", 'USAGE') THEN\n" +
                    "        RAISE NOTICE 'for % or a superuser to run: %', " + who + ", " +
                    literal(revoke) + ";\n    ELSIF NOT (SELECT rolsuper FROM " +
                    "pg_catalog.pg_roles WHERE rolname = " + who + ") THEN\n        " + revoke +
                    ";\n    END IF;\n");
}

/// Not where another service is to be alone: that is for somebody to decide who knows why.
std::string allowed_sql(const IsolationPlan& plan, const IsolatedService& service) {
    std::string sql;
    for (const std::string& schema : service.allow_schemas) {
        if (schema == service.schema) continue;
        const std::string on = " ON SCHEMA " + identifier(schema);
        const std::string to = " TO " + identifier(service.role) + ';';
        std::string grant = "GRANT USAGE";
        grant.append(on).append(to);
        const auto has_it = [&](const IsolatedService& other) {
            return other.has_role() && other.database == service.database &&
                   other.schema == schema && other.role != service.role;
        };
        sql += "-- allow_schemas: its templates may name ";
        sql += plain(identifier(schema));
        if (std::any_of(plan.services.begin(), plan.services.end(), has_it) ||
            std::any_of(plan.neighbours.begin(), plan.neighbours.end(), has_it)) {
            sql += ", which another service has\n-- to itself: with these it has not.\n--   " +
                   plain(grant) + '\n';
        } else {
            sql += ". What they may read there:\n" +
                   do_block("    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = " +
                            literal(schema) + ") THEN\n        " + grant + "\n    END IF;\n");
        }
        sql += "--   " + plain("GRANT SELECT ON ALL TABLES IN SCHEMA " + identifier(schema) + to) +
               '\n';
    }
    return sql;
}

std::string service_sql(const IsolationPlan& plan, const IsolatedService& service) {
    const std::string role = identifier(service.role);
    std::string sql = "\n-- service " + plain(service.name) + " (" +
                      std::string(to_string(service.level)) + ")\n";
    sql += "GRANT CONNECT, TEMPORARY ON DATABASE " + identifier(service.database) + " TO " + role +
           ";\n";
    sql += keep_functions(service.role);
    if (service.schema.empty()) {
        sql += "-- It has no schema: grant it what it needs.\n";
        return sql + allowed_sql(plan, service);
    }
    const std::string schema = identifier(service.schema);
    const std::string in_schema = " IN SCHEMA " + schema;
    sql += "CREATE SCHEMA IF NOT EXISTS " + schema + ";\n";
    sql += "REVOKE ALL ON SCHEMA " + schema + " FROM PUBLIC;\n";
    sql += "GRANT USAGE, CREATE ON SCHEMA " + schema + " TO " + role + ";\n";
    for (const std::string_view kind : {"TABLES", "SEQUENCES", "ROUTINES"})
        sql += "REVOKE ALL ON ALL " + std::string(kind) + in_schema + " FROM PUBLIC;\n";
    // No TRIGGER and no REFERENCES: what they bring to a table runs as whoever writes to it.
    sql += "GRANT " + std::string(table_rights) + " ON ALL TABLES" + in_schema + " TO " + role +
           ";\nGRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES" + in_schema + " TO " + role +
           ";\nGRANT EXECUTE ON ALL ROUTINES" + in_schema + " TO " + role + ";\n";
    std::string defaults = defaults_of("current_user", service);
    if (plan.login != service.role) defaults += defaults_of(literal(plan.login), service);
    sql += "-- The same for what is made here later, by who runs this or by the dsn's login.\n";
    return sql + do_block(defaults) + allowed_sql(plan, service);
}

constexpr std::string_view still_shared = R"(
-- All services of a database still share advisory locks and large objects. If none needs them:
-- DO $schemux$
-- DECLARE f regprocedure;
-- BEGIN
--     FOR f IN SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
--         AND (proname ~ '^pg_(try_)?advisory_(xact_)?lock' OR proname ~ '^lo_'
--             OR proname IN ('loread', 'lowrite'))
--     LOOP
--         EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
--     END LOOP;
-- END
-- $schemux$;
)";

std::string database_sql(const IsolationPlan& plan, const std::string& database) {
    const std::string name = identifier(database);
    std::string sql = "\n-- Database " + plain(database) + ".\n\n" + connect_to(database) +
                      "SET client_encoding = 'UTF8';\nBEGIN;\n\n";
    sql +=
        "-- From now on only those may connect who were granted it: other logins than schemux's,\n"
        "-- as of monitoring or backups, need a GRANT CONNECT of their own.\n";
    std::set<std::string> logins{plan.login};
    for (const OtherLogin& other : plan.others) {
        if (other.database == database) logins.insert(other.role);
    }
    for (const std::string& login : logins)
        sql += "GRANT CONNECT, TEMPORARY ON DATABASE " + name + " TO " + identifier(login) + ";\n";
    sql += "REVOKE ALL ON DATABASE " + name + " FROM PUBLIC;\n";
    // As databases have it that were made before PostgreSQL 15.
    sql += do_block(
        "    IF EXISTS (SELECT FROM pg_catalog.pg_namespace, aclexplode(nspacl) AS a\n"
        "            WHERE nspname = 'public' AND grantee = 0 AND privilege_type = 'CREATE') THEN\n"
        "        REVOKE CREATE ON SCHEMA public FROM PUBLIC;\n    END IF;\n");
    sql +=
        "-- What the dsn's login makes is not everybody's, either.\n" + keep_functions(plan.login);
    for (const IsolatedService& service : plan.services) {
        if (service.has_role() && service.database == database) sql += service_sql(plan, service);
    }
    return sql + std::string(still_shared) + "\nCOMMIT;\n";
}

}  // namespace

std::string_view to_string(core::Isolation level) {
    switch (level) {
        case core::Isolation::shared:
            return "shared";
        case core::Isolation::guarded:
            return "guarded";
        case core::Isolation::strict:
            return "strict";
    }
    return "shared";
}

std::string isolation_sql(const IsolationPlan& plan) {
    std::map<std::string, Role> roles;
    std::set<std::string> databases;
    std::string sql =
        "-- Roles, grants and revokes for the services of schemux. Run it with psql, as a "
        "superuser\n-- or as the databases' owner with CREATEROLE, as often as you like; "
        "then prove it:\n--   schemux isolation audit --config FILE\n\n";
    for (const std::string& pattern : plan.patterns)
        sql += "-- " + plain(pattern) +
               " is a pattern: --service NAME prints this for one service that it matches.\n";
    for (const std::string& name : plan.of_clients)
        sql += "-- " + plain(name) +
               " has its clients' own roles: what each of them may do is yours to grant.\n";
    for (const IsolatedService& service : plan.services) {
        if (!service.has_role()) {
            sql += "-- " + plain(service.name) +
                   " is shared: it has no role, and nothing that could be granted.\n";
            continue;
        }
        Role& role = roles[service.role];
        role.logs_in = role.logs_in || service.level == core::Isolation::strict;
        role.is_set = role.is_set || service.level == core::Isolation::guarded;
        role.services.insert(service.name);
        databases.insert(service.database);
    }
    if (roles.empty()) return sql;
    sql += "\n\\set ON_ERROR_STOP on\nSET client_encoding = 'UTF8';\n\n" + roles_sql(plan, roles);
    for (const std::string& database : databases)
        sql += database_sql(plan, database);
    return sql;
}

}  // namespace schemux::daemon
