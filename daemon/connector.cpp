#include "daemon/connector.h"

#include "daemon/deadline.h"
#include "daemon/log.h"
#include "daemon/login_stream.h"
#include "daemon/shared_listener.h"
#include "daemon/socket_options.h"
#include "protocol/keyed_digest.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;

namespace {

constexpr auto backoff_first = std::chrono::milliseconds(100);
/// One attempt at a time: a server that is back must be found within two seconds.
constexpr auto backoff_longest = std::chrono::milliseconds(1'000);
constexpr auto cancel_timeout = std::chrono::seconds(5);
/// Between two questions whether a server is still the primary.
constexpr auto doubt_interval = std::chrono::seconds(1);

/// While idle backends of other identities are asked to make room.
constexpr auto room_interval = std::chrono::milliseconds(5);
constexpr std::size_t remembered_parameters_max = 1'000;

core::Nanoseconds now() {
    return std::chrono::steady_clock::now().time_since_epoch();
}

/// The server is there and said no: to this login, and not to all.
bool concerns_login(std::string_view sqlstate) {
    return !sqlstate.starts_with("08") && !sqlstate.starts_with("57") &&
           !sqlstate.starts_with("58") && !sqlstate.starts_with("XX");
}

void log_cancel_failure(std::uint32_t pid, const boost::system::error_code& error) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "cancel_failed",
                      {{"backend_pid", pid}, {"error", error.message()}});
}

}  // namespace

Connector::Connector(asio::io_context& io, SharedState& shared, BackendAccess access)
    : io_(io), shared_(shared), access_(std::move(access)), backoff_(io), later_(io) {}

void Connector::set_access(BackendAccess access) {
    access_ = std::move(access);
    password_.reset();
    role_passwords_.clear();
    keys_.clear();
    old_servers_.clear();
    hosts_.clear();
}

void Connector::renew(const std::optional<SocketAddress>& to) {
    shared_.backend_epoch.fetch_add(1);
    server_.reset();
    if (listener_ != nullptr) listener_->move(to);
}

bool Connector::is_outdated(const NewBackend& backend) const {
    return backend.epoch != shared_.backend_epoch.load();
}

void Connector::stop() {
    stopped_ = true;
    if (listener_ != nullptr) listener_->stop();
    backoff_.cancel();
    later_.cancel();
    helper_.stop();
}

void Connector::wake_connector() {
    if (woken_.exchange(true)) return;
    asio::post(io_, [this] {
        woken_ = false;
        start_connects();
    });
}

void Connector::listen(const core::Subscriber& who, std::vector<std::string> channels,
                       std::uint64_t number) {
    asio::post(io_, [this, who, channels = std::move(channels), number]() mutable {
        if (!stopped_ && listener_ != nullptr)
            listener_->subscribe(who, std::move(channels), number);
    });
}

void Connector::start_connects() {
    while (!stopped_ && !backing_off_) {
        auto sub_pool = shared_.pool.claim_connect(now());
        if (!sub_pool) break;
        asio::co_spawn(io_, connect_one(std::move(sub_pool)), asio::detached);
    }
    // While PostgreSQL is away there is nothing to close a connection for.
    if (!stopped_ && !backing_off_ && shared_.pool.is_divided()) make_room();
}

/// Where the bound is reached and somebody waits whom no backend that there is may serve.
void Connector::make_room() {
    const core::Nanoseconds at = now();
    const auto due = shared_.pool.next_look(at);
    if (!due) return;
    if (*due > at) return look_again(*due);
    for (Worker* worker : workers_) {
        if (worker->has_idle()) worker->post_yield_idle();
    }
    // Those that are in use are looked at when they are given back.
    look_again(at + room_interval);
}

void Connector::look_again(core::Nanoseconds at) {
    if (looks_at_ && *looks_at_ <= at) return;
    looks_at_ = at;
    later_.expires_at(std::chrono::steady_clock::time_point(at));
    later_.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        looks_at_.reset();
        start_connects();
    });
}

