// What the pool promises its services, on a virtual clock: fair parts of the backends' time, short
// waits for who has a guarantee, none for who has a reserve, and no slot left empty.
#include "tests/core/fairness_world.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace schemux::core::fairness {
namespace {

using namespace std::chrono_literals;

std::vector<double> seconds_of(const World& world) {
    std::vector<double> seconds;
    for (const Result& result : world.results())
        seconds.push_back(result.seconds);
    return seconds;
}

TEST(Fairness, EqualServicesGetEqualTimeWhateverTheyDo) {
    // Many clients or few, long leases or short ones.
    World world(10,
                {{.clients = 100, .lease = 1ms},
                 {.clients = 12, .lease = 200ms},
                 {.clients = 1'000, .lease = 5ms},
                 {.clients = 40, .lease = 30ms, .constant = true}},
                1);
    world.run(120s);
    EXPECT_GE(jain_index(seconds_of(world)), 0.95);
    EXPECT_GE(world.utilisation(), 0.98);
    EXPECT_EQ(world.most_held(), 10U);
}

TEST(Fairness, WeightsAreParts) {
    World world(8,
                {{.clients = 50, .lease = 5ms, .policy = {.weight = 1}},
                 {.clients = 50, .lease = 20ms, .policy = {.weight = 2}},
                 {.clients = 50, .lease = 1ms, .policy = {.weight = 5}}},
                2);
    world.run(60s);
    const std::vector<double> seconds = seconds_of(world);
    const double all = seconds[0] + seconds[1] + seconds[2];
    EXPECT_NEAR(seconds[0] / all, 1.0 / 8, 0.02);
    EXPECT_NEAR(seconds[1] / all, 2.0 / 8, 0.02);
    EXPECT_NEAR(seconds[2] / all, 5.0 / 8, 0.02);
}

TEST(Fairness, AGuaranteeKeepsWaitsBelowALeaseOfTheBorrower) {
    World world(10,
                {{.clients = 500, .lease = 20ms},
                 {.clients = 2, .lease = 5ms, .think = 50ms, .policy = {.guarantee = 2}}},
                3);
    world.run(120s);
    const Nanoseconds lease = percentile(world.results()[0].leases, 0.99);
    EXPECT_LT(percentile(world.results()[1].waits, 0.99), lease);
    EXPECT_GE(world.utilisation(), 0.98);
    // With ten slots the first of them comes free in a tenth of a lease.
    EXPECT_LT(percentile(world.results()[1].waits, 0.50), 5ms);
}

TEST(Fairness, AReserveIsThereAtOnce) {
    World world(
        10,
        {{.clients = 500, .lease = 20ms},
         {.clients = 2, .lease = 5ms, .think = 50ms, .policy = {.guarantee = 2, .reserve = true}}},
        4);
    world.run(120s);
    EXPECT_LT(percentile(world.results()[1].waits, 1.0), 1ms);
    EXPECT_LE(world.results()[0].seconds, 8 * 120.0 + 1);
    EXPECT_GE(world.results()[0].seconds, 7.9 * 120.0);
}

TEST(Fairness, WithoutAGuaranteeALightServiceIsNextAfterThoseOfItsKind) {
    World world(4, {{.clients = 400, .lease = 10ms}, {.clients = 1, .lease = 1ms, .think = 20ms}},
                5);
    world.run(60s);
    // It is behind nobody who had more: the next slot is its own, but for who suits it better.
    EXPECT_LE(world.most_passed(1), limits::bypass_max);
}

TEST(Fairness, ACapHolds) {
    World world(10,
                {{.clients = 100, .lease = 5ms, .policy = {.cap = 3}},
                 {.clients = 3, .lease = 5ms, .think = 5ms}},
                6);
    world.run(30s);
    EXPECT_LE(world.results()[0].seconds, 3 * 30.0 + 0.1);
    EXPECT_GE(world.results()[0].seconds, 2.95 * 30.0);
    EXPECT_EQ(percentile(world.results()[1].waits, 1.0), 0ns);
}

TEST(Fairness, AFullQueueRefusesItsOwnServiceAlone) {
    World world(
        2, {{.clients = 100, .lease = 5ms, .policy = {.queue = 10}}, {.clients = 10, .lease = 5ms}},
        7);
    world.run(20s);
    EXPECT_GT(world.results()[0].refused, 0U);
    EXPECT_EQ(world.results()[1].refused, 0U);
    EXPECT_GE(jain_index(seconds_of(world)), 0.95);
}

/// Some services of all kinds; those that always have somebody waiting must have equal parts.
void check_random_world(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    const auto below = [&random](std::uint64_t bound) { return random() % bound; };
    const auto slots = static_cast<std::uint32_t>(2 + below(30));
    std::vector<Load> loads;
    std::vector<std::size_t> greedy;
    const std::size_t services = 5 + below(200);
    for (std::size_t i = 0; i < services; ++i) {
        Load load;
        load.lease = Nanoseconds(200'000 + below(20'000'000));
        if (below(3) == 0) {
            load.clients = static_cast<std::uint32_t>(slots + 1 + below(40));
            greedy.push_back(i);
        } else {
            load.clients = static_cast<std::uint32_t>(1 + below(5));
            load.think = Nanoseconds(1'000'000 + below(200'000'000));
        }
        loads.push_back(load);
    }
    if (greedy.empty()) return;
    World world(slots, loads, seed);
    world.run(
        std::max(Nanoseconds(5s), Nanoseconds(2s) * static_cast<std::int64_t>(services) / slots));
    std::vector<double> parts;
    for (const std::size_t service : greedy)
        parts.push_back(world.results()[service].seconds);
    ASSERT_GE(jain_index(parts), 0.95) << "seed " << seed;
    ASSERT_GE(world.utilisation(), 0.98) << "seed " << seed;
    const double most = *std::max_element(parts.begin(), parts.end());
    for (std::size_t service = 0; service < services; ++service) {
        ASSERT_LE(world.results()[service].seconds, most * 1.1 + 0.1) << "seed " << seed;
        ASSERT_FALSE(world.results()[service].waits.empty()) << "seed " << seed;
    }
}

TEST(Fairness, HoldsForManyServicesOfManyKinds) {
    const char* more = std::getenv("SCHEMUX_FAIRNESS_SEEDS");
    const std::uint64_t seeds = more == nullptr ? 30 : std::stoull(more);
    for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFatalFailure(); ++seed)
        check_random_world(seed);
}

}  // namespace
}  // namespace schemux::core::fairness
