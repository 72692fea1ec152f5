// The half of dsn.h that asks the resolver: from a host to socket addresses. Blocks on DNS.
#include "daemon/dsn.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace schemux::daemon {

namespace {

std::string socket_path(const HostPort& host) {
    return host.address + "/.s.PGSQL." + std::to_string(host.port);
}

std::variant<std::vector<SocketAddress>, DsnError> unix_address(const HostPort& host) {
    const std::string path = socket_path(host);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return DsnError{"unix socket path \"" + path + "\" is longer than " +
                        std::to_string(sizeof(address.sun_path) - 1) + " bytes"};
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    SocketAddress result;
    if (path.starts_with('@')) {
        // unix(7): an abstract name starts with a zero byte and has no terminator.
        address.sun_path[0] = '\0';
        result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    } else {
        result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    }
    std::memcpy(&result.storage, &address, sizeof(address));
    return std::vector{result};
}

}  // namespace

std::string HostPort::to_string() const {
    if (is_unix()) return socket_path(*this);
    const bool bracketed = host.find(':') != std::string::npos;
    const std::string name = host.empty() ? address : host;
    return (bracketed ? "[" + name + "]" : name) + ":" + std::to_string(port);
}

const sockaddr* SocketAddress::get() const {
    return reinterpret_cast<const sockaddr*>(&storage);  // what the sockets API asks for
}

bool is_local(const SocketAddress& address) {
    constexpr std::uint32_t loopback_net = 127;
    constexpr int net_shift = 24;
    switch (address.family()) {
        case AF_UNIX:
            return true;
        case AF_INET: {
            sockaddr_in v4{};
            std::memcpy(&v4, &address.storage, sizeof v4);
            return ntohl(v4.sin_addr.s_addr) >> net_shift == loopback_net;
        }
        case AF_INET6: {
            sockaddr_in6 v6{};
            std::memcpy(&v6, &address.storage, sizeof v6);
            return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr) != 0;
        }
        default:
            return false;
    }
}

std::variant<std::vector<SocketAddress>, DsnError> resolve_addresses(const HostPort& host) {
    if (host.is_unix()) return unix_address(host);
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* raw = nullptr;
    const std::string port = std::to_string(host.port);
    const int status = getaddrinfo(host.address.c_str(), port.c_str(), &hints, &raw);
    if (status != 0) {
        return DsnError{"could not resolve \"" + host.address + "\": " + gai_strerror(status)};
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(raw, &freeaddrinfo);
    std::vector<SocketAddress> result;
    for (const addrinfo* entry = list.get();
         entry != nullptr && result.size() < max_addresses_per_host; entry = entry->ai_next) {
        if (entry->ai_addrlen > sizeof(sockaddr_storage)) continue;
        SocketAddress address;
        std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
        address.length = entry->ai_addrlen;
        result.push_back(address);
    }
    if (result.empty()) return DsnError{"\"" + host.address + "\" has no address"};
    return result;
}

}  // namespace schemux::daemon
