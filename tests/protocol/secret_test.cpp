// A secret ends with its place in memory overwritten.
#include "protocol/secret.h"

#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace schemux::protocol {
namespace {

TEST(Wipe, OverwritesAndEmpties) {
    std::string text = "pencil";
    const char* at = text.data();
    wipe(text);
    EXPECT_TRUE(text.empty());
    EXPECT_EQ(std::string(at, 6), std::string(6, '\0'));
}

TEST(Secret, LeavesNothingBehindWhenItEnds) {
    // Short enough to lie in the object itself: its memory is ours, so it may be looked at.
    alignas(Secret) char place[sizeof(Secret)];
    auto* secret = new (place) Secret("top secret");
    EXPECT_NE(std::string(place, sizeof place).find("top secret"), std::string::npos);
    secret->~Secret();
    EXPECT_EQ(std::string(place, sizeof place).find("secret"), std::string::npos);
}

TEST(Secret, LeavesNothingBehindWhenItMoves) {
    alignas(Secret) char place[sizeof(Secret)];
    auto* secret = new (place) Secret("top secret");
    const Secret other(std::move(*secret));
    EXPECT_EQ(other.view(), "top secret");
    EXPECT_EQ(std::string(place, sizeof place).find("secret"), std::string::npos);
    Secret third("old");
    *secret = Secret("again secret");
    third = std::move(*secret);
    EXPECT_EQ(third.view(), "again secret");
    EXPECT_EQ(std::string(place, sizeof place).find("secret"), std::string::npos);
    secret->~Secret();
}

TEST(Secret, ComparesAndCopies) {
    const Secret one("a");
    Secret two = one;
    EXPECT_EQ(one, two);
    two = Secret("b");
    EXPECT_FALSE(one == two);
    EXPECT_TRUE(Secret().empty());
}

}  // namespace
}  // namespace schemux::protocol
