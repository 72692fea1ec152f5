#include "daemon/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace schemux::daemon {

void set_data_socket_options(int fd, int family, const KeepAlive& keep_alive) {
    if (family != AF_INET && family != AF_INET6) return;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto set_tcp = [fd](int option, int value) {
        if (value > 0) ::setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value);
    };
    if (keep_alive.on) ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    set_tcp(TCP_KEEPIDLE, keep_alive.idle_s);
    set_tcp(TCP_KEEPINTVL, keep_alive.interval_s);
    set_tcp(TCP_KEEPCNT, keep_alive.count);
    set_tcp(TCP_USER_TIMEOUT, keep_alive.user_timeout_ms);
}

}  // namespace schemux::daemon
