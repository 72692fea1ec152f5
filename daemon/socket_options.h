// The options that every data-plane socket gets.
#pragma once

namespace schemux::daemon {

/// No delay for small messages, and keepalive so that a dead peer is noticed; TCP only.
void set_data_socket_options(int fd, int family);

}  // namespace schemux::daemon
