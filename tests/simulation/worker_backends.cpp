// The worker's half that owns backends: what daemon/worker_backends.cpp does.
#include "core/statement.h"
#include "protocol/messages.h"
#include "tests/simulation/worker.h"
#include "tests/support/message_walk.h"

#include <algorithm>
#include <utility>

namespace schemux::simulation {

using core::Upkeep;
using core::UpkeepGoal;
using core::UpkeepState;

namespace {

constexpr auto trusted_rest = std::chrono::seconds(1);

}  // namespace

void demand_clean(const Backend& backend, const core::Label& label) {
    const Server& server = *backend.server;
    demand(backend.state.replies.empty() &&
               backend.state.transaction == protocol::TransactionStatus::idle,
           "a backend is granted at rest");
    demand(backend.state.label == label, "a backend is granted under its client's label");
    demand(backend.state.cancels_in_flight == 0, "no cancel is under way to a granted backend");
    // It may have died without our knowing: then nobody is harmed.
    if (server.gone() || server.hung()) return;
    const fake::FakePostgres& fake = server.fake();
    demand(
        backend.state.owes_nothing() && server.stream.inbound.empty() && fake.unflushed().empty(),
        "a backend is granted with nothing owed");
    demand(server.stream.queued.empty(), "a backend is granted with nothing unsent");
    const std::string unread = fake.half_read() + server.stream.outbound;
    const std::string_view rest = fake::for_each_message(unread, [](char type, std::string_view) {
        demand(type == 'H' || type == 'd' || type == 'c' || type == 'f',
               "what is on its way to a granted backend is without effect");
    });
    demand(rest.empty(), "a backend is granted between messages");
    demand(fake.nothing_open() && fake.status() == 'I' && !fake.closed(),
           "a backend is granted idle");
    demand(!fake.has_residue(), "a backend is granted without another client's session");
    fake::SettingsMap wanted;
    for (const auto& [name, value] : label.settings())
        wanted[name] = value;
    demand(fake.settings() == wanted, "a backend is granted with its client's settings alone");
    if (fake.named_statement_count() != backend.state.statements.size()) {
        throw Broken("a backend has the prepared statements that are known of it: " +
                     std::to_string(fake.named_statement_count()) + ", not " +
                     std::to_string(backend.state.statements.size()));
    }
    demand(fake.named_statement_count() <= core::limits::backend_statements_max,
           "a backend's statements are bounded");
}

void Worker::post_backend(Server& server, core::Settings parameters,
                          std::optional<core::Ticket> ticket) {
    auto backend = std::make_shared<std::unique_ptr<Backend>>(std::make_unique<Backend>(server));
    (*backend)->state.parameters = std::move(parameters);
    (*backend)->state.pid = server.number();
    (*backend)->epoch = shared_.epoch;
    mail.push_back({[this, backend, ticket] {
                        (*backend)->state.opened = context_.now;
                        adopt(std::move(*backend), ticket);
                    },
                    ticket, true});
}

void Worker::adopt(std::unique_ptr<Backend> owned, std::optional<core::Ticket> ticket) {
    Backend& backend = *backends_.emplace_back(std::move(owned));
    backend.server->stream.paused = false;
    if (ticket && ticket->worker == number_) {
        deliver(backend, *ticket);
    } else {
        make_available(backend);
    }
}

// ---- getting one ----

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
    session.queued = pushed.refusal == core::Refusal::none;
    if (!session.queued) refusals_.emplace_back(session.id(), pushed.refusal);
    return session.queued;
}

Backend* Worker::acquire(Session& session) {
    if (!session.relay().may_acquire()) {
        if (!std::exchange(session.listed_for_pin, true)) waiting_for_pins_.push_back(session.id());
        return nullptr;
    }
    core::Share& share = *session.relay().service().share;
    if (!idle_.empty() && shared_.pool.begin_use(number_, share)) {
        if (Backend* backend = take_idle(session.relay().label())) {
            backend->use = core::Use(share, context_.now, core::Nanoseconds(0));
            return begin_lease(*backend, session) ? backend : nullptr;
        }
        shared_.pool.end_use(number_, share);
    }
    if (!enqueue(session)) return nullptr;
    if (shared_.pool.may_grow()) shared_.connector_woken = true;
    seek_idle();
    return nullptr;
}

void Worker::seek_idle() {
    if (!idle_.empty()) {
        dispatch_idle();
    } else if (const auto other = shared_.pool.idle_elsewhere(number_)) {
        peers_[*other]->post_give_up_idle();
    }
}

Backend* Worker::take_idle(const core::Label& label) {
    while (!idle_.empty()) {
        std::size_t chosen = idle_.size() - 1;
        const std::size_t window = std::min(idle_.size(), core::limits::idle_window);
        for (std::size_t back = 1; back <= window; ++back) {
            if (idle_[idle_.size() - back]->state.label == label) {
                chosen = idle_.size() - back;
                break;
            }
        }
        Backend& backend = *idle_[chosen];
        idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(chosen));
        publish_idle();
        const bool rested = context_.now - backend.state.idle_since > trusted_rest;
        if (rested && backend.server->stream.has_news()) {
            close_backend(backend);
            continue;
        }
        return &backend;
    }
    return nullptr;
}

bool Worker::begin_lease(Backend& backend, Session& session) {
    backend.session = session.id();
    backend.has_session = true;
    const core::Label& label = session.relay().label();
    if (!(backend.state.label == label)) {
        std::string sql;
        Upkeep upkeep = Upkeep::relabel(backend.state, label, sql);
        if (upkeep.state() == UpkeepState::running) {
            start_upkeep(backend, std::move(upkeep), sql);
            return false;
        }
    }
    backend.phase = Phase::leased;
    session.broken_promises = 0;
    return true;
}

