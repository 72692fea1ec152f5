// What a session may have that belongs to its backend alone, so that it cannot travel with the
// client: as features that a service lets its clients have, and as reasons to keep a backend (to
// be pinned to it). PostgreSQL itself is asked what is there (manual: System Views).
// It must not know relays or pools.
#pragma once

#include "core/statement_effects.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

enum class SessionFeature : std::uint8_t {
    temp_table,  ///< or anything else in pg_temp
    advisory_lock,
    hold_cursor,
    listen,
    seed,      ///< of random()
    load,      ///< LOAD
    sequence,  ///< what currval() and lastval() give
    prepare,   ///< SQL's PREPARE: it travels
    opaque,    ///< whatever a text may do that is not understood
};
inline constexpr std::size_t session_feature_count = 9;

/// As in the configuration and in metrics.
std::string_view name_of(SessionFeature feature);
/// As in messages: "temporary tables".
std::string_view words_for(SessionFeature feature);

enum class FeaturePolicy : std::uint8_t {
    pin,     ///< the client keeps its backend while it has that
    reject,  ///< its statements are refused
    allow,   ///< it has that until its transaction ends
    share,   ///< of LISTEN only: one session listens for all
};

class FeatureSet {
  public:
    constexpr FeatureSet() = default;
    static constexpr FeatureSet of(SessionFeature feature) { return FeatureSet(bit(feature)); }

    constexpr bool any() const { return bits_ != 0; }
    constexpr bool has(SessionFeature feature) const { return (bits_ & bit(feature)) != 0; }
    constexpr void add(FeatureSet more) { bits_ = narrow(bits_ | more.bits_); }
    constexpr void remove(FeatureSet less) { bits_ = narrow(bits_ & ~less.bits_); }
    constexpr FeatureSet common(FeatureSet other) const {
        return FeatureSet(narrow(bits_ & other.bits_));
    }
    /// Of a set that is not empty.
    SessionFeature first() const;
    /// Calls `visit(feature)` for each.
    template <class Visit>
    void each(Visit visit) const {
        for (std::size_t at = 0; at < session_feature_count; ++at) {
            const auto feature = static_cast<SessionFeature>(at);
            if (has(feature)) visit(feature);
        }
    }
    friend constexpr bool operator==(FeatureSet, FeatureSet) = default;

  private:
    explicit constexpr FeatureSet(std::uint16_t bits) : bits_(bits) {}
    static constexpr std::uint16_t bit(SessionFeature feature) {
        return narrow(1U << static_cast<unsigned>(feature));
    }
    static constexpr std::uint16_t narrow(unsigned bits) {
        return static_cast<std::uint16_t>(bits);
    }
    std::uint16_t bits_ = 0;
};

/// What the service says of each.
class SessionFeatures {
  public:
    FeaturePolicy policy(SessionFeature feature) const {
        return policies_[static_cast<std::size_t>(feature)];
    }
    void set(SessionFeature feature, FeaturePolicy policy);
    FeatureSet pinning() const { return pinning_; }
    FeatureSet rejected() const { return rejected_; }

  private:
    std::array<FeaturePolicy, session_feature_count> policies_ = all_allowed();
    FeatureSet pinning_;
    FeatureSet rejected_;

    static constexpr std::array<FeaturePolicy, session_feature_count> all_allowed() {
        std::array<FeaturePolicy, session_feature_count> policies{};
        policies.fill(FeaturePolicy::allow);
        return policies;
    }
};

/// What a text shows that it uses. What may end such a state counts as a use.
FeatureSet features_of(const StatementEffects& effects);

/// Those that PostgreSQL can be asked for; the others stay until the client goes.
FeatureSet askable_features();

/// Appends an expression that is true while the session has it. `feature`: an askable one.
void append_presence(std::string& sql, SessionFeature feature);

/// Appends a query for the session's features, of `about` (askable ones): one row, one column.
/// `name_channels`: with `listen`, for the names of the channels, if they are not too many.
void append_feature_question(std::string& sql, FeatureSet about, bool name_channels = false);

struct ToldFeatures {
    FeatureSet features;
    std::optional<std::vector<std::string>> channels;  ///< in UTF-8, and no `listen` beside them
};

/// The body of its DataRow: those that are there; nothing if it is no such row.
std::optional<ToldFeatures> read_features(std::string_view body);

/// How many clients of a service may be pinned at once: workers share it.
class PinBudget {
  public:
    /// False when `most` are taken.
    bool take(std::size_t most);
    void give();
    std::size_t taken() const { return taken_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::size_t> taken_{0};
};

}  // namespace schemux::core
