// The messages that schemux makes and takes apart.
#include "protocol/messages.h"

#include "protocol/message_header.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;

std::string_view body_of(std::string_view message) {
    const MessageHeader header = read_header(message.data());
    EXPECT_EQ(header.total_bytes(), message.size());
    return message.substr(header_bytes);
}

/// No proper prefix of the body may be read.
template <typename Read>
void expect_only_whole(std::string_view body, Read read) {
    EXPECT_TRUE(read(body));
    testing::for_each_truncation(body, [&](std::string_view prefix) {
        EXPECT_FALSE(read(prefix)) << prefix.size() << " bytes";
    });
}

TEST(TransactionStatus, OnlyThreeBytesAreKnown) {
    int known = 0;
    for (int c = 0; c < 256; ++c)
        known += transaction_status(static_cast<char>(c)).has_value() ? 1 : 0;
    EXPECT_EQ(known, 3);
    EXPECT_EQ(transaction_status('E'), TransactionStatus::failed);
}

TEST(Parse, WrittenThenReadIsTheSame) {
    std::string out;
    append_parse(out, "s1", "select $1", "\0\x01\0\0\0\x17"sv);
    const auto view = read_parse(body_of(out));
    ASSERT_TRUE(view);
    EXPECT_EQ(view->name, "s1");
    EXPECT_EQ(view->text, "select $1");
    EXPECT_EQ(view->types, "\0\x01\0\0\0\x17"sv);
}

TEST(Parse, CountOfTypesMustMatchTheBytes) {
    EXPECT_TRUE(read_parse("\0x\0\0\0"sv));
    EXPECT_FALSE(read_parse("\0x\0\0\x01\0\0"sv));
    EXPECT_FALSE(read_parse("\0x\0\0\0\0"sv));
    EXPECT_FALSE(read_parse("\0x\0\xff\xff"sv));
    EXPECT_FALSE(read_parse("\0x"sv));
}

TEST(Parse, TruncatedBodyIsRefused) {
    expect_only_whole("s\0select\0\0\x01\0\0\0\x17"sv, [](auto body) { return read_parse(body); });
}

TEST(Bind, HeaderLengthCountsTheTail) {
    std::string out;
    append_bind_header(out, "p", "stmt", 6);
    out += "\0\0\0\0\0\0"sv;
    const auto prefix = read_bind_prefix(body_of(out));
    ASSERT_TRUE(prefix);
    EXPECT_EQ(prefix->portal, "p");
    EXPECT_EQ(prefix->statement, "stmt");
    EXPECT_EQ(prefix->prefix_bytes, 7U);
}

TEST(Bind, PrefixWaitsForBothNames) {
    expect_only_whole("portal\0statement\0"sv, [](auto body) { return read_bind_prefix(body); });
}

TEST(Describe, WrittenThenReadIsTheSame) {
    std::string out;
    append_describe(out, NamedKind::portal, "c1");
    EXPECT_EQ(out[0], 'D');
    const auto view = read_named(body_of(out));
    ASSERT_TRUE(view);
    EXPECT_EQ(view->kind, NamedKind::portal);
    EXPECT_EQ(view->name, "c1");
}

TEST(Close, UnknownKindAndTrailingBytesAreRefused) {
    std::string out;
    append_close(out, NamedKind::statement, "");
    EXPECT_EQ(out, "C\0\0\0\x06S\0"sv);
    EXPECT_FALSE(read_named("X\0"sv));
    EXPECT_FALSE(read_named("S\0\0"sv));
    EXPECT_FALSE(read_named(""sv));
}

TEST(Query, TextMustEndWithTheOnlyZeroByte) {
    std::string out;
    append_query(out, "select 1");
    EXPECT_EQ(read_text(body_of(out)), "select 1");
    EXPECT_FALSE(read_text("a\0b\0"sv));
    EXPECT_FALSE(read_text("a"sv));
    EXPECT_FALSE(read_text(""sv));
}

