#include "core/session_settings.h"

#include "protocol/messages.h"

#include <algorithm>
#include <utility>

namespace schemux::core {

namespace {

// A value in the server's encoding and in ASCII, whatever the client's encoding is.
constexpr std::string_view value_begin =
    "pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(";
constexpr std::string_view value_end = ",true),pg_catalog.getdatabaseencoding()),'escape')";

bool has_dot(std::string_view name) {
    return name.find('.') != name.npos;
}

/// In no view.
bool is_hidden(std::string_view name) {
    return has_dot(name) || name == "role" || name == "session_authorization";
}

void append_value(std::string& sql, std::string_view name) {
    sql.append(value_begin).append(name).append(value_end);
}

void append_named(std::string& sql, const std::vector<std::string_view>& names) {
    sql.append("SELECT l.n,");
    append_value(sql, "l.n");
    sql.append(" FROM (VALUES");
    char before = ' ';
    for (const std::string_view name : names) {
        sql.append({before, '('});
        append_ascii_literal(sql, name);
        sql.push_back(')');
        before = ',';
    }
    sql.append(")l(n)");
}

/// encode(…, 'escape') undone; nullopt if it is no such text.
std::optional<std::string> unescaped(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\\') {
            out.push_back(text[at]);
            continue;
        }
        if (text.substr(at + 1, 1) == "\\") {
            out.push_back(text[++at]);
            continue;
        }
        if (text.size() - at < 4) return {};
        unsigned byte = 0;
        for (const char digit : text.substr(at + 1, 3)) {
            if (digit < '0' || digit > '7') return {};
            byte = byte * 8 + static_cast<unsigned>(digit - '0');
        }
        if (byte > 255) return {};
        out.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
        at += 3;
    }
    return out;
}

}  // namespace

bool travels(std::string_view setting) {
    return setting != "transaction_isolation" && setting != "transaction_read_only" &&
           setting != "transaction_deferrable" && setting != "seed";
}

void MovedSettings::add(std::string_view name) {
    if (!travels(name)) return;
    if (std::find(names_.begin(), names_.end(), name) != names_.end()) return;
    if (names_.size() == limits::moved_settings_max) {
        all_ = true;
        return;
    }
    names_.emplace_back(name);
}

void MovedSettings::add(const MovedSettings& more) {
    all_ = all_ || more.all_;
    for (const std::string& name : more.names_)
        add(name);
}

void SettingsQuestion::ask(const MovedSettings& moved, const Label& known, Haste haste,
                           std::string& sql) {
    end();
    under_way_ = true;
    about_ = moved;
    std::vector<std::string_view> names;
    for (const std::string& name : moved.names()) {
        if (!moved.all() || is_hidden(name)) names.push_back(name);
    }
    if (!moved.all()) return append_named(sql, names);
    const auto add = [&names](std::string_view name) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    };
    add("role");
    for (const auto& [name, value] : known.settings()) {
        if (is_hidden(name)) add(name);
    }
    // The view takes a millisecond: a client's statement_timeout must not end it for ever.
    untimed_ = haste == Haste::ended_before || known.find("statement_timeout") != nullptr;
    if (untimed_) {
        append_named(sql, {"statement_timeout"});
        sql.append(";SET LOCAL statement_timeout=0;");
    }
    append_named(sql, names);
    sql.append(" UNION ALL SELECT pg_catalog.lower(s.name),");
    append_value(sql, "s.name");
    sql.append(" FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=)'session'");
    if (untimed_) sql.append(" AND s.name OPERATOR(pg_catalog.<>)'statement_timeout'");
}

SettingsQuestion::Row SettingsQuestion::on_row(std::string_view body) {
    const auto row = protocol::read_data_row(body);
    if (!row || row->size() != 2 || !row->front() || row->front()->empty()) return Row::broken;
    bytes_ += body.size();
    if (rows_.size() >= limits::client_settings_max || bytes_ > limits::client_setting_bytes_max) {
        too_much_ = true;
        return Row::too_much;
    }
    std::optional<std::string> value;
    if (row->back()) {
        value = unescaped(*row->back());
        if (!value) return Row::broken;
    }
    rows_.emplace_back(*row->front(), std::move(value));
    return Row::taken;
}

