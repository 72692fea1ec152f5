#include "daemon/ip_text.h"

#include <arpa/inet.h>

#include <array>

namespace schemux::daemon {

std::string ip_text(const std::string& bytes) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (bytes.size() != 4 && bytes.size() != 16) return {};
    const int family = bytes.size() == 4 ? AF_INET : AF_INET6;
    ::inet_ntop(family, bytes.data(), text.data(), text.size());
    return text.data();
}

}  // namespace schemux::daemon
