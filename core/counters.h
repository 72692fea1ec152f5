// Counters that one worker writes and anybody may read: relaxed atomics without a read-modify-write
// instruction, since there is a single writer. A scrape sums them over the workers.
// It must not know about Prometheus.
#pragma once

#include "core/session_features.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace schemux::core {

class Counter {
  public:
    void add(std::uint64_t amount = 1) {
        value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    void subtract(std::uint64_t amount = 1) {
        value_.store(value_.load(std::memory_order_relaxed) - amount, std::memory_order_relaxed);
    }
    std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

/// Durations in fixed buckets, 100 us to 10 s.
class DurationHistogram {
  public:
    static constexpr std::array<std::uint64_t, 13> bounds_us{
        100,    250,     500,     1'000,     2'500,     5'000,     10'000,
        50'000, 100'000, 500'000, 1'000'000, 5'000'000, 10'000'000};

    void observe(std::chrono::nanoseconds duration) {
        const auto us =
            static_cast<std::uint64_t>(duration.count() < 0 ? 0 : duration.count()) / 1'000;
        std::size_t bucket = 0;
        while (bucket < bounds_us.size() && us > bounds_us[bucket])
            ++bucket;
        buckets_[bucket].add();
        sum_us_.add(us);
    }
    /// Observations at most bounds_us[bucket], not cumulative; the last one is +Inf.
    std::uint64_t bucket(std::size_t at) const { return buckets_[at].value(); }
    std::uint64_t sum_us() const { return sum_us_.value(); }

  private:
    std::array<Counter, bounds_us.size() + 1> buckets_;
    Counter sum_us_;
};

/// SQLSTATE classes that are counted apart; the rest is `other`.
enum class ErrorClass : std::uint8_t {
    connection,    ///< 08
    feature,       ///< 0A
    data,          ///< 22
    integrity,     ///< 23
    transaction,   ///< 25, 40
    prepared,      ///< 26
    access,        ///< 28, 42501
    syntax,        ///< 42
    resources,     ///< 53, 54
    intervention,  ///< 57
    other,
};
inline constexpr std::size_t error_class_count = 11;

struct ServiceCounters {
    Counter clients;          ///< gauge
    Counter clients_waiting;  ///< gauge
    Counter leases_active;    ///< gauge
    Counter logins;
    Counter queries_simple;
    Counter queries_extended;
    Counter transactions;
    Counter received_bytes;
    Counter sent_bytes;
    Counter rewrites;
    Counter template_errors;
    Counter statements_reprepared;
    Counter label_switches;
    Counter scrubs;
    Counter local_resets;
    Counter notifications;  ///< from the shared listener
    Counter cancels;
    Counter acquire_timeouts;
    Counter queue_refusals;
    Counter query_timeouts;
    Counter clients_timed_out;
    Counter stall_timeouts;
    std::array<Counter, session_feature_count> pinned;  ///< gauges
    Counter pins;
    Counter pinned_us;
    std::array<Counter, error_class_count> errors;
    DurationHistogram wait;
    DurationHistogram query;
    DurationHistogram transaction;
};

inline ErrorClass error_class_of(const char* sqlstate, std::size_t size) {
    if (size < 5) return ErrorClass::other;
    const auto is = [sqlstate](char a, char b) { return sqlstate[0] == a && sqlstate[1] == b; };
    if (is('0', '8')) return ErrorClass::connection;
    if (is('0', 'A')) return ErrorClass::feature;
    if (is('2', '2')) return ErrorClass::data;
    if (is('2', '3')) return ErrorClass::integrity;
    if (is('2', '5') || is('4', '0')) return ErrorClass::transaction;
    if (is('2', '6')) return ErrorClass::prepared;
    if (is('2', '8')) return ErrorClass::access;
    if (is('4', '2')) {
        const bool privilege = sqlstate[2] == '5' && sqlstate[3] == '0' && sqlstate[4] == '1';
        return privilege ? ErrorClass::access : ErrorClass::syntax;
    }
    if (is('5', '3') || is('5', '4')) return ErrorClass::resources;
    if (is('5', '7')) return ErrorClass::intervention;
    return ErrorClass::other;
}

}  // namespace schemux::core
