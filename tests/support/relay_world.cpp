#include "tests/support/relay_world.h"

#include "protocol/message_header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

namespace schemux::core::relay_script {

namespace {

const Settings welcome_parameters{{"client_encoding", "UTF8"},
                                  {"standard_conforming_strings", "on"}};

/// Bytes in memory of their own, so that a sanitizer sees every use after the batch.
class Copy {
  public:
    explicit Copy(std::string_view bytes) : size_(bytes.size()), at_(new char[size_ + 1]) {
        std::copy(bytes.begin(), bytes.end(), at_.get());
    }
    std::string_view view() const { return {at_.get(), size_}; }

  private:
    std::size_t size_;
    std::unique_ptr<char[]> at_;
};

}  // namespace

std::vector<std::string_view> messages_of(std::string_view bytes, std::string_view& rest) {
    std::vector<std::string_view> all;
    while (bytes.size() >= protocol::header_bytes) {
        const std::size_t total = protocol::read_header(bytes.data()).total_bytes();
        if (bytes.size() < total) break;
        all.push_back(bytes.substr(0, total));
        bytes.remove_prefix(total);
    }
    rest = bytes;
    return all;
}

Scene with_schema(std::string schema) {
    Scene scene;
    scene.service.schema = std::move(schema);
    return scene;
}

Scene two_backends() {
    Scene scene;
    scene.backends = 2;
    return scene;
}

World::World(const Scene& scene)
    : scene_(scene), service_(std::make_shared<const Service>(scene.service)) {
    context_.namer = &namer_;
    for (std::size_t i = 0; i < scene.backends; ++i) {
        servers_.push_back(std::make_unique<Server>());
        servers_.back()->state.parameters = welcome_parameters;
    }
    make_client(scene.label, scene.known_welcome);
}

void World::make_client(const Label& label, bool known_welcome) {
    const auto number = static_cast<std::uint32_t>(clients_.size() + 1);
    Client& client = clients_.emplace_back();
    client.relay = std::make_unique<Relay>(
        context_, service_, counters_, label,
        Relay::Identity{number, std::string("\0\0\0\7", 4), "private " + std::to_string(number)});
    perform(client, client.relay->start(known_welcome ? &welcome_parameters : nullptr));
    client.checked = client.received.size();
}

Client& World::client(std::size_t at) {
    while (clients_.size() <= at)
        make_client({}, true);
    return clients_[at];
}

void World::flush(Client& client) {
    if (!context_.to_backend.empty() && client.backend >= 0) {
        Server& server = *servers_[static_cast<std::size_t>(client.backend)];
        const std::string sent = context_.to_backend.str();
        const bool asks = sent.find("pg_catalog.getdatabaseencoding") != sent.npos;
        (asks && !hold_questions ? server.question : server.received) += sent;
    } else {
        EXPECT_TRUE(context_.to_backend.empty()) << "bytes for a backend that nobody has";
    }
    // A session whose socket is closed drops what comes.
    if (!client.closed) client.received += context_.to_frontend.str();
    context_.settle();
}

void World::perform(Client& client, Step step) {
    while (true) {
        flush(client);
        switch (step.next) {
            case Next::proceed: {
                if (client.backend < 0) return;
                Server& server = *servers_[static_cast<std::size_t>(client.backend)];
                if (server.question.empty()) return;
                std::string answer;
                server.session.on_bytes(std::exchange(server.question, {}), answer);
                step = client.relay->on_backend_bytes(answer);
                break;
            }
            case Next::acquire: {
                const std::optional<Step> granted = acquire(client);
                if (!granted) return;
                step = *granted;
                break;
            }
            case Next::release: {
                release(static_cast<std::size_t>(std::exchange(client.backend, -1)));
                if (client.closed) return;
                step = client.relay->resume();
                break;
            }
            case Next::close:
                close(client, step.reason);
                return;
            case Next::poison:
                if (client.backend >= 0) {
                    drop(static_cast<std::size_t>(std::exchange(client.backend, -1)));
                }
                client.relay->on_backend_poisoned();
                close(client, step.reason);
                return;
        }
    }
}

std::optional<Step> World::acquire(Client& client) {
    if (!client.relay->may_acquire() || hold_grants) {
        client.waiting = true;
        return {};
    }
    std::size_t chosen = 0;
    if (next_server >= 0) {
        chosen = static_cast<std::size_t>(std::exchange(next_server, -1));
    } else {
        while (chosen < servers_.size() && servers_[chosen]->phase != ServerPhase::idle)
            ++chosen;
        if (chosen == servers_.size()) {
            servers_.push_back(std::make_unique<Server>());
            servers_.back()->state.parameters = welcome_parameters;
        }
    }
    Server& server = *servers_[chosen];
    EXPECT_EQ(server.phase, ServerPhase::idle);
    std::string sql;
    Upkeep upkeep = Upkeep::relabel(server.state, client.relay->label(), sql);
    if (upkeep.state() == UpkeepState::running) {
        const UpkeepState ended = run_upkeep(server, std::move(upkeep), sql);
        if (ended != UpkeepState::done) {
            client.waiting = false;
            return client.relay->on_acquire_failed(
                {protocol::Severity::error, "22023", "refused", {}, {}, 0});
        }
    }
    server.phase = ServerPhase::leased;
    for (std::size_t i = 0; i < clients_.size(); ++i) {
        if (&clients_[i] == &client) server.client = static_cast<int>(i);
    }
    client.backend = static_cast<int>(chosen);
    client.waiting = false;
    return client.relay->on_granted(server.state);
}

UpkeepState World::run_upkeep(Server& server, Upkeep upkeep, const std::string& sql) {
    const auto text = protocol::read_text(std::string_view{sql}.substr(protocol::header_bytes));
    server.upkeep.emplace_back(text.value_or("?"));
    std::string answer = command_complete("SET") + ready();
    if (upkeep_answer) answer = *std::exchange(upkeep_answer, std::nullopt);
    const Copy copy(answer);
    return upkeep.on_bytes(copy.view(), server.state, context_.backend_carry, context_.buffers);
}

void World::release(std::size_t at) {
    Server& server = *servers_[at];
    server.client = -1;
    server.phase = ServerPhase::idle;
    if (server.state.dying) {
        server_closed(server);
        return;
    }
    if (!Upkeep::reset_needed(server.state)) return;
    std::string sql;
    Upkeep upkeep = Upkeep::reset(server.state, sql);
    const UpkeepState ended = run_upkeep(server, std::move(upkeep), sql);
    if (ended == UpkeepState::failed) server_closed(server);
}

void World::server_closed(Server& server) {
    server.phase = ServerPhase::closed;
    server.client = -1;
}

void World::close(Client& client, CloseReason reason) {
    if (client.closed) return;
    client.closed = true;
    client.waiting = false;
    client.reason = reason;
    const Disposal disposal = client.relay->on_frontend_closed();
    if (disposal == Disposal::linger) return flush(client);
    const int at = std::exchange(client.backend, -1);
    switch (disposal) {
        case Disposal::none:
        case Disposal::linger:
            EXPECT_LT(at, 0);
            return;
        case Disposal::release:
        case Disposal::reset:
            release(static_cast<std::size_t>(at));
            return;
        case Disposal::abort:
            drop(static_cast<std::size_t>(at));
            return;
    }
}

void World::pump(Client& client) {
    while (!client.closed && !client.inbox.empty() && client.relay->wants_frontend_bytes()) {
        const Copy copy(std::exchange(client.inbox, {}));
        perform(client, client.relay->on_frontend_bytes(copy.view()));
    }
}

void World::from_frontend(std::size_t at, std::string_view bytes) {
    Client& from = client(at);
    if (from.closed) return;
    from.inbox.append(bytes);
    pump(from);
}

void World::perform_on(std::size_t at, const std::function<Step(Relay&)>& act) {
    Client& one = client(at);
    if (one.closed) return;
    perform(one, act(*one.relay));
    pump(one);
}

void World::from_backend(std::size_t at, std::string_view bytes) {
    Server& server = *servers_[at];
    if (server.phase == ServerPhase::closed) return;
    if (server.client < 0) {
        server.stray.append(bytes);
        server_closed(server);
        return;
    }
    Client& holder = clients_[static_cast<std::size_t>(server.client)];
    const Copy copy(bytes);
    perform(holder, holder.relay->on_backend_bytes(copy.view()));
    pump(holder);
}

void World::lose_backend(std::size_t at) {
    Server& server = *servers_[at];
    if (server.phase == ServerPhase::closed) return;
    const int holder = server.client;
    server_closed(server);
    if (holder < 0) return;
    Client& loser = clients_[static_cast<std::size_t>(holder)];
    loser.backend = -1;
    perform(loser, loser.relay->on_backend_lost());
}

void World::close_frontend(std::size_t at) {
    close(client(at), CloseReason::client_disconnected);
}

CancelOutcome World::cancel(std::size_t at) {
    Client& target = client(at);
    if (target.closed) return CancelOutcome::nothing;
    Step step;
    const CancelOutcome outcome = target.relay->on_cancel(step);
    if (outcome == CancelOutcome::answered) {
        target.waiting = false;
        perform(target, step);
        pump(target);
    }
    return outcome;
}

void World::begin_cancel(std::size_t at) {
    ++server(static_cast<std::size_t>(client(at).backend)).state.cancels_in_flight;
}

void World::end_cancel(std::size_t at) {
    Client& target = client(at);
    --server(static_cast<std::size_t>(target.backend)).state.cancels_in_flight;
    perform(target, target.relay->on_cancel_end());
    pump(target);
}

void World::hear_until_cancel(std::size_t at) {
    Client& target = client(at);
    perform(target, target.relay->hear_until_cancel());
}

void World::drain(std::size_t at) {
    Client& target = client(at);
    perform(target, target.relay->on_drain());
}

void World::grant_waiting() {
    hold_grants = false;
    for (Client& waiter : clients_) {
        if (!waiter.waiting) continue;
        const std::optional<Step> granted = acquire(waiter);
        if (granted) perform(waiter, *granted);
        pump(waiter);
    }
}

void World::refuse_waiting(const protocol::ErrorFields& error) {
    for (Client& waiter : clients_) {
        if (!std::exchange(waiter.waiting, false)) continue;
        perform(waiter, waiter.relay->on_acquire_failed(error));
        pump(waiter);
    }
}

/// With "@n" for each name of ours, and "@prepare" for that of the helper of prepare_by_sql().
std::string World::named(std::string_view body) {
    names_.try_emplace("sx_" + std::string(32, 'f'), "@prepare");
    std::string all;
    while (!body.empty()) {
        const std::size_t at = body.find("sx_");
        all.append(body.substr(0, at));
        if (at == body.npos) break;
        body.remove_prefix(at);
        const std::string_view name = body.substr(0, backend_name_bytes);
        const bool ours = name.size() == backend_name_bytes &&
                          name.substr(3).find_first_not_of("0123456789abcdef") == name.npos;
        if (ours) {
            const std::string next = "@" + std::to_string(names_.size());
            all.append(names_.try_emplace(std::string(name), next).first->second);
        } else {
            all.append(name.substr(0, 3));
        }
        body.remove_prefix(ours ? backend_name_bytes : 3);
    }
    return all;
}

std::string World::describe(std::string_view bytes) {
    constexpr std::size_t shown_max = 400;
    std::string_view rest;
    std::string all;
    for (const std::string_view one : messages_of(bytes, rest)) {
        std::string body = named(one.substr(protocol::header_bytes));
        if (body.size() > shown_max) {
            body = "(" + std::to_string(body.size()) + " bytes, " +
                   std::to_string(std::hash<std::string>{}(body)) + ")";
        }
        all += one.front();
        all += ' ';
        for (const char c : body) {
            if (c >= ' ' && c <= '~') {
                all += c;
            } else {
                char escaped[5];
                std::snprintf(escaped, sizeof escaped, "\\%02x", static_cast<unsigned char>(c));
                all += escaped;
            }
        }
        all += '\n';
    }
    if (!rest.empty()) all += "… and " + std::to_string(rest.size()) + " bytes of a message\n";
    return all;
}

}  // namespace schemux::core::relay_script
