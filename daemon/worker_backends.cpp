// The worker's part that owns backends: who gets one, and who gives one back. What is done to it in
// between: worker_upkeep.cpp. How they end, and what is done for clients that wait or have gone
// meanwhile: worker_endings.cpp.

#include "daemon/log.h"
#include "daemon/worker.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace schemux::daemon {

using core::Upkeep;
using core::UpkeepState;

namespace {

/// An idle backend that rested this long is looked at before it is trusted with a client's message.
constexpr auto trusted_rest = std::chrono::seconds(1);
/// For how long backends leave other databases, and how often that may be asked for.
constexpr auto leave_window = std::chrono::seconds(2);
constexpr auto leave_interval = std::chrono::seconds(5);

}  // namespace

void Worker::post_backend(NewBackend&& backend, std::optional<core::Ticket> ticket) {
    run([this, fresh = std::make_shared<NewBackend>(std::move(backend)), ticket] {
        auto connection = std::make_unique<BackendConnection>(*this, std::move(*fresh));
        log_event(LogLevel::debug, "backend_opened",
                  {{"backend_pid", connection->state.pid}, {"host", fresh->host}});
        if (!connection->sub_pool) connection->sub_pool = shared_.pool.default_sub_pool();
        connection->state.opened = connection->state.idle_since = context_.now;
        connection->state.statements.set_bounds(policy_->statements_per_backend);
        adopt(std::move(connection), ticket);
    });
}

void Worker::adopt(std::unique_ptr<BackendConnection> owned, std::optional<core::Ticket> ticket) {
    BackendConnection& backend = *owned;
    backend.streams = &streams_for(backend.pending);
    backend.stream = backend.streams->add(std::move(backend.pending), backend);
    if (backend.stream == nullptr) {
        log_event(LogLevel::warning, "backend_closed",
                  {{"backend_pid", backend.state.pid},
                   {"reason", "no_room"},
                   {"age_s", seconds_of(context_.now - backend.state.opened)}});
        if (ticket) shared_.pool.end_use(number_, *ticket->share);
        shared_.pool.return_slot(backend.sub_pool.get());
        control_.wake_connector();
        return;
    }
    backend.self = backends_.reserve();
    backends_.set(backend.self, std::move(owned));
    if (ticket && ticket->worker == number_) {
        deliver(backend, *ticket);
    } else {
        make_available(backend);
    }
}

// ---- getting one -------------------------------------------------------------------------------

BackendConnection* Worker::acquire(Session& session) {
    if (!session.relay().may_acquire()) {
        watch_pin(session);
        return nullptr;
    }
    core::Share& share = *session.relay().service().share;
    core::SubPool* const own = shared_.pool.of(share);
    if (shared_.pool.idle_of(number_, own) > 0 && shared_.pool.begin_use(number_, share)) {
        if (BackendConnection* backend = take_idle(session)) {
            backend->use = core::Use(share, context_.now, core::Nanoseconds(0));
            return begin_lease(*backend, session) ? backend : nullptr;
        }
        shared_.pool.end_use(number_, share);
    }
    if (!enqueue(session)) return nullptr;
    if (shared_.pool.may_grow() || shared_.pool.is_divided()) control_.wake_connector();
    // Published before looking: either we see the idle one, or its worker sees our ticket.
    if (shared_.pool.idle_of(number_, own) == 0 || choose_idle(session)) seek_idle();
    return nullptr;
}

/// False: it will be refused at the end of this turn.
bool Worker::enqueue(Session& session) {
    const core::Service& service = session.relay().service();
    core::Ticket ticket;
    ticket.worker = number_;
    ticket.session = session.id();
    ticket.label_hash = session.relay().label().hash();
    ticket.share = service.share.get();
    ticket.patience = service.acquire_timeout;
    const core::FairQueue::Pushed pushed =
        shared_.pool.enqueue(ticket, context_.now.time_since_epoch());
    session.ticket = pushed.handle;
    if (pushed.refusal == core::Refusal::none) return true;
    refusals_.emplace_back(session.id(), pushed.refusal);
    return false;
}

