// The worker's part that ends things: statements that are cancelled or whose client has gone,
// backends that are closed, are lost or are too old, and what then becomes of those who wait for
// them. Who gets a backend is decided in worker_backends.cpp.

#include "daemon/log.h"
#include "daemon/worker.h"
#include "protocol/message_type.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace schemux::daemon {

namespace {

/// Seconds until a server that does not answer a Terminate is cut off.
constexpr int closing_ticks_max = 10;
/// Seconds until what runs behind a Terminate is cancelled: a pool has to serve others.
constexpr int linger_ticks_max = 60;
/// Seconds that a backend may need to come to rest, cancelled each second, before it is closed.
constexpr int abandoned_ticks_max = 5;
/// Backends that may end on their way to one waiting client before it is told.
constexpr int broken_promises_max = 8;

}  // namespace

// ---- cancelling --------------------------------------------------------------------------------

/// One at a time for each backend, so that their number has the pool's bound. Until it has ended,
/// the backend gets no new work: neither of its client's (core::Relay) nor of another's
/// (`release`).
void Worker::cancel_backend(BackendConnection& backend) {
    if (backend.state.cancels_in_flight > 0) {
        // What it hits may have been sent before what this one is for.
        backend.cancel_again = true;
        return;
    }
    ++backend.state.cancels_in_flight;
    control_.send_cancel(backend.address, backend.state.pid, backend.state.secret,
                         [this, id = backend.self](CancelEnd end) {
                             run([this, id, end] { on_cancel_end(id, end); });
                         });
}

void Worker::on_cancel_end(core::SessionId id, CancelEnd end) {
    BackendConnection* target = backends_.find(id);
    if (target == nullptr) return;
    --target->state.cancels_in_flight;
    const bool again = std::exchange(target->cancel_again, false);
    // It may strike whenever the server gets round to it: nobody else may be there then.
    if (end == CancelEnd::unknown) target->state.dying = true;
    if (target->phase == BackendPhase::parked) {
        release(*target);
    } else if (target->phase == BackendPhase::leased) {
        if (Session* holder = session(target->session)) holder->on_cancel_end(again);
    }
}

// ---- by order -----------------------------------------------------------------------------------

std::size_t Worker::kill_if(const std::function<bool(const Session&)>& wanted) {
    std::vector<core::SessionId> condemned;
    sessions_.for_each([&](Session& session) {
        if (wanted(session)) condemned.push_back(session.id());
    });
    for (const core::SessionId id : condemned) {
        if (Session* target = session(id)) target->kill();
    }
    return condemned.size();
}

// ---- endings -----------------------------------------------------------------------------------

/// Its client has gone: what runs is cancelled, or may finish first.
void Worker::begin_linger(BackendConnection& backend, bool abandoned) {
    backend.phase_ticks = 0;
    if (abandoned && !backend.state.replies.empty()) cancel_backend(backend);
}

/// Ends what goes on for clients that have gone, each in its time.
void Worker::look_at_lingering() {
    std::vector<BackendConnection*> late;
    backends_.for_each([&](BackendConnection& backend) {
        Session* holder =
            backend.phase == BackendPhase::leased ? session(backend.session) : nullptr;
        if (holder == nullptr || !holder->lingers()) return;
        const bool abandoned = holder->relay().abandoned();
        if (++backend.phase_ticks > (abandoned ? abandoned_ticks_max : linger_ticks_max)) {
            late.push_back(&backend);
        } else if (abandoned && backend.state.cancels_in_flight == 0) {
            cancel_backend(backend);
        }
    });
    for (BackendConnection* backend : late) {
        Session& holder = *session(backend->session);
        if (holder.relay().abandoned()) {
            abort(*backend);
            holder.give_up();
        } else {
            holder.abandon();
            begin_linger(*backend, true);
        }
    }
}

/// What its client left cannot be ended: PostgreSQL is told to stop; then the slot comes free.
void Worker::abort(BackendConnection& backend) {
    if (!backend.state.replies.empty()) {
        control_.send_cancel(backend.address, backend.state.pid, backend.state.secret,
                             [](CancelEnd) {});
    }
    close_backend(backend, "client_gone");
}

void Worker::poison(BackendConnection& backend, std::string_view why) {
    counters_.desyncs.add();
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::error, "backend_desync",
                      {{"backend_pid", backend.state.pid}, {"error", why}});
    close_backend(backend, "desync");
}

