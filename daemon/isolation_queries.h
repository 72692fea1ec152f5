// What is asked of PostgreSQL's catalogs about the roles of services: each query gives a row per
// finding, with the SQL that would close it. They only read, and serve PostgreSQL 15 and later.
// It must not know connections or what becomes of the rows.
#pragma once

#include <string>
#include <vector>

namespace schemux::daemon {

/// The parameters of every query; all but $7 are text[].
/// $1 to $3, in parallel: role x must not get at the schema y, which is the role z's.
/// $4 and $5, in parallel: every schema, and whose it is.
/// $6: every role of a service of this database. $7: the dsn's login.
/// $8: the roles that the login sets (guarded).
inline constexpr int isolation_parameters = 8;

/// The columns of every query.
enum class FindingColumn : int {
    severity,  ///< hole or note
    kind,
    role,     ///< whose sessions could; empty: everybody's
    schema,   ///< at what; empty: at everything
    target,   ///< at all that is this role's; mostly empty
    object,   ///< by its name in SQL
    message,  ///< one sentence
    fix,      ///< SQL; empty: none that we could know
};

/// What roles are and may become, whom they run as, and the dsn's login.
std::vector<std::string> isolation_role_queries();
/// What is in the schemas, who may have it, and what else leads there.
std::vector<std::string> isolation_object_queries();

/// Pairs ($1, $2) for which a has_*_privilege function says yes, in the columns above. What the
/// others found explains them, or should.
std::string isolation_proof_query();

}  // namespace schemux::daemon
