#include "daemon/acceptor.h"

#include "daemon/ip_text.h"
#include "daemon/log.h"
#include "daemon/socket_options.h"
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
/// When all of limits.max_clients are there, so many more may ask for a cancel; whoever else comes
/// is told the truth.
constexpr std::uint32_t beyond_max = 64;

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

bool holds(const std::vector<core::AddressRange>& ranges, const std::string& address) {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const core::AddressRange& range) { return range.contains(address); });
}

Worker& least_busy(const std::vector<Worker*>& workers) {
    return **std::min_element(workers.begin(), workers.end(), [](const Worker* a, const Worker* b) {
        return a->session_count() < b->session_count();
    });
}

void log_no_proxy(const std::string& address) {
    static LogLimiter limiter;
    log_event_limited(
        limiter, LogLevel::warning, "no_proxy",
        {{"address", ip_text(address)}, {"error", "not one of the listener's proxies"}});
}

}  // namespace

struct Acceptor::Listening {
    Listening(asio::io_context& io, int fd, int socket_family, std::string path)
        : descriptor(io, fd), family(socket_family), unix_path(std::move(path)) {}
    asio::posix::stream_descriptor descriptor;
    int family;
    std::string unix_path;
    TlsPolicy tls;
    std::vector<core::AddressRange> proxies;
};

Acceptor::Acceptor(asio::io_context& io, ProcessState& process, std::vector<Worker*> workers)
    : io_(io), process_(process), workers_(std::move(workers)) {}

Acceptor::~Acceptor() {
    stop();
}

std::optional<std::string> Acceptor::listen_tcp(const std::string& address, std::uint16_t port,
                                                TlsPolicy tls,
                                                std::vector<core::AddressRange> proxies) {
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
    listening_.back()->tls = std::move(tls);
    listening_.back()->proxies = std::move(proxies);
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

void Acceptor::set_tls(std::size_t index, TlsPolicy tls) {
    if (index < listening_.size()) listening_[index]->tls = std::move(tls);
}

std::int64_t Acceptor::certificates_end() const {
    std::int64_t first = 0;
    for (const auto& listening : listening_) {
        if (!listening->tls.context) continue;
        const std::int64_t end = listening->tls.context->valid_until();
        first = first == 0 ? end : std::min(first, end);
    }
    return first;
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
                hand_to_worker(fd, *listening, host_bytes(from));
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

std::string_view name_of(LoginFailure failure) {
    switch (failure) {
        case LoginFailure::credentials:
            return "credentials";
        case LoginFailure::service:
            return "service";
        case LoginFailure::limit:
            return "limit";
        case LoginFailure::other:
            return "other";
    }
    return {};
}

void Acceptor::note_refusal(const protocol::ErrorFields& error) {
    const std::string_view sort = std::string_view(error.sqlstate).substr(0, 2);
    LoginFailure why = LoginFailure::other;
    if (sort == "28") why = LoginFailure::credentials;
    if (sort == "3D" || sort == "42") why = LoginFailure::service;
    if (sort == "53") why = LoginFailure::limit;
    login_failures_[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
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
    if (process_.memory.load(std::memory_order_relaxed) != MemoryState::enough)
        return Room::no_memory;
    const std::shared_ptr<const Policy> policy = process_.policy.get();
    if (!host.empty()) {
        auto place =
            process_.client_counts.enter(CountedBy::address, host, policy->max_clients_per_address);
        if (!place) return Room::none_for_address;
        places.push_back(std::move(*place));
    }
    if (process_.connections.fetch_add(1) < policy->max_clients) return Room::enough;
    process_.connections.fetch_sub(1);
    return Room::none;
}

/// Clients whose service another cluster has go on there.
Worker& Acceptor::server_of(const core::Service& service, Worker& worker) const {
    if (worker.cluster() == service.cluster) return worker;
    std::vector<Worker*> its;
    std::copy_if(workers_.begin(), workers_.end(), std::back_inserter(its),
                 [&](const Worker* one) { return one->cluster() == service.cluster; });
    return least_busy(its);
}

void Acceptor::hand_to_worker(int fd, const Listening& listening, const std::string& host) {
    const int family = listening.family;
    accepted_.fetch_add(1, std::memory_order_relaxed);
    const bool proxied = !listening.proxies.empty();
    if (proxied && !holds(listening.proxies, host)) {
        refused_.fetch_add(1, std::memory_order_relaxed);
        log_no_proxy(host);
        ::close(fd);
        return;
    }
    ClientPlaces places;
    // A proxy's own address is nobody's.
    const Room room = enter(proxied ? std::string() : host, places);
    if (room != Room::enough && beyond_.fetch_add(1) >= beyond_max) {
        beyond_.fetch_sub(1);
        refused_.fetch_add(1, std::memory_order_relaxed);
        const std::string bytes = refusal(room).bytes;
        [[maybe_unused]] const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        ::close(fd);
        return;
    }
    set_data_socket_options(fd, family);
    Worker& least = least_busy(workers_);
    logging_in_.fetch_add(1, std::memory_order_relaxed);
    least.begin_errand();
    Protocol::socket socket(least.io(), Protocol(family, family == AF_UNIX ? 0 : IPPROTO_TCP), fd);
    Door door{family == AF_UNIX, proxied, host, listening.tls};
    asio::co_spawn(least.io(),
                   log_in(std::move(socket), least, std::move(door), room, std::move(places)),
                   asio::detached);
}

}  // namespace schemux::daemon
