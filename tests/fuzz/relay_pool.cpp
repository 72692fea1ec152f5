#include "tests/fuzz/relay_pool.h"

#include "tests/fuzz/input.h"

#include <utility>

namespace schemux::fuzz {

using core::CancelOutcome;
using core::CloseReason;
using core::Disposal;
using core::Next;
using core::RelayPhase;
using core::Step;
using core::Upkeep;
using core::UpkeepState;

namespace {

const core::Settings welcome{{"client_encoding", "UTF8"}, {"standard_conforming_strings", "on"}};

}  // namespace

core::TemplateContext template_context(const core::Service& service) {
    core::TemplateContext context;
    context.schema = service.schema;
    context.allowed_schemas = service.allow_schemas;
    context.braces = service.braces;
    context.angles = service.angles;
    context.literals = service.literals;
    return context;
}

RelayPool::RelayPool(PoolPlan plan)
    : plan_(std::move(plan)), service_(std::make_shared<const core::Service>(plan_.service)) {
    context_.namer = &namer_;
}

void RelayPool::add_client(const core::Label& label) {
    const std::size_t at = clients_.size();
    const auto number = static_cast<std::uint32_t>(at + 1);
    Client& client = *clients_.emplace_back(std::make_unique<Client>());
    client.direct = FakePostgres(template_context(*service_));
    client.direct.start_with({label.settings().begin(), label.settings().end()});
    client.relay =
        std::make_unique<core::Relay>(context_, service_, counters_, label,
                                      core::Relay::Identity{number, std::string("\0\0\0\7", 4),
                                                            "private " + std::to_string(number)});
    perform(at, client.relay->start(plan_.known_welcome ? &welcome : nullptr));
}

// ---- steps, as daemon/session.cpp performs them ----

void RelayPool::flush(Client& client) {
    const std::string to_backend = context_.to_backend.str();
    const std::string to_frontend = context_.to_frontend.str();
    demand(to_backend.size() == context_.to_backend.size() &&
               to_frontend.size() == context_.to_frontend.size(),
           "an output has the bytes that it counts");
    bytes_out_ += to_backend.size() + to_frontend.size();
    demand(to_backend.empty() || client.server != nobody, "bytes go to a server that one has");
    if (client.server != nobody) servers_[client.server]->pending += to_backend;
    if (!client.closed) client.received += to_frontend;
    context_.settle();
}

void RelayPool::perform(std::size_t at, Step step) {
    Client& client = *clients_[at];
    while (true) {
        flush(client);
        switch (step.next) {
            case Next::proceed:
                return;
            case Next::acquire: {
                const std::optional<Step> next = acquire(at);
                if (!next) return;
                step = *next;
                break;
            }
            case Next::release:
                demand(client.server != nobody, "only what one has can be released");
                release(std::exchange(client.server, nobody));
                if (client.closed) {
                    client.gone = true;
                    return;
                }
                step = client.relay->resume();
                break;
            case Next::close:
                return close(at, step.reason);
            case Next::poison:
                demand(client.hostile, "an honest server never answers what nobody asked");
                if (client.server != nobody) close_server(std::exchange(client.server, nobody));
                client.relay->on_backend_poisoned();
                return close(at, step.reason);
        }
    }
}

std::optional<Step> RelayPool::acquire(std::size_t at) {
    Client& client = *clients_[at];
    demand(client.server == nobody && !client.waiting, "nobody asks twice");
    client.waiting = true;
    queue_.push_back(at);
    return {};
}

/// False: its settings are being changed first.
bool RelayPool::begin_lease(std::size_t at, std::size_t client) {
    Server& server = *servers_[at];
    server.client = client;
    const core::Label& label = clients_[client]->relay->label();
    if (!(server.state.label == label)) {
        std::string sql;
        Upkeep upkeep = Upkeep::relabel(server.state, label, sql);
        if (upkeep.state() == UpkeepState::running) {
            start_upkeep(at, std::move(upkeep), sql);
            return false;
        }
    }
    return true;
}

Step RelayPool::granted(std::size_t at, std::size_t client) {
    Server& server = *servers_[at];
    Client& holder = *clients_[client];
    check_clean(server, holder);
    server.phase = Phase::leased;
    server.client = client;
    holder.server = at;
    holder.waiting = false;
    return holder.relay->on_granted(server.state);
}

void RelayPool::grant_waiting() {
    while (!queue_.empty()) {
        const std::size_t client = queue_.front();
        if (clients_[client]->closed || !clients_[client]->waiting) {
            queue_.pop_front();
            continue;
        }
        std::size_t chosen = nobody;
        std::size_t live = 0;
        for (std::size_t i = 0; i < servers_.size(); ++i) {
            live += servers_[i]->phase != Phase::closed ? 1U : 0U;
            if (chosen == nobody && servers_[i]->phase == Phase::idle) chosen = i;
        }
        if (chosen == nobody) {
            if (live >= plan_.servers_max) return;
            chosen = servers_.size();
            servers_.push_back(std::make_unique<Server>());
            servers_.back()->state.parameters = welcome;
        }
        queue_.pop_front();
        ++events_;
        if (begin_lease(chosen, client)) perform(client, granted(chosen, client));
    }
}

void RelayPool::release(std::size_t at) {
    Server& server = *servers_[at];
    server.client = nobody;
    server.phase = Phase::parked;
    if (server.state.cancels_in_flight > 0) return;
    // Who can tell what a hostile one is up to: nobody else is tested with it.
    if (server.state.dying || server.hostile) return close_server(at);
    if (!Upkeep::reset_needed(server.state)) return make_available(at);
    std::string sql;
    Upkeep upkeep = Upkeep::reset(server.state, sql);
    start_upkeep(at, std::move(upkeep), sql);
}

void RelayPool::make_available(std::size_t at) {
    servers_[at]->client = nobody;
    servers_[at]->phase = Phase::idle;
}

void RelayPool::start_upkeep(std::size_t at, Upkeep upkeep, std::string_view sql) {
    Server& server = *servers_[at];
    demand(server.hostile || server.answers.empty(), "upkeep begins when nothing is owed");
    server.phase = Phase::upkeep;
    server.upkeep = std::move(upkeep);
    server.pending += sql;
}

void RelayPool::on_upkeep_bytes(std::size_t at, std::string_view bytes) {
    Server& server = *servers_[at];
    const UpkeepState state =
        server.upkeep->on_bytes(bytes, server.state, context_.backend_carry, context_.buffers);
    context_.settle();
    if (state == UpkeepState::running) return;
    const Upkeep upkeep = *std::exchange(server.upkeep, std::nullopt);
    server.phase = Phase::parked;
    const std::size_t waiter = std::exchange(server.client, nobody);
    // A hostile server may have said anything: nobody else is tested with it.
    if (state != UpkeepState::done || server.hostile) {
        demand(server.hostile, "upkeep of an honest server succeeds");
        close_server(at);
        if (waiter != nobody && clients_[waiter]->waiting) queue_.push_front(waiter);
        return;
    }
    demand(server.hostile || upkeep.goal() != core::UpkeepGoal::reset ||
               !Upkeep::reset_needed(server.state),
           "a reset leaves nothing to reset");
    if (waiter != nobody && !clients_[waiter]->closed && clients_[waiter]->waiting) {
        return perform(waiter, granted(at, waiter));
    }
    make_available(at);
}

void RelayPool::close(std::size_t at, CloseReason reason) {
    Client& client = *clients_[at];
    if (client.closed) {
        client.gone = true;
        return;
    }
    client.closed = true;
    client.waiting = false;
    client.reason = reason;
    switch (client.relay->on_frontend_closed()) {
        case Disposal::none:
            demand(client.server == nobody, "no server is forgotten");
            break;
        case Disposal::linger:
            return flush(client);
        case Disposal::release:
        case Disposal::reset:
            release(std::exchange(client.server, nobody));
            break;
        case Disposal::abort:
            close_server(std::exchange(client.server, nobody));
            break;
    }
    client.gone = true;
}

void RelayPool::close_server(std::size_t at) {
    Server& server = *servers_[at];
    server.phase = Phase::closed;
    server.client = nobody;
    server.pending.clear();
    server.answers.clear();
    server.upkeep.reset();
}

// ---- what happens ----

void RelayPool::send(std::size_t at, std::string_view bytes) {
    Client& client = *clients_[at];
    // What a name means is then known only from the answers ; a pipeline does not wait for them.
    if (client.direct.take_names_moved()) settle();
    if (client.closed) return;
    client.inbox.append(bytes);
    client.asked.append(bytes);
    client.direct.on_bytes(bytes, client.told_directly);
    client.disturbed = client.disturbed || client.direct.died() || client.direct.is_excepted();
}

void RelayPool::read_frontend(std::size_t at, std::size_t count) {
    Client& client = *clients_[at];
    if (client.closed || client.inbox.empty() || !client.relay->wants_frontend_bytes()) return;
    const Copy copy(std::string_view(client.inbox).substr(0, count));
    client.inbox.erase(0, copy.view().size());
    ++events_;
    perform(at, client.relay->on_frontend_bytes(copy.view()));
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::work(std::size_t at, std::size_t count) {
    Server& server = *servers_[at];
    if (server.phase == Phase::closed || server.fake.closed()) return;
    const std::string bytes = server.pending.substr(0, count);
    if (bytes.empty()) return;
    server.pending.erase(0, bytes.size());
    ++events_;
    server.fake.on_bytes(bytes, server.answers);
    if (server.fake.closed() && server.client != nobody) clients_[server.client]->disturbed = true;
}

void RelayPool::read_backend(std::size_t at, std::size_t count) {
    Server& server = *servers_[at];
    if (server.phase == Phase::closed) return;
    if (server.answers.empty()) {
        if (server.fake.closed()) lose_server(at);
        return;
    }
    ++events_;
    const Copy copy(std::string_view(server.answers).substr(0, count));
    server.answers.erase(0, copy.view().size());
    deliver(at, copy.view());
}

void RelayPool::deliver(std::size_t at, std::string_view bytes) {
    Server& server = *servers_[at];
    switch (server.phase) {
        case Phase::leased: {
            const std::size_t client = server.client;
            perform(client, clients_[client]->relay->on_backend_bytes(bytes));
            break;
        }
        case Phase::upkeep:
            on_upkeep_bytes(at, bytes);
            break;
        case Phase::idle:
        case Phase::parked:
            demand(server.hostile, "an honest server is silent when nobody has it");
            close_server(at);
            break;
        case Phase::closed:
            break;
    }
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::grant() {
    grant_waiting();
}

void RelayPool::cancel(std::size_t at) {
    Client& client = *clients_[at];
    if (client.closed) return;
    Step step;
    switch (client.relay->on_cancel(step)) {
        case CancelOutcome::nothing:
            return;
        case CancelOutcome::answered:
            client.disturbed = true;
            client.waiting = false;
            perform(at, step);
            break;
        case CancelOutcome::forward: {
            client.disturbed = true;
            Server& server = *servers_[client.server];
            ++server.cancels;
            ++server.state.cancels_in_flight;
            break;
        }
    }
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::cancel_arrives(std::size_t at) {
    Server& server = *servers_[at];
    if (server.cancels == 0) return;
    --server.cancels;
    ++events_;
    if (!server.pending.empty()) {
        demand(server.hostile || server.phase == Phase::leased || server.phase == Phase::closed,
               "a cancel meets only the client that asked for it");
        server.fake.on_cancel();
    }
    --server.state.cancels_in_flight;
    const bool over = server.state.cancels_in_flight == 0;
    if (over && server.phase == Phase::parked) {
        release(at);
    } else if (over && server.phase == Phase::leased) {
        perform(server.client, clients_[server.client]->relay->on_cancel_end());
    }
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::drain(std::size_t at) {
    Client& client = *clients_[at];
    if (client.closed) return;
    client.disturbed = true;
    perform(at, client.relay->on_drain());
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::refuse_waiting() {
    for (std::size_t i = 0; i < clients_.size(); ++i) {
        Client& client = *clients_[i];
        if (client.closed || !std::exchange(client.waiting, false)) continue;
        client.disturbed = true;
        perform(i, client.relay->on_acquire_failed(protocol::make_error("53300", "no server")));
    }
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::close_frontend(std::size_t at) {
    clients_[at]->disturbed = true;
    close(at, CloseReason::client_disconnected);
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::lose_server(std::size_t at) {
    Server& server = *servers_[at];
    if (server.phase == Phase::closed) return;
    const std::size_t holder = server.client;
    const Phase before = server.phase;
    close_server(at);
    ++events_;
    if (holder != nobody && before == Phase::upkeep && clients_[holder]->waiting)
        queue_.push_front(holder);
    if (holder != nobody && before == Phase::leased) {
        clients_[holder]->disturbed = true;
        clients_[holder]->server = nobody;
        perform(holder, clients_[holder]->relay->on_backend_lost());
    }
    if (!plan_.lazy_grants) grant_waiting();
}

void RelayPool::speak(std::size_t at, std::string_view bytes) {
    Server& server = *servers_[at];
    if (server.phase == Phase::closed || bytes.empty()) return;
    server.hostile = true;
    if (server.phase == Phase::leased) {
        clients_[server.client]->hostile = true;
        clients_[server.client]->disturbed = true;
    }
    const Copy copy(bytes);
    deliver(at, copy.view());
}

bool RelayPool::settle_once() {
    const std::size_t before = events_;
    grant_waiting();
    for (std::size_t i = 0; i < clients_.size(); ++i)
        read_frontend(i, std::string::npos);
    for (std::size_t i = 0; i < servers_.size(); ++i) {
        cancel_arrives(i);
        work(i, std::string::npos);
        read_backend(i, std::string::npos);
    }
    return events_ != before;
}

void RelayPool::settle() {
    while (settle_once()) {
    }
}

}  // namespace schemux::fuzz
