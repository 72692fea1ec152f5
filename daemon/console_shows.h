// What the admin console shows: rows from the workers' counters and the pools, gathered when
// somebody asks, on the control thread.
// It must not know the configuration (what of it is shown comes as ConsoleService and the like),
// nor the protocol.
#pragma once

#include "core/console_session.h"
#include "core/counters.h"
#include "daemon/acceptor.h"
#include "daemon/cluster.h"
#include "daemon/console_lists.h"
#include "daemon/service_index.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace schemux::daemon {

/// A service, or a pattern of some, as the configuration has it.
struct ConsoleService {
    std::string name;
    std::string schema;
    std::string isolation;
    std::string role;      ///< empty: that of the backend's dsn
    std::string database;  ///< at PostgreSQL
    std::string host;
    std::uint16_t port = 0;
    std::string mode;
    std::size_t cluster = 0;
    std::uint32_t cap = 0;  ///< backends that it may have
    std::uint32_t max_clients = 0;
    std::int64_t lifetime_s = 0;
    bool paused = false;
    bool disabled = false;
    std::string placeholders;  ///< forms of templates that are rewritten
};

struct ConsoleUser {
    std::string name;
    std::uint32_t max_clients = 0;
};

struct ConsoleSetting {
    std::string key;
    std::string value;
    std::string default_value;
    bool changeable = false;  ///< by a reload
};

/// What of the configuration in use is shown.
struct ConsoleView {
    std::vector<ConsoleService> services;
    std::vector<ConsoleUser> users;
    DefaultIdentities identities;
    std::vector<ConsoleSetting> settings;
    bool paused = false;
    std::uint32_t consoles = 0;  ///< sessions
};

/// Sums over the workers of what PgBouncer counts.
struct ConsoleTotals {
    std::uint64_t clients = 0;
    std::uint64_t waiting = 0;
    std::uint64_t leases = 0;
    std::uint64_t assignments = 0;
    std::uint64_t transactions = 0;
    std::uint64_t queries = 0;
    std::uint64_t received = 0;
    std::uint64_t sent = 0;
    std::uint64_t transaction_us = 0;
    std::uint64_t query_us = 0;
    std::uint64_t wait_us = 0;
    std::uint64_t logins = 0;
    std::uint64_t errors = 0;
    std::uint64_t rewrites = 0;
    std::uint64_t template_errors = 0;
    std::uint64_t refused = 0;
    std::uint64_t timed_out = 0;
    std::array<std::uint64_t, core::session_feature_count> pinned{};

    void add(const core::ServiceCounters& counters);
};

class ConsoleShows {
  public:
    /// What avg_ columns are averages over, as PgBouncer's stats_period.
    static constexpr std::chrono::seconds period{60};

    ConsoleShows(boost::asio::io_context& io, const Acceptor& acceptor, const Clusters& clusters,
                 const ServiceIndex& services)
        : acceptor_(acceptor), clusters_(clusters), services_(services), timer_(io) {}

    /// Takes a look now and then, for the averages.
    void start();
    void stop() { timer_.cancel(); }
    core::ConsoleTable table(core::ConsoleShow show, core::ConsoleColumns columns,
                             const ConsoleView& view) const;

  private:
    using ByName = std::map<std::string, ConsoleTotals>;

    ByName totals() const;
    void look();
    void fill(core::ConsoleTable& out, core::ConsoleShow show, const ConsoleView& view) const;
    void show_databases(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_pools(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_lists(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_users(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_stats(core::ConsoleTable& out, const ConsoleView& view, core::ConsoleShow show) const;
    void show_totals(core::ConsoleTable& out) const;
    void show_services(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_backends(core::ConsoleTable& out) const;
    void show_queue(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_templates(core::ConsoleTable& out, const ConsoleView& view) const;
    void show_mem(core::ConsoleTable& out) const;
    void show_pins(core::ConsoleTable& out, const ConsoleView& view) const;
    /// What was added in the last whole period.
    ConsoleTotals lately(const std::string& name) const;

    const Acceptor& acceptor_;
    const Clusters& clusters_;
    const ServiceIndex& services_;
    boost::asio::steady_timer timer_;
    ByName before_;  ///< at the beginning of the last whole period
    ByName last_;    ///< at its end
};

}  // namespace schemux::daemon
