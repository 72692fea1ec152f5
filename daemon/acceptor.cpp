#include "daemon/acceptor.h"

#include "core/frontend_login.h"
#include "core/overload.h"
#include "daemon/deadline.h"
#include "daemon/hop.h"
#include "daemon/log.h"
#include "daemon/socket_options.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
namespace sqlstate = protocol::sqlstate;
using asio::redirect_error;
using asio::use_awaitable;

namespace {

constexpr int listen_backlog = 4096;
/// Accepts without giving other work of the control thread its turn.
constexpr int accepts_in_a_row = 64;
/// After an error such as EMFILE: time for descriptors to come free.
constexpr auto accept_pause = std::chrono::milliseconds(100);
constexpr std::size_t login_buffer_bytes = 1024;
/// When all of limits.max_clients are there, so many more may ask for a cancel, each for so long;
/// whoever else comes is told the truth.
constexpr std::uint32_t beyond_max = 64;
constexpr auto beyond_patience = std::chrono::milliseconds(2'000);
/// How long a CancelRequest's connection waits until the worker has acted on it.
constexpr auto cancel_patience = std::chrono::seconds(5);

protocol::ErrorFields fatal(std::string_view code, std::string message) {
    return protocol::make_error(code, std::move(message), protocol::Severity::fatal);
}

/// What is counted as one address; empty for a unix socket.
std::string host_bytes(const sockaddr_storage& from) {
    if (from.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &from, sizeof v4);
        return {reinterpret_cast<const char*>(&v4.sin_addr), sizeof v4.sin_addr};
    }
    if (from.ss_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &from, sizeof v6);
        return {reinterpret_cast<const char*>(&v6.sin6_addr), sizeof v6.sin6_addr};
    }
    return {};
}

/// As PostgreSQL, which reads the first packet before it says that it is full: a cancel is heard.
bool heard_beyond(const core::FrontendLogin::Action& action) {
    using Login = core::FrontendLogin;
    return std::holds_alternative<Login::NeedBytes>(action) ||
           std::holds_alternative<Login::Reply>(action) ||
           std::holds_alternative<Login::Cancel>(action) ||
           std::holds_alternative<Login::Close>(action);
}

}  // namespace

struct Acceptor::Listening {
    Listening(asio::io_context& io, int fd, int socket_family, std::string path)
        : descriptor(io, fd), family(socket_family), unix_path(std::move(path)) {}
    asio::posix::stream_descriptor descriptor;
    int family;
    std::string unix_path;
};

Acceptor::Acceptor(asio::io_context& io, SharedState& shared, std::vector<Worker*> workers)
    : io_(io), shared_(shared), workers_(std::move(workers)) {}

Acceptor::~Acceptor() {
    stop();
}

std::optional<std::string> Acceptor::listen_tcp(const std::string& address, std::uint16_t port) {
    sockaddr_storage storage{};
    socklen_t length = 0;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
    if (::inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        length = sizeof *v4;
    } else if (::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        length = sizeof *v6;
    } else {
        return "not a numeric address: " + address;
    }
    const int family = storage.ss_family;
    const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return std::string("socket: ") + std::strerror(errno);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&storage), length) != 0 ||
        ::listen(fd, listen_backlog) != 0) {
        const std::string why = std::strerror(errno);
        ::close(fd);
        return "cannot listen on " + address + ":" + std::to_string(port) + ": " + why;
    }
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
    if (first_port_ == 0) first_port_ = ntohs(family == AF_INET ? v4->sin_port : v6->sin6_port);
    listening_.push_back(std::make_shared<Listening>(io_, fd, family, ""));
    return {};
}

