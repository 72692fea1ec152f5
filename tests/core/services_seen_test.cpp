// The set of services that a backend has served.
#include "core/services_seen.h"

#include <gtest/gtest.h>

namespace schemux::core {
namespace {

TEST(ServicesSeen, HasWhatWasAddedAndCountsItOnce) {
    ServicesSeen seen;
    EXPECT_FALSE(seen.has(0));
    for (const std::size_t service :
         {std::size_t{0}, std::size_t{63}, std::size_t{64}, std::size_t{9'999}, std::size_t{64}})
        seen.add(service);
    EXPECT_EQ(seen.count(), 4U);
    EXPECT_TRUE(seen.has(63) && seen.has(64) && seen.has(9'999));
    EXPECT_FALSE(seen.has(65) || seen.has(1'000'000));
}

}  // namespace
}  // namespace schemux::core
