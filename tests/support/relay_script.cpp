#include "tests/support/relay_script.h"

#include "protocol/message_header.h"

#include <gtest/gtest.h>

namespace schemux::core::relay_script {

namespace {

bool is_full_reset(std::string_view text) {
    for (const char* part : {"RESET ROLE", "RESET ALL", "DEALLOCATE ALL", "CLOSE ALL", "UNLISTEN *",
                             "pg_advisory_unlock_all", "DISCARD SEQUENCES", "DISCARD TEMP"}) {
        if (text.find(part) == text.npos) return false;
    }
    return true;
}

}  // namespace

Script& Script::act(std::function<void(World&, std::size_t)> run) {
    lines_.push_back({Line::Kind::act, 0, {}, std::move(run)});
    return *this;
}
Script& Script::expect(std::function<void(World&, std::size_t)> run) {
    lines_.push_back({Line::Kind::expect, 0, {}, std::move(run)});
    return *this;
}

Script& Script::client(std::size_t number) {
    lines_.push_back({Line::Kind::client, number - 1, {}, {}});
    return *this;
}
Script& Script::on_backend(std::size_t number) {
    return act(
        [number](World& world, std::size_t) { world.next_server = static_cast<int>(number) - 1; });
}
Script& Script::frontend(std::string bytes) {
    lines_.push_back({Line::Kind::frontend, 0, std::move(bytes), {}});
    return *this;
}
Script& Script::backend(std::string bytes) {
    lines_.push_back({Line::Kind::backend, 0, std::move(bytes), {}});
    return *this;
}
Script& Script::cancel(CancelOutcome expected) {
    return act([expected](World& world, std::size_t client) {
        EXPECT_EQ(world.cancel(client), expected);
    });
}
Script& Script::drain() {
    return act([](World& world, std::size_t client) { world.drain(client); });
}
Script& Script::frontend_closes() {
    return act([](World& world, std::size_t client) { world.close_frontend(client); });
}
Script& Script::backend_lost() {
    return act([](World& world, std::size_t client) {
        const int mine = world.client(client).backend;
        ASSERT_GE(mine, 0) << "this client has no backend to lose";
        world.lose_backend(static_cast<std::size_t>(mine));
    });
}
Script& Script::hold_grants() {
    return act([](World& world, std::size_t) { world.hold_grants = true; });
}
Script& Script::grant() {
    return act([](World& world, std::size_t) { world.grant_waiting(); });
}
Script& Script::refuse(protocol::ErrorFields error) {
    return act(
        [error = std::move(error)](World& world, std::size_t) { world.refuse_waiting(error); });
}
Script& Script::upkeep_answers(std::string bytes) {
    return act(
        [bytes = std::move(bytes)](World& world, std::size_t) { world.upkeep_answer = bytes; });
}

Script& Script::session_has(Settings settings) {
    return act([settings = std::move(settings)](World& world, std::size_t client) {
        const int mine = world.client(client).backend;
        ASSERT_GE(mine, 0) << "this client has no backend";
        world.server(static_cast<std::size_t>(mine))
            .session.start_with({settings.begin(), settings.end()});
    });
}
Script& Script::hold_questions() {
    return act([](World& world, std::size_t) { world.hold_questions = true; });
}

Script& Script::backend_gets(std::string bytes) {
    return expect([bytes = std::move(bytes)](World& world, std::size_t client) {
        std::string seen;
        const int mine = world.client(client).backend;
        for (std::size_t i = 0; i < world.server_count(); ++i) {
            Server& server = world.server(i);
            if (mine >= 0 && i != static_cast<std::size_t>(mine)) continue;
            seen += server.received.substr(server.checked);
            server.checked = server.received.size();
        }
        const std::string decoded = world.describe(seen);
        EXPECT_EQ(decoded, world.describe(bytes));
    });
}
Script& Script::whatever_backend_got() {
    return expect([](World& world, std::size_t) {
        for (std::size_t i = 0; i < world.server_count(); ++i) {
            Server& server = world.server(i);
            world.describe(std::string_view{server.received}.substr(server.checked));
            server.checked = server.received.size();
        }
    });
}
Script& Script::frontend_gets(std::string bytes) {
    return expect([bytes = std::move(bytes)](World& world, std::size_t at) {
        Client& client = world.client(at);
        const std::string seen = client.received.substr(client.checked);
        client.checked = client.received.size();
        EXPECT_EQ(world.describe(seen), world.describe(bytes));
    });
}
Script& Script::leased() {
    return expect([](World& world, std::size_t client) {
        EXPECT_GE(world.client(client).backend, 0) << "no backend";
        EXPECT_EQ(world.client(client).relay->phase(), RelayPhase::leased);
    });
}
Script& Script::released() {
    return expect([](World& world, std::size_t client) {
        EXPECT_LT(world.client(client).backend, 0) << "it still has a backend";
        for (std::size_t i = 0; i < world.server_count(); ++i) {
            const Server& server = world.server(i);
            if (server.client >= 0) continue;
            EXPECT_TRUE(server.phase == ServerPhase::idle) << "a backend was closed";
            EXPECT_TRUE(server.state.at_rest());
            EXPECT_TRUE(server.upkeep.empty()) << server.upkeep.back();
        }
    });
}
Script& Script::released_after(std::string_view upkeep) {
    return expect([upkeep = std::string(upkeep)](World& world, std::size_t client) {
        EXPECT_LT(world.client(client).backend, 0) << "it still has a backend";
        std::string done;
        for (std::size_t i = 0; i < world.server_count(); ++i) {
            Server& server = world.server(i);
            for (const std::string& text : server.upkeep)
                done += is_full_reset(text) ? full_reset : text;
            server.upkeep.clear();
            EXPECT_FALSE(Upkeep::reset_needed(server.state));
        }
        EXPECT_EQ(done, upkeep);
    });
}
Script& Script::backend_closed() {
    return expect([](World& world, std::size_t client) {
        EXPECT_LT(world.client(client).backend, 0);
        bool any = false;
        for (std::size_t i = 0; i < world.server_count(); ++i)
            any = any || world.server(i).phase == ServerPhase::closed;
        EXPECT_TRUE(any) << "no backend was closed";
    });
}
Script& Script::closes(CloseReason reason) {
    return expect([reason](World& world, std::size_t client) {
        EXPECT_TRUE(world.client(client).closed);
        EXPECT_EQ(name_of(world.client(client).reason), name_of(reason));
    });
}
Script& Script::open() {
    return expect([](World& world, std::size_t client) {
        EXPECT_FALSE(world.client(client).closed) << name_of(world.client(client).reason);
    });
}
Script& Script::that(std::function<void(World&)> check) {
    return expect([check = std::move(check)](World& world, std::size_t) { check(world); });
}

void Script::feed(World& world, const Line& line, std::size_t client,
                  std::string_view bytes) const {
    if (bytes.empty()) return;
    if (line.kind == Line::Kind::frontend) {
        world.from_frontend(client, bytes);
        return;
    }
    const int server = world.client(client).backend;
    if (server < 0) {
        ADD_FAILURE() << "the backend speaks, but this client has none";
        return;
    }
    world.from_backend(static_cast<std::size_t>(server), bytes);
}

/// True when the conversation goes on as if nothing had happened.
bool Script::inject(World& world, std::size_t client, Failure failure) const {
    switch (failure) {
        case Failure::none:
            return true;
        case Failure::frontend_closes:
            world.close_frontend(client);
            return false;
        case Failure::terminate_and_close:
            world.from_frontend(client, terminate());
            world.close_frontend(client);
            return false;
        case Failure::terminate_and_stay:
            world.from_frontend(client, terminate());
            return false;
        case Failure::backend_lost: {
            const int server = world.client(client).backend;
            if (server < 0) return true;
            world.lose_backend(static_cast<std::size_t>(server));
            return false;
        }
        case Failure::cancel:
            return world.cancel(client) != CancelOutcome::answered;
    }
    return true;
}

void Script::perform(const Plan& plan, std::vector<std::string>* golden) const {
    World world(scene_);
    std::size_t client = 0;
    for (std::size_t at = 0; at < lines_.size(); ++at) {
        const Line& line = lines_[at];
        switch (line.kind) {
            case Line::Kind::client:
                client = line.number;
                world.client(client);
                break;
            case Line::Kind::act:
            case Line::Kind::expect:
                line.run(world, client);
                break;
            case Line::Kind::frontend:
            case Line::Kind::backend: {
                const std::string_view bytes = line.bytes;
                if (plan.byte_by_byte) {
                    for (std::size_t i = 0; i < bytes.size(); ++i)
                        feed(world, line, client, bytes.substr(i, 1));
                    break;
                }
                if (plan.cut_line != at) {
                    feed(world, line, client, bytes);
                    break;
                }
                feed(world, line, client, bytes.substr(0, plan.cut_at));
                if (!inject(world, client, plan.failure)) {
                    finish_lingering(world, at, plan.cut_at, client);
                    check_aftermath(world, *golden);
                    return;
                }
                feed(world, line, client, bytes.substr(plan.cut_at));
                break;
            }
        }
    }
    if (golden->empty()) {
        for (std::size_t i = 0; i < world.client_count(); ++i)
            golden->push_back(world.client(i).received);
    } else {
        for (std::size_t i = 0; i < world.client_count(); ++i)
            EXPECT_EQ(world.describe(world.client(i).received), world.describe((*golden)[i]));
    }
}

/// The backend of a client that said goodbye goes on answering what it had got.
void Script::finish_lingering(World& world, std::size_t from_line, std::size_t from_byte,
                              std::size_t client) const {
    std::size_t speaker = client;
    for (std::size_t at = from_line; at < lines_.size(); ++at) {
        const Line& line = lines_[at];
        if (line.kind == Line::Kind::client) speaker = line.number;
        // What it asked later was never sent, so what answers that never comes.
        const bool asks = line.kind == Line::Kind::frontend && speaker == client;
        if (asks && (at != from_line || from_byte < line.bytes.size())) return;
        if (line.kind != Line::Kind::backend || speaker != client) continue;
        const int server = world.client(client).backend;
        if (server < 0) return;
        const std::string_view bytes = line.bytes;
        world.from_backend(static_cast<std::size_t>(server),
                           bytes.substr(at == from_line ? from_byte : 0));
    }
}

void Script::check_aftermath(World& world, const std::vector<std::string>& golden) {
    for (std::size_t i = 0; i < world.client_count(); ++i) {
        const std::string_view received = world.client(i).received;
        const std::string_view whole = i < golden.size() ? std::string_view{golden[i]} : "";
        std::string_view rest;
        std::size_t same = 0;
        bool own = false;
        for (const std::string_view one : messages_of(received, rest)) {
            if (!own && whole.substr(same).starts_with(one)) {
                same += one.size();
                continue;
            }
            own = true;
            EXPECT_TRUE(one.front() == 'E' || one.front() == 'Z')
                << "client " << i + 1 << " got what it should not:\n"
                << world.describe(one);
        }
        if (own) {
            EXPECT_TRUE(rest.empty());
        } else {
            EXPECT_TRUE(whole.substr(same).starts_with(rest));
        }
    }
    world.next_server = -1;
    world.hold_grants = false;
    const std::size_t stranger = world.client_count();
    for (std::size_t i = 0; i < world.server_count(); ++i) {
        Server& server = world.server(i);
        if (server.phase != ServerPhase::idle) continue;
        EXPECT_TRUE(server.state.at_rest());
        EXPECT_FALSE(Upkeep::reset_needed(server.state));
        std::string_view rest;
        messages_of(server.received, rest);
        EXPECT_TRUE(rest.empty()) << "a message was cut off on its way to backend " << i + 1;
        // A stranger gets this backend: its own answer, the whole answer and nothing else.
        Client& next = world.client(stranger);
        const std::size_t before = next.received.size();
        const std::size_t sent = server.received.size();
        world.next_server = static_cast<int>(i);
        world.from_frontend(stranger, query("select 'stranger'"));
        EXPECT_EQ(world.describe(server.received.substr(sent)),
                  world.describe(query("select 'stranger'")));
        world.from_backend(i, one_row("stranger") + ready());
        EXPECT_EQ(world.describe(next.received.substr(before)),
                  world.describe(one_row("stranger") + ready()));
        EXPECT_FALSE(next.closed);
    }
}

void Script::check_whole() const {
    std::vector<std::string> golden;
    perform({}, &golden);
}

void Script::check() const {
    std::vector<std::string> golden;
    perform({}, &golden);
    if (::testing::Test::HasFailure()) return;
    {
        SCOPED_TRACE("byte by byte");
        Plan plan;
        plan.byte_by_byte = true;
        perform(plan, &golden);
    }
    for (const Failure failure :
         {Failure::none, Failure::frontend_closes, Failure::terminate_and_close,
          Failure::terminate_and_stay, Failure::backend_lost, Failure::cancel}) {
        for (std::size_t line = 0; line < lines_.size(); ++line) {
            for (std::size_t at = 0; at <= lines_[line].bytes.size(); ++at) {
                if (::testing::Test::HasFailure()) return;
                if (lines_[line].bytes.empty()) continue;
                SCOPED_TRACE("line " + std::to_string(line + 1) + ", byte " + std::to_string(at) +
                             ", failure " + std::to_string(static_cast<int>(failure)));
                Plan plan;
                plan.cut_line = line;
                plan.cut_at = at;
                plan.failure = failure;
                perform(plan, &golden);
            }
        }
    }
}

}  // namespace schemux::core::relay_script
