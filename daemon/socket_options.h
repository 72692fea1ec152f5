// The options that every data-plane socket gets.
#pragma once

namespace schemux::daemon {

/// TCP's own look whether the other side is still there; tcp(7). 0: as the kernel has it. Without a
/// word of the operator's a peer that is silently gone is noticed in a minute and a half, where
/// the kernel takes two hours. No user timeout: it would end who does not read for a while, too.
struct KeepAlive {
    bool on = true;
    int idle_s = 60;
    int interval_s = 10;
    int count = 3;
    int user_timeout_ms = 0;

    friend bool operator==(const KeepAlive&, const KeepAlive&) = default;
};

/// No delay for small messages, and keepalive; TCP only.
void set_data_socket_options(int fd, int family, const KeepAlive& keep_alive = {});

}  // namespace schemux::daemon
