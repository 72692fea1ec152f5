#include "daemon/connector.h"

#include "core/overload.h"
#include "daemon/deadline.h"
#include "daemon/hop.h"
#include "daemon/log.h"
#include "daemon/shared_listener.h"
#include "daemon/socket_options.h"
#include "protocol/keyed_digest.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/startup_packet.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
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
constexpr std::size_t cached_keys_max = 64;

protocol::ErrorFields connection_error(std::string message) {
    return protocol::make_error(protocol::sqlstate::connection_failure, std::move(message));
}

void log_cancel_failure(std::uint32_t pid, const boost::system::error_code& error) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "cancel_failed",
                      {{"backend_pid", pid}, {"error", error.message()}});
}

/// The password itself goes only where nobody can listen.
core::AcceptedMethods safe_methods(const SocketAddress& address) {
    core::AcceptedMethods methods;
    methods.password = is_local(address);
    return methods;
}

/// PostgreSQL 14 and newer report both settings; an older server counts as a writable primary.
bool suits(TargetSessionAttrs wanted, const core::Settings& parameters, bool must_be_standby) {
    const auto is_on = [&parameters](std::string_view name) {
        return std::any_of(parameters.begin(), parameters.end(), [name](const auto& pair) {
            return pair.first == name && pair.second == "on";
        });
    };
    const bool standby = is_on("in_hot_standby");
    const bool read_only = standby || is_on("default_transaction_read_only");
    switch (wanted) {
        case TargetSessionAttrs::any:
            return true;
        case TargetSessionAttrs::read_write:
            return !read_only;
        case TargetSessionAttrs::read_only:
            return read_only;
        case TargetSessionAttrs::primary:
            return !standby;
        case TargetSessionAttrs::standby:
            return standby;
        case TargetSessionAttrs::prefer_standby:
            return standby || !must_be_standby;
    }
    return true;
}

}  // namespace

Connector::Connector(asio::io_context& io, SharedState& shared, BackendAccess access)
    : io_(io), shared_(shared), access_(std::move(access)), backoff_(io) {}

void Connector::set_access(BackendAccess access) {
    access_ = std::move(access);
    keys_.clear();
    old_servers_.clear();
}

void Connector::renew() {
    shared_.backend_epoch.fetch_add(1);
    server_.reset();
    if (listener_ != nullptr) listener_->move();
}

void Connector::stop() {
    stopped_ = true;
    if (listener_ != nullptr) listener_->stop();
    backoff_.cancel();
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
    while (!stopped_ && !backing_off_ && shared_.pool.claim_connect()) {
        asio::co_spawn(io_, connect_one(), asio::detached);
    }
}

