#include "daemon/backend_connection.h"

#include "daemon/session.h"
#include "daemon/worker.h"

#include <utility>

namespace schemux::daemon {

BackendConnection::BackendConnection(Worker& worker, NewBackend&& from)
    : address(from.address),
      pending(std::move(from.connection)),
      epoch(from.epoch),
      sub_pool(std::move(from.sub_pool)),
      worker_(&worker) {
    state.parameters = std::move(from.parameters);
    state.pid = from.pid;
    state.secret = std::move(from.secret);
    lifetime_jitter_percent = from.pid % 10;
}

BackendConnection::BackendConnection(Worker& worker, BackendConnection&& other, Connection moved)
    : state(std::move(other.state)),
      address(other.address),
      pending(std::move(moved)),
      lifetime_jitter_percent(other.lifetime_jitter_percent),
      epoch(other.epoch),
      sub_pool(other.sub_pool),
      last_share(other.last_share),
      measured_at(other.measured_at),
      services(std::move(other.services)),
      worker_(&worker) {}

void BackendConnection::on_bytes(std::string_view bytes) {
    switch (phase) {
        case BackendPhase::leased:
            if (Session* holder = worker_->session(session)) holder->on_backend_bytes(bytes);
            break;
        case BackendPhase::upkeep:
            worker_->on_upkeep_bytes(*this, bytes);
            break;
        case BackendPhase::idle:
        case BackendPhase::parked:
            on_idle_bytes(bytes);
            break;
        case BackendPhase::closing:
            break;
    }
    worker_->settle();
}

/// Between leases a server may report a changed setting or say that it goes away.
void BackendConnection::on_idle_bytes(std::string_view bytes) {
    core::WorkerContext& context = worker_->context();
    const core::IdleNews news =
        core::read_idle(bytes, state, context.backend_carry, context.buffers);
    switch (news.kind) {
        case core::IdleNews::Kind::nothing:
            return;
        case core::IdleNews::Kind::parameters:
            worker_->welcomes().clear();
            return;
        case core::IdleNews::Kind::gone:
            worker_->close_backend(*this, "server_closed");
            return;
        case core::IdleNews::Kind::desync:
            worker_->poison(*this, news.desync);
            return;
    }
}

void BackendConnection::on_drained() {
    if (phase == BackendPhase::leased) {
        if (Session* holder = worker_->session(session)) holder->on_backend_drained();
    }
    worker_->settle();
}

void BackendConnection::on_end(int /*error*/) {
    worker_->on_backend_end(*this);
    worker_->settle();
}

}  // namespace schemux::daemon
