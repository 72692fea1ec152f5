// The header of the PROXY protocol, version 2, in which a load balancer in front says whose
// connection it passes on. Source: "The PROXY protocol", section 2.2 (haproxy.org).
// It must not know who may send one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::protocol {

/// The whole header; the addresses take 36 bytes at most, the rest are extensions of balancers.
inline constexpr std::size_t proxy_header_max = 2'048;

struct ProxyHeader {
    std::size_t bytes = 0;  ///< of the header; what follows is the client's
    std::string address;    ///< of the client, 4 or 16 bytes; empty: it is the balancer's own
};
struct ProxyHeaderIncomplete {};
struct ProxyHeaderFault {
    std::string_view what;
};

/// `bytes`: all that was received so far, from the first on.
std::variant<ProxyHeaderIncomplete, ProxyHeader, ProxyHeaderFault> read_proxy_header(
    std::string_view bytes);

}  // namespace schemux::protocol
