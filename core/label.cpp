#include "core/label.h"

#include <algorithm>
#include <cassert>
#include <functional>

namespace schemux::core {

namespace {

const Settings no_settings;

std::uint64_t hash_of(const Settings& settings) {
    std::uint64_t hash = 0x9e3779b97f4a7c15ULL;
    const auto mix = [&hash](std::string_view text) {
        hash ^=
            std::hash<std::string_view>{}(text) + 0x9e3779b97f4a7c15ULL + (hash << 6) + (hash >> 2);
    };
    for (const auto& [name, value] : settings) {
        mix(name);
        mix(value);
    }
    return hash;
}

}  // namespace

Label Label::of(Settings settings) {
    std::stable_sort(settings.begin(), settings.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    Settings last_wins;
    for (auto& pair : settings) {
        if (!last_wins.empty() && last_wins.back().first == pair.first) {
            last_wins.back().second = std::move(pair.second);
        } else {
            last_wins.push_back(std::move(pair));
        }
    }
    Label label;
    if (last_wins.empty()) return label;
    label.hash_ = hash_of(last_wins);
    label.settings_ = std::make_shared<const Settings>(std::move(last_wins));
    return label;
}

const Settings& Label::settings() const {
    return settings_ ? *settings_ : no_settings;
}

void append_quoted_identifier(std::string& sql, std::string_view name) {
    sql.push_back('"');
    for (const char c : name) {
        if (c == '"') sql.push_back('"');
        sql.push_back(c);
    }
    sql.push_back('"');
}

void append_ascii_literal(std::string& sql, std::string_view value) {
    constexpr std::string_view digits = "0123456789abcdef";
    const bool plain = std::all_of(value.begin(), value.end(),
                                   [](char c) { return c >= ' ' && c <= '~' && c != '\\'; });
    sql.append(plain ? "'" : "E'");
    for (const char c : value) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\'') {
            sql.append("''");
        } else if (byte < ' ' || byte > '~' || c == '\\') {
            sql.append({'\\', 'x', digits[byte >> 4], digits[byte & 15]});
        } else {
            sql.push_back(c);
        }
    }
    sql.push_back('\'');
}

void append_relabel_sql(std::string& sql, const Label& from, const Label& to) {
    auto old = from.settings().begin();
    const auto old_end = from.settings().end();
    std::string changes;
    const auto reset = [&sql](std::string_view name) {
        sql.append("RESET ");
        append_quoted_identifier(sql, name);
        sql.push_back(';');
    };
    for (const auto& [name, value] : to.settings()) {
        while (old != old_end && old->first < name)
            reset((old++)->first);
        const bool known = old != old_end && old->first == name;
        const bool same = known && old->second == value;
        if (known) ++old;
        if (same) continue;
        // Its value may be half of one ('SQL'), and then the other half is what it was before.
        if (known && name == "datestyle") reset(name);
        // set_config takes the raw text of a list setting such as search_path, as a startup packet
        // does; SET … TO would take it for one quoted name.
        changes.append(changes.empty() ? "SELECT " : ",");
        changes.append("pg_catalog.set_config(");
        append_ascii_literal(changes, name);
        changes.push_back(',');
        append_ascii_literal(changes, value);
        changes.append(",false)");
    }
    while (old != old_end)
        reset((old++)->first);
    sql.append(changes);
}

void append_restore_sql(std::string& sql, const Label& label) {
    assert(!label.is_base());
    // What set_config or SET gave a session has the source 'session', what it began with has not.
    sql.append("SELECT pg_catalog.set_config(l.n,l.v,false) FROM (VALUES");
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
        ")l(n,v),pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name)OPERATOR(pg_catalog.=)"
        "pg_catalog.lower(l.n)AND s.source OPERATOR(pg_catalog.<>)'session'");
}

}  // namespace schemux::core