void Worker::close_backend(BackendConnection& backend, std::string_view reason) {
    if (backend.phase == BackendPhase::closing) return;
    if (backend.phase == BackendPhase::leased) end_lease(backend);
    if (backend.phase == BackendPhase::upkeep) counters_.backends_upkeep.subtract();
    if (backend.phase == BackendPhase::idle) remove_idle(backend);
    backend.phase = BackendPhase::closing;
    backend.phase_ticks = 0;
    end_use(backend);
    seeks_idle_ = seeks_idle_ || shared_.pool.contended();
    counters_.backends_closed.add();
    log_event(LogLevel::debug, "backend_closed",
              {{"backend_pid", backend.state.pid},
               {"reason", reason},
               {"age_s", seconds_of(context_.now - backend.state.opened)}});
    core::Output goodbye;
    goodbye.generate([](std::string& out) {
        protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::terminate));
    });
    backend.streams->resume(*backend.stream);
    backend.streams->send(*backend.stream, goodbye);
    backend.streams->shut_down(*backend.stream);
}

/// The server's end of stream: only now is there one connection less.
void Worker::on_backend_end(BackendConnection& backend) {
    const BackendPhase phase = backend.phase;
    Session* holder = backend.has_session ? session(backend.session) : nullptr;
    if (phase == BackendPhase::upkeep) {
        const bool before_lease = backend.upkeep->before_lease();
        close_backend(backend, "server_closed");
        free_slot(backend);
        // No byte of the client's was sent: another backend serves it as well.
        if (before_lease && holder != nullptr) requeue(holder->id());
        return;
    }
    if (phase != BackendPhase::closing) close_backend(backend, "server_closed");
    free_slot(backend);
    if (phase == BackendPhase::leased && holder != nullptr) holder->on_backend_lost();
}

/// The backend that a session was promised is gone before the session had it.
void Worker::requeue(core::SessionId id) {
    Session* waiter = session(id);
    if (waiter == nullptr || !waiter->waiting()) return;
    // A server that logs everybody in and then hangs up would keep us busy for ever.
    if (++waiter->broken_promises > broken_promises_max) {
        refuse_promised(id);
        return;
    }
    stop_waiting(*waiter);
    if (!enqueue(*waiter)) return;
    control_.wake_connector();
    seek_idle();
}

void Worker::refuse_promised(core::SessionId id) {
    Session* waiter = session(id);
    if (waiter == nullptr || !waiter->waiting()) return;
    stop_waiting(*waiter);
    waiter->broken_promises = 0;
    waiter->on_acquire_failed(protocol::make_error(
        protocol::sqlstate::connection_failure,
        "the connection to PostgreSQL failed while it was made ready for this client"));
}

void Worker::free_slot(BackendConnection& backend) {
    std::vector<core::SessionId> promised;
    std::erase_if(grants_, [&](const auto& grant) {
        if (grant.second == &backend) promised.push_back(grant.first);
        return grant.second == &backend;
    });
    backend.streams->close(std::exchange(backend.stream, nullptr));
    shared_.pool.return_slot(backend.sub_pool.get(), backend.evicted);
    control_.wake_connector();
    dead_backends_.push_back(backends_.remove(backend.self));
    for (const core::SessionId id : promised)
        requeue(id);
}

void Worker::remove_idle(BackendConnection& backend) {
    const auto found = std::find(idle_.begin(), idle_.end(), &backend);
    if (found != idle_.end()) take_out(static_cast<std::size_t>(found - idle_.begin()));
}

bool Worker::outdated(const BackendConnection& backend) const {
    return backend.epoch != shared_.backend_epoch.load(std::memory_order_relaxed);
}

bool Worker::worn_out(const BackendConnection& backend) const {
    if (outdated(backend)) return true;
    if (policy_->lifetime.count() == 0) return false;
    // Spread by up to a tenth, so that connections opened together do not end together.
    const auto lifetime = policy_->lifetime * (100 - backend.lifetime_jitter_percent) / 100;
    return context_.now - backend.state.opened > lifetime;
}

/// Closes what is too old or has rested too long, and cuts off servers that do not end.
void Worker::recycle_idle() {
    std::vector<BackendConnection*> ending;
    std::vector<BackendConnection*> stuck;
    const bool keep_minimum = shared_.pool.open() <= shared_.pool.minimum();
    for (BackendConnection* backend : idle_) {
        const bool rested = policy_->idle_timeout.count() != 0 && !keep_minimum &&
                            context_.now - backend->state.idle_since > policy_->idle_timeout;
        if (rested || worn_out(*backend) || shared_.pool.over_bound()) ending.push_back(backend);
    }
    for (BackendConnection* backend : ending)
        close_backend(*backend, "recycled");
    backends_.for_each([this, &stuck](BackendConnection& backend) {
        if (backend.phase == BackendPhase::upkeep && upkeep_is_late(backend))
            stuck.push_back(&backend);
        if (backend.phase != BackendPhase::closing) return;
        if (++backend.phase_ticks > closing_ticks_max) free_slot(backend);
    });
    for (BackendConnection* backend : stuck)
        give_up_upkeep(*backend);
}

}  // namespace schemux::daemon