/// For those who wait, ours or another worker's. A worker that has given all it had passes the word
/// on: the one who asked it may have come too late.
void Worker::seek_idle() {
    dispatch_idle();
    // Where there are several identities, what is left here may be of no use to who waits.
    if (!shared_.pool.contended() || (!idle_.empty() && !shared_.pool.is_divided())) return;
    if (const auto other = shared_.pool.idle_elsewhere(number_)) {
        peers_[*other]->post_give_up_idle();
    }
}

/// The place in `idle_` of the one that suits the session best; none: let another be opened.
std::optional<std::size_t> Worker::choose_idle(const Session& session) const {
    const core::SubPool* const own = shared_.pool.of(*session.relay().service().share);
    if (shared_.pool.idle_of(number_, own) == 0) return {};
    if (policy_->rotate_backends) return choose_another(session, own);
    std::array<std::size_t, core::limits::idle_window> window{};
    std::size_t seen = 0;
    for (std::size_t place = idle_.size(); place-- > 0 && seen < window.size();) {
        if (idle_[place]->sub_pool.get() != own) continue;
        if (idle_[place]->state.label == session.relay().label()) return place;
        window[seen++] = place;
    }
    if (!policy_->service_affinity) return window[0];
    return choose_by_service(session.relay().service().cache_key, {window.data(), seen});
}

/// For tests: not the one that it had last.
std::optional<std::size_t> Worker::choose_another(const Session& session,
                                                  const core::SubPool* own) const {
    std::optional<std::size_t> last;
    for (std::size_t place = 0; place < idle_.size(); ++place) {
        if (idle_[place]->sub_pool.get() != own) continue;
        if (idle_[place]->state.pid != session.last_backend_pid) return place;
        last = place;
    }
    return shared_.pool.may_grow() ? std::nullopt : last;
}

/// One that has served the service before; or else the one that has served the fewest others.
std::size_t Worker::choose_by_service(std::size_t service,
                                      std::span<const std::size_t> places) const {
    std::size_t chosen = places.front();
    for (const std::size_t place : places) {
        const core::ServicesSeen& seen = idle_[place]->services;
        if (seen.has(service)) return place;
        if (seen.count() < idle_[chosen]->services.count()) chosen = place;
    }
    return chosen;
}

BackendConnection* Worker::take_idle(const Session& session) {
    while (const auto chosen = choose_idle(session)) {
        BackendConnection& backend = *idle_[*chosen];
        take_out(*chosen);
        const bool rested = context_.now - backend.state.idle_since > trusted_rest;
        if (rested && backend.streams->has_news(*backend.stream)) {
            close_backend(backend, "gone_while_idle");
            continue;
        }
        if (outdated(backend)) {
            close_backend(backend, "recycled");
            continue;
        }
        return &backend;
    }
    return nullptr;
}

/// It rested for so long that the way there may be gone without a word.
bool Worker::is_doubtful(const BackendConnection& backend) const {
    const auto limit = policy_->health_check_after;
    return limit.count() > 0 && context_.now - backend.state.idle_since > limit;
}

/// True: leased now. False: it is checked or its settings are changed first, and the grant comes
/// later.
bool Worker::begin_lease(BackendConnection& backend, Session& session) {
    backend.session = session.id();
    backend.has_session = true;
    const core::Label& label = session.relay().label();
    if (is_doubtful(backend)) {
        std::string sync;
        Upkeep upkeep = Upkeep::check(sync);
        backend.state.idle_since = context_.now;
        context_.to_backend.generate([&](std::string& out) { out.append(sync); });
        start_upkeep(backend, std::move(upkeep));
        return false;
    }
    if (!(backend.state.label == label)) {
        session.relay().counters().label_switches.add();
        std::string sql;
        Upkeep upkeep = Upkeep::relabel(backend.state, label, sql);
        if (upkeep.state() == UpkeepState::running) {
            context_.to_backend.generate([&](std::string& out) { out.append(sql); });
            start_upkeep(backend, std::move(upkeep));
            return false;
        }
    }
    backend.phase = BackendPhase::leased;
    backend.client_id = session.relay().identity().pid;
    backend.leased_at = context_.now;
    backend.verified = session.relay().service().state == core::StateCare::verify;
    session.broken_promises = 0;
    backend.services.add(session.relay().service().cache_key);
    session.last_backend_pid = backend.state.pid;
    counters_.backends_leased.add();
    return true;
}

