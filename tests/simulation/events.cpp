// The events: what happens to whom, as the schedule picks it. And the end of a seed, when
// everything arrives, nothing breaks any more, and all clients finish what they began.
#include "tests/simulation/conversation.h"
#include "tests/simulation/world.h"

#include <algorithm>

namespace schemux::simulation {

namespace {

constexpr std::size_t settle_rounds_max = 3'000;
constexpr std::size_t unanswered_max = 60'000;  ///< bytes that a client has on its way

/// Any of those that fit; `count` if none does.
template <typename Fits>
std::size_t pick_one(Choice& choice, std::size_t count, Fits fits) {
    const std::size_t first = choice.below(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = (first + i) % count;
        if (fits(at)) return at;
    }
    return count;
}

}  // namespace

// ---- clients ----

bool World::client_joins() {
    const std::size_t at =
        pick_one(choice_, clients_.size(), [&](std::size_t i) { return !clients_[i]->joined; });
    if (at == clients_.size()) return false;
    clients_[at]->joined = true;
    const std::size_t worker = choice_.below(workers_.size());
    note("client joins", at, worker);
    sessions_[at] = &workers_[worker]->open_session(*clients_[at]);
    return true;
}

/// One that can still say something.
Client* World::talking_client() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        const Client& client = *clients_[i];
        return client.joined && client.welcomed() && !client.left() && !client.closed();
    });
    return at == clients_.size() ? nullptr : clients_[at].get();
}

bool World::client_speaks() {
    Client* client = talking_client();
    if (client == nullptr || client->stream.inbound.size() > unanswered_max) return false;
    if (client->names_moved) {
        if (!client->caught_up()) return false;
        client->names_moved = false;
    }
    const std::size_t before = client->asked_bytes();
    Conversation(*client, choice_).go_on();
    if (client->asked_bytes() == before) return false;
    return note("client speaks", client->number(), client->asked_bytes() - before);
}

bool World::client_reads() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        return !clients_[i]->stream.outbound.empty();
    });
    if (at == clients_.size()) return false;
    const std::string bytes = clients_[at]->stream.take(some_bytes());
    return note("client reads", at, bytes.size());
}

bool World::client_vanishes() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        return clients_[i]->joined && !clients_[i]->left() && !clients_[i]->closed();
    });
    if (at == clients_.size()) return false;
    const std::size_t how = choice_.below(3);
    clients_[at]->leave(how == 0);
    if (how == 1) clients_[at]->stream.peer_stops_reading();
    return note("client vanishes", at, how);
}

bool World::client_terminates() {
    Client* client = talking_client();
    if (client == nullptr) return false;
    Conversation(*client, choice_).terminate();
    client->leave(false);
    const bool reads = choice_.chance(50);
    if (!reads) client->stream.peer_stops_reading();
    return note("client terminates", client->number(), reads ? 1 : 0);
}

bool World::client_cancels() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        return sessions_[i] != nullptr && !clients_[i]->closed();
    });
    if (at == clients_.size()) return false;
    const std::size_t worker = pick_one(choice_, workers_.size(), [&](std::size_t i) {
        return workers_[i]->session(sessions_[at]->id()) == sessions_[at];
    });
    if (worker == workers_.size()) return false;
    clients_[at]->on_cancel_asked();
    workers_[worker]->post([target = workers_[worker].get(), id = sessions_[at]->id()] {
        if (Session* session = target->session(id)) session->on_cancel();
    });
    return note("client cancels", at);
}

bool World::deliver_frontend(std::size_t at, std::size_t count) {
    Session* session = sessions_[at];
    if (session == nullptr) return false;
    session->worker().context().now = shared_->now;
    Stream& stream = clients_[at]->stream;
    if (stream.hung_up()) {
        session->on_hang_up();
        return note("frontend hangs up", at);
    }
    if (!stream.readable()) return false;
    note(stream.at_end() ? "frontend ends" : "frontend arrives", at,
         std::min(count, stream.inbound.size()));
    session->read(count);
    return true;
}

bool World::frontend_arrives() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        return sessions_[i] != nullptr &&
               (clients_[i]->stream.readable() || clients_[i]->stream.hung_up());
    });
    return at != clients_.size() && deliver_frontend(at, some_bytes());
}