TEST(Fault, IsWordedAsPostgresqlDoes) {
    using Type = FrontendMessage;
    EXPECT_EQ(fault_in(Type::close, ""), "no data left in message");
    EXPECT_EQ(fault_in(Type::close, "S"), "invalid string in message");
    EXPECT_EQ(fault_in(Type::close, "S\0x"sv), "invalid message format");
    EXPECT_EQ(fault_in(Type::close, "Z\0"sv), "invalid CLOSE message subtype 90");
    EXPECT_EQ(fault_in(Type::describe, "\xff\0"sv), "invalid DESCRIBE message subtype 255");
    EXPECT_EQ(fault_in(Type::query, "select 1"), "invalid string in message");
    EXPECT_EQ(fault_in(Type::query, "\0\0"sv), "invalid message format");
    EXPECT_EQ(fault_in(Type::parse, "a\0select 1"sv), "invalid string in message");
    EXPECT_EQ(fault_in(Type::parse, "\0\0"sv), "insufficient data left in message");
    EXPECT_EQ(fault_in(Type::parse, "\0\0\xff\xff"sv), "insufficient data left in message");
    EXPECT_EQ(fault_in(Type::parse, "\0\0\0\0x"sv), "invalid message format");
    EXPECT_EQ(fault_in(Type::bind, "\0"sv), "invalid string in message");
    EXPECT_EQ(fault_in(Type::sync, "x"), "invalid message format");
}

TEST(ParameterStatus, WrittenThenReadIsTheSame) {
    std::string out;
    append_parameter_status(out, "TimeZone", "UTC");
    const auto view = read_parameter_status(body_of(out));
    ASSERT_TRUE(view);
    EXPECT_EQ(view->name, "TimeZone");
    EXPECT_EQ(view->value, "UTC");
    expect_only_whole(body_of(out), [](auto body) { return read_parameter_status(body); });
}

TEST(BackendKeyData, SecretHasFourTo256Bytes) {
    const std::string pid("\0\0\x01\x02", 4);
    EXPECT_FALSE(read_backend_key_data(""));
    EXPECT_FALSE(read_backend_key_data(pid + std::string(3, 'k')));
    EXPECT_TRUE(read_backend_key_data(pid + std::string(4, 'k')));
    EXPECT_TRUE(read_backend_key_data(pid + std::string(256, 'k')));
    EXPECT_FALSE(read_backend_key_data(pid + std::string(257, 'k')));
}

TEST(BackendKeyData, WrittenThenReadIsTheSame) {
    std::string out;
    append_backend_key_data(out, 0x01020304, "\xff\xfe\xfd\xfc");
    const auto view = read_backend_key_data(body_of(out));
    ASSERT_TRUE(view);
    EXPECT_EQ(view->pid, 0x01020304U);
    EXPECT_EQ(view->secret, "\xff\xfe\xfd\xfc"sv);
}

TEST(DataRow, NullAndEmptyDiffer) {
    const auto row = read_data_row(
        "\0\x03\0\0\0\x02"
        "ab\xff\xff\xff\xff\0\0\0\0"sv);
    ASSERT_TRUE(row);
    ASSERT_EQ(row->size(), 3U);
    EXPECT_EQ((*row)[0], "ab");
    EXPECT_FALSE((*row)[1]);
    EXPECT_EQ((*row)[2], "");
}

TEST(DataRow, HostileCountsAndLengthsAreRefused) {
    EXPECT_FALSE(read_data_row("\xff\xff"sv));
    EXPECT_FALSE(read_data_row("\0\x01\xff\xff\xff\xfe"sv));
    EXPECT_FALSE(read_data_row("\0\x01\x80\0\0\0"sv));
    EXPECT_FALSE(
        read_data_row("\0\x01\x7f\xff\xff\xff"
                      "a"sv));
    EXPECT_FALSE(read_data_row("\0\0x"sv));
    EXPECT_TRUE(read_data_row("\0\0"sv));
}

TEST(Encoders, SmallMessagesHaveTheirExactBytes) {
    std::string out;
    append_authentication_ok(out);
    append_ready_for_query(out, TransactionStatus::idle);
    append_empty(out, 'S');
    append_command_complete(out, "BEGIN");
    append_negotiate_protocol_version(out, 0, {"_pq_.x"});
    EXPECT_EQ(out,
              "R\0\0\0\x08\0\0\0\0"
              "Z\0\0\0\x05I"
              "S\0\0\0\x04"
              "C\0\0\0\x0a"
              "BEGIN\0"
              "v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0"sv);
}

}  // namespace
}  // namespace schemux::protocol
