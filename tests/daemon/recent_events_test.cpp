// What people are shown of the last events: bounded, safe to show, and whatever the log leaves out.
#include "daemon/recent_events.h"

#include <gtest/gtest.h>

#include <thread>

namespace schemux::daemon {
namespace {

constexpr std::chrono::system_clock::time_point now{};

void add(RecentEvents& events, const std::string& id, int count = 1) {
    for (int n = 0; n < count; ++n)
        events.add(now, LogLevel::info, id, {}, {});
}

std::size_t count_of(const std::vector<RecentEvent>& events, const std::string& id) {
    std::size_t count = 0;
    for (const RecentEvent& event : events)
        count += event.id == id ? 1 : 0;
    return count;
}

TEST(RecentEvents, KeepWhatTheyAreTold) {
    RecentEvents events;
    events.add(now, LogLevel::warning, "odd", "a message",
               {{"text", "a b"}, {"flag", true}, {"count", -3}, {"ratio", 0.5}}, 7);
    const auto list = events.list();
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0].number, 1U);
    EXPECT_EQ(list[0].level, LogLevel::warning);
    EXPECT_EQ(list[0].id, "odd");
    EXPECT_EQ(list[0].message, "a message");
    const std::vector<std::pair<std::string, std::string>> fields{
        {"text", "a b"}, {"flag", "true"}, {"count", "-3"}, {"ratio", "0.5"}, {"suppressed", "7"}};
    EXPECT_EQ(list[0].fields, fields);
}

TEST(RecentEvents, NoisyIdLeavesTheOthers) {
    RecentEvents events;
    add(events, "rare");
    add(events, "noisy", 10'000);
    const auto list = events.list();
    EXPECT_EQ(count_of(list, "rare"), 1U);
    EXPECT_EQ(count_of(list, "noisy"), RecentEvents::events_per_id_max);
    EXPECT_EQ(list.front().id, "rare");
    EXPECT_EQ(list.back().number, 10'001U);
}

TEST(RecentEvents, OldestOfAllGoesWhenAllAreFull) {
    RecentEvents events;
    for (std::size_t n = 0; n <= RecentEvents::events_max; ++n)
        add(events, "id" + std::to_string(n));
    const auto list = events.list();
    EXPECT_EQ(list.size(), RecentEvents::events_max);
    EXPECT_EQ(list.front().id, "id1");
}

TEST(RecentEvents, TextsAreCutAndEscaped) {
    RecentEvents events;
    const std::string large(5'000, 'x');
    events.add(now, LogLevel::info, "odd", "two\nlines", {{"a", large}, {"b", "\x1b[31m\xff"}});
    const RecentEvent event = events.list().at(0);
    EXPECT_EQ(event.message, "two\\nlines");
    EXPECT_EQ(event.fields[0].second.size(), RecentEvents::text_bytes_max + 3);
    EXPECT_EQ(event.fields[1].second, "\\x1b[31m\\xff");
}

TEST(RecentEvents, AreThoseOfTheLogWhateverItsLevel) {
    const LogLevel before = log_level();
    set_log_level(LogLevel::off);
    log_event(LogLevel::debug, "recent_events_debug", {});
    log_event(LogLevel::info, "recent_events_info", {{"n", 1}});
    LogLimiter limiter(std::chrono::hours(1), 1);
    log_event_limited(limiter, LogLevel::warning, "recent_events_limited", {});
    log_event_limited(limiter, LogLevel::warning, "recent_events_limited", {});
    set_log_level(before);
    const auto list = recent_events().list();
    EXPECT_EQ(count_of(list, "recent_events_debug"), 0U);
    EXPECT_EQ(count_of(list, "recent_events_info"), 1U);
    EXPECT_EQ(count_of(list, "recent_events_limited"), 1U);
}

TEST(RecentEvents, ManyThreadsMayAddAndRead) {
    RecentEvents events;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int n = 0; n < 4; ++n)
        threads.emplace_back([&events, n] {
            for (int round = 0; round < 500; ++round) {
                add(events, "id" + std::to_string(n));
                EXPECT_LE(events.list().size(), RecentEvents::events_max);
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(events.list().back().number, 2'000U);
}

}  // namespace
}  // namespace schemux::daemon
