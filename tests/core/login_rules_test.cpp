// The first rule that fits decides; addresses are compared by their bits, names as they are.
#include "core/login_rules.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

namespace schemux::core {
namespace {

using namespace std::string_view_literals;
using Kind = LoginRule::Kind;

constexpr auto ten = "\x0a\x01\x02\x03"sv;
constexpr auto loopback = "\x7f\0\0\x01"sv;

AddressRange range(std::string_view bytes, unsigned prefix) {
    return {std::string(bytes), prefix};
}

LoginRule rule(Kind kind, ClientAuthentication method = ClientAuthentication::trust) {
    LoginRule made;
    made.kind = kind;
    made.method = method;
    return made;
}

Newcomer from(std::string_view address, bool encrypted = false) {
    Newcomer who;
    who.is_local = address.empty();
    who.is_encrypted = encrypted;
    who.address = address;
    who.service = "users";
    who.user = "ann";
    return who;
}

bool fits(LoginRule one, const Newcomer& who) {
    return LoginRuleList({std::move(one)}, {}).find(who) != nullptr;
}

TEST(AddressRange, ComparesTheBitsOfThePrefix) {
    EXPECT_TRUE(range(ten, 32).contains(ten));
    EXPECT_FALSE(range(ten, 32).contains("\x0a\x01\x02\x02"sv));
    EXPECT_TRUE(range(ten, 31).contains("\x0a\x01\x02\x02"sv));
    EXPECT_TRUE(range("\x0a\0\0\0"sv, 8).contains(ten));
    EXPECT_FALSE(range("\x0b\0\0\0"sv, 8).contains(ten));
    EXPECT_TRUE(range("\x0b\0\0\0"sv, 7).contains(ten));
    EXPECT_TRUE(range("\0\0\0\0"sv, 0).contains(ten));
    // Bits behind the prefix are not looked at.
    EXPECT_TRUE(range("\x0a\xff\xff\xff"sv, 8).contains(ten));
}

TEST(AddressRange, KindsOfAddressesDoNotMix) {
    const std::string v6 = std::string(10, '\0') + "\xff\xff" + std::string(ten);
    EXPECT_FALSE(range("\0\0\0\0"sv, 0).contains(v6));
    EXPECT_FALSE(range(std::string(16, '\0'), 0).contains(ten));
    EXPECT_TRUE(range(std::string(16, '\0'), 0).contains(v6));
    EXPECT_FALSE(range("\0\0\0\0"sv, 0).contains(""));
}

TEST(AddressRange, LoopbackIsAllOfItOrNone) {
    EXPECT_TRUE(range(loopback, 32).is_loopback());
    EXPECT_TRUE(range(loopback, 8).is_loopback());
    EXPECT_FALSE(range(loopback, 7).is_loopback());
    EXPECT_FALSE(range(ten, 32).is_loopback());
    EXPECT_TRUE(range(std::string(15, '\0') + '\1', 128).is_loopback());
    EXPECT_FALSE(range(std::string(15, '\0') + '\1', 127).is_loopback());
}

TEST(LoginRuleList, KindsSayHowSomebodyCame) {
    for (const auto& [kind, local, plain, encrypted] : {std::tuple{Kind::any, true, true, true},
                                                        {Kind::local, true, false, false},
                                                        {Kind::host, false, true, true},
                                                        {Kind::hostssl, false, false, true},
                                                        {Kind::hostnossl, false, true, false}}) {
        EXPECT_EQ(fits(rule(kind), from("")), local);
        EXPECT_EQ(fits(rule(kind), from(ten)), plain);
        EXPECT_EQ(fits(rule(kind), from(ten, true)), encrypted);
    }
}

TEST(LoginRuleList, EverythingThatARuleSaysMustHold) {
    LoginRule one = rule(Kind::host);
    one.addresses = {range(loopback, 8), range(ten, 32)};
    one.services = {"orders", "users"};
    one.users = {"ann"};
    EXPECT_TRUE(fits(one, from(ten)));
    EXPECT_TRUE(fits(one, from(loopback)));
    EXPECT_FALSE(fits(one, from("\x0a\x01\x02\x04"sv)));
    Newcomer other = from(ten);
    other.user = "Ann";
    EXPECT_FALSE(fits(one, other));
    other = from(ten);
    other.service = "user";
    EXPECT_FALSE(fits(one, other));
}

TEST(LoginRuleList, TheServiceMayBeTheUsersOwn) {
    LoginRule one = rule(Kind::any);
    one.service_is_user = true;
    Newcomer who = from(ten);
    EXPECT_FALSE(fits(one, who));
    who.service = "ann";
    EXPECT_TRUE(fits(one, who));
    one.users = {"bob"};
    EXPECT_FALSE(fits(one, who));
    one.users = {};
    one.services = {"users"};
    EXPECT_TRUE(fits(one, who));
    EXPECT_TRUE(fits(one, from(ten)));
}

TEST(LoginRuleList, TheFirstThatFitsDecides) {
    LoginRule first = rule(Kind::host, ClientAuthentication::reject);
    first.users = {"bob"};
    const LoginRuleList rules({first, rule(Kind::hostssl, ClientAuthentication::scram_sha_256),
                               rule(Kind::host, ClientAuthentication::md5)},
                              {});
    EXPECT_EQ(rules.find(from(ten))->method, ClientAuthentication::md5);
    EXPECT_EQ(rules.find(from(ten, true))->method, ClientAuthentication::scram_sha_256);
    Newcomer bob = from(ten, true);
    bob.user = "bob";
    EXPECT_EQ(rules.find(bob)->method, ClientAuthentication::reject);
    EXPECT_EQ(rules.find(from("")), nullptr);
    EXPECT_TRUE(rules.uses(ClientAuthentication::md5));
    EXPECT_FALSE(rules.uses(ClientAuthentication::peer));
}

TEST(LoginRuleList, MapsSayWhoMayBeWhom) {
    const LoginRuleList rules({}, {{"m", "root", "ann"},
                                   {"m", "*.machines.example", "*"},
                                   {"m", "spiffe://x/*", "svc_*"},
                                   {"m", "ci-*", "bob"},
                                   {"other", "root", "bob"}});
    const auto maps = [&rules](std::string_view identity, std::string_view user) {
        return rules.maps("m", identity, user);
    };
    EXPECT_TRUE(maps("root", "ann"));
    EXPECT_FALSE(maps("root", "bob"));
    EXPECT_FALSE(maps("ann", "ann")) << "with a map, the map alone decides";
    EXPECT_TRUE(maps("db7.machines.example", "db7"));
    EXPECT_FALSE(maps("db7.machines.example", "db8"));
    EXPECT_FALSE(maps(".machines.example", "")) << "an empty name is nobody's";
    EXPECT_FALSE(maps("machines.example", "")) << "shorter than the pattern";
    EXPECT_TRUE(maps("spiffe://x/pay", "svc_pay"));
    EXPECT_FALSE(maps("spiffe://x/", "svc_"));
    EXPECT_TRUE(maps("ci-7", "bob"));
    EXPECT_TRUE(rules.maps("other", "root", "bob"));
    EXPECT_FALSE(rules.maps("gone", "root", "ann"));
    EXPECT_TRUE(rules.maps("", "ann", "ann"));
    EXPECT_FALSE(rules.maps("", "root", "ann"));
}

}  // namespace
}  // namespace schemux::core