void Worker::deliver(BackendConnection& backend, const core::Ticket& ticket) {
    assert(ticket.worker == number_);
    backend.use = core::Use(*ticket.share, context_.now, ticket.prepaid);
    grants_.emplace_back(ticket.session, &backend);
    backend.phase = BackendPhase::parked;
}

/// Nobody holds it any more.
void Worker::end_lease(const BackendConnection& backend) {
    counters_.backends_leased.subtract();
    history_.add({backend.state.pid, backend.client_id, backend.leased_at, context_.now});
}

void Worker::end_use(BackendConnection& backend) {
    core::Share* share = backend.use.share();
    if (share == nullptr) return;
    backend.use.finish(context_.now);
    backend.use = {};
    backend.last_share = share;
    shared_.pool.end_use(number_, *share);
    // It may have let somebody in who was held back.
    if (shared_.pool.contended() && shared_.pool.may_grow()) control_.wake_connector();
}

/// Begins the leases that were decided on in this turn. In a loop, not in a recursion: one grant
/// can make the next one possible.
void Worker::run_grants() {
    while (!grants_.empty()) {
        granting_.swap(grants_);
        for (const auto& [id, backend] : granting_) {
            Session* waiter = session(id);
            // The primary may have moved while it was on its way from the connector.
            if (backend->phase == BackendPhase::parked && outdated(*backend))
                close_backend(*backend, "recycled");
            if (backend->phase == BackendPhase::closing) {
                requeue(id);
                continue;
            }
            if (waiter == nullptr || !waiter->waiting()) {
                backend->has_session = false;
                make_available(*backend);
                continue;
            }
            stop_waiting(*waiter);
            if (begin_lease(*backend, *waiter)) waiter->on_granted(*backend);
        }
        granting_.clear();
    }
}

/// To a session of another worker: the connection moves there.
void Worker::hand_over(BackendConnection& backend, const core::Ticket& ticket) {
    counters_.migrations.add();
    Connection connection = backend.streams->release(std::exchange(backend.stream, nullptr));
    std::unique_ptr<BackendConnection> leaving = backends_.remove(backend.self);
    Worker& there = *peers_[ticket.worker];
    auto moved = std::make_shared<std::unique_ptr<BackendConnection>>(
        std::make_unique<BackendConnection>(there, std::move(*leaving), std::move(connection)));
    dead_backends_.push_back(std::move(leaving));
    there.run([&there, moved, ticket] { there.adopt(std::move(*moved), ticket); });
}

// ---- giving it back ----------------------------------------------------------------------------

void Worker::release(BackendConnection& backend) {
    if (backend.phase == BackendPhase::leased) end_lease(backend);
    backend.phase = BackendPhase::parked;
    if (std::exchange(backend.state.refused_to_write, false))
        control_.doubt_server(backend.address);
    // It says more than anybody waits for, or nothing any more.
    if (backend.state.dying) return close_backend(backend, "server_closed");
    // A cancel that is still under way could hit the next client's query.
    if (backend.state.cancels_in_flight > 0) return;
    backend.cancel_again = false;
    if (worn_out(backend) || shared_.pool.over_bound()) return close_backend(backend, "recycled");
    if (Upkeep::reset_needed(backend.state)) {
        if (Session* holder = session(backend.session)) holder->relay().counters().scrubs.add();
        note_last_service(backend);
        backend.has_session = false;
        std::string sql;
        Upkeep upkeep = Upkeep::reset(backend.state, sql);
        context_.to_backend.generate([&](std::string& out) { out.append(sql); });
        start_upkeep(backend, std::move(upkeep));
        return;
    }
    if (audit_is_due(backend, false)) {
        note_last_service(backend);
        return audit(backend);
    }
    if (measure_is_due(backend)) return measure(backend);
    backend.has_session = false;
    make_available(backend);
}

