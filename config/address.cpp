#include "config/address.h"

#include <arpa/inet.h>

#include <array>

namespace schemux::config {

bool IpAddress::is_loopback() const {
    if (!is_v6) return bytes[0] == 127;
    return bytes == std::string(15, '\0') + '\1';
}

bool IpAddress::is_unspecified() const {
    return bytes == std::string(bytes.size(), '\0');
}

std::optional<IpAddress> parse_ip_address(const std::string& text) {
    if (text.find('\0') != std::string::npos) return {};
    std::array<char, 16> raw{};
    if (inet_pton(AF_INET, text.c_str(), raw.data()) == 1)
        return IpAddress{false, std::string(raw.data(), 4)};
    if (inet_pton(AF_INET6, text.c_str(), raw.data()) == 1)
        return IpAddress{true, std::string(raw.data(), 16)};
    return {};
}

std::string format_endpoint(const std::string& address, unsigned port) {
    const bool is_v6 = address.find(':') != std::string::npos;
    return (is_v6 ? '[' + address + ']' : address) + ':' + std::to_string(port);
}

}  // namespace schemux::config
