#include "daemon/isolation_queries.h"
#include "daemon/isolation_query_parts.h"

namespace schemux::daemon {

namespace {

using query::leave;
using query::members;
using query::pairs;

std::string attributes() {
    return R"(
SELECT 'hole', 'role attribute', x.rolname, '', '', quote_ident(z.rolname),
    format('%I %sis %s', x.rolname,
        CASE WHEN z.oid <> x.oid THEN format('can become %I, which ', z.rolname) ELSE '' END,
        array_to_string(has.words, ', ')),
    CASE WHEN z.oid = x.oid
        THEN format('ALTER ROLE %I NO%s;', x.rolname, array_to_string(has.words, ' NO'))
        ELSE )" +
           leave("x.oid", "x.rolname", "z.oid") + R"( END
FROM pg_roles x JOIN pg_roles z
    ON z.oid = x.oid OR NOT x.rolsuper AND pg_has_role(x.oid, z.oid, 'MEMBER'),
    LATERAL (SELECT array_remove(ARRAY[CASE WHEN z.rolsuper THEN 'SUPERUSER' END,
        CASE WHEN z.rolcreaterole THEN 'CREATEROLE' END,
        CASE WHEN z.rolcreatedb THEN 'CREATEDB' END,
        CASE WHEN z.rolreplication THEN 'REPLICATION' END,
        CASE WHEN z.rolbypassrls THEN 'BYPASSRLS' END], NULL)) AS has(words)
WHERE x.rolname = ANY ($6) AND has.words <> '{}'
UNION ALL
SELECT 'hole', 'missing role', name, '', '', quote_ident(name),
    format('there is no role %I: schemux isolation sql makes it', name), ''
FROM unnest($6) AS name WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
UNION ALL
SELECT 'note', 'missing schema', owner, name, '', quote_ident(name),
    format('there is no schema %I', name), ''
FROM unnest($4, $5) AS p(name, owner)
WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = name))";
}

std::string memberships() {
    return R"(
SELECT 'hole', 'membership', x.rolname, '', y.rolname, quote_ident(y.rolname),
    format('%I is a member of %I', x.rolname, y.rolname),
    )" + leave("x.oid", "x.rolname", "y.oid") +
           R"(
FROM (SELECT DISTINCT role, owner FROM unnest($1, $2, $3) AS p(role, schema, owner)) p
JOIN pg_roles x ON x.rolname = p.role JOIN pg_roles y ON y.rolname = p.owner
WHERE NOT x.rolsuper AND pg_has_role(x.oid, y.oid, 'MEMBER')
UNION ALL
SELECT p.severity, 'predefined role', x.rolname, '', '', p.name,
    format('%I is a member of %s, which %s', x.rolname, p.name, p.why),
    )" + leave("x.oid", "x.rolname", "z.oid") +
           R"(
FROM (VALUES ('hole', 'pg_read_all_data', 'reads every table'),
    ('hole', 'pg_write_all_data', 'writes every table'),
    ('hole', 'pg_maintain', 'locks and rewrites every table'),
    ('hole', 'pg_signal_backend', 'ends the sessions of others'),
    ('hole', 'pg_execute_server_program', 'is the server''s operating system user'),
    ('hole', 'pg_read_server_files', 'reads the server''s files'),
    ('hole', 'pg_write_server_files', 'writes the server''s files'),
    ('hole', 'pg_create_subscription', 'lets the server connect elsewhere'),
    ('note', 'pg_read_all_stats', 'sees the statements of others'),
    ('note', 'pg_read_all_settings', 'sees every setting'),
    ('note', 'pg_stat_scan_tables', 'may lock tables for long'),
    ('note', 'pg_monitor', 'sees the statements of others'),
    ('note', 'pg_checkpoint', 'makes checkpoints'),
    ('note', 'pg_use_reserved_connections', 'takes reserved connections'),
    ('note', 'pg_signal_autovacuum_worker', 'ends autovacuum')) AS p(severity, name, why)
JOIN pg_roles z ON z.rolname = p.name
JOIN pg_roles x ON x.rolname = ANY ($6) AND NOT x.rolsuper
    AND pg_has_role(x.oid, z.oid, 'MEMBER'))";
}

std::string database_owned() {
    return R"(
SELECT 'hole', 'owner', x.rolname, '', '', quote_ident(d.datname),
    format('%I owns database %I%s', o.rolname, d.datname,
        CASE WHEN o.oid <> x.oid THEN format(', and %I is a member of it', x.rolname) ELSE '' END),
    CASE WHEN o.oid = x.oid
        THEN format('ALTER DATABASE %I OWNER TO %I;', d.datname, pg_get_userbyid(10))
        ELSE )" +
           leave("x.oid", "x.rolname", "o.oid") + R"( END
