#include "core/audit.h"

#include "core/session_features.h"
#include "protocol/messages.h"

#include <array>
#include <utility>

namespace schemux::core {

namespace {

constexpr std::array kinds{AuditKind::setting,    AuditKind::role,          AuditKind::statement,
                           AuditKind::temp_table, AuditKind::advisory_lock, AuditKind::hold_cursor,
                           AuditKind::listen};
static_assert(kinds.size() == audit_kind_count);

constexpr std::array features{
    std::pair{SessionFeature::temp_table, AuditKind::temp_table},
    std::pair{SessionFeature::advisory_lock, AuditKind::advisory_lock},
    std::pair{SessionFeature::hold_cursor, AuditKind::hold_cursor},
    std::pair{SessionFeature::listen, AuditKind::listen},
};

/// Of a transaction, or with a value that cannot be told: no session's.
constexpr std::string_view not_looked_at =
    "'transaction_isolation','transaction_read_only','transaction_deferrable','seed'";

/// The values of the label are those that clients wrote. Set once more, for the transaction alone,
/// they must be what the session has, in PostgreSQL's own words.
void append_label_check(std::string& sql, const Label& label) {
    if (label.is_base()) return;
    sql.append("SELECT 'setting',l.n FROM (VALUES");
    char before = ' ';
    for (const auto& [name, value] : label.settings()) {
        sql.append({before, '('});
        append_ascii_literal(sql, name);
        sql.push_back(',');
        append_ascii_literal(sql, value);
        sql.push_back(')');
        before = ',';
    }
    sql.append(
        ")l(n,v) WHERE pg_catalog.concat(pg_catalog.current_setting(l.n,true))"
        "OPERATOR(pg_catalog.<>)pg_catalog.set_config(l.n,l.v,true);");
}

}  // namespace

std::string_view name_of(AuditKind kind) {
    switch (kind) {
        case AuditKind::setting:
            return "setting";
        case AuditKind::role:
            return "role";
        case AuditKind::statement:
            return "statement";
        case AuditKind::temp_table:
            return "temp_table";
        case AuditKind::advisory_lock:
            return "advisory_lock";
        case AuditKind::hold_cursor:
            return "hold_cursor";
        case AuditKind::listen:
            return "listen";
    }
    return "?";
}

namespace {

/// Another's under a name of ours, or one that is gone: SQL that nobody saw (a view that calls a
/// function) can find our names in the same catalog.
void append_census(std::string& sql, BackendStatements::Census statements) {
    sql.append(
        " UNION ALL SELECT 'statement','' FROM pg_catalog.pg_prepared_statements p WHERE "
        "pg_catalog.starts_with(p.name,'sx_')HAVING pg_catalog.count(*)OPERATOR(pg_catalog.<>)");
    sql.append(std::to_string(statements.all))
        .append(" OR pg_catalog.count(*)FILTER(WHERE p.from_sql)OPERATOR(pg_catalog.<>)")
        .append(std::to_string(statements.by_sql));
}

}  // namespace

void append_audit_sql(std::string& sql, const Label& label, BackendStatements::Census statements) {
    append_label_check(sql, label);
    // A timeout that is nobody's may end it: then the backend is closed, which is right as well.
    const bool timeout = label.find("statement_timeout") != nullptr;
    if (timeout) sql.append("SET LOCAL statement_timeout=0;");
    sql.append(
           "SELECT 'setting',pg_catalog.lower(s.name)FROM pg_catalog.pg_settings s WHERE "
           "s.source OPERATOR(pg_catalog.=)'session' AND pg_catalog.lower(s.name)"
           "OPERATOR(pg_catalog.<>)ALL(ARRAY[")
        .append(not_looked_at);
    for (const auto& [name, value] : label.settings()) {
        sql.push_back(',');
        append_ascii_literal(sql, name);
    }
    sql.append("]::pg_catalog.text[])");
    if (label.find("role") == nullptr) {
        sql.append(
            " UNION ALL SELECT 'role','' WHERE pg_catalog.current_setting('role')"
            "OPERATOR(pg_catalog.<>)'none'");
    }
    if (label.find("session_authorization") == nullptr) {
        sql.append(
            " UNION ALL SELECT 'role','' FROM pg_catalog.pg_stat_get_activity("
            "pg_catalog.pg_backend_pid())a WHERE pg_catalog.pg_get_userbyid(a.usesysid)"
            "OPERATOR(pg_catalog.<>)session_user");
    }
    sql.append(
        " UNION ALL SELECT 'statement','' FROM pg_catalog.pg_prepared_statements p WHERE "
        "NOT pg_catalog.starts_with(p.name,'sx_')");
    append_census(sql, statements);
    for (const auto& [feature, kind] : features) {
        sql.append(" UNION ALL SELECT '").append(name_of(kind)).append("','' WHERE ");
        append_presence(sql, feature);
    }
}

std::optional<AuditFinding> read_audit_row(std::string_view body) {
    const auto row = protocol::read_data_row(body);
    if (!row || row->size() != 2 || !row->front() || !row->back()) return {};
    for (const AuditKind kind : kinds) {
        if (name_of(kind) == *row->front()) return AuditFinding{kind, std::string(*row->back())};
    }
    return {};
}

}  // namespace schemux::core
