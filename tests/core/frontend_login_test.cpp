// The login of a client: scripts whole, at every cut and truncation, and hostile first packets.
#include "core/frontend_login.h"

#include "protocol/message_header.h"
#include "protocol/messages.h"
#include "protocol/startup_packet.h"
#include "protocol/wire_writer.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using protocol::ParameterView;
using testing::Parts;

std::string length_field(std::uint32_t length) {
    std::string bytes;
    protocol::WireWriter(bytes).u32(length);
    return bytes;
}

std::string packet(std::string_view behind_length) {
    return length_field(static_cast<std::uint32_t>(behind_length.size() + 4)) +
           std::string(behind_length);
}

std::string startup(const std::vector<ParameterView>& parameters, std::uint16_t minor = 0) {
    std::string bytes;
    protocol::append_startup_message(bytes, {minor, parameters});
    return bytes;
}

const std::string ssl_request = packet("\x04\xd2\x16\x2f"sv);
const std::string gss_request = packet("\x04\xd2\x16\x30"sv);
const std::string plain_startup = startup({{"user", "ann"}, {"database", "users"}});

/// What a conversation came to: the bytes sent back, the last action, what was not consumed.
struct Outcome {
    std::string sent;
    FrontendLogin::Action last = FrontendLogin::NeedBytes{};
    std::string rest;

    template <typename Kind>
    bool is() const {
        return std::holds_alternative<Kind>(last);
    }
};

/// Drives the machine as a socket loop would: unconsumed bytes are offered again.
Outcome converse(FrontendLogin& login, const Parts& parts) {
    Outcome outcome;
    for (const std::string_view part : parts) {
        outcome.rest.append(part);
        while (outcome.is<FrontendLogin::NeedBytes>() || outcome.is<FrontendLogin::Reply>()) {
            auto step = login.on_bytes(outcome.rest);
            outcome.rest.erase(0, step.consumed);
            outcome.last = std::move(step.action);
            if (const auto* reply = std::get_if<FrontendLogin::Reply>(&outcome.last))
                outcome.sent += reply->bytes;
            if (outcome.is<FrontendLogin::NeedBytes>()) break;
        }
    }
    return outcome;
}

Outcome converse(std::string_view script) {
    FrontendLogin login;
    return converse(login, Parts{script});
}

protocol::ErrorFields error_of(const Outcome& outcome) {
    const auto* refusal = std::get_if<FrontendLogin::Refuse>(&outcome.last);
    if (refusal == nullptr) {
        ADD_FAILURE() << "not refused";
        return {};
    }
    const std::string_view bytes = refusal->bytes;
    EXPECT_EQ(bytes[0], 'E');
    EXPECT_EQ(protocol::read_header(bytes.data()).total_bytes(), bytes.size());
    const auto view = protocol::read_error(bytes.substr(protocol::header_bytes));
    EXPECT_TRUE(view.has_value());
    EXPECT_EQ(view->severity, "FATAL");
    EXPECT_EQ(view->sqlstate, refusal->error.sqlstate);
    EXPECT_EQ(view->message, refusal->error.message);
    EXPECT_EQ(view->hint, refusal->error.hint);
    return refusal->error;
}

/// The script must be accepted at every cut with the same result, and at no truncation.
void expect_accepted_everywhere(const std::string& script, std::string_view sent) {
    testing::for_each_split(script, [&](const Parts& parts) {
        FrontendLogin login;
        const Outcome outcome = converse(login, parts);
        ASSERT_TRUE(outcome.is<FrontendLogin::Accepted>()) << parts[0].size();
        EXPECT_EQ(std::get<FrontendLogin::Accepted>(outcome.last).parameters.user, "ann");
        EXPECT_EQ(outcome.sent, sent);
        EXPECT_EQ(outcome.rest, "");
        EXPECT_EQ(login.held_bytes(), 0U);
    });
    testing::for_each_truncation(script, [](std::string_view prefix) {
        EXPECT_TRUE(converse(prefix).is<FrontendLogin::NeedBytes>() ||
                    converse(prefix).is<FrontendLogin::Reply>())
            << prefix.size();
    });
}