asio::awaitable<void> Connector::connect_one() {
    const auto began = std::chrono::steady_clock::now();
    Attempt attempt = co_await try_candidates();
    counters_.connect.observe(std::chrono::steady_clock::now() - began);
    if (auto* backend = std::get_if<NewBackend>(&attempt)) {
        counters_.opened.add();
        failures_in_a_row_ = 0;
        shared_.pool.set_outage(false);
        shared_.last_failure.set("");
        shared_.pool.connect_succeeded();
        note_server(*backend);
        deliver(std::move(*backend));
    } else {
        counters_.failed.add();
        shared_.pool.connect_failed();
        on_failure(std::get<Failure>(attempt));
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
    if (backend.epoch != shared_.backend_epoch.load()) return;
    const bool moved = server_ && !(*server_ == backend.address) && wants_primary();
    if (moved) {
        counters_.servers_moved.add();
        log_event(LogLevel::warning, "primary_moved", {{"host", backend.host}});
        renew();
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
    if (backend.parameters != last_parameters_) {
        last_parameters_ = backend.parameters;
        shared_.welcomes.clear();
    }
    const auto ticket = shared_.pool.next_ticket(
        core::Label{}.hash(), nullptr, std::chrono::steady_clock::now().time_since_epoch());
    const std::size_t to = ticket ? ticket->worker : next_worker_++ % workers_.size();
    workers_[to]->post_backend(std::move(backend), ticket);
}

void Connector::on_failure(const Failure& failure) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "backend_connect_failed",
                      {{"sqlstate", failure.error.sqlstate}, {"error", failure.error.message}});
    shared_.last_failure.set(failure.error.message);
    shared_.pool.set_outage(true);
    if (!failure.transient) {
        for (const core::Ticket& ticket : shared_.pool.drain_tickets()) {
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

asio::awaitable<std::vector<Connector::Candidate>> Connector::candidates(std::string& why_none) {
    std::vector<Candidate> all;
    // A reload may replace them meanwhile.
    const std::vector<HostPort> hosts = access_.target.hosts;
    for (const HostPort& host : hosts) {
        if (!host.is_unix()) co_await hop_to(helper_);
        auto resolved = resolve_addresses(host);
        if (!host.is_unix()) co_await hop_to(io_);
        if (const auto* error = std::get_if<DsnError>(&resolved)) {
            why_none = error->message;
            continue;
        }
        for (const SocketAddress& address : std::get<std::vector<SocketAddress>>(resolved)) {
            all.push_back({address, host});
        }
    }
    // Where the last one went: a host that is away costs time, and one pool has one server.
    std::stable_partition(all.begin(), all.end(),
                          [this](const Candidate& one) { return server_ == one.address; });
    co_return all;
}

asio::awaitable<Connector::Attempt> Connector::try_candidates() {
    std::string why_none = "no host to connect to";
    const std::uint64_t epoch = shared_.backend_epoch.load();
    const std::vector<Candidate> all = co_await candidates(why_none);
    Attempt last = Failure{connection_error(why_none), true};
    const bool two_passes =
        access_.target.target_session_attrs == TargetSessionAttrs::prefer_standby;
    for (int pass = two_passes ? 0 : 1; pass < 2; ++pass) {
        for (const Candidate& candidate : all) {
            last = co_await try_candidate(candidate, pass == 0);
            if (auto* backend = std::get_if<NewBackend>(&last)) {
                backend->epoch = epoch;
                co_return last;
            }
            // A wrong password is wrong on the next host too, but another host may have another.
        }
    }
    co_return last;
}

/// Protocol 3.2 has longer cancel keys. PostgreSQL that is older negotiates; others may refuse.
asio::awaitable<Connector::Attempt> Connector::try_candidate(Candidate candidate,
                                                             bool must_be_standby) {
    const std::string where = candidate.host.to_string();
    const bool old = old_servers_.contains(where);
    Attempt attempt =
        co_await try_version(candidate, must_be_standby, old ? 0 : protocol::long_key_minor);
    const auto* failure = std::get_if<Failure>(&attempt);
    if (failure == nullptr || !failure->version_refused) co_return attempt;
    const std::string said = failure->error.message;
    const bool closed = failure->error.sqlstate == protocol::sqlstate::connection_failure;
    attempt = co_await try_version(candidate, must_be_standby, 0);
    // One that merely closed may have had another reason.
    if (std::holds_alternative<NewBackend>(attempt) && !closed) {
        old_servers_.insert(where);
        log_event(LogLevel::info, "server_speaks_protocol_3_0",
                  {{"server", where}, {"error", said}});
    }
    co_return attempt;
}

asio::awaitable<Connector::Attempt> Connector::try_version(Candidate candidate,
                                                           bool must_be_standby,
                                                           std::uint16_t minor) {
    const auto socket = std::make_shared<Socket>(io_);
    const Deadline deadline(socket, access_.connect_timeout);
    boost::system::error_code error;
    const asio::generic::stream_protocol::endpoint endpoint(candidate.address.get(),
                                                            candidate.address.length);
    const std::string where = candidate.host.to_string();
    co_await socket->async_connect(endpoint, redirect_error(use_awaitable, error));
    if (error) {
        co_return Failure{
            connection_error("connection to " + where + " failed: " +
                             (deadline.passed() ? "timeout expired" : error.message())),
            true};
    }
    set_data_socket_options(socket->native_handle(), candidate.address.family(),
                            access_.target.keep_alive);
    auto outcome = co_await log_in(*socket, candidate, minor);
    if (auto* failure = std::get_if<Failure>(&outcome)) {
        if (deadline.passed())
            failure->error = connection_error("login at " + where + " timed out");
        co_return std::move(*failure);
    }
    const auto& startup = std::get<core::BackendStartup>(outcome);
    if (!suits(access_.target.target_session_attrs, startup.parameters(), must_be_standby)) {
        Failure failure{connection_error(where + " does not suit target_session_attrs")};
        failure.unsuitable = true;
        co_return failure;
    }
    socket->native_non_blocking(true, error);
    NewBackend backend;
    backend.address = candidate.address;
    backend.host = where;
    backend.parameters = startup.parameters();
    backend.pid = startup.key().pid;
    backend.secret = startup.key().secret;
    backend.connection.fd = socket->release();
    co_return backend;
}

asio::awaitable<std::variant<core::BackendStartup, Connector::Failure>> Connector::log_in(
    Socket& socket, const Candidate& candidate, std::uint16_t minor) {
    core::BackendLogin login;
    login.protocol_minor = minor;
    login.methods = access_.methods.value_or(safe_methods(candidate.address));
    login.user = access_.target.user;
    login.database = access_.target.dbname;
    login.settings = access_.target.settings;
    // A hidden RESET ends up here, in nobody's schema (DESIGN: labels).
    login.settings.emplace_back("search_path", "pg_catalog");
    const std::string password = candidate.host.password;
    if (!password.empty()) login.password = password;
    login.scram_nonce = protocol::make_scram_nonce();
    login.on_connect = access_.on_connect;
    core::BackendStartup startup(std::move(login));
    core::BackendStartup::Action action = startup.start();
    std::array<char, 4096> buffer{};
    while (true) {
        boost::system::error_code error;
        if (const auto* send = std::get_if<core::BackendStartup::Send>(&action)) {
            const std::string bytes = send->bytes;
            co_await asio::async_write(socket, asio::buffer(bytes),
                                       redirect_error(use_awaitable, error));
            action = error ? startup.on_closed() : startup.on_bytes({});
        } else if (const auto* derive = std::get_if<core::BackendStartup::DeriveKeys>(&action)) {
            const auto keys = co_await keys_for(password, derive->salt, derive->iterations);
            if (!keys)
                co_return Failure{connection_error("SCRAM keys could not be derived"), false};
            action = startup.on_keys(*keys);
        } else if (std::holds_alternative<core::BackendStartup::Done>(action)) {
            co_return std::move(startup);
        } else if (auto* failed = std::get_if<core::BackendStartup::Failed>(&action)) {
            co_return Failure{std::move(failed->error), failed->transient, failed->version_refused};
        } else {
            const std::size_t got = co_await socket.async_read_some(
                asio::buffer(buffer), redirect_error(use_awaitable, error));
            action = error ? startup.on_closed() : startup.on_bytes({buffer.data(), got});
        }
    }
}

/// Derived once per salt: a login never pays for PBKDF2 again while the server's verifier stays.
/// A hostile server may ask for a third of a second's work: none of it on the control thread.
asio::awaitable<std::optional<protocol::ScramKeys>> Connector::keys_for(std::string password,
                                                                        std::string salt,
                                                                        std::uint32_t iterations) {
    const auto key = std::make_pair(password + '\0' + salt, iterations);
    if (const auto found = keys_.find(key); found != keys_.end()) co_return found->second;
    co_await hop_to(helper_);
    const auto derived = protocol::derive_keys(password, salt, iterations);
    co_await hop_to(io_);
    if (!derived) co_return derived;
    if (keys_.size() >= cached_keys_max) keys_.clear();
    keys_.emplace(key, *derived);
    co_return derived;
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
    if (error) {
        log_cancel_failure(pid, error);
        done(CancelEnd::not_sent);
        co_return;
    }
    std::string request;
    protocol::append_cancel_request(request, pid, secret);
    co_await asio::async_write(*socket, asio::buffer(request),
                               redirect_error(use_awaitable, error));
    std::array<char, 64> ignored_bytes{};
    while (!error) {
        co_await socket->async_read_some(asio::buffer(ignored_bytes),
                                         redirect_error(use_awaitable, error));
    }
    const bool acted = error == asio::error::eof;
    if (!acted) log_cancel_failure(pid, error);
    done(acted ? CancelEnd::acted : CancelEnd::unknown);
}

}  // namespace schemux::daemon