asio::awaitable<void> Connector::connect_one(std::shared_ptr<core::SubPool> sub_pool) {
    const auto began = std::chrono::steady_clock::now();
    Attempt attempt = co_await try_candidates(sub_pool->identity());
    counters_.connect.observe(std::chrono::steady_clock::now() - began);
    if (auto* backend = std::get_if<NewBackend>(&attempt)) {
        counters_.opened.add();
        failures_in_a_row_ = 0;
        shared_.pool.set_outage(false);
        shared_.last_failure.set("");
        shared_.pool.connect_succeeded(sub_pool.get());
        backend->sub_pool = std::move(sub_pool);
        note_server(*backend);
        deliver(std::move(*backend));
    } else {
        counters_.failed.add();
        shared_.pool.connect_failed(sub_pool.get());
        on_failure(*sub_pool, std::get<Failure>(attempt));
    }
    start_connects();
}

bool Connector::wants_primary() const {
    const TargetSessionAttrs wanted = access_.target.target_session_attrs;
    return wanted == TargetSessionAttrs::read_write || wanted == TargetSessionAttrs::primary;
}

/// There is one primary: what is connected to another server is of no use any more.
void Connector::note_server(NewBackend& backend) {
    // Begun before the last move, perhaps towards the server that was left.
    if (is_outdated(backend)) return;
    const bool moved = server_ && !(*server_ == backend.address) && wants_primary();
    if (moved) {
        counters_.servers_moved.add();
        log_event(LogLevel::warning, "primary_moved", {{"host", backend.host}});
        renew(backend.address);
        backend.epoch = shared_.backend_epoch.load();
    }
    server_ = backend.address;
}

void Connector::doubt_server(const SocketAddress& address) {
    asio::post(io_, [this, address] {
        const auto now = std::chrono::steady_clock::now();
        if (stopped_ || asking_ || !wants_primary() || now - doubted_ < doubt_interval) return;
        doubted_ = now;
        asking_ = true;
        asio::co_spawn(io_, ask_server(address), asio::detached);
    });
}

/// A client may have made its own transaction read only; the server is asked with a connection of
/// its own, beyond the pool.
asio::awaitable<void> Connector::ask_server(SocketAddress address) {
    counters_.servers_doubted.add();
    std::string why_none;
    const std::vector<Candidate> all = co_await candidates(why_none);
    for (const Candidate& candidate : all) {
        if (!(candidate.address == address)) continue;
        const Attempt attempt = co_await try_candidate(candidate, false);
        if (const auto* backend = std::get_if<NewBackend>(&attempt)) {
            ::close(backend->connection.fd);
        } else if (std::get<Failure>(attempt).unsuitable) {
            counters_.servers_moved.add();
            log_event(LogLevel::warning, "primary_lost", {{"host", candidate.host.to_string()}});
            renew();
            start_connects();
        }
        break;
    }
    asking_ = false;
}

void Connector::deliver(NewBackend&& backend) {
    // Another server or another configuration of it: clients must be told what holds now.
    if (last_parameters_.size() > remembered_parameters_max) last_parameters_.clear();
    core::Settings& last = last_parameters_[backend.sub_pool->id()];
    if (backend.parameters != last) {
        last = backend.parameters;
        shared_.welcomes.clear();
    }
    const auto ticket =
        shared_.pool.next_ticket(core::Label{}.hash(), nullptr, now(), backend.sub_pool.get());
    const std::size_t to = ticket ? ticket->worker : next_worker_++ % workers_.size();
    workers_[to]->post_backend(std::move(backend), ticket);
}

