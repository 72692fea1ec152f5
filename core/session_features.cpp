#include "core/session_features.h"

#include "core/limits.h"
#include "protocol/messages.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <utility>

namespace schemux::core {

namespace {

struct Askable {
    SessionFeature feature;
    char letter;
    std::string_view present;  ///< an expression
};

// No operator and no name that a client's search_path could turn into another one. The namespace
// of temporary objects is found by what depends on it: pg_class has no index for that.
constexpr std::array askables{
    Askable{SessionFeature::temp_table, 't',
            "EXISTS(SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=)"
            "2615::pg_catalog.oid AND refobjid OPERATOR(pg_catalog.=)"
            "pg_catalog.pg_my_temp_schema())"},
    Askable{SessionFeature::advisory_lock, 'a',
            "EXISTS(SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=)"
            "'advisory'::pg_catalog.text AND pid OPERATOR(pg_catalog.=)"
            "pg_catalog.pg_backend_pid())"},
    Askable{SessionFeature::hold_cursor, 'h',
            "EXISTS(SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"},
    Askable{SessionFeature::listen, 'l', "EXISTS(SELECT FROM pg_catalog.pg_listening_channels())"},
};

constexpr char channels_follow = '=';

// The last ones of the row. A name may have any character, and a client any encoding.
void append_channels_question(std::string& sql) {
    sql.append("(SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.>) ");
    sql.append(std::to_string(limits::shared_channels_max));
    sql.append(
        " THEN 'l' ELSE pg_catalog.concat('=',pg_catalog.string_agg(pg_catalog.encode("
        "pg_catalog.convert_to(channel,'UTF8'),'hex'),',')) END"
        " FROM pg_catalog.pg_listening_channels() AS channel)");
}

std::optional<std::string> read_hex(std::string_view hex) {
    std::string text;
    if (hex.empty() || hex.size() % 2 != 0) return {};
    for (std::size_t at = 0; at < hex.size(); at += 2) {
        unsigned byte = 0;
        const char* end = hex.data() + at + 2;
        if (std::from_chars(hex.data() + at, end, byte, 16).ptr != end) return {};
        text.push_back(static_cast<char>(byte));
    }
    return text;
}

std::optional<std::vector<std::string>> read_channels(std::string_view list) {
    std::vector<std::string> channels;
    while (!list.empty()) {
        const std::size_t end = std::min(list.find(','), list.size());
        std::optional<std::string> name = read_hex(list.substr(0, end));
        if (!name || channels.size() == limits::shared_channels_max) return {};
        channels.push_back(std::move(*name));
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    return channels;
}

}  // namespace

std::string_view name_of(SessionFeature feature) {
    switch (feature) {
        case SessionFeature::temp_table:
            return "temp_table";
        case SessionFeature::advisory_lock:
            return "advisory_lock";
        case SessionFeature::hold_cursor:
            return "hold_cursor";
        case SessionFeature::listen:
            return "listen";
        case SessionFeature::seed:
            return "seed";
        case SessionFeature::load:
            return "load";
        case SessionFeature::sequence:
            return "sequence";
        case SessionFeature::prepare:
            return "prepare";
        case SessionFeature::opaque:
            return "opaque";
    }
    return "?";
}

std::string_view words_for(SessionFeature feature) {
    switch (feature) {
        case SessionFeature::temp_table:
            return "temporary objects";
        case SessionFeature::advisory_lock:
            return "session-level advisory locks";
        case SessionFeature::hold_cursor:
            return "cursors WITH HOLD";
        case SessionFeature::listen:
            return "LISTEN";
        case SessionFeature::seed:
            return "setseed() and SET SEED";
        case SessionFeature::load:
            return "LOAD";
        case SessionFeature::sequence:
            return "sequence values of the session";
        case SessionFeature::prepare:
            return "PREPARE, EXECUTE and DEALLOCATE";
        case SessionFeature::opaque:
            return "commands and functions with unknown effects";
    }
    return "?";
}

SessionFeature FeatureSet::first() const {
    assert(any());
    std::size_t at = 0;
    while (!has(static_cast<SessionFeature>(at)))
        ++at;
    return static_cast<SessionFeature>(at);
}

void SessionFeatures::set(SessionFeature feature, FeaturePolicy policy) {
    policies_[static_cast<std::size_t>(feature)] = policy;
    const FeatureSet one = FeatureSet::of(feature);
    pinning_.remove(one);
    rejected_.remove(one);
    if (policy == FeaturePolicy::pin) pinning_.add(one);
    if (policy == FeaturePolicy::reject) rejected_.add(one);
}

FeatureSet features_of(const StatementEffects& effects) {
    constexpr std::array<std::pair<Effect, SessionFeature>, session_feature_count> pairs{{
        {Effect::temporary, SessionFeature::temp_table},
        {Effect::advisory_lock, SessionFeature::advisory_lock},
        {Effect::hold_cursor, SessionFeature::hold_cursor},
        {Effect::listen, SessionFeature::listen},
        {Effect::seed, SessionFeature::seed},
        {Effect::load, SessionFeature::load},
        {Effect::sequence, SessionFeature::sequence},
        {Effect::prepare, SessionFeature::prepare},
        {Effect::opaque, SessionFeature::opaque},
    }};
    FeatureSet features;
    for (const auto& [effect, feature] : pairs) {
        if (effects.has(effect)) features.add(FeatureSet::of(feature));
    }
    return features;
}

FeatureSet askable_features() {
    FeatureSet all;
    for (const Askable& askable : askables)
        all.add(FeatureSet::of(askable.feature));
    return all;
}

void append_presence(std::string& sql, SessionFeature feature) {
    for (const Askable& askable : askables) {
        if (askable.feature == feature) sql.append(askable.present);
    }
}

void append_feature_question(std::string& sql, FeatureSet about, bool name_channels) {
    // A client's statement_timeout must not end it.
    sql.append("SET LOCAL statement_timeout=0;SELECT pg_catalog.concat(");
    char before = ' ';
    for (const Askable& askable : askables) {
        if (!about.has(askable.feature)) continue;
        sql.push_back(std::exchange(before, ','));
        if (askable.feature == SessionFeature::listen && name_channels) {
            append_channels_question(sql);
            continue;
        }
        sql.append("CASE WHEN ").append(askable.present).append(" THEN '");
        sql.append({askable.letter}).append("' END");
    }
    sql.push_back(')');
}

std::optional<ToldFeatures> read_features(std::string_view body) {
    const auto fields = protocol::read_data_row(body);
    if (!fields || fields->size() != 1 || !fields->front()) return {};
    ToldFeatures told;
    std::string_view letters = *fields->front();
    const std::size_t names = letters.find(channels_follow);
    if (names != std::string_view::npos) {
        told.channels = read_channels(letters.substr(names + 1));
        if (!told.channels) return {};
        letters = letters.substr(0, names);
    }
    for (const char letter : letters) {
        bool known = false;
        for (const Askable& askable : askables) {
            if (askable.letter != letter) continue;
            told.features.add(FeatureSet::of(askable.feature));
            known = true;
        }
        if (!known) return {};
    }
    return told;
}

bool PinBudget::take(std::size_t most) {
    std::size_t now = taken_.load(std::memory_order_relaxed);
    while (now < most) {
        if (taken_.compare_exchange_weak(now, now + 1, std::memory_order_relaxed)) return true;
    }
    return false;
}

void PinBudget::give() {
    const std::size_t before = taken_.fetch_sub(1, std::memory_order_relaxed);
    assert(before > 0);
    static_cast<void>(before);
}

}  // namespace schemux::core
