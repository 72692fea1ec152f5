// An audit: PostgreSQL is asked for all that a session may have, on a backend that nobody has. What
// is there beyond its label and our prepared statements is a finding: state that nobody saw come,
// and that the next client must not get. What no view shows is beyond it: settings with a dot that
// no label has, what currval() gives, the seed of random(), loaded modules.
// It must not know what becomes of such a backend.
#pragma once

#include "core/backend_statements.h"
#include "core/label.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

enum class AuditKind : std::uint8_t {
    setting,
    role,
    statement,  ///< a prepared one that is not ours
    temp_table,
    advisory_lock,
    hold_cursor,
    listen,
};
inline constexpr std::size_t audit_kind_count = 7;

/// As in metrics and logs.
std::string_view name_of(AuditKind kind);

struct AuditFinding {
    AuditKind kind{};
    std::string name;  ///< of the setting; else empty: it may be a client's secret
};

/// Appends a Query's text that gives a row for each finding. `label` and `statements`: of the
/// backend, which nobody has and which owes nothing.
void append_audit_sql(std::string& sql, const Label& label, BackendStatements::Census statements);

/// The body of such a row; nothing if it is none.
std::optional<AuditFinding> read_audit_row(std::string_view body);

}  // namespace schemux::core
