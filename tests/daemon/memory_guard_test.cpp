// When memory counts as scarce, and that it does not flap.
#include "daemon/memory_guard.h"

#include <gtest/gtest.h>

#include <limits>

namespace schemux::daemon {
namespace {

constexpr std::uint64_t mib = 1'048'576;

MemoryState after(std::uint64_t resident, MemoryState before) {
    return memory_state(resident * mib, 100 * mib, before);
}

TEST(MemoryState, IsScarceFromWhereItWasSaid) {
    EXPECT_EQ(after(84, MemoryState::enough), MemoryState::enough);
    EXPECT_EQ(after(86, MemoryState::enough), MemoryState::scarce);
    EXPECT_EQ(after(94, MemoryState::enough), MemoryState::scarce);
    EXPECT_EQ(after(96, MemoryState::enough), MemoryState::out);
    EXPECT_EQ(after(500, MemoryState::scarce), MemoryState::out);
}

TEST(MemoryState, RecoversLower) {
    for (const MemoryState before : {MemoryState::scarce, MemoryState::out}) {
        EXPECT_EQ(after(81, before), MemoryState::scarce);
        EXPECT_EQ(after(79, before), MemoryState::enough);
    }
    EXPECT_EQ(after(81, MemoryState::enough), MemoryState::enough);
}

TEST(MemoryState, WithoutALimitThereIsAlwaysEnough) {
    const auto all = std::numeric_limits<std::uint64_t>::max();
    EXPECT_EQ(memory_state(all, 0, MemoryState::out), MemoryState::enough);
    EXPECT_EQ(memory_state(1, 1, MemoryState::enough), MemoryState::enough);
    EXPECT_EQ(memory_state(all, all, MemoryState::enough), MemoryState::out);
}

}  // namespace
}  // namespace schemux::daemon