FROM pg_roles x, pg_database d JOIN pg_roles o ON o.oid = d.datdba
WHERE x.rolname = ANY ($6) AND NOT x.rolsuper AND NOT o.rolsuper
    AND d.datname = current_database() AND pg_has_role(x.oid, o.oid, 'MEMBER'))";
}

/// What x may run as somebody else; triggers run for whoever may write. A search_path holds if it
/// is the function's own and has no schema into which x could put something.
constexpr const char* definers = R"(
runs AS (
    SELECT x.oid AS x, x.rolname AS role, f.oid AS f, o.oid AS o, o.rolname AS owner,
        o.rolsuper AS super, n.nspname,
        has_schema_privilege(x.oid, n.oid, 'CREATE') AS creates,
        EXISTS (SELECT FROM unnest(f.proconfig) c WHERE c LIKE 'search\_path=%' AND NOT EXISTS (
            SELECT FROM unnest(string_to_array(substr(c, 13), ',')) s JOIN pg_namespace m
                ON quote_ident(m.nspname) = btrim(s) OR m.nspname = btrim(s, ' "')
            WHERE has_schema_privilege(x.oid, m.oid, 'CREATE'))) AS fixed
    FROM pg_roles x, pg_proc f JOIN pg_roles o ON o.oid = f.proowner
        JOIN pg_namespace n ON n.oid = f.pronamespace
    WHERE x.rolname = ANY ($6) AND NOT x.rolsuper AND f.prosecdef
        AND NOT pg_has_role(x.oid, o.oid, 'MEMBER')
        AND EXISTS (SELECT FROM member m WHERE m.x = x.oid
            AND (has_function_privilege(m.g, f.oid, 'EXECUTE')
                    AND has_schema_privilege(m.g, n.oid, 'USAGE')
                OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgfoid = f.oid
                    AND has_table_privilege(m.g, t.tgrelid, 'INSERT, UPDATE, DELETE, TRUNCATE')))))
)";

std::string security_definers() {
    return std::string(pairs) + members + definers + R"(
SELECT 'hole', 'security definer', r.role, p.schema, '', r.f::regprocedure::text,
    format('%I may run %s as %I, who gets at schema %I, with a search_path that %I can choose',
        r.role, r.f::regprocedure, r.owner, p.schema, r.role),
    format('ALTER ROUTINE %s SET search_path = pg_catalog%s, pg_temp;', r.f::regprocedure,
        CASE WHEN r.creates THEN '' ELSE ', ' || quote_ident(r.nspname) END)
FROM runs r JOIN pair p USING (x)
WHERE NOT r.fixed AND (r.super OR has_schema_privilege(r.o, p.y, 'USAGE'))
UNION ALL
SELECT 'note', 'security definer', r.role, '', '', r.f::regprocedure::text,
    format('%I may run %s as %I: what it does is not checked', r.role, r.f::regprocedure, r.owner),
    format('REVOKE ALL ON ROUTINE %s FROM %I, PUBLIC;', r.f::regprocedure, r.role)
FROM runs r
WHERE r.fixed OR NOT EXISTS (SELECT FROM pair p WHERE p.x = r.x
    AND (r.super OR has_schema_privilege(r.o, p.y, 'USAGE'))))";
}

std::string foreign_servers() {
    return R"(
SELECT 'hole', 'foreign server', x.rolname, '', '', quote_ident(s.srvname),
    format('%I has USAGE on foreign server %I%s', x.rolname, s.srvname,
        CASE WHEN a.grantee = 0 THEN ' (PUBLIC has it)'
            WHEN a.grantee <> x.oid THEN format(' as a member of %s', a.grantee::regrole)
            ELSE '' END),
    CASE WHEN a.grantee = s.srvowner
        THEN format('ALTER SERVER %I OWNER TO %I;', s.srvname, pg_get_userbyid(10))
        WHEN a.grantee = 0 THEN format('REVOKE ALL ON FOREIGN SERVER %I FROM PUBLIC;', s.srvname)
        WHEN a.grantee = x.oid
        THEN format('REVOKE ALL ON FOREIGN SERVER %I FROM %I;', s.srvname, x.rolname)
        ELSE )" +
           leave("x.oid", "x.rolname", "a.grantee") + R"( END
FROM pg_roles x, pg_foreign_server s,
    aclexplode(coalesce(s.srvacl, acldefault('S', s.srvowner))) a
WHERE x.rolname = ANY ($6) AND NOT x.rolsuper AND
    CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(x.oid, a.grantee, 'MEMBER') END
UNION ALL
SELECT 'hole', 'user mapping', x.rolname, '', '', quote_ident(u.srvname),
    format('%I is somebody else on foreign server %I: its user mapping is not for a user %I',
        x.rolname, u.srvname, x.rolname),
    format('DROP USER MAPPING FOR %s SERVER %I;',
        CASE WHEN u.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END, u.srvname)
