// The worker's part that ends things: what daemon/worker_endings.cpp does.
#include "protocol/messages.h"
#include "tests/simulation/worker.h"

#include <algorithm>
#include <utility>

namespace schemux::simulation {

using core::UpkeepGoal;

namespace {

constexpr int closing_ticks_max = 10;
constexpr int upkeep_ticks_max = 30;
constexpr int broken_promises_max = 8;

}  // namespace

// ---- cancelling ----

Backend* Worker::find(const Server* server) {
    for (const auto& backend : backends_) {
        if (backend->server == server) return backend.get();
    }
    return nullptr;
}

void Worker::cancel_backend(Backend& backend) {
    if (backend.state.cancels_in_flight > 0) {
        backend.cancel_again = true;
        return;
    }
    ++shared_.counts.cancels;
    ++backend.state.cancels_in_flight;
    Server* server = backend.server;
    const auto done = [this, server] {
        Backend* target = find(server);
        if (target == nullptr) return;
        --target->state.cancels_in_flight;
        const bool again = std::exchange(target->cancel_again, false);
        if (target->phase == Phase::parked) {
            release(*target);
        } else if (target->phase == Phase::leased) {
            if (Session* holder = session(target->session)) holder->on_cancel_end(again);
        }
    };
    shared_.cancels.push_back(
        {server->number(), server->lessee()->number(), false, [this, done] { post(done); }});
}

void Worker::abort(Backend& backend) {
    if (!backend.state.replies.empty()) {
        const Server& server = *backend.server;
        shared_.cancels.push_back({server.number(), server.lessee()->number(), false, [] {}});
    }
    close_backend(backend);
}

// ---- endings ----

void Worker::close_backend(Backend& backend) {
    if (backend.phase == Phase::closing) return;
    if (backend.phase == Phase::idle) {
        std::erase(idle_, &backend);
        publish_idle();
    }
    backend.phase = Phase::closing;
    backend.phase_ticks = 0;
    end_use(backend);
    seeks_idle_ = seeks_idle_ || shared_.pool.contended();
    std::string goodbye;
    protocol::append_empty(goodbye, 'X');
    backend.server->stream.paused = false;
    backend.server->stream.send(goodbye);
    backend.server->stream.shut = true;
}

void Worker::on_backend_bytes(Backend& backend, std::string_view bytes) {
    switch (backend.phase) {
        case Phase::leased:
            if (Session* holder = session(backend.session)) holder->on_backend_bytes(bytes);
            break;
        case Phase::upkeep:
            on_upkeep_bytes(backend, bytes);
            break;
        case Phase::idle:
        case Phase::parked: {
            const core::IdleNews news =
                core::read_idle(bytes, backend.state, context_.backend_carry, context_.buffers);
            demand(news.kind != core::IdleNews::Kind::desync,
                   "an honest server is silent when nobody has it");
            if (news.kind == core::IdleNews::Kind::parameters) shared_.welcomes.clear();
            if (news.kind == core::IdleNews::Kind::gone) close_backend(backend);
            break;
        }
        case Phase::closing:
            break;
    }
    settle();
}

void Worker::on_backend_drained(Backend& backend) {
    backend.server->stream.drained = false;
    if (backend.phase == Phase::leased) {
        if (Session* holder = session(backend.session)) holder->on_backend_drained();
    }
    settle();
}

void Worker::on_backend_end(Backend& backend) {
    backend.server->stream.end_told = true;
    const Phase phase = backend.phase;
    Session* holder = backend.has_session ? session(backend.session) : nullptr;
    if (phase == Phase::upkeep) {
        const bool relabel = backend.upkeep->goal() == UpkeepGoal::relabel;
        close_backend(backend);
        free_slot(backend);
        if (relabel && holder != nullptr) requeue(holder->id());
    } else {
        close_backend(backend);
        free_slot(backend);
        if (phase == Phase::leased && holder != nullptr) holder->on_backend_lost();
    }
    settle();
}

void Worker::requeue(core::SessionId id) {
    Session* waiter = session(id);
    if (waiter == nullptr || !waiter->waiting()) return;
    if (++waiter->broken_promises > broken_promises_max) return refuse_promised(id);
    stop_waiting(*waiter);
    if (!enqueue(*waiter)) return;
    shared_.connector_woken = true;
    seek_idle();
}

void Worker::refuse_promised(core::SessionId id) {
    Session* waiter = session(id);
    if (waiter == nullptr || !waiter->waiting()) return;
    stop_waiting(*waiter);
    waiter->broken_promises = 0;
    waiter->on_acquire_failed(protocol::make_error("08006", "the connection failed"));
}

void Worker::free_slot(Backend& backend) {
    std::vector<core::SessionId> promised;
    std::erase_if(grants_, [&](const auto& grant) {
        if (grant.second == &backend) promised.push_back(grant.first);
        return grant.second == &backend;
    });
    backend.server->stream.closed = true;
    shared_.pool.return_slot();
    shared_.connector_woken = true;
    const auto at = std::find_if(backends_.begin(), backends_.end(),
                                 [&](const auto& owned) { return owned.get() == &backend; });
    dead_backends_.push_back(std::move(*at));
    backends_.erase(at);
    for (const core::SessionId id : promised)
        requeue(id);
}

void Worker::recycle_idle() {
    std::vector<Backend*> ending;
    std::vector<Backend*> over;
    std::vector<Backend*> stuck;
    for (Backend* backend : idle_) {
        const bool rested = context_.now - backend->state.idle_since > shared_.idle_timeout;
        if (rested || worn_out(*backend) || shared_.pool.over_bound()) ending.push_back(backend);
    }
    for (Backend* backend : ending)
        close_backend(*backend);
    for (const auto& backend : backends_) {
        if (backend->phase == Phase::upkeep && ++backend->phase_ticks > upkeep_ticks_max)
            stuck.push_back(backend.get());
        if (backend->phase == Phase::closing && ++backend->phase_ticks > closing_ticks_max)
            over.push_back(backend.get());
    }
    for (Backend* backend : over)
        free_slot(*backend);
    for (Backend* backend : stuck) {
        close_backend(*backend);
        if (backend->has_session) requeue(backend->session);
    }
}

}  // namespace schemux::simulation