TEST(FrontendLogin, StartupIsAcceptedAtEveryCut) {
    expect_accepted_everywhere(plain_startup, "");
}

TEST(FrontendLogin, EncryptionRequestsAreDeclinedAtEveryCut) {
    expect_accepted_everywhere(ssl_request + plain_startup, "N");
    expect_accepted_everywhere(gss_request + plain_startup, "N");
    expect_accepted_everywhere(gss_request + ssl_request + plain_startup, "NN");
    expect_accepted_everywhere(ssl_request + gss_request + plain_startup, "NN");
}

TEST(FrontendLogin, SecondRequestForTheSameEncryptionIsRefused) {
    const auto ssl = error_of(converse(ssl_request + ssl_request));
    EXPECT_EQ(ssl.sqlstate, "0A000");
    EXPECT_EQ(ssl.message, "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2");
    const auto gss = error_of(converse(gss_request + ssl_request + gss_request));
    EXPECT_EQ(gss.message, "unsupported frontend protocol 1234.5680: server supports 3.0 to 3.2");
}

TEST(FrontendLogin, BytesBehindTheStartupPacketAreNotConsumed) {
    const std::string next = "Q\0\0\0\x0dselect 1\0"s;
    const Outcome outcome = converse(plain_startup + next);
    EXPECT_TRUE(outcome.is<FrontendLogin::Accepted>());
    EXPECT_EQ(outcome.rest, next);
}

TEST(FrontendLogin, StartupIsReadOnce) {
    FrontendLogin login;
    ASSERT_TRUE(converse(login, {plain_startup}).is<FrontendLogin::Accepted>());
    const auto step = login.on_bytes(startup({{"user", "root"}}));
    EXPECT_TRUE(std::holds_alternative<FrontendLogin::Close>(step.action));
    EXPECT_EQ(step.consumed, 0U);
}

TEST(FrontendLogin, NothingIsAcceptedAfterARefusal) {
    FrontendLogin login;
    ASSERT_TRUE(converse(login, {packet("\0\x02\0\0"sv)}).is<FrontendLogin::Refuse>());
    EXPECT_TRUE(std::holds_alternative<FrontendLogin::Close>(login.on_bytes(plain_startup).action));
}

TEST(FrontendLogin, ParametersReachTheCaller) {
    const Outcome outcome = converse(startup({{"user", "ann"},
                                              {"options", "-c geqo=off"},
                                              {"application_name", "psql"},
                                              {"replication", "off"}}));
    ASSERT_TRUE(outcome.is<FrontendLogin::Accepted>());
    const auto& accepted = std::get<FrontendLogin::Accepted>(outcome.last);
    EXPECT_EQ(accepted.parameters.database, "ann");
    EXPECT_EQ(accepted.parameters.settings,
              (std::vector<protocol::Setting>{{"geqo", "off"}, {"application_name", "psql"}}));
    EXPECT_EQ(accepted.reply, "");
}

TEST(FrontendLogin, NewerMinorVersionIsNegotiatedDown) {
    const Outcome outcome = converse(startup({{"user", "ann"}}, 9999));
    ASSERT_TRUE(outcome.is<FrontendLogin::Accepted>());
    const auto& accepted = std::get<FrontendLogin::Accepted>(outcome.last);
    EXPECT_EQ(accepted.reply, "v\0\0\0\x0c\0\x03\0\x02\0\0\0\0"sv);
    EXPECT_EQ(accepted.parameters.minor, 2);
}