/// All of it, byte by byte.
bool World::frontend_trickles() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        return sessions_[i] != nullptr && clients_[i]->stream.readable();
    });
    if (at == clients_.size()) return false;
    for (std::size_t i = 0; i < 200 && clients_[at]->stream.readable(); ++i) {
        deliver_frontend(at, 1);
        check();
    }
    return true;
}

bool World::frontend_drained() {
    const std::size_t at = pick_one(choice_, clients_.size(), [&](std::size_t i) {
        return sessions_[i] != nullptr && clients_[i]->stream.drained && !clients_[i]->closed();
    });
    if (at == clients_.size()) return false;
    note("frontend drained", at);
    sessions_[at]->on_drained();
    return true;
}

// ---- servers ----

bool World::deliver_backend(Worker& worker, Backend& backend, std::size_t count) {
    Stream& stream = backend.server->stream;
    if (!stream.readable()) return false;
    worker.context().now = shared_->now;
    if (stream.at_end()) {
        note("backend ends", backend.server->number(), worker.number());
        worker.on_backend_end(backend);
        return true;
    }
    const std::string bytes = stream.read(count);
    note("backend arrives", backend.server->number(), bytes.size());
    worker.on_backend_bytes(backend, bytes);
    return true;
}

bool World::backend_arrives() {
    Worker& worker = *workers_[choice_.below(workers_.size())];
    const auto& backends = worker.backends();
    const std::size_t at = pick_one(choice_, backends.size(), [&](std::size_t i) {
        return backends[i]->server->stream.readable();
    });
    return at != backends.size() && deliver_backend(worker, *backends[at], some_bytes());
}

bool World::backend_drained() {
    Worker& worker = *workers_[choice_.below(workers_.size())];
    for (const auto& backend : worker.backends()) {
        if (!backend->server->stream.drained) continue;
        note("backend drained", backend->server->number());
        worker.on_backend_drained(*backend);
        return true;
    }
    return false;
}

bool World::server_works() {
    const auto& servers = control_->servers();
    const std::size_t at =
        pick_one(choice_, servers.size(), [&](std::size_t i) { return servers[i]->has_work(); });
    if (at == servers.size()) return false;
    const std::size_t count = some_bytes();
    note("server works", servers[at]->number(),
         std::min(count, servers[at]->stream.outbound.size()));
    servers[at]->work(count);
    return true;
}

bool World::server_dies() {
    const auto& servers = control_->servers();
    const std::size_t at = pick_one(choice_, servers.size(), [&](std::size_t i) {
        return !servers[i]->gone() && !servers[i]->hung();
    });
    if (at == servers.size()) return false;
    constexpr std::array deaths = {Death::fatal,  Death::fatal, Death::fatal, Death::silent,
                                   Death::silent, Death::reset, Death::hangs};
    const Death death = deaths[choice_.below(deaths.size())];
    servers[at]->die(death);
    ++killed_;
    return note("server dies", servers[at]->number(), static_cast<std::size_t>(death));
}

// ---- the control plane and time ----

bool World::mail_arrives() {
    const std::size_t at = pick_one(choice_, workers_.size(),
                                    [&](std::size_t i) { return !workers_[i]->mail.empty(); });
    if (at == workers_.size()) return false;
    note("mail arrives", at, workers_[at]->mail.front().carries_backend ? 1 : 0);
    workers_[at]->run_mail();
    return true;
}

bool World::connector_turns() {
    if (!control_->start_connects()) return false;
    return note("connector turns", control_->connects());
}

bool World::connect_arrives() {
    const std::size_t at = choice_.below(control_->connects());
    if (!control_->connect_reads(at, some_bytes())) return false;
    return note("connect arrives", at);
}

bool World::cancel_goes_on() {
    const std::size_t at = choice_.below(shared_->cancels.size());
    if (!control_->cancel_goes_on(at)) return false;
    return note("cancel goes on", at);
}

bool World::time_passes() {
    const std::size_t ms = choice_.between(1, 40);
    shared_->now += std::chrono::milliseconds(ms);
    return note("time passes", ms);
}