/// What PostgreSQL says of this role or this database: others are let in.
void Connector::rest(core::SubPool& sub_pool, const Failure& failure) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "backend_login_refused",
                      {{"role", sub_pool.identity().role},
                       {"database", sub_pool.identity().database},
                       {"sqlstate", failure.error.sqlstate},
                       {"error", failure.error.message}});
    if (!failure.transient) {
        for (const core::Ticket& ticket : shared_.pool.drain_tickets(sub_pool))
            workers_[ticket.worker]->post_failure(ticket, failure.error);
    }
    const core::Nanoseconds until = shared_.pool.rest(sub_pool, now());
    if (!failure.transient)
        shared_.client_secrets->refuse(sub_pool.identity(), failure.error,
                                       ClientSecrets::Time(until));
    look_again(until);
}

void Connector::on_failure(core::SubPool& sub_pool, const Failure& failure) {
    if (!sub_pool.identity().is_default() && concerns_login(failure.error.sqlstate))
        return rest(sub_pool, failure);
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "backend_connect_failed",
                      {{"sqlstate", failure.error.sqlstate}, {"error", failure.error.message}});
    shared_.last_failure.set(failure.error.message);
    shared_.pool.set_outage(true);
    if (!failure.transient) {
        for (const core::Ticket& ticket : shared_.pool.drain_tickets(sub_pool)) {
            workers_[ticket.worker]->post_failure(ticket, failure.error);
        }
    }
    // Another attempt of the same moment has failed already: one wait for all.
    if (std::exchange(backing_off_, true)) return;
    const unsigned doublings = std::min(failures_in_a_row_++, 6U);
    const auto base = std::min(backoff_first * (1U << doublings), backoff_longest);
    std::uint8_t random = 0;
    protocol::random_bytes(&random, sizeof random);
    backoff_.expires_after(base * (200 + random % 100) / 250);
    backoff_.async_wait([this](const boost::system::error_code& error) {
        backing_off_ = false;
        if (!error) start_connects();
    });
}

void Connector::send_cancel(const SocketAddress& address, std::uint32_t pid, std::string secret,
                            std::function<void(CancelEnd)> done) {
    asio::post(io_, [this, address, pid, secret = std::move(secret), done = std::move(done)] {
        counters_.cancels_sent.add();
        asio::co_spawn(io_, cancel(address, pid, secret, done), asio::detached);
    });
}

/// PostgreSQL signals the backend before it closes the connection, and a backend that is signalled
/// between two statements ignores it: behind the end of stream nothing can be hit any more.
asio::awaitable<void> Connector::cancel(SocketAddress address, std::uint32_t pid,
                                        std::string secret, std::function<void(CancelEnd)> done) {
    const auto socket = std::make_shared<Socket>(io_);
    const Deadline deadline(socket, cancel_timeout);
    boost::system::error_code error;
    const asio::generic::stream_protocol::endpoint endpoint(address.get(), address.length);
    co_await socket->async_connect(endpoint, redirect_error(use_awaitable, error));
    LoginStream stream(socket);
    if (!error) {
        const bool may_be_sent = co_await encrypt_cancel(stream, address);
        if (!may_be_sent) error = asio::error::connection_aborted;
    }
    if (error) {
        log_cancel_failure(pid, error);
        done(CancelEnd::not_sent);
        co_return;
    }
    std::string request;
    protocol::append_cancel_request(request, pid, secret);
    if (co_await stream.write(request)) {
        while (co_await stream.read()) {
        }
    }
    const bool acted = stream.ended_well();
    if (!acted) log_cancel_failure(pid, asio::error::connection_aborted);
    done(acted ? CancelEnd::acted : CancelEnd::unknown);
}

/// The key is worth as much as the connection that it stops. False: it must not be sent.
asio::awaitable<bool> Connector::encrypt_cancel(LoginStream& stream, SocketAddress address) {
    if (address.family() == AF_UNIX || access_.target.sslmode < SslMode::require) co_return true;
    const auto* bytes = reinterpret_cast<const char*>(&address.storage);
    const auto host = hosts_.find(std::string(bytes, address.length));
    if (host == hosts_.end()) co_return false;
    const Candidate candidate{address, host->second};
    const std::optional<Failure> refused = co_await encrypt(stream, candidate);
    co_return !refused;
}

}  // namespace schemux::daemon
