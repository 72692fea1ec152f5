// What patterns of services take, what they make of it, and that no name makes them anything else.
#include "config/service_pattern.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::config {
namespace {

using Captures = ServicePattern::Captures;

ServicePattern made(std::string_view text) {
    auto parsed = ServicePattern::parse(text);
    EXPECT_TRUE(std::holds_alternative<ServicePattern>(parsed)) << text;
    return std::get<ServicePattern>(std::move(parsed));
}

std::string wrong(std::string_view text) {
    const auto parsed = ServicePattern::parse(text);
    const auto* said = std::get_if<std::string>(&parsed);
    return said != nullptr ? *said : "";
}

TEST(ServicePattern, IsOneWithAStarOrASlash) {
    EXPECT_TRUE(is_pattern("*"));
    EXPECT_TRUE(is_pattern("a*b"));
    EXPECT_TRUE(is_pattern("/a"));
    EXPECT_FALSE(is_pattern("a/b"));
    EXPECT_FALSE(is_pattern("tenant"));
}

TEST(ServicePattern, StarsTakeAtLeastOneByte) {
    const ServicePattern pattern = made("tenant_*");
    EXPECT_EQ(pattern.match("tenant_a"), Captures{"a"});
    EXPECT_EQ(pattern.match("tenant_tenant_"), Captures{"tenant_"});
    EXPECT_FALSE(pattern.match("tenant_"));
    EXPECT_FALSE(pattern.match("tenant"));
    EXPECT_FALSE(pattern.match("xtenant_a"));
    EXPECT_FALSE(pattern.match(""));
    EXPECT_EQ(made("*").match("x"), Captures{"x"});
    EXPECT_EQ(made("*_db").match("a_db_db"), Captures{"a_db"});
    EXPECT_FALSE(made("*_db").match("_db"));
}

TEST(ServicePattern, SeveralStarsTakeAsLittleAsTheyCanFromTheLeft) {
    const ServicePattern pattern = made("*-*-x");
    EXPECT_EQ(pattern.match("a-b-x"), (Captures{"a", "b"}));
    EXPECT_EQ(pattern.match("a-b-c-x"), (Captures{"a", "b-c"}));
    EXPECT_FALSE(pattern.match("a--x"));
    EXPECT_FALSE(pattern.match("a-x"));
    EXPECT_EQ(pattern.expand("*_of_*", {"a", "b"}), "a_of_b");
}

TEST(ServicePattern, OneStarMayStandInATextMoreThanOnce) {
    const ServicePattern pattern = made("t_*");
    EXPECT_EQ(pattern.expand("*/*", {"a"}), "a/a");
    EXPECT_EQ(pattern.expand("none", {"a"}), "none");
    EXPECT_EQ(pattern.check("*/*"), "");
    EXPECT_EQ(made("*-*").check("***"), "has more '*' than the name (2)");
    EXPECT_TRUE(pattern.mentions("a*"));
    EXPECT_FALSE(pattern.mentions("\\1"));
    EXPECT_EQ(pattern.sample("a_*"), "a_x");
}

TEST(ServicePattern, ExpressionsFitTheWholeName) {
    const ServicePattern pattern = made("/([a-z]+)-([0-9]+)");
    EXPECT_EQ(pattern.match("shop-17"), (Captures{"shop", "17"}));
    EXPECT_FALSE(pattern.match("shop-17x"));
    EXPECT_FALSE(pattern.match("1shop-17"));
    EXPECT_EQ(pattern.expand("\\2_\\1\\3\\", {"shop", "17"}), "17_shop\\");
    EXPECT_EQ(pattern.expand("*", {"shop", "17"}), "*");
    EXPECT_EQ(pattern.check("\\3"), "names group \\3, but the expression has 2");
    EXPECT_TRUE(pattern.mentions("a\\1"));
    EXPECT_FALSE(pattern.mentions("a*\\"));
    EXPECT_EQ(pattern.sample("s_\\1"), "s_x");
    EXPECT_EQ(made("/^a(b)?$/").match("a"), Captures{""});
}

TEST(ServicePattern, NobodysNameIsLongerThanPostgresqlsNames) {
    EXPECT_TRUE(made("*").match(std::string(63, 'a')));
    EXPECT_FALSE(made("*").match(std::string(64, 'a')));
    EXPECT_FALSE(made("/a+").match(std::string(64, 'a')));
}

TEST(ServicePattern, WhatIsWrongIsSaid) {
    EXPECT_NE(wrong("/(").find("is no regular expression"), std::string::npos);
    EXPECT_EQ(wrong("**********"), "at most 9 '*' are allowed");
    EXPECT_EQ(wrong("/()()()()()()()()()()"), "at most 9 groups are allowed");
}

/// It would take 2^60 steps.
TEST(ServicePattern, AnExpressionThatTakesForEverDoesNotFit) {
    EXPECT_FALSE(made("/(a|a|aa)*(a|aa)*(a+)+b").match(std::string(60, 'a') + "c"));
}

TEST(ServicePattern, WhateverTheNameWhatWasCapturedPutsItTogetherAgain) {
    std::mt19937 random(7);
    const std::vector<std::string> patterns{"*", "t_*", "*-*", "a*b*", "**", "*x*x*"};
    for (int round = 0; round < 20'000; ++round) {
        std::string name(random() % 12, '\0');
        for (char& c : name)
            c = "abtx_-*\\1\"\0\xc3"[random() % 12];
        for (const std::string& text : patterns) {
            const auto captures = made(text).match(name);
            if (!captures) continue;
            ASSERT_EQ(made(text).expand(text, *captures), name) << text;
            for (const std::string& one : *captures)
                ASSERT_FALSE(one.empty());
        }
    }
}

}  // namespace
}  // namespace schemux::config
