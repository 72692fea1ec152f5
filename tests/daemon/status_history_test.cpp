// Rates, percentiles and the past, from samples whose times the test chooses.
#include "daemon/status_history.h"

#include <gtest/gtest.h>

namespace schemux::daemon {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// A process that does what it is told, and is sampled now and then.
struct World {
    std::vector<core::ServiceCounters> services;
    StatusHistory history;
    milliseconds now{0};

    explicit World(std::size_t count) : services(count) {}

    void look_after(milliseconds pause) {
        now += pause;
        StatusHistory::Sample sample;
        sample.at = StatusHistory::Clock::time_point(now);
        sample.time = std::chrono::system_clock::time_point(now);
        for (const core::ServiceCounters& counters : services)
            sample.services.emplace_back().add(counters);
        history.take(std::move(sample));
    }
};

DurationCounts counts_of(std::initializer_list<milliseconds> durations) {
    core::DurationHistogram histogram;
    for (const milliseconds duration : durations)
        histogram.observe(duration);
    DurationCounts counts;
    counts.add(histogram);
    return counts;
}

TEST(DurationCounts, QuantilesAreInterpolatedInTheirBucket) {
    // Four in the bucket of 10 ms to 50 ms.
    const DurationCounts counts =
        counts_of({milliseconds(20), milliseconds(20), milliseconds(30), milliseconds(49)});
    EXPECT_DOUBLE_EQ(counts.quantile(0.5).value(), 0.030);
    EXPECT_DOUBLE_EQ(counts.quantile(1).value(), 0.050);
}

TEST(DurationCounts, NoneHaveNoQuantileAndTheLongestTheLastBound) {
    EXPECT_EQ(DurationCounts().quantile(0.5), std::nullopt);
    EXPECT_DOUBLE_EQ(counts_of({seconds(60)}).quantile(0.5).value(), 10);
    EXPECT_GT(counts_of({milliseconds(0)}).quantile(0.5).value(), 0);
}

TEST(DurationCounts, DifferenceIsWhatCameSince) {
    const DurationCounts before = counts_of({seconds(60)});
    DurationCounts after = before;
    after.add(counts_of({milliseconds(3)}));
    EXPECT_LT(after.since(before).quantile(0.99).value(), 0.006);
    EXPECT_EQ(before.since(after).quantile(0.5), std::nullopt);
}

TEST(StatusHistory, RatesArePerSecondSinceTheLastSample) {
    World world(2);
    world.look_after(seconds(1));
    EXPECT_EQ(world.history.rates(), std::nullopt);
    EXPECT_TRUE(world.history.points().empty());
    world.services[0].queries_simple.add(30);
    world.services[1].queries_extended.add(10);
    world.services[1].transactions.add(4);
    world.services[1].errors[3].add(2);
    world.look_after(seconds(2));
    EXPECT_DOUBLE_EQ(world.history.rates()->queries_per_second, 20);
    EXPECT_DOUBLE_EQ(world.history.rates()->transactions_per_second, 2);
    EXPECT_DOUBLE_EQ(world.history.rates()->errors_per_second, 1);
    world.look_after(seconds(1));
    EXPECT_DOUBLE_EQ(world.history.rates()->queries_per_second, 0);
}

TEST(StatusHistory, RatesOfAServiceAreThoseOfTheWindow) {
    World world(1);
    world.look_after(seconds(1));
    EXPECT_EQ(world.history.rates_of(0), std::nullopt);
    world.services[0].queries_simple.add(60);
    world.services[0].wait.observe(milliseconds(20));
    for (int second = 0; second < 4; ++second)
        world.look_after(seconds(1));
    EXPECT_DOUBLE_EQ(world.history.rates_of(0)->queries_per_second, 15);
    EXPECT_GT(world.history.rates()->wait.quantile(0.5).value(), 0.01);
    for (int second = 0; second < 12; ++second)
        world.look_after(seconds(1));
    EXPECT_DOUBLE_EQ(world.history.rates_of(0)->queries_per_second, 0);
    EXPECT_EQ(world.history.rates_of(0)->wait.quantile(0.5), std::nullopt);
    EXPECT_EQ(world.history.rates()->wait.quantile(0.5), std::nullopt);
}

TEST(StatusHistory, ServiceThatCameLaterCountsFromNothing) {
    World world(0);
    world.look_after(seconds(1));
    world.services = std::vector<core::ServiceCounters>(1);
    world.services[0].queries_simple.add(10);
    world.look_after(seconds(2));
    EXPECT_DOUBLE_EQ(world.history.rates_of(0)->queries_per_second, 5);
    EXPECT_DOUBLE_EQ(world.history.rates_of(7)->queries_per_second, 0);
}

TEST(StatusHistory, BusiestComeFirstAndNoMoreThanAskedFor) {
    World world(4);
    world.look_after(seconds(1));
    world.services[2].queries_simple.add(5);
    world.services[1].clients.add(3);
    world.services[3].queries_extended.add(9);
    world.look_after(seconds(1));
    EXPECT_EQ(world.history.busiest(6, 10), (std::vector<std::size_t>{3, 2, 1, 0, 4, 5}));
    EXPECT_EQ(world.history.busiest(6, 2), (std::vector<std::size_t>{3, 2}));
    EXPECT_TRUE(world.history.busiest(0, 2).empty());
}

TEST(StatusHistory, PastIsBounded) {
    World world(1);
    for (int look = 0; look < 2'000; ++look)
        world.look_after(milliseconds(100));
    EXPECT_EQ(world.history.points().size(), StatusHistory::points_max);
    for (int look = 0; look < 1'000; ++look)
        world.look_after(seconds(5));
    EXPECT_LE(world.history.points().size(), 121U);
    EXPECT_GE(world.history.points().size(), 120U);
}

}  // namespace
}  // namespace schemux::daemon