std::optional<std::string> Acceptor::listen_unix(const std::string& folder, std::uint16_t port) {
    const std::string path = folder + "/.s.PGSQL." + std::to_string(port);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (path.size() >= sizeof name.sun_path) return "socket path is too long: " + path;
    path.copy(name.sun_path, path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return std::string("socket: ") + std::strerror(errno);
    // A socket that nobody answers is left over from a process that was killed.
    if (::connect(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0) {
        ::close(fd);
        return "another process listens on " + path;
    }
    if (errno == ECONNREFUSED) ::unlink(path.c_str());
    ::close(fd);
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0 ||
        ::listen(listener, listen_backlog) != 0) {
        const std::string why = std::strerror(errno);
        ::close(listener);
        return "cannot listen on " + path + ": " + why;
    }
    ::chmod(path.c_str(), 0777);  // as PostgreSQL's: the folder decides who may connect
    listening_.push_back(std::make_shared<Listening>(io_, listener, AF_UNIX, path));
    return {};
}

void Acceptor::start() {
    for (const auto& listening : listening_) {
        asio::co_spawn(io_, accept_loop(listening), asio::detached);
    }
}

void Acceptor::stop() {
    for (const auto& listening : listening_) {
        boost::system::error_code ignored;
        listening->descriptor.close(ignored);
        if (!listening->unix_path.empty()) ::unlink(listening->unix_path.c_str());
    }
    listening_.clear();
}

asio::awaitable<void> Acceptor::accept_loop(std::shared_ptr<Listening> listening) {
    asio::steady_timer pause(io_);
    while (listening->descriptor.is_open()) {
        boost::system::error_code error;
        co_await listening->descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                                                  redirect_error(use_awaitable, error));
        if (error) co_return;
        for (int count = 0; count < accepts_in_a_row; ++count) {
            sockaddr_storage from{};
            socklen_t length = sizeof from;
            const int fd =
                ::accept4(listening->descriptor.native_handle(), reinterpret_cast<sockaddr*>(&from),
                          &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0) {
                hand_to_worker(fd, listening->family, host_bytes(from));
                continue;
            }
            if (errno == EAGAIN || errno == EWOULDBLOCK) break;
            if (errno == ECONNABORTED || errno == EINTR) continue;
            static LogLimiter limiter;
            log_event_limited(limiter, LogLevel::error, "accept_failed",
                              {{"error", std::strerror(errno)}});
            pause.expires_after(accept_pause);
            co_await pause.async_wait(redirect_error(use_awaitable, error));
            break;
        }
    }
}

core::FrontendLogin::Refuse Acceptor::refusal(Room room) {
    core::FrontendLogin::Refuse refuse;
    refuse.error = fatal(sqlstate::too_many_connections, "sorry, too many clients already");
    if (room == Room::none_for_address) {
        refuse.error.message = "too many connections from this address";
        refuse.error.hint = "limits.max_clients_per_address sets how many.";
    }
    if (room == Room::no_memory) refuse.error = core::out_of_memory(protocol::Severity::fatal);
    protocol::append_error(refuse.bytes, refuse.error);
    return refuse;
}

/// Takes its places among all clients and among those of its address, if there is room.
Acceptor::Room Acceptor::enter(const std::string& host, ClientPlaces& places) {
    if (shared_.memory.load(std::memory_order_relaxed) != MemoryState::enough)
        return Room::no_memory;
    const std::shared_ptr<const Policy> policy = shared_.policy.get();
    if (!host.empty()) {
        auto place =
            shared_.client_counts.enter(CountedBy::address, host, policy->max_clients_per_address);
        if (!place) return Room::none_for_address;
        places.push_back(std::move(*place));
    }
    if (shared_.connections.fetch_add(1) < policy->max_clients) return Room::enough;
    shared_.connections.fetch_sub(1);
    return Room::none;
}

void Acceptor::hand_to_worker(int fd, int family, const std::string& host) {
    accepted_.fetch_add(1, std::memory_order_relaxed);
    ClientPlaces places;
    const Room room = enter(host, places);
    if (room != Room::enough && beyond_.fetch_add(1) >= beyond_max) {
        beyond_.fetch_sub(1);
        refused_.fetch_add(1, std::memory_order_relaxed);
        const std::string bytes = refusal(room).bytes;
        [[maybe_unused]] const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        ::close(fd);
        return;
    }
    set_data_socket_options(fd, family);
    Worker& least = **std::min_element(
        workers_.begin(), workers_.end(),
        [](const Worker* a, const Worker* b) { return a->session_count() < b->session_count(); });
    logging_in_.fetch_add(1, std::memory_order_relaxed);
    least.begin_errand();
    Protocol::socket socket(least.io(), Protocol(family, family == AF_UNIX ? 0 : IPPROTO_TCP), fd);
    asio::co_spawn(least.io(), log_in(std::move(socket), least, room, std::move(places)),
                   asio::detached);
}

namespace {

/// Strangers can repeat it as often as they like.
void log_refusal(const protocol::ErrorFields& error) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::info, "login_refused",
                      {{"sqlstate", error.sqlstate}, {"error", error.message}});
}

protocol::ErrorFields too_many(std::string_view what, const std::string& name, std::string hint) {
    auto error = fatal(sqlstate::too_many_connections,
                       "too many connections for " + std::string(what) + " \"" + name + '"');
    error.hint = std::move(hint);
    return error;
}

