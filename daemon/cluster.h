// One cluster of PostgreSQL behind schemux: its bounded pool, what connects to it, the session that
// listens there for all, and the threads that serve the clients of its services. Several share
// nothing but the front door and who is known there (ProcessState).
// It must not know the configuration, nor who gets in.
#pragma once

#include "daemon/connector.h"
#include "daemon/io_engine.h"
#include "daemon/shared_listener.h"
#include "daemon/shared_state.h"
#include "daemon/worker.h"

#include <boost/asio/io_context.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

/// How many connections there may be, and are to be kept.
struct ClusterBounds {
    std::uint32_t most = 0;
    std::uint32_t least = 0;
};

/// On the control thread, whose io_context it is given.
class Cluster {
  public:
    Cluster(boost::asio::io_context& io, ProcessState& process, ClusterPlace place,
            std::uint32_t max_connections);
    Cluster(const Cluster&) = delete;
    Cluster& operator=(const Cluster&) = delete;

    /// Before `start`.
    void equip(BackendAccess access, IoEngine engine);
    void start();
    /// Ends the threads: nothing of what they use may go before.
    void stop_workers();
    void drain();

    void set_access(BackendAccess access) { connector_->set_access(std::move(access)); }
    void set_bounds(const ClusterBounds& bounds);
    /// What changed may let somebody in, or be for backends that rest to be looked at.
    void look_again();

    const std::string& name() const { return shared_.place.name; }
    SharedState& shared() { return shared_; }
    const SharedState& shared() const { return shared_; }
    Connector& connector() { return *connector_; }
    const Connector& connector() const { return *connector_; }
    const SharedListener& listener() const { return *listener_; }
    const std::vector<std::unique_ptr<Worker>>& workers() const { return workers_; }
    std::uint32_t session_count() const;
    /// Nobody could be served, unless it comes back.
    bool is_away() const;

  private:
    boost::asio::io_context& io_;
    SharedState shared_;
    std::unique_ptr<Connector> connector_;
    std::unique_ptr<SharedListener> listener_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

using Clusters = std::vector<std::unique_ptr<Cluster>>;

}  // namespace schemux::daemon
