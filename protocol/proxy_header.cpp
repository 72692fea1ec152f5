#include "protocol/proxy_header.h"

#include <algorithm>

namespace schemux::protocol {

namespace {

constexpr std::string_view signature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t fixed_bytes = 16;
constexpr unsigned version_2 = 2;
constexpr unsigned command_local = 0;
constexpr unsigned command_proxy = 1;
constexpr unsigned family_ipv4 = 1;
constexpr unsigned family_ipv6 = 2;

unsigned byte_at(std::string_view bytes, std::size_t at) {
    return static_cast<unsigned char>(bytes[at]);
}

}  // namespace

std::variant<ProxyHeaderIncomplete, ProxyHeader, ProxyHeaderFault> read_proxy_header(
    std::string_view bytes) {
    const std::size_t compared = std::min(bytes.size(), signature.size());
    if (bytes.substr(0, compared) != signature.substr(0, compared))
        return ProxyHeaderFault{"no header of the PROXY protocol, version 2"};
    if (bytes.size() < fixed_bytes) return ProxyHeaderIncomplete{};
    const unsigned version = byte_at(bytes, 12) >> 4;
    const unsigned command = byte_at(bytes, 12) & 0xFU;
    const unsigned family = byte_at(bytes, 13) >> 4;
    if (version != version_2) return ProxyHeaderFault{"another version of the PROXY protocol"};
    if (command != command_local && command != command_proxy)
        return ProxyHeaderFault{"an unknown command of the PROXY protocol"};
    const std::size_t length = byte_at(bytes, 14) * 256U + byte_at(bytes, 15);
    if (fixed_bytes + length > proxy_header_max)
        return ProxyHeaderFault{"a header of the PROXY protocol that is too long"};
    if (bytes.size() < fixed_bytes + length) return ProxyHeaderIncomplete{};
    ProxyHeader header{fixed_bytes + length, {}};
    if (command == command_local) return header;
    if (family != family_ipv4 && family != family_ipv6) return header;
    // Two addresses, then two ports of two bytes.
    const std::size_t address_bytes = family == family_ipv4 ? 4 : 16;
    if (length < 2 * address_bytes + 4)
        return ProxyHeaderFault{"a header of the PROXY protocol that ends in its addresses"};
    header.address = bytes.substr(fixed_bytes, address_bytes);
    return header;
}

}  // namespace schemux::protocol
