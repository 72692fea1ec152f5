// Places of clients by service, user and address: taken, refused, given back.
#include "daemon/client_counts.h"

#include <gtest/gtest.h>

#include <utility>

namespace schemux::daemon {
namespace {

TEST(ClientCounts, RefusesWhoComesBeyondTheLimit) {
    ClientCounts counts;
    const auto first = counts.enter(CountedBy::user, "a", 2);
    auto second = counts.enter(CountedBy::user, "a", 2);
    ASSERT_TRUE(first && second);
    EXPECT_FALSE(counts.enter(CountedBy::user, "a", 2));
    EXPECT_TRUE(counts.enter(CountedBy::user, "b", 2));
    EXPECT_TRUE(counts.enter(CountedBy::service, "a", 2)) << "another kind of key";
    second.reset();
    EXPECT_TRUE(counts.enter(CountedBy::user, "a", 2));
}

TEST(ClientCounts, CountsThoseWithoutALimitToo) {
    ClientCounts counts;
    const auto first = counts.enter(CountedBy::address, "x", 0);
    ASSERT_TRUE(first);
    EXPECT_FALSE(counts.enter(CountedBy::address, "x", 1)) << "a reload has set the limit";
}

TEST(ClientCounts, APlaceThatMovesIsGivenBackOnce) {
    ClientCounts counts;
    ClientPlaces places;
    places.push_back(*counts.enter(CountedBy::user, "a", 1));
    places.push_back(*counts.enter(CountedBy::service, "s", 1));
    ClientPlaces moved = std::move(places);
    EXPECT_FALSE(counts.enter(CountedBy::user, "a", 1));
    moved[0] = std::move(moved[1]);
    moved.clear();
    EXPECT_TRUE(counts.enter(CountedBy::user, "a", 1));
    EXPECT_TRUE(counts.enter(CountedBy::service, "s", 1));
}

}  // namespace
}  // namespace schemux::daemon
