// Addresses and ranges as people write them.
#include "config/address.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::config {
namespace {

using namespace std::string_view_literals;

TEST(IpRange, IsAnAddressWithTheLengthOfItsPrefix) {
    const auto range = parse_ip_range("10.1.0.0/16");
    ASSERT_TRUE(range);
    EXPECT_EQ(range->address.bytes, "\x0a\1\0\0"sv);
    EXPECT_EQ(range->prefix, 16U);
    EXPECT_EQ(parse_ip_range("10.1.0.0")->prefix, 32U);
    EXPECT_EQ(parse_ip_range("::1")->prefix, 128U);
    EXPECT_EQ(parse_ip_range("2001:db8::/32")->prefix, 32U);
    EXPECT_EQ(parse_ip_range("0.0.0.0/0")->prefix, 0U);
}

TEST(IpRange, AnythingElseIsNone) {
    for (const char* text : {"", "/", "10.0.0.0/", "/8", "10.0.0.0/33", "10.0.0.0/-1", "::/129",
                             "10.0.0/8", "10.0.0.0/8/8", "db.example/8", "10.0.0.0 /8", "[::1]/128",
                             "fe80::1%eth0", "10.0.0.0/4294967304"})
        EXPECT_FALSE(parse_ip_range(text)) << text;
}

TEST(IpRange, MasksAreOnesAndThenZeros) {
    const auto prefix = [](const char* mask) { return prefix_of_mask(*parse_ip_address(mask)); };
    EXPECT_EQ(prefix("255.255.0.0"), 16U);
    EXPECT_EQ(prefix("255.255.255.255"), 32U);
    EXPECT_EQ(prefix("0.0.0.0"), 0U);
    EXPECT_EQ(prefix("255.254.0.0"), 15U);
    EXPECT_EQ(prefix("ffff:ffff::"), 32U);
    EXPECT_EQ(prefix("255.0.255.0"), std::nullopt);
    EXPECT_EQ(prefix("0.0.0.1"), std::nullopt);
}

}  // namespace
}  // namespace schemux::config
