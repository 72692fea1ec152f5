// What must hold after each event, and at the end of a seed.
#include "tests/simulation/world.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace schemux::simulation {

namespace {

/// A message that may have to be held whole, and what was read with its last byte.
constexpr std::size_t held_bound =
    query_bytes_max + read_max + core::limits::held_during_cancel_max + 64;
/// What one batch of bytes read from a backend, or answered here, may become.
constexpr std::size_t queued_bound = 65'536;

}  // namespace

void World::check() {
    check_clients();
    check_bound();
    check_tickets();
    check_memory();
}

void World::check_clients() {
    for (const auto& client : clients_) {
        if (client->joined) client->check();
    }
}

/// Slots are counted, and never more of them taken than the bound says.
void World::check_bound() {
    const std::uint32_t open = shared_->pool.open();
    demand(open <= std::max(shared_->pool.maximum(), open_before_), "the bound is never exceeded");
    open_before_ = open;
    std::size_t there = control_->connects();
    std::size_t idle = 0;
    for (const auto& worker : workers_) {
        there += worker->backends().size();
        idle += worker->idle_count();
        there += static_cast<std::size_t>(
            std::count_if(worker->mail.begin(), worker->mail.end(),
                          [](const Worker::Mail& mail) { return mail.carries_backend; }));
    }
    demand(there == open, "each slot that is taken has its connection");
    demand(idle == shared_->pool.idle(), "idle backends are published");
    demand(control_->connects() == shared_->pool.connecting(), "connects under way are counted");
}

/// A session that waits is in the queue, or its backend is on its way.
bool World::provided_for(const Worker& worker, const Session& session) const {
    if (session.queued || worker.has_grant_for(session.id())) return true;
    if (session.relay().awaits_pin()) return true;
    for (const auto& backend : worker.backends()) {
        const bool promised = backend->phase == Phase::upkeep && backend->has_session &&
                              backend->session == session.id();
        if (promised) return true;
    }
    return std::any_of(worker.mail.begin(), worker.mail.end(), [&](const Worker::Mail& mail) {
        return mail.ticket && mail.ticket->session == session.id();
    });
}

void World::check_tickets() {
    std::size_t queued = 0;
    std::size_t waiting = 0;
    bool mail = false;
    bool idle = false;
    for (const auto& worker : workers_) {
        mail = mail || !worker->mail.empty();
        idle = idle || worker->idle_count() > 0;
        for (const auto& session : worker->sessions()) {
            queued += session->queued ? 1U : 0U;
            if (session->forgotten || !session->waiting()) {
                demand(!session->queued, "who does not wait is not in the queue");
                continue;
            }
            ++waiting;
            demand(provided_for(*worker, *session), "no ticket is lost");
        }
    }
    demand(queued == shared_->pool.waiting(), "the queue has those who are in it");
    demand(waiting == shared_->counters.clients_waiting.value(), "who waits is counted");
    check_shares();
    // Those whom caps and reserves hold back wait for others to end.
    if (!shared_->pool.contended() || mail) return;
    demand(!idle, "nobody waits while a backend is idle");
    const bool room = shared_->pool.may_grow();
    demand(!room || control_->connects() > 0 || !control_->resting(),
           "nobody waits for a slot that is free");
}

/// Each use is somebody's, and nobody has more than its cap.
void World::check_shares() {
    std::map<const core::Share*, std::uint32_t> uses;
    for (const auto& worker : workers_) {
        for (const auto& backend : worker->backends()) {
            if (backend->use.share() != nullptr) ++uses[backend->use.share()];
            demand(backend->phase != Phase::idle || backend->use.share() == nullptr,
                   "an idle backend is nobody's");
            demand(backend->phase != Phase::leased || backend->use.share() != nullptr,
                   "a lease is charged to its service");
        }
        for (const Worker::Mail& mail : worker->mail) {
            if (mail.ticket && mail.carries_backend) ++uses[mail.ticket->share];
        }
    }
    for (Entitled& entitled : entitled_) {
        const core::Share& share = *entitled.service->share;
        demand(share.uses() == uses[&share], "the uses of a service are counted");
        demand(share.uses() <= entitled.policy.cap, "no service has more than its cap");
        if (!entitled.policy.paused) continue;
        demand(share.uses() <= entitled.uses_at_pause, "nobody begins anything in a pause");
        entitled.uses_at_pause = share.uses();
    }
}

void World::check_memory() {
    for (std::size_t at = 0; at < clients_.size(); ++at) {
        const std::size_t queued = clients_[at]->stream.queued.size();
        queued_max_ = std::max(queued_max_, queued);
        demand(queued <= queued_bound, "what a slow reader is owed is bounded");
        if (sessions_[at] == nullptr) continue;
        const std::size_t held = sessions_[at]->relay().held_bytes();
        held_max_ = std::max(held_max_, held);
        demand(held <= held_bound, "what is held of a client is bounded");
    }
    for (const auto& server : control_->servers())
        demand(server->stream.queued.size() <= queued_bound, "what waits for a server is bounded");
}

