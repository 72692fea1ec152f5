// From `backend.dsn` to the plain facts a connection needs. libpq resolves the text (URI or
// conninfo, service file, environment, passfile), so that a DSN means here what it means to psql;
// its sockets are never used. Knows nothing of pools or of the protocol.
#pragma once

#include "core/backend_startup.h"
#include "daemon/socket_options.h"
#include "daemon/tls_context.h"

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace schemux::daemon {

/// One of the hosts of a DSN, in the order in which they are to be tried.
struct HostPort {
    std::string host;     ///< name for people and certificates; a folder for a unix socket
    std::string address;  ///< what to connect to: hostaddr where given, else `host`
    std::uint16_t port = 0;
    std::string password;  ///< a passfile may have another one for each host; may be empty

    /// libpq's rule: a leading '/' is a folder, a leading '@' an abstract socket's.
    bool is_unix() const { return address.starts_with('/') || address.starts_with('@'); }
    std::string to_string() const;  ///< without the password: host:port, [v6]:port, socket path

    /// What its certificate must be for.
    const std::string& name() const { return host.empty() ? address : host; }

    friend bool operator==(const HostPort&, const HostPort&) = default;
};

enum class SslMode : std::uint8_t { disable, allow, prefer, require, verify_ca, verify_full };
enum class TargetSessionAttrs : std::uint8_t {
    any,
    read_write,
    read_only,
    primary,
    standby,
    prefer_standby,
};

struct BackendTarget {
    std::vector<HostPort> hosts;  ///< at least one, at most max_backend_hosts
    std::string dbname;
    std::string user;
    /// For the startup packet: application_name, options, client_encoding, where given.
    std::vector<std::pair<std::string, std::string>> settings;
    SslMode sslmode = SslMode::prefer;
    std::shared_ptr<const TlsContext> tls{};  ///< null: sslmode=disable
    core::ChannelBinding channel_binding = core::ChannelBinding::if_possible;
    bool sni = true;
    TargetSessionAttrs target_session_attrs = TargetSessionAttrs::any;
    std::optional<std::uint32_t> connect_timeout_s;  ///< for each host; absent: wait for ever
    KeepAlive keep_alive;               ///< keepalives, keepalives_idle …, where given
    std::vector<std::string> warnings;  ///< to be logged once; no secrets in them
};

struct DsnError {
    std::string message;  ///< never contains a password
};

inline constexpr std::size_t max_backend_hosts = 16;

/// `password`, from `backend.password_file`, wins over the DSN's, the environment's and the
/// passfile's. Reads files (certificates too), opens no connection. Not thread-safe against
/// setenv(). Source: PostgreSQL manual, 34.1 "Database Connection Control Functions", 34.15
/// to 34.17.
std::variant<BackendTarget, DsnError> resolve_dsn(const std::string& dsn,
                                                  const std::optional<std::string>& password = {});

/// A socket address, ready for connect().
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    int family() const { return storage.ss_family; }
    const sockaddr* get() const;
    friend bool operator==(const SocketAddress& left, const SocketAddress& right) {
        return left.length == right.length &&
               std::memcmp(&left.storage, &right.storage, left.length) == 0;
    }
};

/// A unix socket or a loopback address: the way there does not leave the machine.
bool is_local(const SocketAddress& address);

/// More are ignored.
inline constexpr std::size_t max_addresses_per_host = 16;

/// All addresses of a host, in the resolver's order, or the resolver's error as text. A unix
/// socket gives its one path. Blocks while it asks DNS: call it on a helper thread.
std::variant<std::vector<SocketAddress>, DsnError> resolve_addresses(const HostPort& host);

}  // namespace schemux::daemon