/// Takes its places among the clients of its user and of its service, or says which is full.
std::optional<protocol::ErrorFields> take_places(const Policy& policy, ClientCounts& counts,
                                                 const std::string& user, NewSession& session) {
    const auto own = policy.max_clients_of_user.find(user);
    const std::uint32_t of_user =
        own == policy.max_clients_of_user.end() ? policy.max_clients_per_user : own->second;
    auto by_user = counts.enter(CountedBy::user, user, of_user);
    if (!by_user)
        return too_many("role", user,
                        "limits.max_clients_per_user, or max_clients of the user, sets how many.");
    const core::Service& service = *session.service;
    auto by_service = counts.enter(CountedBy::service, service.name, service.max_clients);
    if (!by_service)
        return too_many("database", service.name,
                        "services[].max_clients of the service sets how many.");
    session.places.push_back(std::move(*by_user));
    session.places.push_back(std::move(*by_service));
    return {};
}

/// What the client may use, or why not. After authentication: names are not told to strangers.
std::variant<NewSession, protocol::ErrorFields> admit(
    const Policy& policy, ClientCounts& counts, const core::FrontendLogin::Accepted& accepted) {
    const protocol::StartupParameters& asked = accepted.parameters;
    if (!policy.users.empty() && !policy.users.contains(asked.user)) {
        return fatal(sqlstate::invalid_authorization_specification,
                     "role \"" + asked.user + "\" does not exist");
    }
    NewSession session;
    session.service = policy.services.find(asked.database);
    if (!session.service) {
        auto error = fatal(sqlstate::invalid_catalog_name,
                           "database \"" + asked.database + "\" does not exist");
        error.hint = "The database name selects a service of schemux; no service has this name.";
        return error;
    }
    if (!session.service->admits(asked.user)) {
        return fatal(sqlstate::insufficient_privilege,
                     "permission denied for database \"" + asked.database + "\"");
    }
    if (auto full = take_places(policy, counts, asked.user, session)) return std::move(*full);
    core::Settings settings;
    settings.emplace_back("search_path", session.service->search_path);
    settings.insert(settings.end(), asked.settings.begin(), asked.settings.end());
    session.label = core::Label::of(std::move(settings));
    session.reply = accepted.reply;
    session.long_key = asked.minor >= protocol::long_key_minor;
    protocol::append_authentication_ok(session.reply);
    return session;
}

}  // namespace

/// Acts on one step of a login. `rest`: what the client sent behind the packet.
Acceptor::Answer Acceptor::act(const core::FrontendLogin::Action& action, const Policy& policy,
                               Protocol::socket& socket, std::string_view rest, Worker& worker,
                               ClientPlaces& places) {
    using Login = core::FrontendLogin;
    const auto accept = [&](const Login::Accepted& accepted) -> Answer {
        auto outcome = admit(policy, shared_.client_counts, accepted);
        if (auto* session = std::get_if<NewSession>(&outcome)) {
            session->first_bytes = rest;
            std::move(places.begin(), places.end(), std::back_inserter(session->places));
            places.clear();
            session->fd = socket.release();
            worker.open_session(std::move(*session));
            return {{}, LoginState::admitted};
        }
        const auto& refusal = std::get<protocol::ErrorFields>(outcome);
        log_event(LogLevel::info, "login_refused",
                  {{"service", accepted.parameters.database},
                   {"user", accepted.parameters.user},
                   {"sqlstate", refusal.sqlstate}});
        std::string reply = accepted.reply;
        protocol::append_authentication_ok(reply);
        protocol::append_error(reply, refusal);
        return {std::move(reply), LoginState::over};
    };
    return std::visit(core::Overload{accept,
                                     [](const Login::Cancel&) -> Answer {
                                         return {{}, LoginState::over};
                                     },
                                     [](const Login::NeedBytes&) -> Answer {
                                         return {{}, LoginState::needs_bytes};
                                     },
                                     [](const Login::Reply& reply) -> Answer {
                                         return {reply.bytes, LoginState::goes_on};
                                     },
                                     [](const Login::Refuse& refuse) -> Answer {
                                         log_refusal(refuse.error);
                                         return {refuse.bytes, LoginState::over};
                                     },
                                     [](const Login::NeedVerifier&) -> Answer {
                                         return {{}, LoginState::over};
                                     },
                                     [](const Login::Close&) -> Answer {
                                         return {{}, LoginState::over};
                                     }},
                      action);
}

