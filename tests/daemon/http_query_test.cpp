// The values of a request's target: found by name, decoded, and nothing that is broken hurts.
#include "daemon/http_query.h"

#include <gtest/gtest.h>

namespace schemux::daemon {
namespace {

TEST(HttpQuery, FindsValuesByName) {
    EXPECT_EQ(query_value("/x?service=orders&limit=20", "service"), "orders");
    EXPECT_EQ(query_value("/x?service=orders&limit=20", "limit"), "20");
    EXPECT_EQ(query_value("/x?limit=1&limit=2", "limit"), "1");
    EXPECT_EQ(query_value("/x?service", "service"), "");
    EXPECT_EQ(query_value("/x?a=b=c", "a"), "b=c");
    EXPECT_EQ(query_value("/x", "service"), std::nullopt);
    EXPECT_EQ(query_value("/x?", "service"), std::nullopt);
    EXPECT_EQ(query_value("/x?servic=1&services=2", "service"), std::nullopt);
}

TEST(HttpQuery, DecodesWhatIsEscaped) {
    EXPECT_EQ(query_value("/x?service=a%20b%2Bc+d", "service"), "a b+c d");
    EXPECT_EQ(query_value("/x?%73ervice=x", "service"), "x");
    EXPECT_EQ(query_value("/x?s=%zz%4", "s"), "%zz%4");
    EXPECT_EQ(query_value("/x?s=%", "s"), "%");
    EXPECT_EQ(query_value("/x?s=%-1", "s"), "%-1");
}

}  // namespace
}  // namespace schemux::daemon
