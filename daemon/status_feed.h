// Feeds the status page: looks at the pools and the workers' counters now and then, keeps a short
// past, and publishes each second while somebody watches. On the control thread; the data plane
// pays nothing for it but that its counters are read.
// It must not know HTTP, nor how the page looks.
#pragma once

#include "daemon/cluster.h"
#include "daemon/event_topic.h"
#include "daemon/service_index.h"
#include "daemon/status_history.h"
#include "daemon/status_json.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

/// What /readyz says.
struct Readiness {
    bool is_ready = false;
    std::string words;
};

class StatusFeed {
  public:
    static constexpr std::size_t services_max = 50;  ///< told by name
    static constexpr std::size_t events_max = 30;    ///< of the recent ones, in the status
    static constexpr std::size_t statements_max = 20;
    static constexpr std::chrono::seconds interval{1};
    static constexpr std::chrono::seconds unwatched_interval{5};

    /// Has workers tell of their statements, and calls `take_statements` some time later.
    using AskStatements = std::function<void()>;

    StatusFeed(boost::asio::io_context& context, const Clusters& clusters,
               const ServiceIndex& services, std::function<Readiness()> readiness,
               AskStatements ask_statements);
    StatusFeed(const StatusFeed&) = delete;
    StatusFeed& operator=(const StatusFeed&) = delete;
    ~StatusFeed();

    void start();
    /// Ends those that watch, too.
    void stop();

    /// Those that took the most time, that first.
    void take_statements(std::vector<core::StatementLine> statements);

    /// What /api/v1/stream sends.
    const std::shared_ptr<EventTopic>& topic() const { return topic_; }
    /// What /api/v1/status answers, with the past.
    std::string status_text();
    /// What /api/v1/events answers: all of them.
    static std::string events_text();

  private:
    void wait();
    void look();
    void look_if_due(std::chrono::steady_clock::duration since);
    Status status() const;

    const Clusters& clusters_;
    const ServiceIndex& services_;
    std::function<Readiness()> readiness_;
    AskStatements ask_statements_;
    std::vector<core::StatementLine> statements_;
    std::shared_ptr<EventTopic> topic_ = std::make_shared<EventTopic>();
    StatusHistory history_;
    boost::asio::steady_timer timer_;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

}  // namespace schemux::daemon
