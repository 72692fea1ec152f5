// The bytes of one batch: borrowed and our own, in order, merged where they touch.
// It must not know sockets.
#include "core/output.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace schemux::core {
namespace {

void write(Output& output, std::string_view bytes) {
    output.generate([bytes](std::string& out) { out.append(bytes); });
}

TEST(Output, NeighboursInMemoryBecomeOneSegment) {
    const std::string buffer(2000, 'x');
    Output output;
    output.forward(std::string_view{buffer}.substr(0, 700));
    output.forward(std::string_view{buffer}.substr(700, 1));
    output.forward(std::string_view{buffer}.substr(701));
    ASSERT_EQ(output.count(), 1U);
    EXPECT_EQ(output.segment(0).data(), buffer.data());
    EXPECT_EQ(output.segment(0).size(), buffer.size());
    EXPECT_EQ(output.size(), buffer.size());
}

TEST(Output, LargeBytesAreBorrowedAndShortOnesCopied) {
    const std::string large(1000, 'l');
    const std::string small(10, 's');
    Output output;
    write(output, "own");
    output.forward(small);
    EXPECT_EQ(output.count(), 1U);
    output.forward(large);
    EXPECT_EQ(output.count(), 2U);
    EXPECT_EQ(output.segment(1).data(), large.data());
    EXPECT_EQ(output.str(), "own" + small + large);
}

TEST(Output, NothingAddsNothing) {
    Output output;
    output.forward({});
    write(output, {});
    EXPECT_TRUE(output.empty());
    EXPECT_EQ(output.size(), 0U);
    EXPECT_EQ(output.str(), "");
}

TEST(Output, ClearForgetsEverything) {
    Output output;
    write(output, std::string(3 << 20, 'x'));
    output.clear();
    EXPECT_TRUE(output.empty());
    EXPECT_EQ(output.size(), 0U);
    write(output, "after");
    EXPECT_EQ(output.str(), "after");
}

TEST(Output, FullOfSegmentsItCollapsesAndLosesNothing) {
    std::vector<std::string> buffers;
    for (std::size_t i = 0; i < 3 * Output::segments_max; ++i)
        buffers.emplace_back(600 + i, static_cast<char>('a' + i % 26));
    Output output;
    std::string expected;
    for (const std::string& buffer : buffers) {
        output.forward(buffer);
        expected += buffer;
        ASSERT_LE(output.count(), Output::segments_max);
    }
    EXPECT_EQ(output.str(), expected);
    EXPECT_EQ(output.size(), expected.size());
}

TEST(Output, GeneratedBytesBehindAFullListKeepTheirPlace) {
    std::vector<std::string> buffers;
    for (std::size_t i = 0; i < Output::segments_max; ++i)
        buffers.emplace_back(600, static_cast<char>('a' + i % 26));
    Output output;
    std::string expected;
    for (const std::string& buffer : buffers) {
        output.forward(buffer);
        expected += buffer;
    }
    ASSERT_EQ(output.count(), Output::segments_max);
    write(output, "the end");
    EXPECT_EQ(output.str(), expected + "the end");
    EXPECT_EQ(output.size(), expected.size() + 7);
    write(output, ", really");
    EXPECT_EQ(output.str(), expected + "the end, really");
}

TEST(Output, AnySequenceOfWritesComesOutInOrder) {
    std::mt19937 random(17);
    const std::string buffer = [&] {
        std::string bytes(20'000, ' ');
        for (char& c : bytes)
            c = static_cast<char>(random());
        return bytes;
    }();
    for (int round = 0; round < 300; ++round) {
        Output output;
        std::string expected;
        const std::size_t writes = random() % 200;
        for (std::size_t i = 0; i < writes; ++i) {
            const std::size_t at = random() % 10'000;
            const std::size_t size = random() % (random() % 2 == 0 ? 20 : 2'000);
            const std::string_view bytes = std::string_view{buffer}.substr(at, size);
            random() % 2 == 0 ? output.forward(bytes) : write(output, bytes);
            expected += bytes;
        }
        ASSERT_EQ(output.str(), expected);
        ASSERT_EQ(output.size(), expected.size());
        ASSERT_EQ(output.empty(), expected.empty());
    }
}

}  // namespace
}  // namespace schemux::core
