// Proves with PostgreSQL's own catalogs that no service gets at what is another one's: asks about
// every ordered pair of services with a role, in the databases that they are in. It changes nothing
// there. Blocks: for a command, not for a worker.
// It must not know the configuration, nor how its findings are shown (isolation_report.h).
#pragma once

#include "daemon/dsn.h"
#include "daemon/isolation_sql.h"
#include "protocol/secret.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace schemux::daemon {

enum class Severity : std::uint8_t {
    hole,
    note,  ///< worth knowing, but no way to another service's data
};

struct Finding {
    Severity severity = Severity::hole;
    std::string kind;      ///< what it is about: table, owner, membership …
    std::string database;  ///< where it was found
    std::string role;      ///< whose sessions could; empty: everybody's
    std::string schema;    ///< at what; empty: at everything
    std::string target;    ///< at what is this role's; mostly empty
    std::string object;    ///< by its name in SQL
    std::string message;   ///< one sentence
    std::string fix;       ///< SQL that would close it; empty: none is known

    /// Whether the sessions of `from` could get at what is `to`'s, by this.
    bool concerns(const IsolatedService& from, const IsolatedService& to) const;
};

struct AuditOptions {
    std::string dsn;
    std::vector<HostPort> hosts{};  ///< tried one by one in place of the dsn's; empty: those
    std::optional<protocol::Secret> password{};                ///< in place of the dsn's
    std::string login;                                         ///< whom schemux itself logs in as
    std::chrono::milliseconds within = std::chrono::hours(1);  ///< all of it
    const std::atomic<bool>* stopped = nullptr;                ///< true: it fails soon; null: never
};

struct AuditFailure {
    std::string why;  ///< never has a password
    std::string hint;
};

using AuditOutcome = std::variant<std::vector<Finding>, AuditFailure>;

AuditOutcome audit_isolation(const AuditOptions& options,
                             const std::vector<IsolatedService>& services);

}  // namespace schemux::daemon
