// ErrorResponse and NoticeResponse: fields to bytes and back, with hostile bodies.
#include "protocol/error_response.h"

#include "protocol/message_header.h"
#include "protocol/sqlstate.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;

std::string_view body_of(std::string_view message) {
    return message.substr(header_bytes);
}

TEST(ErrorResponse, WrittenThenReadIsTheSame) {
    const ErrorFields fields{Severity::fatal, "28000", "no", "because", "try", 12};
    std::string out;
    append_error(out, fields);
    EXPECT_EQ(out[0], 'E');
    EXPECT_EQ(read_header(out.data()).total_bytes(), out.size());
    const auto view = read_error(body_of(out));
    ASSERT_TRUE(view);
    EXPECT_EQ(view->severity, "FATAL");
    EXPECT_EQ(view->sqlstate, "28000");
    EXPECT_EQ(view->message, "no");
    EXPECT_EQ(view->detail, "because");
    EXPECT_EQ(view->hint, "try");
    EXPECT_EQ(view->position, 12U);
}

TEST(ErrorResponse, WarningsAndNoticesAreNoticeResponses) {
    for (const Severity severity : {Severity::warning, Severity::notice}) {
        std::string out;
        append_error(out, {severity, "01000", "hm", "", "", 0});
        EXPECT_EQ(out[0], 'N');
        EXPECT_EQ(read_error(body_of(out))->severity, name_of(severity));
    }
}

TEST(ErrorResponse, AbsentFieldsAreLeftOut) {
    std::string out;
    append_error(out, {Severity::error, "XX000", "m", "", "", 0});
    EXPECT_EQ(body_of(out), "SERROR\0VERROR\0CXX000\0Mm\0\0"sv);
}

TEST(ErrorResponse, ZeroByteInATextDoesNotSplitTheField) {
    std::string out;
    append_error(out, {Severity::error, "XX000", std::string("ab\0Cevil", 8), "", "", 0});
    const auto view = read_error(body_of(out));
    ASSERT_TRUE(view);
    EXPECT_EQ(view->message, "ab");
    EXPECT_EQ(view->sqlstate, "XX000");
}

TEST(ErrorResponse, EveryFieldMayBeMissing) {
    const auto view = read_error("\0"sv);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->sqlstate, "");
    EXPECT_EQ(view->message, "");
    EXPECT_FALSE(view->position);
}

TEST(ErrorResponse, UntranslatedSeverityIsPreferred) {
    EXPECT_EQ(read_error("SFEHLER\0VERROR\0\0"sv)->severity, "ERROR");
    EXPECT_EQ(read_error("SFEHLER\0\0"sv)->severity, "FEHLER");
}

TEST(ErrorResponse, TruncatedBodyIsRefused) {
    testing::for_each_truncation("SERROR\0C42601\0Mbad\0P7\0\0"sv, [](std::string_view prefix) {
        EXPECT_FALSE(read_error(prefix)) << prefix.size();
    });
}

TEST(ErrorResponse, BytesBehindTheTerminatorAreRefused) {
    EXPECT_FALSE(read_error("Mx\0\0Cy\0"sv));
}

TEST(ErrorResponse, PositionThatIsNoNumberIsNone) {
    for (const auto text : {"", "0", "-1", "1x", "4294967296", " 1"}) {
        const auto view = read_error(std::string("P") + text + '\0' + '\0');
        ASSERT_TRUE(view) << text;
        EXPECT_FALSE(view->position) << text;
    }
}

TEST(ErrorResponse, NewPositionKeepsEverythingElse) {
    const auto body = "SERROR\0P7\0Mbad\0q select\0\0"sv;
    std::string out;
    append_with_position(out, 'E', body, 42);
    EXPECT_EQ(body_of(out), "SERROR\0P42\0Mbad\0q select\0\0"sv);
    EXPECT_EQ(read_header(out.data()).total_bytes(), out.size());
}

TEST(ErrorResponse, PositionZeroTakesTheFieldAway) {
    std::string out;
    append_with_position(out, 'N', "SERROR\0P7\0Mbad\0\0"sv, 0);
    EXPECT_EQ(out[0], 'N');
    EXPECT_EQ(body_of(out), "SERROR\0Mbad\0\0"sv);
}

}  // namespace
}  // namespace schemux::protocol