TEST(FrontendLogin, MinorVersionsUpToTwoAreTakenAsTheyAre) {
    for (const auto minor : std::to_array<std::uint16_t>({0, 1, 2})) {
        const Outcome outcome = converse(startup({{"user", "ann"}}, minor));
        ASSERT_TRUE(outcome.is<FrontendLogin::Accepted>());
        const auto& accepted = std::get<FrontendLogin::Accepted>(outcome.last);
        EXPECT_EQ(accepted.reply, "");
        EXPECT_EQ(accepted.parameters.minor, minor);
    }
}

TEST(FrontendLogin, UnknownProtocolOptionsAreNamed) {
    const Outcome outcome = converse(startup({{"user", "ann"}, {"_pq_.x", "1"}}));
    ASSERT_TRUE(outcome.is<FrontendLogin::Accepted>());
    EXPECT_EQ(std::get<FrontendLogin::Accepted>(outcome.last).reply,
              "v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0"sv);
}

TEST(FrontendLogin, OtherMajorVersionsAreRefusedAsPostgresqlDoes) {
    const auto two = error_of(converse(packet("\0\x02\0\0"sv)));
    EXPECT_EQ(two.sqlstate, "0A000");
    EXPECT_EQ(two.message, "unsupported frontend protocol 2.0: server supports 3.0 to 3.2");
    EXPECT_EQ(error_of(converse(packet("\0\x04\0\x07user\0ann\0\0"sv))).message,
              "unsupported frontend protocol 4.7: server supports 3.0 to 3.2");
}

TEST(FrontendLogin, MissingUserIsRefusedAtEveryCut) {
    testing::for_each_split(startup({{"database", "users"}}), [](const Parts& parts) {
        FrontendLogin login;
        const auto error = error_of(converse(login, parts));
        EXPECT_EQ(error.sqlstate, "28000");
        EXPECT_EQ(error.message, "no PostgreSQL user name specified in startup packet");
    });
}

TEST(FrontendLogin, ReplicationIsRefusedWithAHint) {
    for (const auto value : {"true", "on", "1", "database", "YES"}) {
        const Outcome outcome = converse(startup({{"user", "ann"}, {"replication", value}}));
        EXPECT_EQ(error_of(outcome).sqlstate, "0A000") << value;
        EXPECT_NE(error_of(outcome).hint, "") << value;
    }
    for (const auto value : {"false", "no", "0", "off"}) {
        EXPECT_TRUE(converse(startup({{"user", "ann"}, {"replication", value}}))
                        .is<FrontendLogin::Accepted>())
            << value;
    }
    const Outcome odd = converse(startup({{"user", "ann"}, {"replication", "maybe"}}));
    EXPECT_EQ(error_of(odd).sqlstate, "22023");
    EXPECT_EQ(error_of(odd).message, "invalid value for parameter \"replication\": \"maybe\"");
}

TEST(FrontendLogin, BrokenOptionsAreRefused) {
    for (const auto options : {"-c=", "-c", "--", "--role", "-S 1", "-c =x"}) {
        EXPECT_EQ(error_of(converse(startup({{"user", "ann"}, {"options", options}}))).sqlstate,
                  "42601")
            << options;
    }
}

TEST(FrontendLogin, BrokenLayoutIsRefused) {
    for (const auto body : {"\0\x03\0\0"sv, "\0\x03\0\0user\0ann\0"sv, "\0\x03\0\0user\0ann"sv,
                            "\0\x03\0\0user\0ann\0\0x"sv, "\0\x03\0\0user"sv}) {
        const Outcome outcome = converse(packet(body));
        EXPECT_EQ(error_of(outcome).sqlstate, "08P01");
        EXPECT_EQ(error_of(outcome).message,
                  "invalid startup packet layout: expected terminator as last byte");
    }
}

TEST(FrontendLogin, TooManyParametersAreRefused) {
    std::vector<ParameterView> parameters(protocol::startup_parameters_max, {"a", "b"});
    parameters.emplace_back("user", "ann");
    EXPECT_EQ(error_of(converse(startup(parameters))).sqlstate, "08P01");
}

