// Suggestions for mistyped words: helpful, and none where nothing is near.
#include "config/suggest.h"

#include <gtest/gtest.h>

#include <string>

namespace schemux::config {
namespace {

const std::vector<std::string_view> keys{"listen", "http", "pool", "workers", "log", "lot"};

TEST(NearestWord, FindsTyposAndSwaps) {
    EXPECT_EQ(nearest_word("lsiten", keys), "listen");
    EXPECT_EQ(nearest_word("worker", keys), "workers");
    EXPECT_EQ(nearest_word("Pool", keys), "pool");
    EXPECT_EQ(nearest_word("poool", keys), "pool");
}

TEST(NearestWord, TakesTheFirstOnATie) {
    EXPECT_EQ(nearest_word("loq", keys), "log");
}

TEST(NearestWord, DoesNotGuessWildly) {
    EXPECT_FALSE(nearest_word("xyz", keys).has_value());
    EXPECT_FALSE(nearest_word("", {}).has_value());
    EXPECT_FALSE(nearest_word("p", keys).has_value());
    EXPECT_FALSE(nearest_word(std::string(max_suggestion_bytes + 1, 'p'), keys).has_value());
}

}  // namespace
}  // namespace schemux::config
