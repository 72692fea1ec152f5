// The SQL that gives each service with a role of its own what is its own, and nobody else anything:
// roles, grants, revokes, for psql, to be run by whoever owns the databases. Running it again
// changes nothing. Names are quoted wherever they stand, whatever is in them.
// Pure: it must not know the configuration or a server. isolation_audit.h proves what came of it.
#pragma once

#include "core/service.h"

#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

/// A service as far as PostgreSQL's permissions are concerned.
struct IsolatedService {
    std::string name;
    std::string schema;    ///< empty: none is its own
    std::string role;      ///< empty with `shared`
    std::string database;  ///< never empty
    core::Isolation level = core::Isolation::shared;
    std::vector<std::string> allow_schemas{};

    bool has_role() const { return level != core::Isolation::shared && !role.empty(); }
};

/// Somebody who must be able to connect, too.
struct OtherLogin {
    std::string role;
    std::string database;
};

struct IsolationPlan {
    std::string login;     ///< the dsn's
    std::string database;  ///< the dsn's
    std::vector<IsolatedService> services{};
    std::vector<IsolatedService> neighbours{};  ///< about which nothing is said here
    std::vector<OtherLogin> others{};           ///< auth.query's, for example
    std::vector<std::string> patterns{};        ///< whose services nobody has listed
    std::vector<std::string> of_clients{};      ///< services whose role is each client's own
};

std::string_view to_string(core::Isolation level);

std::string isolation_sql(const IsolationPlan& plan);

}  // namespace schemux::daemon
