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

const std::string* Label::find(std::string_view name) const {
    for (const auto& [known, value] : settings()) {
        if (known == name) return &value;
    }
    return nullptr;
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

namespace {

/// Who a session is: set last, since it decides what else may be set, and taken back first.
bool is_identity(std::string_view name) {
    return name == "role" || name == "session_authorization";
}

void append_set_config(std::string& calls, std::string_view name, std::string_view value) {
    // set_config takes the raw text of a list setting such as search_path, as a startup packet
    // does; SET … TO would take it for one quoted name. What it returns may have no place in the
    // client's encoding.
    calls.append(calls.empty() ? "SELECT " : ",");
    calls.append("pg_catalog.set_config(");
    append_ascii_literal(calls, name);
    calls.push_back(',');
    append_ascii_literal(calls, value);
    calls.append(",false)IS NULL");
}

}  // namespace

void append_relabel_sql(std::string& sql, const Label& from, const Label& to) {
    if (from == to) return;
    const auto has_identity = [](const Label& label) {
        return label.find("role") != nullptr || label.find("session_authorization") != nullptr;
    };
    const auto stays = [&to](const auto& setting) {
        return is_identity(setting.first) || to.find(setting.first) != nullptr;
    };
    const Settings& old = from.settings();
    const bool any_goes = !std::all_of(old.begin(), old.end(), stays);
    if (has_identity(from)) sql.append("SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;");
    // RESET of a single setting may be refused, for what another client has done; ALL never is.
    if (any_goes) sql.append("RESET ALL;");
    std::string changes;
    for (const auto& [name, value] : to.settings()) {
        const std::string* before = any_goes ? nullptr : from.find(name);
        if (is_identity(name) || (before != nullptr && *before == value)) continue;
        // Its value may be half of one ('SQL'), and then the other half is what it was before.
        if (before != nullptr && name == "datestyle") sql.append("RESET \"datestyle\";");
        append_set_config(changes, name, value);
    }
    // A new user has no role yet.
    for (const char* name : {"session_authorization", "role"}) {
        if (const std::string* value = to.find(name)) append_set_config(changes, name, *value);
    }
    sql.append(changes);
}

}  // namespace schemux::core
