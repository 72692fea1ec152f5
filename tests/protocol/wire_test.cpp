// WireReader and WireWriter: bounds, failure that sticks, and that they are each other's inverse.
#include "protocol/message_header.h"
#include "protocol/wire_reader.h"
#include "protocol/wire_writer.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;

TEST(WireReader, ReadsBigEndianNumbers) {
    WireReader reader("\x01\x02\x03\xff\xfe\xfd\xfc\x80\x00\x00\x00"sv);
    EXPECT_EQ(reader.u8(), 0x01);
    EXPECT_EQ(reader.u16(), 0x0203);
    EXPECT_EQ(reader.u32(), 0xfffefdfcU);
    EXPECT_EQ(reader.i32(), std::numeric_limits<std::int32_t>::min());
    EXPECT_TRUE(reader.finished());
}

TEST(WireReader, FailureSticksAndLaterReadsGiveNothing) {
    WireReader reader("\x00\x01\x02"sv);
    EXPECT_EQ(reader.u32(), 0U);
    EXPECT_TRUE(reader.failed());
    EXPECT_EQ(reader.u8(), 0);
    EXPECT_EQ(reader.remaining(), "");
    EXPECT_EQ(reader.cstring(), "");
    EXPECT_FALSE(reader.finished());
}

TEST(WireReader, HugeCountDoesNotWrapTheBoundsCheck) {
    WireReader reader("abcdef"sv);
    reader.u16();
    EXPECT_EQ(reader.bytes(std::numeric_limits<std::size_t>::max()), "");
    EXPECT_TRUE(reader.failed());
}

TEST(WireReader, TextWithoutItsZeroByteFails) {
    WireReader reader("abc"sv);
    EXPECT_EQ(reader.cstring(), "");
    EXPECT_TRUE(reader.failed());
}

TEST(WireReader, TextEndsAtTheFirstZeroByte) {
    WireReader reader("ab\0\0c"sv);
    EXPECT_EQ(reader.cstring(), "ab");
    EXPECT_EQ(reader.cstring(), "");
    EXPECT_EQ(reader.remaining(), "c");
    EXPECT_EQ(reader.position(), 4U);
    EXPECT_FALSE(reader.finished());
}

TEST(WireReader, EmptyInputIsFinishedUntilSomethingIsRead) {
    WireReader reader(""sv);
    EXPECT_TRUE(reader.finished());
    reader.u8();
    EXPECT_TRUE(reader.failed());
}

TEST(WireWriter, WritesWhatTheReaderReads) {
    std::string out;
    WireWriter(out).u8(7).u16(0xabcd).u32(0xdeadbeef).i32(-2).cstring("name").bytes("xyz");
    WireReader reader(out);
    EXPECT_EQ(reader.u8(), 7);
    EXPECT_EQ(reader.u16(), 0xabcd);
    EXPECT_EQ(reader.u32(), 0xdeadbeefU);
    EXPECT_EQ(reader.i32(), -2);
    EXPECT_EQ(reader.cstring(), "name");
    EXPECT_EQ(reader.bytes(3), "xyz");
    EXPECT_TRUE(reader.finished());
}

TEST(WireWriter, LengthCountsItselfButNotTheType) {
    std::string out = "before";
    WireWriter(out).begin_message('Q').cstring("ab").end_message();
    EXPECT_EQ(out,
              "beforeQ\0\0\0\x07"
              "ab\0"sv);
}

TEST(WireWriter, OneWriterWritesSeveralMessages) {
    std::string out;
    WireWriter writer(out);
    writer.begin_message('S').end_message().begin_message('H').u8(1).end_message();
    EXPECT_EQ(out, "S\0\0\0\x04H\0\0\0\x05\x01"sv);
}

TEST(WireWriter, UntypedPacketHasOnlyALength) {
    std::string out;
    WireWriter(out).begin_untyped().u32(1).end_message();
    EXPECT_EQ(out, "\0\0\0\x08\0\0\0\x01"sv);
}

TEST(MessageHeader, LengthsOutsideTheProtocolAreImplausible) {
    for (const std::uint32_t length :
         {0U, 1U, 3U, large_message_max + 1, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        EXPECT_FALSE((MessageHeader{'Q', length}.plausible())) << length;
    }
    for (const std::uint32_t length : {4U, 5U, large_message_max})
        EXPECT_TRUE((MessageHeader{'Q', length}.plausible())) << length;
}

TEST(MessageHeader, TotalOfTheLongestLengthDoesNotWrap) {
    EXPECT_EQ(read_header("Q\xff\xff\xff\xff").total_bytes(), std::size_t{1} << 32);
}

}  // namespace
}  // namespace schemux::protocol
