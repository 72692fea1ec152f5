// The last events of level info and above, whatever of them the log shows: for people who look at
// the status page or ask the console. Bounded as a whole and for each event id: the oldest one of
// an id makes room for its next one, so that a noisy id cannot push all others out.
// It must not know what is logged, nor who reads it. Thread-safe.
#pragma once

#include "daemon/log.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::daemon {

struct RecentEvent {
    std::uint64_t number = 0;  ///< from 1 on, of all that were added
    std::chrono::system_clock::time_point time;
    LogLevel level = LogLevel::info;
    std::string id;       ///< as "event" of the log
    std::string message;  ///< for people; may be empty
    /// Control characters are escaped as in a log of text, and long values are cut.
    std::vector<std::pair<std::string, std::string>> fields;
};

class RecentEvents {
  public:
    static constexpr std::size_t events_max = 200;
    static constexpr std::size_t events_per_id_max = 20;
    static constexpr std::size_t fields_max = 16;
    static constexpr std::size_t text_bytes_max = 256;  ///< of a message or value

    /// `suppressed`: how many of its kind were held back before it (LogLimiter).
    void add(std::chrono::system_clock::time_point time, LogLevel level, std::string_view id,
             std::string_view message, LogFields fields, std::uint64_t suppressed = 0);
    /// The oldest one first.
    std::vector<RecentEvent> list() const;

  private:
    mutable std::mutex mutex_;
    std::deque<RecentEvent> events_;
    std::uint64_t added_ = 0;
};

/// Those of this process, which log_event adds to.
RecentEvents& recent_events();

}  // namespace schemux::daemon
