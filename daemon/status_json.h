// What the status page shows, and its JSON: the answers of /api/v1. Names are snake_case with the
// unit at the end and are relied upon: they change only by additions. All names and texts may be of
// clients' making.
// It must not know where the values come from.
#pragma once

#include "core/statement_stats.h"
#include "daemon/recent_events.h"
#include "daemon/status_history.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace schemux::daemon {

struct PoolStatus {
    std::string name;  ///< of `backends`; empty: it is `backend`
    bool is_up = false;
    std::uint64_t maximum = 0;
    std::uint64_t open = 0;
    std::uint64_t idle = 0;
    std::uint64_t leased = 0;
    std::uint64_t connecting = 0;
    std::uint64_t upkeep = 0;
    std::uint64_t waiting = 0;
};

struct ServiceStatus {
    std::string name;
    std::string backend;  ///< as PoolStatus::name; that of its clients
    ServiceSample now;
    std::optional<ServiceRates> rates;
};

struct Status {
    std::string version;
    std::chrono::system_clock::time_point time;
    double uptime_seconds = 0;
    bool is_ready = false;
    std::string readiness;  ///< as /readyz says it, in one line
    std::vector<PoolStatus> pools;
    ServiceSample totals;
    std::optional<ServiceRates> rates;
    std::size_t services_total = 0;
    std::vector<ServiceStatus> services;          ///< the busiest ones
    std::vector<core::StatementLine> statements;  ///< that take the most time, that first
    std::vector<RecentEvent> events;              ///< the oldest one first
};

/// `history`: null leaves it out.
std::string status_json(const Status& status, const std::deque<HistoryPoint>* history);
/// As in the status, with the ids of fingerprints.
std::string statements_json(const std::vector<core::StatementLine>& statements);
/// The newest one first, as in the status.
std::string events_json(const std::vector<RecentEvent>& events);

}  // namespace schemux::daemon
