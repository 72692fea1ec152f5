#include "tests/simulation/control.h"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

namespace schemux::simulation {

using core::BackendStartup;

namespace {

constexpr auto connect_timeout = std::chrono::seconds(5);
constexpr auto backoff_first = std::chrono::milliseconds(100);
constexpr auto backoff_longest = std::chrono::milliseconds(2'000);

core::BackendLogin login() {
    core::BackendLogin login;
    login.user = "user";
    login.database = "db";
    login.settings.emplace_back("search_path", "pg_catalog");
    return login;
}

}  // namespace

bool Control::start_connects() {
    const bool woken = std::exchange(shared_.connector_woken, false);
    bool any = woken;
    if (backing_off_ && shared_.now >= backoff_until_) {
        backing_off_ = false;
        any = true;
    }
    while (!backing_off_ && shared_.pool.claim_connect()) {
        any = true;
        const auto number = static_cast<std::uint32_t>(servers_.size() + 1);
        Server& server = *servers_.emplace_back(std::make_unique<Server>(number, next_welcome()));
        server.stream.room = weather_.backend_room;
        connects_.push_back(
            std::make_unique<Connect>(Connect{&server, BackendStartup(login()), shared_.now}));
        const std::size_t at = connects_.size() - 1;
        act(at, connects_[at]->startup.start());
    }
    return any;
}

Welcome Control::next_welcome() {
    if (!choice_.chance(weather_.bad_logins)) return Welcome::good;
    constexpr std::array bad = {Welcome::full,     Welcome::full,     Welcome::refused,
                                Welcome::starting, Welcome::hangs_up, Welcome::silent};
    return bad[choice_.below(bad.size())];
}

bool Control::connect_reads(std::size_t at, std::size_t count) {
    if (at >= connects_.size()) return false;
    Stream& stream = connects_[at]->server->stream;
    if (!stream.readable()) return false;
    if (stream.at_end()) {
        act(at, connects_[at]->startup.on_closed());
    } else {
        act(at, connects_[at]->startup.on_bytes(stream.read(count)));
    }
    return true;
}

void Control::act(std::size_t at, BackendStartup::Action action) {
    while (true) {
        Connect& connect = *connects_[at];
        if (const auto* send = std::get_if<BackendStartup::Send>(&action)) {
            connect.server->stream.send(send->bytes);
            action = connect.startup.on_bytes({});
        } else if (std::holds_alternative<BackendStartup::Done>(action)) {
            return succeed(at);
        } else if (const auto* failed = std::get_if<BackendStartup::Failed>(&action)) {
            const auto copy = *failed;
            return fail(at, copy.error, copy.transient);
        } else {
            demand(std::holds_alternative<BackendStartup::NeedBytes>(action),
                   "a login without a password needs no keys");
            return;
        }
    }
}

void Control::remove(std::size_t at) {
    connects_.erase(connects_.begin() + static_cast<std::ptrdiff_t>(at));
}

void Control::succeed(std::size_t at) {
    const Connect& connect = *connects_[at];
    Server& server = *connect.server;
    core::Settings parameters = connect.startup.parameters();
    demand(connect.startup.key().pid == server.number(), "a login tells the server's key");
    remove(at);
    failures_in_a_row_ = 0;
    shared_.pool.set_outage(false);
    shared_.pool.connect_succeeded();
    server.stream.paused = true;  // until its worker has it
    const auto ticket = shared_.next_ticket(core::Label{}.hash());
    const std::size_t to = ticket ? ticket->worker : next_worker_++ % workers_.size();
    workers_[to]->post_backend(server, std::move(parameters), ticket);
    shared_.connector_woken = true;
}

void Control::fail(std::size_t at, const protocol::ErrorFields& error, bool transient) {
    ++login_failures_;
    connects_[at]->server->stream.closed = true;
    remove(at);
    shared_.pool.connect_failed();
    shared_.pool.set_outage(true);
    if (!transient) {
        for (const core::Ticket& ticket : shared_.pool.drain_tickets()) {
            shared_.note_taken(ticket);
            workers_[ticket.worker]->post_failure(ticket, error);
        }
    }
    const unsigned doublings = std::min(failures_in_a_row_++, 6U);
    backoff_until_ = shared_.now + std::min(backoff_first * (1U << doublings), backoff_longest);
    shared_.connector_woken = true;
}

bool Control::expire_connects() {
    for (std::size_t at = 0; at < connects_.size(); ++at) {
        if (shared_.now - connects_[at]->began < connect_timeout) continue;
        fail(at, protocol::make_error("08006", "login timed out"), true);
        return true;
    }
    return false;
}

/// First it arrives, then the server closes its connection: only then has it been acted on.
bool Control::cancel_goes_on(std::size_t at) {
    if (at >= shared_.cancels.size()) return false;
    Shared::Cancel& cancel = shared_.cancels[at];
    if (!std::exchange(cancel.arrived, true)) {
        servers_[cancel.server - 1]->on_cancel(cancel.client);
        return true;
    }
    const auto done = std::move(cancel.done);
    shared_.cancels.erase(shared_.cancels.begin() + static_cast<std::ptrdiff_t>(at));
    done();
    return true;
}

}  // namespace schemux::simulation
