// Numeric IP addresses as far as a configuration has to judge them: spelling, loopback, equality.
// It must not resolve names or open sockets.
#pragma once

#include <optional>
#include <string>

namespace schemux::config {

struct IpAddress {
    bool is_v6 = false;
    std::string bytes;  ///< 4 or 16, network order

    bool is_loopback() const;     ///< 127.0.0.0/8 or ::1
    bool is_unspecified() const;  ///< 0.0.0.0 or ::
    friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

/// Nothing for host names, brackets, zones and ports.
std::optional<IpAddress> parse_ip_address(const std::string& text);

/// Addresses that begin with the same bits.
struct IpRange {
    IpAddress address;
    unsigned prefix = 0;

    bool is_loopback() const;  ///< all of it
};
/// `10.0.0.0/8`, or one address. Bits behind the prefix are not looked at, as by PostgreSQL.
std::optional<IpRange> parse_ip_range(const std::string& text);
/// The prefix that `255.255.0.0` means.
std::optional<unsigned> prefix_of_mask(const IpAddress& mask);

/// `127.0.0.1:6432`, `[::1]:6432`.
std::string format_endpoint(const std::string& address, unsigned port);

}  // namespace schemux::config
