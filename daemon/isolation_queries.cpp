#include "daemon/isolation_queries.h"

namespace schemux::daemon {

namespace {

// A superuser is one finding, and not as many as there are objects.
constexpr const char* pairs = R"(
WITH pair AS (
    SELECT x.oid AS x, x.rolname AS role, y.oid AS y, y.nspname AS schema, p.owner
    FROM unnest($1, $2, $3) AS p(role, schema, owner)
    JOIN pg_roles x ON x.rolname = p.role AND NOT x.rolsuper
    JOIN pg_namespace y ON y.nspname = p.schema),
)";

constexpr const char* schemas = R"(
WITH place AS (
    SELECT y.oid AS y, y.nspname AS schema, p.owner
    FROM unnest($4, $5) AS p(schema, owner) JOIN pg_namespace y ON y.nspname = p.schema),
)";

/// Everything in a schema, and the schema; what has no owner of its own has null there.
constexpr const char* things = R"(
thing AS (
    SELECT oid AS y, 'schema' AS kind, quote_ident(nspname) AS name, nspowner AS owner,
        coalesce(nspacl, acldefault('n', nspowner)) AS acl,
        format('ALL ON SCHEMA %I', nspname) AS rights, format('SCHEMA %I', nspname) AS self
    FROM pg_namespace
    UNION ALL
    SELECT c.relnamespace, w.word, c.oid::regclass::text,
        CASE WHEN NOT EXISTS (SELECT FROM pg_depend d WHERE c.relkind = 'S'
            AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
            AND d.refclassid = 'pg_class'::regclass) THEN c.relowner END,
        coalesce(c.relacl, acldefault(
            CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)),
        format('ALL ON %s %s', upper(w.word), c.oid::regclass),
        format('%s %s', upper(w.word), c.oid::regclass)
    FROM pg_class c, LATERAL (
        SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END) w(word)
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT c.relnamespace, 'column', format('%s.%I', c.oid::regclass, a.attname), NULL, a.attacl,
        format('ALL (%I) ON TABLE %s', a.attname, c.oid::regclass), NULL
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
    UNION ALL
    SELECT pronamespace, 'function', oid::regprocedure::text, proowner,
        coalesce(proacl, acldefault('f', proowner)),
        format('ALL ON ROUTINE %s', oid::regprocedure), format('ROUTINE %s', oid::regprocedure)
    FROM pg_proc)
)";

/// Ends the memberships by which role x (its oid and name) can become another one.
std::string leave(const std::string& x, const std::string& name, const std::string& other) {
    return "(SELECT string_agg(format('REVOKE %I FROM %I%s;', m.rolname, " + name + R"(,
        CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN format(' GRANTED BY %s', am.grantor::regrole) ELSE '' END), ' ')
    FROM pg_auth_members am JOIN pg_roles m ON m.oid = am.roleid
    WHERE am.member = )" +
           x + " AND pg_has_role(m.oid, " + other + ", 'MEMBER'))";
}

// That x is a member of y's role is a finding of its own.
std::string granted() {
    return std::string(pairs) + things + R"(
SELECT 'hole', t.kind, p.role, p.schema, '', t.name,
    format('%I has %s on %s %s%s', p.role, string_agg(DISTINCT a.privilege_type, ', '), t.kind,
        t.name, CASE WHEN g.oid <> p.x THEN format(' as a member of %I', g.rolname) ELSE '' END),
    CASE WHEN g.oid = p.x THEN format('REVOKE %s FROM %I;', t.rights, p.role)
        ELSE )" +
           leave("p.x", "p.role", "g.oid") + R"( END
FROM pair p JOIN thing t USING (y), aclexplode(t.acl) a JOIN pg_roles g ON g.oid = a.grantee
WHERE g.oid IS DISTINCT FROM t.owner AND g.rolname <> p.owner AND NOT g.rolsuper
    AND pg_has_role(p.x, g.oid, 'MEMBER')
GROUP BY p.x, p.role, p.schema, t.kind, t.name, t.rights, g.oid, g.rolname
ORDER BY p.role, p.schema, t.kind, t.name)";
}

std::string granted_to_public() {
    return std::string(schemas) + things + R"(
SELECT 'hole', t.kind, '', p.schema, '', t.name,
    format('everybody (PUBLIC) has %s on %s %s',
        string_agg(DISTINCT a.privilege_type, ', '), t.kind, t.name),
    format('REVOKE %s FROM PUBLIC;', t.rights)
FROM place p JOIN thing t USING (y), aclexplode(t.acl) a
WHERE a.grantee = 0
GROUP BY p.schema, t.kind, t.name, t.rights
ORDER BY p.schema, t.kind, t.name)";
}

std::string owned() {
    return std::string(pairs) + things + R"(
SELECT 'hole', 'owner', p.role, p.schema, '', t.name,
    format('%I owns %s %s%s', o.rolname, t.kind, t.name,
        CASE WHEN o.oid <> p.x THEN format(', and %I is a member of it', p.role) ELSE '' END),
    CASE WHEN o.oid = p.x THEN format('ALTER %s OWNER TO %I;', t.self, p.owner)
        ELSE )" +
           leave("p.x", "p.role", "o.oid") + R"( END
