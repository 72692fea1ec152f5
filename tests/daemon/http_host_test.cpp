// A foreign page's name is not ours, even when it means our address.
#include "daemon/http_host.h"

#include <gtest/gtest.h>

namespace schemux::daemon {
namespace {

const std::vector<std::string> names{"status.example", "Pool"};

TEST(HttpHost, AddressesLocalhostAndConfiguredNamesAreOurs) {
    for (const char* host :
         {"", "127.0.0.1", "127.0.0.1:9632", "10.1.2.3:80", "[::1]", "[::1]:9632", "localhost",
          "LocalHost:9632", "status.example", "STATUS.example:443", "pool:9632"})
        EXPECT_TRUE(is_own_host(host, names)) << host;
}

TEST(HttpHost, OtherNamesAreNot) {
    for (const char* host :
         {"evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "xstatus.example",
          "status.example.", "status.example:80x", "127.0.0.1:80@evil", "::1", "[::1", "[::1]x",
          "[127.0.0.1]", "[evil]:80", ":80", "2130706433", "localhost:80:80"})
        EXPECT_FALSE(is_own_host(host, names)) << host;
}

}  // namespace
}  // namespace schemux::daemon
