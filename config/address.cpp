#include "config/address.h"

#include "config/values.h"

#include <arpa/inet.h>

#include <array>
#include <utility>

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

bool IpRange::is_loopback() const {
    return address.is_loopback() && prefix >= (address.is_v6 ? 128U : 8U);
}

std::optional<unsigned> prefix_of_mask(const IpAddress& mask) {
    unsigned ones = 0;
    bool ended = false;
    for (const char byte : mask.bytes) {
        for (unsigned bit = 0x80; bit != 0; bit >>= 1) {
            const bool set = (static_cast<unsigned char>(byte) & bit) != 0;
            if (set && ended) return {};
            if (set) ++ones;
            ended = ended || !set;
        }
    }
    return ones;
}

std::optional<IpRange> parse_ip_range(const std::string& text) {
    const std::size_t slash = text.find('/');
    auto address = parse_ip_address(text.substr(0, slash));
    if (!address) return {};
    const unsigned bits = address->is_v6 ? 128 : 32;
    if (slash == std::string::npos) return IpRange{std::move(*address), bits};
    const auto prefix = parse_integer(text.substr(slash + 1));
    if (!prefix || *prefix > bits) return {};
    return IpRange{std::move(*address), static_cast<unsigned>(*prefix)};
}

std::string format_endpoint(const std::string& address, unsigned port) {
    const bool is_v6 = address.find(':') != std::string::npos;
    return (is_v6 ? '[' + address + ']' : address) + ':' + std::to_string(port);
}

}  // namespace schemux::config
