// What several queries of the audit are made of. Only for them.
// It must not know what they look for.
#pragma once

#include <string>

namespace schemux::daemon::query {

/// $1 to $3 (isolation_queries.h) as `pair`, to be followed by another common table expression.
/// A superuser is one finding, and not as many as there are objects.
inline constexpr const char* pairs = R"(
WITH pair AS (
    SELECT x.oid AS x, x.rolname AS role, y.oid AS y, y.nspname AS schema, p.owner
    FROM unnest($1, $2, $3) AS p(role, schema, owner)
    JOIN pg_roles x ON x.rolname = p.role AND NOT x.rolsuper
    JOIN pg_namespace y ON y.nspname = p.schema),
)";

/// All that a role may become, itself included: `member (x, g)`, to be followed by another one.
inline constexpr const char* members = R"(
member AS MATERIALIZED (
    SELECT x.oid AS x, g.oid AS g, g.rolname AS name
    FROM pg_roles x JOIN pg_roles g ON pg_has_role(x.oid, g.oid, 'MEMBER')
    WHERE (x.rolname = ANY ($1) OR x.rolname = ANY ($6)) AND NOT x.rolsuper AND NOT g.rolsuper),
)";

/// Ends the memberships by which role x (its oid and name) can become another one.
inline std::string leave(const std::string& x, const std::string& name, const std::string& other) {
    return "(SELECT string_agg(format('REVOKE %I FROM %I%s;', step.rolname, " + name + R"(,
        CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN format(' GRANTED BY %s', way.grantor::regrole) ELSE '' END), ' ')
    FROM pg_auth_members way JOIN pg_roles step ON step.oid = way.roleid
    WHERE way.member = )" +
           x + " AND pg_has_role(step.oid, " + other + ", 'MEMBER'))";
}

}  // namespace schemux::daemon::query