FROM pair p JOIN thing t USING (y) JOIN pg_roles o ON o.oid = t.owner
WHERE o.rolname <> p.owner AND NOT o.rolsuper AND pg_has_role(p.x, o.oid, 'MEMBER')
ORDER BY p.role, p.schema, t.kind, t.name)";
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

// Global defaults matter where their creator may create.
constexpr const char* defaults = R"(
given AS (
    SELECT d.defaclnamespace AS y, c.oid AS creator, c.rolname AS creator_name, a.grantee,
        a.privilege_type, d.defaclobjtype AS type,
        CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' ELSE 'ROUTINES' END
            AS what,
        format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM ', c.rolname,
            CASE WHEN d.defaclnamespace = 0 THEN ''
                ELSE format(' IN SCHEMA %s', d.defaclnamespace::regnamespace) END,
            CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
                ELSE 'ROUTINES' END) AS revoke
    FROM pg_default_acl d JOIN pg_roles c ON c.oid = d.defaclrole, aclexplode(d.defaclacl) a
    WHERE d.defaclobjtype IN ('r', 'S', 'f') AND a.grantee <> d.defaclrole)
)";

std::string default_privileges() {
    return std::string(pairs) + defaults + R"(
SELECT 'hole', 'default privileges', p.role, p.schema, '', quote_ident(d.creator_name),
    format('what %I will make in schema %I gives %I %s on %s', d.creator_name, p.schema, g.rolname,
        string_agg(DISTINCT d.privilege_type, ', '), lower(d.what)),
    CASE WHEN g.oid = p.x THEN format('%s%I;', d.revoke, p.role)
        ELSE )" +
           leave("p.x", "p.role", "g.oid") + R"( END
FROM pair p JOIN given d ON d.y = p.y OR d.y = 0 AND has_schema_privilege(d.creator, p.y, 'CREATE')
JOIN pg_roles g ON g.oid = d.grantee
WHERE g.rolname <> p.owner AND NOT g.rolsuper AND pg_has_role(p.x, g.oid, 'MEMBER')
GROUP BY p.x, p.role, p.schema, d.creator_name, d.what, d.revoke, g.oid, g.rolname)";
}

// That functions are everybody's is what PostgreSQL does without any such rule.
std::string default_privileges_of_public() {
    return std::string(schemas) + defaults + R"(
SELECT 'hole', 'default privileges', '', p.schema, '', quote_ident(d.creator_name),
    format('what %I will make in schema %I gives everybody (PUBLIC) %s on %s', d.creator_name,
        p.schema, string_agg(DISTINCT d.privilege_type, ', '), lower(d.what)),
    d.revoke || 'PUBLIC;'
FROM place p JOIN given d ON d.y = p.y
    OR d.y = 0 AND d.type <> 'f' AND has_schema_privilege(d.creator, p.y, 'CREATE')
WHERE d.grantee = 0
GROUP BY p.schema, d.creator_name, d.what, d.revoke)";
}

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

/// What x may run as somebody else. A search_path holds if it is the function's own and has no
/// schema into which x could put something.
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
        AND EXISTS (SELECT FROM pg_roles z WHERE pg_has_role(x.oid, z.oid, 'MEMBER')
            AND has_function_privilege(z.oid, f.oid, 'EXECUTE')
            AND has_schema_privilege(z.oid, n.oid, 'USAGE')))
)";

std::string security_definers() {
    return std::string(pairs) + definers + R"(
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

std::vector<std::string> isolation_queries() {
    return {attributes(),
            memberships(),
            granted(),
            granted_to_public(),
            owned(),
            database_owned(),
            default_privileges(),
            default_privileges_of_public(),
            security_definers(),
            foreign_servers(),
            shared_places(),
            login()};
}

std::string isolation_proof_query() {
    std::string sql = pairs;
    sql.erase(sql.rfind(','), 1);
    return sql + R"(
SELECT 'hole', 'privilege', p.role, p.schema, '', found.object,
    format('has_*_privilege says that %I gets at %s', p.role, found.object), ''
FROM pair p, LATERAL (
    SELECT quote_ident(p.schema) AS object
    WHERE has_schema_privilege(p.x, p.y, 'USAGE') OR has_schema_privilege(p.x, p.y, 'CREATE')
    UNION ALL
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = p.y AND CASE
        WHEN c.relkind = 'S' THEN has_sequence_privilege(p.x, c.oid, 'USAGE, SELECT, UPDATE')
        WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f') THEN has_table_privilege(p.x, c.oid,
            'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            OR has_any_column_privilege(p.x, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        END
    UNION ALL
    SELECT f.oid::regprocedure::text FROM pg_proc f
    WHERE f.pronamespace = p.y AND has_function_privilege(p.x, f.oid, 'EXECUTE')
    LIMIT 1) found)";
}

}  // namespace schemux::daemon