Label SettingsQuestion::answer(const Label& before) const {
    Settings settings;
    bool had_timeout = false;
    for (const auto& [name, value] : before.settings()) {
        had_timeout = had_timeout || name == "statement_timeout";
        const auto same = [&name = name](const auto& row) { return row.first == name; };
        const bool asked = about_.all() || std::any_of(rows_.begin(), rows_.end(), same);
        if (!asked) settings.emplace_back(name, value);
    }
    for (const auto& [name, value] : rows_) {
        if (!value || !travels(name)) continue;
        // Of these the source is not known: what they usually are is nobody's choice.
        if (name == "role" && *value == "none") continue;
        const bool untold = untimed_ && !had_timeout;
        if (name == "statement_timeout" && untold && *value == "0") continue;
        settings.emplace_back(name, *value);
    }
    return Label::of(std::move(settings));
}

Label with_startup(const Label& label, const Label& startup) {
    Settings settings = startup.settings();
    // It is always asked for: what was not told is none.
    std::erase_if(settings, [](const auto& setting) { return setting.first == "role"; });
    settings.insert(settings.end(), label.settings().begin(), label.settings().end());
    return Label::of(std::move(settings));
}

namespace {

/// ` (VALUES('a','1'),('b','2'))l(n,v)` of those settings that `wanted` takes; whether there is
/// any.
template <class Wanted>
bool append_values(std::string& sql, const Label& label, Wanted wanted) {
    std::string_view before = " (VALUES(";
    for (const auto& [name, value] : label.settings()) {
        if (!wanted(name)) continue;
        sql.append(before);
        append_ascii_literal(sql, name);
        sql.push_back(',');
        append_ascii_literal(sql, value);
        before = "),(";
    }
    const bool any = before == "),(";
    if (any) sql.append("))l(n,v)");
    return any;
}

/// Who the session is: in no view, and RESET ALL leaves it alone.
void append_identity(std::string& sql, const Label& startup, const MovedSettings& reset) {
    const auto& names = reset.names();
    for (const std::string_view name : {"session_authorization", "role"}) {
        const std::string* value = startup.find(name);
        if (value == nullptr || std::find(names.begin(), names.end(), name) == names.end())
            continue;
        sql.append(sql.empty() ? "" : " UNION ALL ").append("SELECT pg_catalog.set_config(");
        append_ascii_literal(sql, name);
        sql.push_back(',');
        append_ascii_literal(sql, *value);
        sql.append(",false)IS NULL");
        // The same text may have chosen another one behind that.
        if (name == "role")
            sql.append(" WHERE pg_catalog.current_setting('role')OPERATOR(pg_catalog.=)'none'");
    }
}

}  // namespace

bool append_restore_sql(std::string& sql, const Label& startup, const MovedSettings& reset) {
    constexpr std::string_view begin = "SELECT pg_catalog.set_config(l.n,l.v,false)IS NULL FROM";
    std::string added;
    std::string part(begin);
    // What set_config or SET gave a session has the source 'session', what it began with has not.
    if (append_values(part, startup, [](const std::string& name) { return !is_hidden(name); })) {
        added = part +
                ",pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name)OPERATOR(pg_catalog.=)"
                "pg_catalog.lower(l.n)AND s.source OPERATOR(pg_catalog.<>)'session'";
    }
    const auto was_reset = [&reset](const std::string& name) {
        const auto& names = reset.names();
        return has_dot(name) &&
               (reset.all() || std::find(names.begin(), names.end(), name) != names.end());
    };
    part = begin;
    // To PostgreSQL such a one began as an empty text, for it was set for the client only later.
    if (append_values(part, startup, was_reset)) {
        added.append(added.empty() ? "" : " UNION ALL ")
            .append(part)
            .append(
                " WHERE pg_catalog.concat(pg_catalog.current_setting(l.n,true))"
                "OPERATOR(pg_catalog.=)''");
    }
    append_identity(added, startup, reset);
    sql.append(added);
    return !added.empty();
}

}  // namespace schemux::core