void Worker::make_available(BackendConnection& backend) {
    end_use(backend);
    // It has answered, but not read all: rows of a COPY that failed, or it is no PostgreSQL.
    if (backend.streams->has_unsent(*backend.stream)) {
        close_backend(backend, "unsent");
        return;
    }
    backend.state.idle_since = context_.now;
    const core::SubPool* const own = backend.sub_pool.get();
    if (shared_.pool.contended(own)) {
        if (shared_.pool.others_wait(own) && yield(backend)) return;
        if (const auto ticket = next_ticket(backend)) {
            ticket->worker == number_ ? deliver(backend, *ticket) : hand_over(backend, *ticket);
            return;
        }
    }
    if (is_to_leave(backend)) return close_backend(backend, "database_changes");
    backend.phase = BackendPhase::idle;
    put_in(backend);
    if (shared_.pool.contended(own)) dispatch_idle();
}

/// Somebody waits whom only a backend of another identity serves, and its turn has come.
bool Worker::yield(BackendConnection& backend) {
    const core::Nanoseconds now = context_.now.time_since_epoch();
    if (!shared_.pool.yields(backend.sub_pool.get(), now)) return false;
    backend.evicted = true;
    close_backend(backend, "evicted");
    return true;
}

void Worker::post_yield_idle() {
    run([this] { yield_idle(); });
}

/// Those that have rested longest first, and the last one of an identity last.
void Worker::yield_idle() {
    for (const bool spare : {true, false}) {
        for (std::size_t place = 0; place < idle_.size();) {
            BackendConnection& backend = *idle_[place];
            const bool last_one = backend.sub_pool->open() < 2;
            if ((spare && last_one) || !yield(backend)) ++place;
        }
    }
}

std::optional<core::Ticket> Worker::next_ticket(const BackendConnection& backend) {
    return shared_.pool.next_ticket(backend.state.label.hash(), backend.last_share,
                                    context_.now.time_since_epoch(), backend.sub_pool.get());
}

void Worker::dispatch_idle() {
    for (std::size_t place = idle_.size(); place-- > 0 && shared_.pool.contended();) {
        BackendConnection& backend = *idle_[place];
        if (!shared_.pool.contended(backend.sub_pool.get())) continue;
        take_out(place);
        if (const auto ticket = next_ticket(backend)) {
            ticket->worker == number_ ? deliver(backend, *ticket) : hand_over(backend, *ticket);
        } else {
            put_in(backend, place);
        }
    }
}

/// A client is about to create, alter or drop a database, which PostgreSQL refuses when somebody is
/// still connected to it five seconds later; who has nothing to do there need not be.
void Worker::leave_databases() {
    const core::SubPool& asking = *std::exchange(context_.changes_databases, nullptr);
    // Anybody can say the words: nobody's backends are closed all the time for it.
    if (context_.now - left_databases_ < leave_interval) return;
    left_databases_ = context_.now;
    for (Worker* peer : peers_)
        peer->post_leave_databases(asking.identity().database);
}

void Worker::post_leave_databases(const std::string& but) {
    run([this, but] {
        leaves_all_but_ = but;
        leaves_until_ = std::chrono::steady_clock::now() + leave_window;
        const std::vector<BackendConnection*> idle = idle_;
        for (BackendConnection* backend : idle) {
            if (is_to_leave(*backend)) close_backend(*backend, "database_changes");
        }
    });
}

/// One that was looked at or in use a moment ago leaves as well.
bool Worker::is_to_leave(const BackendConnection& backend) const {
    return leaves_until_ != core::TimePoint{} && context_.now < leaves_until_ &&
           backend.sub_pool->identity().database != leaves_all_but_;
}

void Worker::put_in(BackendConnection& backend, std::optional<std::size_t> at) {
    idle_.insert(idle_.begin() + static_cast<std::ptrdiff_t>(at.value_or(idle_.size())), &backend);
    const core::SubPool* const own = backend.sub_pool.get();
    shared_.pool.set_idle(number_, shared_.pool.idle_of(number_, own) + 1, own);
    idle_count_.store(static_cast<std::uint32_t>(idle_.size()), std::memory_order_relaxed);
}

void Worker::take_out(std::size_t place) {
    const core::SubPool* const own = idle_[place]->sub_pool.get();
    idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(place));
    shared_.pool.set_idle(number_, shared_.pool.idle_of(number_, own) - 1, own);
    idle_count_.store(static_cast<std::uint32_t>(idle_.size()), std::memory_order_relaxed);
}

}  // namespace schemux::daemon
