// What must hold for a RelayPool, whatever happened in it.
#include "tests/fuzz/input.h"
#include "tests/fuzz/relay_pool.h"

namespace schemux::fuzz {

using core::CloseReason;

namespace {

constexpr std::string_view tag_word = "client_";

/// What is wrong with a broken message is the unit and integration tests' to compare: the fake
/// knows one sentence for all of them.
std::string without_words(std::string_view error) {
    if (error.find(std::string_view("\0C08P01\0", 8)) == std::string_view::npos)
        return std::string(error);
    const bool fatal = error.find("SFATAL") != std::string_view::npos;
    std::string out;
    protocol::append_error(
        out, protocol::make_error("08P01", "broken",
                                  fatal ? protocol::Severity::fatal : protocol::Severity::error));
    return out;
}

/// Without ParameterStatus, whose moment may differ (core/EXCEPTIONS.md, E2), and without the
/// welcome.
std::string comparable(std::string_view bytes, bool with_welcome) {
    std::string out;
    bool welcomed = !with_welcome;
    const std::string_view rest = for_each_message(bytes, [&](char type, std::string_view whole) {
        if (welcomed && type == 'E') out += without_words(whole);
        if (welcomed && type != 'E' && type != 'S') out += whole;
        if (type == 'Z') welcomed = true;
    });
    return welcomed ? out.append(rest) : out;
}

}  // namespace

std::string tag_of(std::size_t client) {
    return std::string(tag_word) + static_cast<char>('a' + client);
}

void RelayPool::check_clean(const Server& server, const Client& client) const {
    demand(!client.closed, "a client that is gone gets no server");
    if (server.hostile) return;
    demand(server.state.at_rest(), "a server is granted at rest");
    demand(server.answers.empty() && server.fake.unflushed().empty(),
           "a server is granted with nothing owed");
    const std::string_view rest = for_each_message(server.pending, [](char type, auto) {
        demand(type == 'H' || type == 'd' || type == 'c' || type == 'f',
               "what is still on its way to a granted server is without effect");
    });
    demand(rest.empty(), "a server is granted between messages");
    demand(server.fake.idle() && !server.fake.closed(), "a server is granted idle");
    demand(!server.fake.has_residue(), "a server is granted without another client's session");
    demand(server.state.cancels_in_flight == 0, "a server is granted without a cancel under way");
    SettingsMap wanted;
    for (const auto& [name, value] : client.relay->label().settings())
        wanted[name] = value;
    demand(server.fake.settings() == wanted, "a server is granted with the client's settings");
    demand(server.fake.statement_count() <= core::limits::backend_statements_max + 1,
           "a server's statements are bounded");
}

void RelayPool::check_tags(std::size_t at) const {
    const std::string own = tag_of(at);
    for_each_message(clients_[at]->received, [&own](char type, std::string_view whole) {
        if (type != 'D' && type != 'd' && type != 'N') return;
        std::size_t found = whole.find(tag_word);
        for (; found != whole.npos; found = whole.find(tag_word, found + 1)) {
            demand(whole.substr(found).starts_with(own), "nobody sees another client's rows");
        }
    });
}

void RelayPool::dump() const {
    for (const auto& client : clients_) {
        std::fprintf(stderr, "client: relay phase %d, server %zd, %s%s%zu bytes unread\n",
                     static_cast<int>(client->relay->phase()), static_cast<ssize_t>(client->server),
                     client->waiting ? "waiting, " : "", client->closed ? "closed, " : "",
                     client->inbox.size());
    }
    for (const auto& server : servers_) {
        std::fprintf(stderr, "server: phase %d, client %zd, owes %zu, pending %zu, answers %zu\n",
                     static_cast<int>(server->phase), static_cast<ssize_t>(server->client),
                     server->state.replies.owed(), server->pending.size(), server->answers.size());
    }
}

bool RelayPool::done(const Client& client) const {
    return client.closed || (client.inbox.empty() && !client.waiting);
}

void RelayPool::check_answers(std::size_t at) const {
    const Client& client = *clients_[at];
    if (!client.hostile) check_tags(at);
    if (client.disturbed) return;
    const std::string direct = comparable(client.told_directly, false);
    std::string relayed = comparable(client.received, true);
    if (client.reason == CloseReason::protocol_violation) {
        // PostgreSQL tells everything that came before; here the violation ends it at once.
        std::size_t last = 0;
        std::size_t end = 0;
        for_each_message(relayed, [&](char type, std::string_view whole) {
            if (type == 'E') last = end;
            end += whole.size();
        });
        relayed.resize(last);
        demand(direct.starts_with(relayed), "up to a violation the answers are PostgreSQL's");
        return;
    }
    // What PostgreSQL has not sent yet the relay may have told by itself.
    const std::string all = direct + comparable(client.direct.unflushed(), false);
    // Who says Terminate without a Sync does not wait for answers.
    const bool hurried =
        client.reason == CloseReason::client_terminated && !client.direct.at_rest();
    const bool so_far = relayed.starts_with(direct);
    const bool no_more = all.starts_with(relayed);
    const bool same = hurried ? so_far || no_more : so_far && no_more;
    if (!same) {
        show("asked  ", client.asked);
        dump();
        show("relayed", relayed);
        show("direct ", direct);
        show("unsent ", client.direct.unflushed());
    }
    demand(same, "a client is told what PostgreSQL would have told it");
    const bool settled = client.relay->phase() == core::RelayPhase::idle && client.direct.idle() &&
                         client.relay->held_bytes() == 0;
    const core::Settings& carried = client.relay->label().settings();
    demand(!settled || client.direct.settings() == SettingsMap(carried.begin(), carried.end()),
           "a client carries the settings of its session");
}

void RelayPool::finish() {
    settle();
    // One that says no more would be waited for until a timeout.
    for (std::size_t i = 0; i < servers_.size(); ++i) {
        if (servers_[i]->hostile) lose_server(i);
    }
    settle();
    bool progress = true;
    while (progress) {
        progress = false;
        for (std::size_t i = 0; i < clients_.size(); ++i) {
            Client& client = *clients_[i];
            if (client.gone || !done(client)) continue;
            check_answers(i);
            progress = !client.closed;
            if (!client.closed) close(i, CloseReason::client_disconnected);
            settle();
            if (progress) break;
        }
    }
    for (std::size_t i = 0; i < clients_.size(); ++i) {
        check_answers(i);
        demand(clients_[i]->closed, "everybody is served in the end");
        demand(clients_[i]->gone, "nobody lingers for ever");
    }
    for (const auto& server : servers_) {
        const bool over = server->phase == Phase::idle || server->phase == Phase::closed;
        demand(over, "every server is free in the end");
        if (server->phase != Phase::idle || server->hostile) continue;
        demand(server->fake.idle() && !server->fake.has_residue(), "every server is clean");
    }
    demand(counters_.leases_active.value() == 0 && counters_.clients_waiting.value() == 0,
           "the gauges come back to zero");
    demand(service_->pins->taken() == 0, "every pin is given back");
}

}  // namespace schemux::fuzz
