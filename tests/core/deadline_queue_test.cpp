// Sessions by time: in order, moved, taken out, against a plain list.
#include "core/deadline_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>

namespace schemux::core {
namespace {

using namespace std::chrono_literals;

TimePoint at(int ms) {
    return TimePoint{} + std::chrono::milliseconds(ms);
}

TEST(DeadlineQueue, GivesThoseWhoseTimeHasCome) {
    DeadlineQueue queue;
    std::array<DeadlineQueue::Entry, 4> entries;
    queue.arm(entries[0], {0, 1}, at(30));
    queue.arm(entries[1], {1, 1}, at(10));
    queue.arm(entries[2], {2, 1}, at(20));
    queue.arm(entries[3], {3, 1}, at(40));
    queue.arm(entries[3], {3, 1}, at(5));
    queue.disarm(entries[1]);
    EXPECT_EQ(entries[1].when(), TimePoint::max());
    std::vector<SessionId> due;
    queue.take_due(at(20), due);
    ASSERT_EQ(due.size(), 2U);
    EXPECT_EQ(due[0].slot, 3U);
    EXPECT_EQ(due[1].slot, 2U);
    EXPECT_EQ(queue.size(), 1U);
    queue.disarm(entries[0]);
    queue.disarm(entries[0]);
    EXPECT_EQ(queue.size(), 0U);
}

TEST(DeadlineQueue, AgreesWithAListWhateverHappens) {
    constexpr std::uint32_t sessions = 200;
    std::mt19937 random(1);
    DeadlineQueue queue;
    std::vector<DeadlineQueue::Entry> entries(sessions);
    std::vector<int> list(sessions, -1);
    for (int now = 0; now < 3'000; ++now) {
        const auto one = static_cast<std::uint32_t>(random() % sessions);
        if (random() % 4 == 0) {
            queue.disarm(entries[one]);
            list[one] = -1;
        } else {
            list[one] = now + static_cast<int>(random() % 100);
            queue.arm(entries[one], {one, 1}, at(list[one]));
        }
        std::vector<SessionId> due;
        queue.take_due(at(now), due);
        std::vector<std::uint32_t> got;
        for (const SessionId id : due)
            got.push_back(id.slot);
        std::sort(got.begin(), got.end());
        std::vector<std::uint32_t> wanted;
        for (std::uint32_t i = 0; i < sessions; ++i) {
            if (list[i] < 0 || list[i] > now) continue;
            wanted.push_back(i);
            list[i] = -1;
        }
        ASSERT_EQ(got, wanted);
    }
}

}  // namespace
}  // namespace schemux::core
