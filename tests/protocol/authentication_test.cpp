// The messages of a login, both directions.
#include "protocol/authentication.h"

#include "protocol/message_header.h"
#include "protocol/messages.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;

std::string_view body_of(std::string_view message) {
    EXPECT_EQ(read_header(message.data()).total_bytes(), message.size());
    return message.substr(header_bytes);
}

template <typename Kind>
bool is(std::string_view body) {
    const auto read = read_authentication(body);
    return read && std::holds_alternative<Kind>(*read);
}

TEST(Authentication, OkAndCleartextHaveNoFurtherBytes) {
    std::string ok;
    append_authentication_ok(ok);
    EXPECT_TRUE(is<AuthenticationOk>(body_of(ok)));
    EXPECT_FALSE(read_authentication("\0\0\0\0x"sv));
    std::string cleartext;
    append_authentication_cleartext_password(cleartext);
    EXPECT_TRUE(is<AuthenticationCleartextPassword>(body_of(cleartext)));
    EXPECT_FALSE(read_authentication("\0\0\0\x03x"sv));
}

TEST(Authentication, Md5HasASaltOfFourBytes) {
    const auto read = read_authentication("\0\0\0\x05salt"sv);
    ASSERT_TRUE(read);
    EXPECT_EQ(std::get<AuthenticationMd5Password>(*read).salt, "salt");
    EXPECT_FALSE(read_authentication("\0\0\0\x05sal"sv));
    EXPECT_FALSE(read_authentication("\0\0\0\x05salty"sv));
}

TEST(Authentication, SaslMechanismsWrittenThenReadAreTheSame) {
    const std::vector<std::string_view> mechanisms{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"};
    std::string out;
    append_authentication_sasl(out, mechanisms);
    const auto read = read_authentication(body_of(out));
    ASSERT_TRUE(read);
    EXPECT_EQ(std::get<AuthenticationSasl>(*read).mechanisms, mechanisms);
    testing::for_each_truncation(body_of(out), [](std::string_view prefix) {
        EXPECT_FALSE(read_authentication(prefix)) << prefix.size();
    });
}

TEST(Authentication, SaslMechanismsAreBoundedAndTerminated) {
    EXPECT_FALSE(read_authentication("\0\0\0\x0a\0"sv));
    EXPECT_FALSE(
        read_authentication("\0\0\0\x0a"
                            "A\0"sv));
    EXPECT_FALSE(
        read_authentication("\0\0\0\x0a"
                            "A\0\0x"sv));
    std::string out;
    append_authentication_sasl(out, std::vector<std::string_view>(sasl_mechanisms_max, "A"));
    EXPECT_TRUE(is<AuthenticationSasl>(body_of(out)));
    out.clear();
    append_authentication_sasl(out, std::vector<std::string_view>(sasl_mechanisms_max + 1, "A"));
    EXPECT_FALSE(read_authentication(body_of(out)));
}

TEST(Authentication, SaslDataIsTheRestOfTheBody) {
    std::string next;
    append_authentication_sasl_continue(next, "r=x\0y"sv);
    EXPECT_EQ(std::get<AuthenticationSaslContinue>(*read_authentication(body_of(next))).data,
              "r=x\0y"sv);
    std::string last;
    append_authentication_sasl_final(last, "");
    EXPECT_EQ(std::get<AuthenticationSaslFinal>(*read_authentication(body_of(last))).data, "");
}

TEST(Authentication, OtherMethodsKeepTheirNumber) {
    for (const auto body :
         {"\0\0\0\x07"sv, "\0\0\0\x09"sv, "\0\0\0\x02"sv, "\xff\xff\xff\xffxyz"sv})
        EXPECT_TRUE(is<AuthenticationOther>(body));
    EXPECT_EQ(std::get<AuthenticationOther>(*read_authentication("\0\0\0\x07"sv)).method, 7U);
    EXPECT_FALSE(read_authentication("\0\0\0"sv));
}

TEST(SaslInitialResponse, WrittenThenReadIsTheSame) {
    std::string out;
    append_sasl_initial_response(out, {"SCRAM-SHA-256", "n,,n=,r=abc"});
    EXPECT_EQ(out[0], 'p');
    const auto read = read_sasl_initial_response(body_of(out));
    ASSERT_TRUE(read);
    EXPECT_EQ(read->mechanism, "SCRAM-SHA-256");
    EXPECT_EQ(read->data, "n,,n=,r=abc");
    testing::for_each_truncation(body_of(out), [](std::string_view prefix) {
        EXPECT_FALSE(read_sasl_initial_response(prefix)) << prefix.size();
    });
}

TEST(SaslInitialResponse, NoDataAndEmptyDataDiffer) {
    std::string none;
    append_sasl_initial_response(none, {"X", std::nullopt});
    EXPECT_EQ(body_of(none), "X\0\xff\xff\xff\xff"sv);
    EXPECT_FALSE(read_sasl_initial_response(body_of(none))->data);
    std::string empty;
    append_sasl_initial_response(empty, {"X", ""});
    EXPECT_EQ(read_sasl_initial_response(body_of(empty))->data, "");
}

TEST(SaslInitialResponse, HostileLengthsAreRefused) {
    for (const auto body : {"X\0\0\0\0\x02"
                            "a"sv,
                            "X\0\0\0\0\x01"
                            "ab"sv,
                            "X\0\xff\xff\xff\xfe"sv, "X\0\x7f\xff\xff\xff"sv, "X\0\x80\0\0\0"sv,
                            "X\0\xff\xff\xff\xff"
                            "a"sv,
                            "\0\0\0\0\0"sv, "X\0\0\0\0"sv}) {
        EXPECT_FALSE(read_sasl_initial_response(body)) << body.size();
    }
}

TEST(Password, WrittenThenReadIsTheSame) {
    std::string out;
    append_password(out, "s3cret");
    EXPECT_EQ(out, "p\0\0\0\x0bs3cret\0"sv);
    EXPECT_EQ(read_password(body_of(out)), "s3cret");
    EXPECT_FALSE(read_password("s3cret"sv));
    EXPECT_FALSE(read_password("s3\0cret\0"sv));
    EXPECT_EQ(read_password("\0"sv), "");
}

TEST(SaslResponse, IsTheBareData) {
    std::string out;
    append_sasl_response(out, "c=biws");
    EXPECT_EQ(out,
              "p\0\0\0\x0a"
              "c=biws"sv);
}

}  // namespace
}  // namespace schemux::protocol
