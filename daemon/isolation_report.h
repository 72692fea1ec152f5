// What an audit found, for people and for programs: a matrix of services, and each finding with the
// SQL that would close it. Pure: it must not know a server or the configuration.
#pragma once

#include "daemon/isolation_audit.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

enum class Separation : std::uint8_t {
    same,  ///< one and the same service
    ok,
    hole,
    shared,  ///< one of the two has no role: there is nothing to prove
};

std::string_view to_string(Separation separation);

struct IsolationReport {
    std::vector<IsolatedService> services;
    std::vector<std::string> patterns;    ///< whose services nobody named
    std::vector<std::string> of_clients;  ///< services whose role is each client's own
    std::string login;
    std::vector<Finding> findings;

    /// Whether the sessions of `from` are kept away from what is `to`'s.
    Separation between(const IsolatedService& from, const IsolatedService& to) const;
    std::size_t count(Severity severity) const;
};

std::string to_text(const IsolationReport& report);
std::string to_json(const IsolationReport& report);
/// When there is no report.
std::string to_json(const AuditFailure& failure);

}  // namespace schemux::daemon
