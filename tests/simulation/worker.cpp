// The worker's turns, sessions and time: what daemon/worker.cpp does.
#include "tests/simulation/worker.h"

#include <utility>

namespace schemux::simulation {

namespace {

constexpr auto tick_length = std::chrono::milliseconds(100);
constexpr std::uint32_t ticks_per_second = 10;
constexpr std::uint64_t version_bits = 48;

}  // namespace

Worker::Worker(std::uint32_t number, Shared& shared)
    : next_tick(shared.now), number_(number), shared_(shared) {
    context_.namer = &shared.namer;
    context_.last_version = std::uint64_t{number} << version_bits;
    context_.now = shared.now;
}

void Worker::run_mail() {
    context_.now = shared_.now;
    Mail next = std::move(mail.front());
    mail.pop_front();
    next.work();
    settle();
}

Session* Worker::session(core::SessionId id) {
    if (id.slot >= sessions_.size()) return nullptr;
    Session* found = sessions_[id.slot].get();
    return found->forgotten ? nullptr : found;
}

Session& Worker::open_session(Client& client) {
    context_.now = shared_.now;
    const core::SessionId id{static_cast<std::uint32_t>(sessions_.size()), 1};
    core::Relay::Identity identity{client.number(), std::string("\0\0\0\7", 4),
                                   "private " + std::to_string(client.number())};
    auto relay = std::make_unique<core::Relay>(context_, client.service(), shared_.counters,
                                               client.label(), std::move(identity));
    Session& opened =
        *sessions_.emplace_back(std::make_unique<Session>(*this, id, client, std::move(relay)));
    opened.start();
    if (draining_ && !opened.closed()) opened.on_drain();
    settle();
    return opened;
}

void Worker::post_failure(const core::Ticket& ticket, protocol::ErrorFields error) {
    mail.push_back({[this, ticket, error = std::move(error)] {
                        Session* waiter = session(ticket.session);
                        if (waiter == nullptr || !waiter->waiting()) return;
                        // It may wait for something else by now, with a ticket of its own.
                        stop_waiting(*waiter);
                        waiter->on_acquire_failed(error);
                    },
                    ticket, false});
}

void Worker::post_drain() {
    post([this] {
        draining_ = true;
        for (const auto& session : sessions_) {
            if (!session->forgotten && !session->closed()) session->on_drain();
        }
    });
}

void Worker::stop_waiting(Session& session) {
    if (session.ticket.generation == 0) return;
    const bool withdrawn = shared_.pool.withdraw(session.ticket);
    demand(withdrawn == session.queued,
           "a ticket is in the queue until it is granted or withdrawn");
    session.queued = false;
    session.ticket = {};
}

void Worker::forget(Session& session) {
    session.forgotten = true;
}

void Worker::settle() {
    if (settling_) return;
    settling_ = true;
    while (!grants_.empty() || !refusals_.empty() || seeks_idle_) {
        run_grants();
        run_refusals();
        if (std::exchange(seeks_idle_, false)) seek_idle();
    }
    dead_backends_.clear();
    settling_ = false;
}

void Worker::tick() {
    context_.now = shared_.now;
    while (next_tick <= shared_.now) {
        next_tick += tick_length;
        ++ticks_;
        if (ticks_ % ticks_per_second == 0) recycle_idle();
    }
    look_at_deadlines();
    look_at_pins();
    for (const auto& backend : backends_)
        backend->use.charge(context_.now);
    shared_.pool.refresh();
    dispatch_idle();
    settle();
}

void Worker::look_at_pins() {
    const auto waiting = std::exchange(waiting_for_pins_, {});
    for (const core::SessionId id : waiting) {
        Session* waiter = session(id);
        if (waiter == nullptr) continue;
        waiter->listed_for_pin = false;
        if (!waiter->waiting() || !waiter->relay().awaits_pin()) continue;
        if (Backend* backend = acquire(*waiter)) waiter->on_granted(*backend);
    }
}

void Worker::look_at_deadlines() {
    for (std::size_t at = 0; at < sessions_.size(); ++at) {
        Session& session = *sessions_[at];
        if (session.forgotten || session.closed()) continue;
        const core::Deadline deadline = session.relay().deadline();
        if (deadline.when > context_.now) continue;
        switch (deadline.what) {
            case core::Overdue::nothing:
                break;
            case core::Overdue::backend:
                refuse_waiter(session);
                break;
            case core::Overdue::query:
                session.relay().on_overdue(deadline.what);
                session.client().on_cancel_asked();
                session.on_cancel();
                break;
            case core::Overdue::unheeded:
            case core::Overdue::notice:
            case core::Overdue::pin:
            case core::Overdue::transaction:
            case core::Overdue::idle_in_transaction:
            case core::Overdue::client:
                session.on_overdue(deadline.what);
                break;
        }
    }
}

/// Whose service was paused has its whole time again from then on.
bool Worker::waits_on(Session& waiter) {
    const core::Share& share = *waiter.relay().service().share;
    const core::TimePoint resumed{share.resumed()};
    const bool lately = share.resumed().count() > 0 &&
                        context_.now - resumed < waiter.relay().service().acquire_timeout;
    if (!share.paused() && !lately) return false;
    waiter.relay().wait_on(share.paused() ? context_.now : resumed);
    return true;
}

void Worker::refuse_waiter(Session& waiter) {
    if (!waiter.relay().awaits_pin() && waits_on(waiter)) return;
    stop_waiting(waiter);
    waiter.on_acquire_failed(
        waiter.relay().awaits_pin()
            ? waiter.relay().pin_refusal()
            : protocol::make_error("53300", "no connection to PostgreSQL became free in time"));
}

void Worker::run_refusals() {
    const auto refusals = std::exchange(refusals_, {});
    for (const auto& [id, why] : refusals) {
        Session* waiter = session(id);
        if (waiter == nullptr || !waiter->waiting()) continue;
        waiter->on_acquire_failed(protocol::make_error("53300", "too many clients wait"));
    }
}

bool Worker::has_grant_for(core::SessionId id) const {
    for (const auto& [session, backend] : grants_) {
        if (session == id) return true;
    }
    return false;
}

}  // namespace schemux::simulation
