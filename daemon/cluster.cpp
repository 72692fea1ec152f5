#include "daemon/cluster.h"

#include <utility>

namespace schemux::daemon {

Cluster::Cluster(boost::asio::io_context& io, ProcessState& process, ClusterPlace place,
                 std::uint32_t max_connections)
    : io_(io), shared_(process, std::move(place), max_connections) {}

void Cluster::equip(BackendAccess access, IoEngine engine) {
    connector_ = std::make_unique<Connector>(io_, shared_, std::move(access));
    listener_ = std::make_unique<SharedListener>(io_, *connector_, workers_);
    connector_->set_listener(*listener_);
    std::vector<Worker*> workers;
    for (std::uint32_t number = 0; number < shared_.place.workers; ++number) {
        workers_.push_back(std::make_unique<Worker>(number, shared_, *connector_, engine));
        workers.push_back(workers_.back().get());
    }
    for (const auto& worker : workers_)
        worker->set_peers(workers);
    connector_->set_workers(std::move(workers));
}

void Cluster::start() {
    for (const auto& worker : workers_)
        worker->start();
    connector_->wake_connector();
}

void Cluster::stop_workers() {
    for (const auto& worker : workers_)
        worker->stop();
}

void Cluster::drain() {
    for (const auto& worker : workers_)
        worker->post_drain();
}

void Cluster::set_bounds(const ClusterBounds& bounds) {
    shared_.pool.set_maximum(bounds.most);
    shared_.pool.set_minimum(bounds.least);
}

void Cluster::look_again() {
    connector_->wake_connector();
    for (const auto& worker : workers_)
        worker->post_give_up_idle();
}

std::uint32_t Cluster::session_count() const {
    std::uint32_t count = 0;
    for (const auto& worker : workers_)
        count += worker->session_count();
    return count;
}

bool Cluster::is_away() const {
    // A connect that is under way counts as open, and is none yet.
    return !shared_.last_failure.get().empty() && shared_.pool.open() <= shared_.pool.connecting();
}

}  // namespace schemux::daemon
