#include "daemon/isolation_queries.h"

#include "daemon/isolation_query_parts.h"

namespace schemux::daemon {

namespace {

using query::leave;
using query::members;
using query::pairs;

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

// That x is a member of y's role is a finding of its own.
std::string granted() {
    return std::string(pairs) + members + things + R"(
SELECT 'hole', t.kind, p.role, p.schema, '', t.name,
    format('%I has %s on %s %s%s', p.role, string_agg(DISTINCT a.privilege_type, ', '), t.kind,
        t.name, CASE WHEN m.g <> p.x THEN format(' as a member of %I', m.name) ELSE '' END),
    CASE WHEN m.g = p.x THEN format('REVOKE %s FROM %I;', t.rights, p.role)
        ELSE )" +
           leave("p.x", "p.role", "m.g") + R"( END
FROM thing t, aclexplode(t.acl) a JOIN member m ON m.g = a.grantee
    JOIN pair p ON p.x = m.x
WHERE p.y = t.y AND m.g IS DISTINCT FROM t.owner AND m.name <> p.owner
GROUP BY p.x, p.role, p.schema, t.kind, t.name, t.rights, m.g, m.name
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
    return std::string(pairs) + members + things + R"(
SELECT 'hole', 'owner', p.role, p.schema, '', t.name,
    format('%I owns %s %s%s', m.name, t.kind, t.name,
        CASE WHEN m.g <> p.x THEN format(', and %I is a member of it', p.role) ELSE '' END),
    CASE WHEN m.g = p.x THEN format('ALTER %s OWNER TO %I;', t.self, p.owner)
        ELSE )" +
           leave("p.x", "p.role", "m.g") + R"( END
FROM pair p JOIN member m USING (x) JOIN thing t ON t.y = p.y AND t.owner = m.g
WHERE m.name <> p.owner
ORDER BY p.role, p.schema, t.kind, t.name)";
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

// A view reads with its owner's rights, and a parent with its own: x needs none on what is below.
// Materialized views have it already.
std::string seen_through() {
    return std::string(pairs) + members + R"(
edge AS MATERIALIZED (
    SELECT DISTINCT r.ev_class AS upper, d.refobjid AS lower
    FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    UNION
    SELECT inhparent, inhrelid FROM pg_inherits),
through AS (
    WITH RECURSIVE path AS (
        SELECT e.upper, e.lower FROM edge e
        UNION
        SELECT p.upper, e.lower FROM path p JOIN edge e ON e.upper = p.lower)
    SELECT c.oid AS upper, c.relnamespace, c.relowner, l.oid AS lower, l.relnamespace AS y
    FROM path p JOIN pg_class c ON c.oid = p.upper JOIN pg_class l ON l.oid = p.lower
    WHERE c.relnamespace <> l.relnamespace AND c.relnamespace <> 'pg_catalog'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
            WHERE option_name = 'security_invoker' AND option_value::bool))
SELECT 'hole', 'view', p.role, p.schema, '', t.upper::regclass::text,
    format('%I gets at %s through %s, which has its own rights to it', p.role,
        string_agg(DISTINCT t.lower::regclass::text, ', '), t.upper::regclass),
    format('REVOKE ALL ON TABLE %s FROM %I, PUBLIC;', t.upper::regclass, p.role)
FROM pair p JOIN through t ON t.y = p.y
WHERE t.relnamespace <> p.y
    AND NOT EXISTS (SELECT FROM member m WHERE m.x = p.x AND m.g = t.relowner)
    AND EXISTS (SELECT FROM member m WHERE m.x = p.x AND m.name <> p.owner
        AND (has_table_privilege(m.g, t.upper, 'SELECT, INSERT, UPDATE, DELETE')
            OR has_any_column_privilege(m.g, t.upper, 'SELECT, INSERT, UPDATE'))
        AND has_schema_privilege(m.g, t.relnamespace, 'USAGE'))
GROUP BY p.role, p.schema, t.upper)";
}

}  // namespace

std::vector<std::string> isolation_object_queries() {
    return {granted(),
            granted_to_public(),
            owned(),
            default_privileges(),
            default_privileges_of_public(),
            seen_through()};
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