FROM pg_roles x, pg_user_mappings u
WHERE x.rolname = ANY ($6) AND NOT x.rolsuper
    AND CASE WHEN u.umuser = 0 THEN true ELSE pg_has_role(x.oid, u.umuser, 'MEMBER') END
    AND NOT coalesce(u.umoptions, '{}') @> ARRAY['user=' || x.rolname]
UNION ALL
SELECT DISTINCT CASE WHEN f.proname LIKE '%\_u' THEN 'hole' ELSE 'note' END, 'dblink',
    CASE WHEN everybody THEN '' ELSE x.rolname END, '', '', f.oid::regprocedure::text,
    format('%s may run %s, which connects to other servers, or to this one',
        CASE WHEN everybody THEN 'everybody' ELSE quote_ident(x.rolname) END, f.oid::regprocedure),
    format('REVOKE ALL ON ROUTINE %s FROM %s;', f.oid::regprocedure,
        CASE WHEN everybody THEN 'PUBLIC' ELSE quote_ident(x.rolname) END)
FROM pg_roles x, pg_proc f, LATERAL (SELECT EXISTS (
    SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner)))
    WHERE grantee = 0)) AS e(everybody)
WHERE x.rolname = ANY ($6) AND NOT x.rolsuper
    AND f.proname IN ('dblink_connect', 'dblink_connect_u')
    AND has_function_privilege(x.oid, f.oid, 'EXECUTE')
    AND has_schema_privilege(x.oid, f.pronamespace, 'USAGE'))";
}

std::string shared_places() {
    return R"(
SELECT 'note', 'database', x.rolname, '', '', quote_ident(current_database()),
    format('%I may create schemas in database %I', x.rolname, current_database()),
    format('REVOKE CREATE ON DATABASE %I FROM %I, PUBLIC;', current_database(), x.rolname)
FROM pg_roles x
WHERE x.rolname = ANY ($6) AND NOT x.rolsuper
    AND has_database_privilege(x.oid, current_database(), 'CREATE')
UNION ALL
SELECT 'note', 'schema public', x.rolname, '', '', 'public',
    format('%I may create objects in schema public', x.rolname),
    format('REVOKE CREATE ON SCHEMA public FROM %I, PUBLIC;', x.rolname)
FROM pg_roles x JOIN pg_namespace n ON n.nspname = 'public'
WHERE x.rolname = ANY ($6) AND NOT x.rolsuper AND n.nspname <> ALL ($4)
    AND has_schema_privilege(x.oid, n.oid, 'CREATE'))";
}

std::string login() {
    return R"(
WITH login AS (SELECT oid, rolname, rolsuper FROM pg_roles WHERE rolname = $7)
SELECT 'hole', 'login', guarded, '', '', quote_ident(l.rolname),
    format('the dsn''s login %I is a superuser, and guarded sessions can become it', l.rolname),
    format('ALTER ROLE %I NOSUPERUSER;', l.rolname)
FROM login l, unnest($8) guarded WHERE l.rolsuper
UNION ALL
SELECT 'hole', 'login', '', '', y.rolname, quote_ident(l.rolname),
    format('the dsn''s login %I inherits what %I may do: without a role it is every service at '
        'once', l.rolname, y.rolname),
    CASE WHEN current_setting('server_version_num')::int >= 160000
        THEN format('GRANT %I TO %I WITH INHERIT FALSE, SET TRUE;', y.rolname, l.rolname)
        ELSE format('ALTER ROLE %I NOINHERIT;', l.rolname) END
FROM login l, pg_roles y
WHERE NOT l.rolsuper AND y.rolname = ANY ($8) AND y.oid <> l.oid
    AND pg_has_role(l.oid, y.oid, 'USAGE')
UNION ALL
SELECT 'note', 'login', '', '', y.rolname, quote_ident(l.rolname),
    format('the dsn''s login %I cannot SET ROLE %I: no session of the service will begin',
        l.rolname, y.rolname),
    format('GRANT %I TO %I;', y.rolname, l.rolname)
FROM login l, pg_roles y
WHERE y.rolname = ANY ($8) AND NOT pg_has_role(l.oid, y.oid, 'MEMBER')
UNION ALL
SELECT 'note', 'login', '', y.nspname, '', quote_ident(l.rolname),
    format('the dsn''s login %I gets at schema %I, and so does every session that is shared, or '
        'guarded and hostile', l.rolname, y.nspname), ''
FROM login l, unnest($4, $5) AS p(schema, owner) JOIN pg_namespace y ON y.nspname = p.schema
    JOIN pg_roles o ON o.rolname = p.owner
WHERE o.rolname <> ALL ($8) AND o.oid <> l.oid
    AND (has_schema_privilege(l.oid, y.oid, 'USAGE') OR pg_has_role(l.oid, o.oid, 'MEMBER')))";
}

}  // namespace

std::vector<std::string> isolation_role_queries() {
    return {attributes(),      memberships(),   database_owned(), security_definers(),
            foreign_servers(), shared_places(), login()};
}

}  // namespace schemux::daemon