/// Nobody's key derivation runs on a worker's thread.
asio::awaitable<core::FrontendLogin::Action> Acceptor::prove(core::FrontendLogin& login,
                                                             const Policy& policy, Worker& worker) {
    auto verifier = policy.credentials->find(login.user(), shared_.mock_secret);
    if (!verifier) {
        co_await hop_to(helper_);
        policy.credentials->derive(login.user());
        co_await hop_to(worker.io());
        verifier = policy.credentials->find(login.user(), shared_.mock_secret);
    }
    co_return login.on_verifier(std::move(*verifier), protocol::make_scram_nonce());
}

/// One at a time, so that a login that cannot wait gets its turn in between.
void Acceptor::derive_keys_ahead(std::weak_ptr<Credentials> credentials) {
    asio::post(helper_, [this, credentials = std::move(credentials)] {
        const std::shared_ptr<Credentials> held = credentials.lock();
        const auto user = held ? held->next_to_derive() : std::nullopt;
        if (!user) return;
        held->derive(*user);
        derive_keys_ahead(held);
    });
}

/// The client that waits for the end of this connection, as libpq does, knows then that nothing it
/// sends from there on is hit: so the worker acts first.
asio::awaitable<void> Acceptor::cancel(core::FrontendLogin::Cancel request, Worker& worker) {
    const auto where = shared_.cancels.find(request.pid, request.secret);
    if (!where) co_return;
    const auto acted = std::make_shared<asio::steady_timer>(worker.io(), cancel_patience);
    // On the target's thread nothing but its place is known of a timer that is not its own.
    const auto wake = [&io = worker.io(), weak = std::weak_ptr(acted)] {
        asio::post(io, [weak] {
            if (const auto timer = weak.lock()) timer->cancel();
        });
    };
    workers_[where->worker]->post_cancel(where->session, wake);
    boost::system::error_code ignored;
    co_await acted->async_wait(redirect_error(use_awaitable, ignored));
}

asio::awaitable<void> Acceptor::log_in(Protocol::socket accepted, Worker& worker, Room room,
                                       ClientPlaces places) {
    const bool beyond = room != Room::enough;
    LoginState state = LoginState::needs_bytes;
    struct Counted {
        Acceptor& acceptor;
        Worker& worker;
        const LoginState& state;
        const bool beyond;
        ~Counted() {
            acceptor.logging_in_.fetch_sub(1, std::memory_order_relaxed);
            worker.end_errand();
            // An admitted connection counts until its session ends.
            if (beyond) {
                acceptor.beyond_.fetch_sub(1);
            } else if (state != LoginState::admitted) {
                acceptor.shared_.connections.fetch_sub(1);
            }
        }
    } counted{*this, worker, state, beyond};
    const std::shared_ptr<const Policy> policy = shared_.policy.get();
    const auto socket = std::make_shared<Protocol::socket>(std::move(accepted));
    const Deadline deadline(
        socket, beyond ? std::min(policy->login_timeout, beyond_patience) : policy->login_timeout);
    core::FrontendLogin login(policy->authentication);
    std::array<char, login_buffer_bytes> buffer{};
    while (state != LoginState::over && state != LoginState::admitted) {
        boost::system::error_code error;
        const std::size_t got = co_await socket->async_read_some(
            asio::buffer(buffer), redirect_error(use_awaitable, error));
        if (error) co_return;
        std::string_view rest(buffer.data(), got);
        do {
            core::FrontendLogin::Step step = login.on_bytes(rest);
            rest.remove_prefix(step.consumed);
            if (beyond && !heard_beyond(step.action)) {
                refused_.fetch_add(1, std::memory_order_relaxed);
                step.action = refusal(room);
            }
            if (const auto* request = std::get_if<core::FrontendLogin::Cancel>(&step.action))
                co_await cancel(*request, worker);
            if (std::holds_alternative<core::FrontendLogin::NeedVerifier>(step.action))
                step.action = co_await prove(login, *policy, worker);
            const Answer answer = act(step.action, *policy, *socket, rest, worker, places);
            state = answer.state;
            // Before the next packet: who is admitted takes the socket along.
            if (answer.bytes.empty()) continue;
            co_await asio::async_write(*socket, asio::buffer(answer.bytes),
                                       redirect_error(use_awaitable, error));
            if (error) co_return;
        } while (state == LoginState::goes_on && !rest.empty());
    }
}

}  // namespace schemux::daemon
