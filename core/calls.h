// What a relay knows of the calls of statements that its client has under way on a backend, for the
// statistics and the log. It must not know when a call begins or ends: relay_statistics.cpp does.
#pragma once

#include "core/backend.h"
#include "core/session_features.h"
#include "core/statement_stats.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

/// A call that took as long as the log wants to know of, or longer.
struct SlowCall {
    FingerprintRef fingerprint;
    std::chrono::nanoseconds duration{0};
    std::chrono::nanoseconds wait{0};
    std::uint64_t rows = 0;
    std::string sqlstate;     ///< of its error; empty: none
    std::string text;         ///< as StatementPolicy::slow_text says
    std::string traceparent;  ///< of its text; empty: none
};

/// What a client does with a backend that it has had for long.
enum class LeaseUse : std::uint8_t {
    active,               ///< a statement runs
    idle_in_transaction,  ///< nothing runs
    open_batch,           ///< it has not sent the Sync behind what it sent
    pinned,               ///< it keeps the backend behind its transactions
};

std::string_view name_of(LeaseUse use);

struct LongLease {
    std::chrono::nanoseconds held{0};
    LeaseUse use = LeaseUse::active;
    FeatureSet pinned;    ///< why it keeps it, whatever it does
    FingerprintRef last;  ///< the last statement that was sent; may be null
};

struct Calls {
    struct Portal {
        std::string name;
        FingerprintRef fingerprint;
    };
    FingerprintRef last;  ///< that was sent
    TimePoint last_end{};
    std::chrono::nanoseconds wait{0};  ///< for the backend, of the call that comes first
    std::uint64_t rows = 0;            ///< of the one under way, as far as they were told
    std::array<char, 5> sqlstate{};    ///< of its error
    bool failed = false;               ///< it has one
    bool lease_told = false;           ///< that it is long
    std::vector<SlowCall> slow;        ///< that nobody was told of yet
    std::vector<Portal> portals;       ///< named ones
};

}  // namespace schemux::core
