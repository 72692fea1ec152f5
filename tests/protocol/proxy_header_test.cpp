// Headers of the PROXY protocol: whose connection it is, at every cut, and what is no header.
#include "protocol/proxy_header.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;

constexpr auto signature = "\r\n\r\n\0\r\nQUIT\n"sv;

std::string header(char version_command, char family, std::string_view rest) {
    std::string bytes(signature);
    bytes += version_command;
    bytes += family;
    bytes += static_cast<char>(rest.size() / 256);
    bytes += static_cast<char>(rest.size() % 256);
    return bytes.append(rest);
}

constexpr auto v4 = "\x0a\0\0\7\x7f\0\0\1\x30\x39\x19\x20"sv;

ProxyHeader taken(std::string_view bytes) {
    const auto read = read_proxy_header(bytes);
    EXPECT_TRUE(std::holds_alternative<ProxyHeader>(read));
    const auto* found = std::get_if<ProxyHeader>(&read);
    return found == nullptr ? ProxyHeader{} : *found;
}

bool faulty(std::string_view bytes) {
    return std::holds_alternative<ProxyHeaderFault>(read_proxy_header(bytes));
}

TEST(ProxyHeader, SaysWhoseConnectionItIs) {
    const auto found = taken(header('\x21', '\x11', v4) + "more");
    EXPECT_EQ(found.bytes, 28U);
    EXPECT_EQ(found.address, "\x0a\0\0\7"sv);
    const std::string v6 = std::string(15, '\x2a') + '\1' + std::string(16, '\0') + "\1\2\3\4";
    EXPECT_EQ(taken(header('\x21', '\x21', v6)).address, std::string(15, '\x2a') + '\1');
}

TEST(ProxyHeader, ExtensionsAreSkipped) {
    const std::string longer = std::string(v4) + "\x04\0\3abc";
    EXPECT_EQ(taken(header('\x21', '\x11', longer)).bytes, 16 + longer.size());
    EXPECT_EQ(taken(header('\x21', '\x11', longer)).address, "\x0a\0\0\7"sv);
}

TEST(ProxyHeader, TheBalancersOwnConnectionsHaveNoAddress) {
    EXPECT_EQ(taken(header('\x20', '\0', "")).address, "");
    EXPECT_EQ(taken(header('\x20', '\x11', v4)).address, "");
    EXPECT_EQ(taken(header('\x21', '\0', "")).address, "");                       // UNSPEC
    EXPECT_EQ(taken(header('\x21', '\x31', std::string(216, 'u'))).address, "");  // a unix socket
}

TEST(ProxyHeader, IsReadAtEveryCut) {
    const std::string whole = header('\x21', '\x11', v4);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_TRUE(std::holds_alternative<ProxyHeaderIncomplete>(
            read_proxy_header(std::string_view(whole).substr(0, size))))
            << size;
    }
}

TEST(ProxyHeader, AnythingElseIsRefused) {
    EXPECT_TRUE(faulty("PROXY TCP4 10.0.0.7 127.0.0.1 12345 6432\r\n"));
    EXPECT_TRUE(faulty("\0\0\0\x08\x04\xd2\x16\x2f"sv));  // a request for TLS
    EXPECT_TRUE(faulty(header('\x11', '\x11', v4)));      // version 1 in binary
    EXPECT_TRUE(faulty(header('\x22', '\x11', v4)));      // an unknown command
    EXPECT_TRUE(faulty(header('\x21', '\x11', v4.substr(1))));
    EXPECT_TRUE(faulty(header('\x21', '\x21', v4)));
    // Longer than the bound, before any of it has come.
    EXPECT_TRUE(faulty(std::string(signature) + "\x21\x11\xff\xff"));
    EXPECT_FALSE(faulty(header('\x21', '\x11', std::string(proxy_header_max - 16, 'x'))));
    EXPECT_TRUE(faulty(header('\x21', '\x11', std::string(proxy_header_max - 15, 'x'))));
}

}  // namespace
}  // namespace schemux::protocol