TEST(FrontendLogin, HostileLengthsCloseSilentlyAfterFourBytes) {
    for (const std::uint32_t length :
         {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 10'001U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        FrontendLogin login;
        const auto step = login.on_bytes(length_field(length) + "x");
        EXPECT_TRUE(std::holds_alternative<FrontendLogin::Close>(step.action)) << length;
        EXPECT_EQ(step.consumed, 4U);
    }
}

TEST(FrontendLogin, LongestPacketIsAccepted) {
    const std::size_t fixed = startup({{"user", "ann"}, {"x", ""}}).size();
    const std::string value(protocol::startup_packet_max - fixed, 'v');
    const std::string script = startup({{"user", "ann"}, {"x", value}});
    ASSERT_EQ(script.size(), protocol::startup_packet_max);
    EXPECT_TRUE(converse(script).is<FrontendLogin::Accepted>());
    const std::string longer = startup({{"user", "ann"}, {"x", value + "v"}});
    EXPECT_TRUE(converse(longer).is<FrontendLogin::Close>());
}

TEST(FrontendLogin, OtherProtocolsAreClosedSilently) {
    for (const auto bytes : {"GET / HTTP/1.1\r\n"sv, "\x16\x03\x01\x02\0\x01"sv, "SSH-2.0-x\r\n"sv,
                             "\0\0\0\0\0\0\0\0"sv}) {
        EXPECT_TRUE(converse(bytes).is<FrontendLogin::Close>()) << bytes;
    }
}

TEST(FrontendLogin, HeaderAloneHoldsOnlyItsOwnBytes) {
    FrontendLogin login;
    const auto step = login.on_bytes(length_field(10'000) + "\0"s);
    EXPECT_TRUE(std::holds_alternative<FrontendLogin::NeedBytes>(step.action));
    EXPECT_EQ(login.held_bytes(), 5U);
}

TEST(FrontendLogin, CancelRequestIsReportedAtEveryCut) {
    for (const std::size_t size : {4U, 256U}) {
        std::string script;
        protocol::append_cancel_request(script, 4711, std::string(size, '\x9c'));
        testing::for_each_split(script, [&](const Parts& parts) {
            FrontendLogin login;
            const Outcome outcome = converse(login, parts);
            ASSERT_TRUE(outcome.is<FrontendLogin::Cancel>());
            EXPECT_EQ(std::get<FrontendLogin::Cancel>(outcome.last).pid, 4711U);
            EXPECT_EQ(std::get<FrontendLogin::Cancel>(outcome.last).secret,
                      std::string(size, '\x9c'));
        });
        testing::for_each_truncation(script, [](std::string_view prefix) {
            EXPECT_TRUE(converse(prefix).is<FrontendLogin::NeedBytes>());
        });
    }
}

TEST(FrontendLogin, CancelRequestMayFollowADeclinedEncryption) {
    std::string cancel;
    protocol::append_cancel_request(cancel, 1, "abcd");
    EXPECT_TRUE(converse(ssl_request + cancel).is<FrontendLogin::Cancel>());
}

TEST(FrontendLogin, MalformedCancelRequestIsClosedSilently) {
    EXPECT_TRUE(converse(packet("\x04\xd2\x16\x2e\0\0\0\x01"sv)).is<FrontendLogin::Close>());
    EXPECT_TRUE(converse(packet("\x04\xd2\x16\x2e\0\0\0\x01"
                                "abc"sv))
                    .is<FrontendLogin::Close>());
}

TEST(FrontendLogin, TypedMessageBeforeStartupIsClosed) {
    // Every type byte followed by a plausible length reads as a length far above the limit.
    for (int type = 1; type < 256; ++type) {
        const std::string bytes = std::string(1, static_cast<char>(type)) + "\0\0\0\x04"s;
        EXPECT_TRUE(converse(bytes).is<FrontendLogin::Close>()) << type;
    }
}

}  // namespace
}  // namespace schemux::core