bool World::much_time_passes() {
    const std::size_t ms = choice_.between(200, 2'500);
    shared_->now += std::chrono::milliseconds(ms);
    return note("time passes", ms);
}

bool World::tick(Worker& worker) {
    if (worker.next_tick > shared_->now) return false;
    note("tick", worker.number());
    worker.tick();
    return true;
}

bool World::tick_comes() {
    if (control_->expire_connects()) return note("connect timed out");
    return tick(*workers_[choice_.below(workers_.size())]);
}

bool World::bound_moves() {
    const auto bound = static_cast<std::uint32_t>(choice_.between(1, 4));
    shared_->pool.set_maximum(bound);
    shared_->connector_woken = true;
    for (const auto& worker : workers_)
        worker->post_give_up_idle();
    return note("bound moves", bound);
}

bool World::service_pauses() {
    const std::size_t at = choice_.below(entitled_.size());
    const bool paused = !entitled_[at].policy.paused;
    pause(at, paused);
    return note("service pauses", at, paused ? 1 : 0);
}

void World::pause(std::size_t service, bool paused) {
    Entitled& entitled = entitled_[service];
    core::Share& share = *entitled.service->share;
    entitled.policy.paused = paused;
    entitled.uses_at_pause = share.uses();
    shared_->pool.configure({{&share, entitled.policy}}, shared_->now.time_since_epoch());
    shared_->connector_woken = true;
    for (const auto& worker : workers_)
        worker->post_give_up_idle();
}

bool World::reload() {
    ++shared_->epoch;
    return note("reload", shared_->epoch);
}

bool World::drain() {
    if (happened_ < drains_at_) return false;
    drains_at_ = ~std::size_t{0};
    for (const auto& worker : workers_)
        worker->post_drain();
    return note("drain");
}

// ---- the end ----

bool World::settle_once() {
    const std::size_t before = trace_.size();
    connector_turns();
    for (std::size_t at = 0; at < control_->connects(); ++at)
        control_->connect_reads(at, read_max);
    while (cancel_goes_on()) {
    }
    for (const auto& server : control_->servers()) {
        if (!server->has_work()) continue;
        note("server works", server->number());
        server->work(read_max);
    }
    for (std::size_t at = 0; at < clients_.size(); ++at) {
        clients_[at]->stream.take(std::string::npos);
        if (sessions_[at] == nullptr) continue;
        if (clients_[at]->stream.drained && !clients_[at]->closed()) sessions_[at]->on_drained();
        deliver_frontend(at, read_max);
        check();
    }
    for (const auto& worker : workers_) {
        while (mail_arrives()) {
        }
        for (std::size_t i = 0; i < worker->backends().size(); ++i) {
            Backend& backend = *worker->backends()[i];
            if (backend.server->stream.drained) worker->on_backend_drained(backend);
            deliver_backend(*worker, backend, read_max);
            check();
        }
        tick(*worker);
        check();
    }
    control_->expire_connects();
    return trace_.size() != before;
}

/// Each as soon as it has all its answers. True: all have gone.
bool World::everybody_finishes() {
    bool all_gone = true;
    for (std::size_t at = 0; at < clients_.size(); ++at) {
        Client& client = *clients_[at];
        if (!client.joined || client.closed()) continue;
        all_gone = false;
        if (client.left() || !client.caught_up()) continue;
        client.names_moved = false;
        Conversation last(client, choice_);
        const fake::FakePostgres& state = client.planned().fake();
        if (state.idle() || state.closed()) {
            last.terminate();
            client.leave(false);
        } else {
            last.wind_up();
        }
    }
    return all_gone;
}

void World::settle() {
    control_->clear_weather();
    for (std::size_t at = 0; at < entitled_.size(); ++at)
        pause(at, false);
    for (const auto& server : control_->servers()) {
        if (server->hung()) server->die(Death::reset);
    }
    for (std::size_t round = 0; round < settle_rounds_max; ++round) {
        const bool moved = settle_once();
        const bool finished = everybody_finishes();
        check();
        if (finished && !moved) return;
        shared_->now += std::chrono::milliseconds(50);
    }
    demand(false, "everything settles in the end");
}

}  // namespace schemux::simulation
