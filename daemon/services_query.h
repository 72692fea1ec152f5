// services_query: which further services there are is asked of PostgreSQL, by a connection and a
// thread of its own: at the start, every `interval`, and when there is a NOTIFY. What is told is
// the whole list, and only when it is another one than before. While it cannot be asked the last
// one holds. It must not know what a service is.
#pragma once

#include "daemon/control_connection.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

namespace schemux::daemon {

struct ServicesQueryOptions {
    ControlOptions access;
    std::string sql;
    std::chrono::milliseconds interval{};
    std::string channel{};  ///< empty: nobody says when they change
    std::size_t rows_max = 0;
};

class ServicesQuery {
  public:
    using Table = ControlConnection::Table;
    /// Called on the thread of this.
    using Take = std::function<void(Table)>;

    ServicesQuery(ServicesQueryOptions options, Take take);
    /// Stops, which takes a tenth of a second at most.
    ~ServicesQuery();
    ServicesQuery(const ServicesQuery&) = delete;
    ServicesQuery& operator=(const ServicesQuery&) = delete;

    void start();

    /// Of the Unix epoch; 0: it was not answered yet.
    std::int64_t answered_at() const { return answered_at_.load(std::memory_order_relaxed); }
    std::uint64_t failures() const { return failures_.load(std::memory_order_relaxed); }

  private:
    void run();
    bool ask();
    void wait(std::chrono::milliseconds time);

    const ServicesQueryOptions options_;
    const Take take_;
    std::atomic<bool> stopped_{false};
    ControlConnection connection_;
    Table last_;
    std::atomic<std::int64_t> answered_at_{0};
    std::atomic<std::uint64_t> failures_{0};
    std::thread thread_;
};

}  // namespace schemux::daemon
