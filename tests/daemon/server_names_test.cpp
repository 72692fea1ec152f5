// Names that TLS calls, and the services that they mean.
#include "daemon/server_names.h"

#include <gtest/gtest.h>

namespace schemux::daemon {
namespace {

TEST(ServerNames, MeanTheServiceThatIsListed) {
    ServerNames names;
    EXPECT_TRUE(names.empty());
    names.add("users.db.example", "users");
    EXPECT_FALSE(names.empty());
    EXPECT_EQ(names.find("users.db.example"), "users");
    EXPECT_EQ(names.find("orders.db.example"), std::nullopt);
    EXPECT_EQ(names.find(""), std::nullopt);
}

TEST(ServerNames, GiveAPatternWhatTheStarIs) {
    ServerNames names;
    names.add("*.db.example", "tenant_*_live");
    names.add("users.db.example", "users");
    names.add("t-*.example", "other_*");
    EXPECT_EQ(names.find("acme.db.example"), "tenant_acme_live");
    EXPECT_EQ(names.find("users.db.example"), "users") << "a listed name goes first";
    EXPECT_EQ(names.find("t-a.example"), "other_a");
}

TEST(ServerNames, AStarIsOneLabelAndNotNone) {
    ServerNames names;
    names.add("*.db.example", "tenant_*");
    EXPECT_EQ(names.find(".db.example"), std::nullopt);
    EXPECT_EQ(names.find("db.example"), std::nullopt);
    EXPECT_EQ(names.find("a.b.db.example"), std::nullopt);
    EXPECT_EQ(names.find("acme.db.example.org"), std::nullopt);
    ServerNames overlapping;
    overlapping.add("aa*aa", "t_*");
    EXPECT_EQ(overlapping.find("aaa"), std::nullopt);
    EXPECT_EQ(overlapping.find("aaaa"), std::nullopt);
    EXPECT_EQ(overlapping.find("aaxaa"), "t_x");
}

}  // namespace
}  // namespace schemux::daemon