void World::check_end() {
    for (std::size_t at = 0; at < clients_.size(); ++at) {
        const Client& client = *clients_[at];
        if (!client.joined) continue;
        demand(client.closed(), "everybody is served in the end");
        demand(sessions_[at]->forgotten, "nobody lingers for ever");
        demand(client.reason() != core::CloseReason::none, "everybody is closed for a reason");
        client.check_parting();
    }
    for (const auto& worker : workers_) {
        for (const auto& backend : worker->backends()) {
            demand(backend->phase == Phase::idle, "every backend is free in the end");
            demand_clean(*backend, backend->state.label);
        }
    }
    demand(shared_->cancels.empty() && shared_->pool.waiting() == 0, "nothing is left over");
    demand(shared_->counters.leases_active.value() == 0 &&
               shared_->counters.clients_waiting.value() == 0,
           "the gauges come back to zero");
    for (const auto& service : services_)
        demand(service->pins->taken() == 0, "every pin is given back");
    for (const core::Counter& pinned : shared_->counters.pinned)
        demand(pinned.value() == 0, "nobody stays pinned");
}

void World::dump() const {
    for (std::size_t at = 0; at < clients_.size(); ++at) {
        const Client& client = *clients_[at];
        if (!client.joined) continue;
        const Session& session = *sessions_[at];
        std::fprintf(
            stderr, "client %zu: phase %d%s%s%s, backend %d, %zu unread, %zu held, %s\n", at,
            static_cast<int>(session.relay().phase()), session.queued ? ", queued" : "",
            session.closed() ? ", closed" : "", client.left() ? ", left" : "",
            session.backend() == nullptr ? 0
                                         : static_cast<int>(session.backend()->server->number()),
            client.stream.inbound.size(), session.relay().held_bytes(),
            std::string(name_of(client.reason())).c_str());
    }
    for (const auto& worker : workers_) {
        for (const auto& backend : worker->backends()) {
            std::fprintf(
                stderr, "backend %u: worker %u, phase %d, owes %zu, %zu to it, %zu from it\n",
                backend->server->number(), worker->number(), static_cast<int>(backend->phase),
                backend->state.replies.owed(), backend->server->stream.outbound.size(),
                backend->server->stream.inbound.size());
        }
    }
    for (const auto& client : clients_)
        client->show_difference();
}

Tally World::tally() const {
    Tally tally;
    tally.events = trace_.size();
    tally.virtual_ms = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(shared_->now - began_).count());
    for (const auto& client : clients_) {
        if (!client->joined) continue;
        ++tally.clients;
        tally.compared_bytes += client->compared_bytes();
        tally.clients_violating += client->disturbed() ? 1U : 0U;
        const bool vanished = client->reason() == core::CloseReason::client_disconnected;
        tally.clients_vanished += vanished ? 1U : 0U;
        tally.clients_served += client->served() ? 1U : 0U;
    }
    for (const auto& server : control_->servers()) {
        tally.statements += server->runs();
        tally.cancels_hit += server->cancels_hit();
    }
    tally.servers = control_->servers().size();
    tally.servers_killed = killed_;
    tally.logins_failed = control_->login_failures();
    tally.leases = shared_->counts.leases;
    tally.upkeeps = shared_->counts.upkeeps;
    tally.migrations = shared_->counts.migrations;
    tally.refusals = shared_->counts.refusals;
    tally.held_max = held_max_;
    tally.queued_max = queued_max_;
    return tally;
}

void Tally::add(const Tally& other) {
    events += other.events;
    virtual_ms += other.virtual_ms;
    compared_bytes += other.compared_bytes;
    statements += other.statements;
    leases += other.leases;
    upkeeps += other.upkeeps;
    migrations += other.migrations;
    refusals += other.refusals;
    cancels_hit += other.cancels_hit;
    servers += other.servers;
    servers_killed += other.servers_killed;
    logins_failed += other.logins_failed;
    clients += other.clients;
    clients_vanished += other.clients_vanished;
    clients_served += other.clients_served;
    clients_violating += other.clients_violating;
    held_max = std::max(held_max, other.held_max);
    queued_max = std::max(queued_max, other.queued_max);
}

std::string Tally::text() const {
    const auto of = [](std::uint64_t count, const char* what) {
        return std::to_string(count) + " " + what;
    };
    return of(events, "events in ") + of(virtual_ms / 1'000, "virtual seconds\n") +
           of(clients, "clients: ") + of(clients_served, "served to the end, ") +
           of(clients_vanished, "vanished, ") + of(clients_violating, "broke the protocol\n") +
           of(statements, "statements, ") + of(compared_bytes, "bytes of answers compared\n") +
           of(leases, "leases, ") + of(upkeeps, "resets and relabels, ") +
           of(migrations, "moves between workers, ") + of(refusals, "waits in vain, ") +
           of(cancels_hit, "cancels that hit\n") + of(servers, "connections, ") +
           of(servers_killed, "killed, ") + of(logins_failed, "logins failed\n") + "at most " +
           of(held_max, "bytes held of a client, ") + of(queued_max, "queued for one\n");
}

}  // namespace schemux::simulation
