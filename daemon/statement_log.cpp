#include "daemon/statement_log.h"

#include "daemon/log.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::daemon {

namespace {

/// A client can be slow as often as it likes.
using Limiters = std::array<LogLimiter, 64>;

LogLimiter& limiter_of(Limiters& limiters, const core::Service& service) {
    return limiters[service.cache_key % limiters.size()];
}

std::string id_of(const core::FingerprintRef& fingerprint) {
    return fingerprint ? fingerprint_text(fingerprint->id) : std::string();
}

}  // namespace

std::string fingerprint_text(std::uint64_t id) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4)
        text += digits[(id >> static_cast<unsigned>(shift)) & 15U];
    return text;
}

void log_slow_calls(core::Relay& relay) {
    static Limiters limiters;
    for (const core::SlowCall& call : relay.take_slow_calls()) {
        log_event_limited(limiter_of(limiters, relay.service()), LogLevel::warning, "slow_query",
                          {{"service", relay.service().name},
                           {"conn_id", relay.identity().pid},
                           {"duration_s", seconds_of(call.duration)},
                           {"wait_s", seconds_of(call.wait)},
                           {"rows", call.rows},
                           {"sqlstate", call.sqlstate},
                           {"fingerprint", id_of(call.fingerprint)},
                           {"text", call.text},
                           {"traceparent", call.traceparent}});
    }
}

void log_long_lease(core::Relay& relay) {
    static Limiters limiters;
    const std::optional<core::LongLease> lease = relay.long_lease();
    if (!lease) return;
    const bool pinned = lease->pinned.any();
    const std::string_view text = lease->last ? lease->last->text : std::string_view{};
    log_event_limited(limiter_of(limiters, relay.service()), LogLevel::warning, "lease_held",
                      {{"service", relay.service().name},
                       {"conn_id", relay.identity().pid},
                       {"held_s", seconds_of(lease->held)},
                       {"state", core::name_of(lease->use)},
                       {"pinned", pinned ? core::name_of(lease->pinned.first()) : ""},
                       {"fingerprint", id_of(lease->last)},
                       {"text", text}});
}

}  // namespace schemux::daemon