void Worker::end_use(Backend& backend) {
    core::Share* share = backend.use.share();
    if (share == nullptr) return;
    backend.use.finish(context_.now);
    backend.use = {};
    backend.last_share = share;
    shared_.pool.end_use(number_, *share);
    if (shared_.pool.contended() && shared_.pool.may_grow()) shared_.connector_woken = true;
}

void Worker::deliver(Backend& backend, const core::Ticket& ticket) {
    backend.use = core::Use(*ticket.share, context_.now, ticket.prepaid);
    grants_.emplace_back(ticket.session, &backend);
    backend.phase = Phase::parked;
}

void Worker::run_grants() {
    while (!grants_.empty()) {
        granting_.swap(grants_);
        for (const auto& [id, backend] : granting_) {
            Session* waiter = session(id);
            if (backend->phase == Phase::closing) {
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

void Worker::hand_over(Backend& backend, const core::Ticket& ticket) {
    ++shared_.counts.migrations;
    const auto at = std::find_if(backends_.begin(), backends_.end(),
                                 [&](const auto& owned) { return owned.get() == &backend; });
    auto moved =
        std::make_shared<std::unique_ptr<Backend>>(std::make_unique<Backend>(*backend.server));
    (*moved)->state = std::move(backend.state);
    (*moved)->epoch = backend.epoch;
    backend.server->stream.paused = true;  // nobody reads it on its way
    dead_backends_.push_back(std::move(*at));
    backends_.erase(at);
    Worker& there = *peers_[ticket.worker];
    there.mail.push_back(
        {[&there, moved, ticket] { there.adopt(std::move(*moved), ticket); }, ticket, true});
}

// ---- giving it back ----

void Worker::release(Backend& backend) {
    backend.phase = Phase::parked;
    if (backend.state.dying) {
        backend.server->lend(nullptr);
        return close_backend(backend);
    }
    if (backend.state.cancels_in_flight > 0) return;
    backend.cancel_again = false;
    backend.server->lend(nullptr);
    if (worn_out(backend) || shared_.pool.over_bound()) return close_backend(backend);
    backend.has_session = false;
    if (!Upkeep::reset_needed(backend.state)) return make_available(backend);
    std::string sql;
    Upkeep upkeep = Upkeep::reset(backend.state, sql);
    start_upkeep(backend, std::move(upkeep), sql);
}

void Worker::make_available(Backend& backend) {
    end_use(backend);
    if (!backend.server->stream.queued.empty()) return close_backend(backend);
    if (shared_.pool.contended()) {
        if (const auto ticket =
                shared_.next_ticket(backend.state.label.hash(), backend.last_share)) {
            ticket->worker == number_ ? deliver(backend, *ticket) : hand_over(backend, *ticket);
            return;
        }
    }
    backend.phase = Phase::idle;
    backend.state.idle_since = context_.now;
    idle_.push_back(&backend);
    publish_idle();
    if (shared_.pool.contended()) dispatch_idle();
}

void Worker::dispatch_idle() {
    while (!idle_.empty() && shared_.pool.contended()) {
        Backend& backend = *idle_.back();
        idle_.pop_back();
        publish_idle();
        const auto ticket = shared_.next_ticket(backend.state.label.hash(), backend.last_share);
        if (!ticket) {
            idle_.push_back(&backend);
            publish_idle();
            return;
        }
        ticket->worker == number_ ? deliver(backend, *ticket) : hand_over(backend, *ticket);
    }
}

/// Who has none left passes the word on: another waiter may have come first.
void Worker::post_give_up_idle() {
    post([this] {
        dispatch_idle();
        if (!idle_.empty() || !shared_.pool.contended()) return;
        if (const auto other = shared_.pool.idle_elsewhere(number_))
            peers_[*other]->post_give_up_idle();
    });
}

void Worker::publish_idle() {
    shared_.pool.set_idle(number_, static_cast<std::uint32_t>(idle_.size()));
}

// ---- upkeep ----

void Worker::start_upkeep(Backend& backend, Upkeep upkeep, std::string_view sql) {
    ++shared_.counts.upkeeps;
    demand(backend.state.replies.empty(), "upkeep begins when nothing is owed");
    backend.phase = Phase::upkeep;
    backend.phase_ticks = 0;
    backend.upkeep = std::move(upkeep);
    backend.server->lend(nullptr);
    backend.server->stream.paused = false;
    backend.server->stream.send(sql);
}

void Worker::on_upkeep_bytes(Backend& backend, std::string_view bytes) {
    const UpkeepState state =
        backend.upkeep->on_bytes(bytes, backend.state, context_.backend_carry, context_.buffers);
    context_.settle();
    if (state != UpkeepState::running) finish_upkeep(backend);
}

void Worker::finish_upkeep(Backend& backend) {
    const Upkeep upkeep = *std::exchange(backend.upkeep, std::nullopt);
    backend.phase = Phase::parked;
    demand(upkeep.desync().empty() && upkeep.state() != UpkeepState::refused,
           "upkeep of an honest server succeeds");
    if (upkeep.state() == UpkeepState::failed) {
        demand(upkeep.gone() && backend.server->killed(), "upkeep of an honest server succeeds");
        close_backend(backend);
        if (backend.has_session) requeue(backend.session);
        return;
    }
    demand(upkeep.goal() != UpkeepGoal::reset || !Upkeep::reset_needed(backend.state),
           "a reset leaves nothing to reset");
    Session* waiter = backend.has_session ? session(backend.session) : nullptr;
    if (waiter != nullptr && waiter->waiting()) {
        grants_.emplace_back(backend.session, &backend);
        return;
    }
    backend.has_session = false;
    make_available(backend);
}

}  // namespace schemux::simulation
