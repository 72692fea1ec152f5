// The first packet of a client, its limits, and what its parameters mean.
#include "protocol/startup_packet.h"

#include "protocol/messages.h"
#include "protocol/wire_writer.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;
using Settings = std::vector<Setting>;

std::string length_field(std::uint32_t length) {
    std::string bytes;
    WireWriter(bytes).u32(length);
    return bytes;
}

std::string packet(std::string_view behind_length) {
    return length_field(static_cast<std::uint32_t>(behind_length.size() + 4)) +
           std::string(behind_length);
}

std::string startup(const std::vector<ParameterView>& parameters, std::uint16_t minor = 0) {
    std::string bytes;
    append_startup_message(bytes, {minor, parameters});
    return bytes;
}

StartupParameters accepted(const std::vector<ParameterView>& parameters) {
    auto result = interpret({0, parameters});
    if (const auto* error = std::get_if<ErrorFields>(&result)) ADD_FAILURE() << error->message;
    return std::get<StartupParameters>(result);
}

ErrorFields refused(const std::vector<ParameterView>& parameters) {
    return std::get<ErrorFields>(interpret({0, parameters}));
}

Settings options(std::string_view text) {
    auto result = read_options(text);
    if (const auto* error = std::get_if<ErrorFields>(&result)) ADD_FAILURE() << error->message;
    return std::get<Settings>(result);
}

TEST(StartupLength, OnlyEightToTenThousandBytesAreAPacket) {
    for (const std::uint32_t length :
         {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U, 10'001U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        EXPECT_FALSE(startup_packet_bytes(length_field(length))) << length;
    }
    EXPECT_EQ(startup_packet_bytes(length_field(8)), 8U);
    EXPECT_EQ(startup_packet_bytes(length_field(10'000)), 10'000U);
}

TEST(StartupLength, OtherProtocolsAreNoPacket) {
    EXPECT_FALSE(startup_packet_bytes("GET "));
    EXPECT_FALSE(startup_packet_bytes("\x16\x03\x01\x02"));  // a TLS ClientHello
    EXPECT_FALSE(startup_packet_bytes("SSH-"));
}

TEST(FirstPacket, StartupMessageWrittenThenReadIsTheSame) {
    const std::string bytes = startup({{"user", "u"}, {"options", ""}, {"user", "again"}}, 2);
    const auto read = read_first_packet(bytes);
    const auto& message = std::get<StartupMessage>(read);
    EXPECT_EQ(message.minor, 2);
    EXPECT_EQ(message.parameters,
              (std::vector<ParameterView>{{"user", "u"}, {"options", ""}, {"user", "again"}}));
    std::string again;
    append_startup_message(again, message);
    EXPECT_EQ(again, bytes);
}

TEST(FirstPacket, RequestsWrittenThenReadAreTheSame) {
    std::string ssl;
    append_ssl_request(ssl);
    EXPECT_EQ(ssl, "\0\0\0\x08\x04\xd2\x16\x2f"sv);
    EXPECT_TRUE(std::holds_alternative<SslRequest>(read_first_packet(ssl)));
    std::string gss;
    append_gss_encryption_request(gss);
    EXPECT_EQ(gss, "\0\0\0\x08\x04\xd2\x16\x30"sv);
    EXPECT_TRUE(std::holds_alternative<GssEncryptionRequest>(read_first_packet(gss)));
}

TEST(FirstPacket, RequestWithAPayloadIsRefused) {
    EXPECT_EQ(std::get<PacketFault>(read_first_packet(packet("\x04\xd2\x16\x2fx"sv))),
              PacketFault::length);
    EXPECT_EQ(std::get<PacketFault>(read_first_packet(packet("\x04\xd2\x16\x30x"sv))),
              PacketFault::length);
}

TEST(FirstPacket, CancelRequestWrittenThenReadIsTheSame) {
    for (const std::size_t size : {4U, 32U, 256U}) {
        const std::string secret(size, '\xee');
        std::string bytes;
        append_cancel_request(bytes, 0xfffffff0, secret);
        const auto read = read_first_packet(bytes);
        EXPECT_EQ(std::get<CancelRequest>(read).pid, 0xfffffff0U);
        EXPECT_EQ(std::get<CancelRequest>(read).secret, secret);
    }
}

TEST(FirstPacket, CancelSecretOutsideItsBoundsIsRefused) {
    for (const std::size_t size : {0U, 3U, 257U}) {
        std::string bytes;
        append_cancel_request(bytes, 1, std::string(size, 'k'));
        EXPECT_EQ(std::get<PacketFault>(read_first_packet(bytes)), PacketFault::length) << size;
    }
    EXPECT_EQ(std::get<PacketFault>(read_first_packet(packet("\x04\xd2\x16\x2e\0\0"sv))),
              PacketFault::length);
}

TEST(FirstPacket, OtherMajorVersionsAreReported) {
    const auto two = std::get<UnsupportedProtocol>(read_first_packet(packet("\0\x02\0\0"sv)));
    EXPECT_EQ(two.major, 2);
    EXPECT_EQ(two.minor, 0);
    const auto odd = std::get<UnsupportedProtocol>(read_first_packet(packet("\x04\xd2\0\x07"sv)));
    EXPECT_EQ(odd.major, 1234);
    EXPECT_EQ(odd.minor, 7);
}

TEST(FirstPacket, TerminatorMustBeTheLastByte) {
    for (const auto body :
         {"\0\x03\0\0"sv, "\0\x03\0\0user\0u\0"sv, "\0\x03\0\0user\0u"sv, "\0\x03\0\0user\0"sv,
          "\0\x03\0\0user\0u\0\0x"sv, "\0\x03\0\0user\0u\0\0\0"sv, "\0\x03\0\0user"sv}) {
        EXPECT_EQ(std::get<PacketFault>(read_first_packet(packet(body))), PacketFault::layout)
            << body;
    }
    EXPECT_TRUE(
        std::holds_alternative<StartupMessage>(read_first_packet(packet("\0\x03\0\0\0"sv))));
}

TEST(FirstPacket, LengthFieldMustMatchTheBytes) {
    testing::for_each_truncation(startup({{"user", "u"}}), [](std::string_view prefix) {
        EXPECT_EQ(std::get<PacketFault>(read_first_packet(prefix)), PacketFault::length);
    });
    EXPECT_EQ(std::get<PacketFault>(read_first_packet(startup({{"user", "u"}}) + "x")),
              PacketFault::length);
}

TEST(FirstPacket, ParametersAreCounted) {
    const std::vector<ParameterView> most(startup_parameters_max, {"a", "b"});
    EXPECT_EQ(std::get<StartupMessage>(read_first_packet(startup(most))).parameters, most);
    const std::vector<ParameterView> more(startup_parameters_max + 1, {"a", "b"});
    EXPECT_EQ(std::get<PacketFault>(read_first_packet(startup(more))),
              PacketFault::too_many_parameters);
}

TEST(StartupParameters, DatabaseDefaultsToTheUser) {
    EXPECT_EQ(accepted({{"user", "ann"}}).database, "ann");
    EXPECT_EQ(accepted({{"user", "ann"}, {"database", ""}}).database, "ann");
    EXPECT_EQ(accepted({{"user", "ann"}, {"database", "db"}}).database, "db");
}

TEST(StartupParameters, UserIsRequired) {
    for (const auto& parameters :
         {std::vector<ParameterView>{}, {{"user", ""}}, {{"USER", "ann"}}, {{"database", "db"}}}) {
        const ErrorFields error = refused(parameters);
        EXPECT_EQ(error.severity, Severity::fatal);
        EXPECT_EQ(error.sqlstate, "28000");
        EXPECT_EQ(error.message, "no PostgreSQL user name specified in startup packet");
    }
}

TEST(StartupParameters, TheLastOfTwoValuesWins) {
    const auto parameters = accepted({{"user", "a"},
                                      {"DateStyle", "ISO"},
                                      {"user", "b"},
                                      {"TimeZone", "UTC"},
                                      {"datestyle", "German"}});
    EXPECT_EQ(parameters.user, "b");
    EXPECT_EQ(parameters.settings, (Settings{{"timezone", "UTC"}, {"datestyle", "German"}}));
}

TEST(StartupParameters, OptionsComeBeforeThePacketsOwnSettings) {
    const auto parameters = accepted({{"user", "a"},
                                      {"search_path", "own"},
                                      {"options", "-c search_path=opt -c geqo=off"},
                                      {"application_name", "x"}});
    EXPECT_EQ(parameters.settings,
              (Settings{{"geqo", "off"}, {"search_path", "own"}, {"application_name", "x"}}));
}

TEST(StartupParameters, OfTwoOptionsTheLastIsRead) {
    EXPECT_EQ(accepted({{"user", "a"}, {"options", "broken"}, {"options", "-ca=b"}}).settings,
              (Settings{{"a", "b"}}));
}

TEST(StartupParameters, ProtocolOptionsAndReplicationAreNoSettings) {
    const auto parameters =
        accepted({{"user", "a"}, {"_pq_.x", "1"}, {"_pq_.y", ""}, {"replication", "database"}});
    EXPECT_EQ(parameters.unknown_options, (std::vector<std::string>{"_pq_.x", "_pq_.y"}));
    EXPECT_EQ(parameters.replication, "database");
    EXPECT_TRUE(parameters.settings.empty());
}

TEST(StartupParameters, ReplicationIsWantedOnlyByTheLastValue) {
    const auto wants = [](std::initializer_list<std::string_view> values) {
        std::vector<ParameterView> parameters{{"user", "a"}};
        for (const std::string_view value : values)
            parameters.push_back({"replication", value});
        return accepted(parameters).wants_replication();
    };
    EXPECT_FALSE(wants({}));
    EXPECT_FALSE(wants({"off"}));
    EXPECT_FALSE(wants({"database", "0"}));
    EXPECT_TRUE(wants({"1"}));
    EXPECT_TRUE(wants({"no", "database"}));
}

TEST(StartupParameters, WordsThatAreNoReplicationAreRefusedWhereverTheyStand) {
    for (const auto value : {"", "maybe", "o", "DATABASE", "databas", " off", "00"}) {
        const ErrorFields error =
            refused({{"user", "a"}, {"replication", value}, {"replication", "off"}});
        EXPECT_EQ(error.sqlstate, "22023") << value;
        EXPECT_EQ(error.message,
                  "invalid value for parameter \"replication\": \"" + std::string(value) + '"');
        EXPECT_EQ(error.hint, R"(Valid values are: "false", 0, "true", 1, "database".)");
    }
    // Before anything else that is wrong.
    EXPECT_EQ(refused({{"replication", "x"}, {"options", "x"}}).sqlstate, "22023");
}

TEST(StartupParameters, DriversValuesAreKeptAsTheyAre) {
    // asyncpg quotes its encoding, lib/pq puts a comma in the date style.
    EXPECT_EQ(accepted({{"user", "a"}, {"client_encoding", "'utf-8'"}, {"datestyle", "ISO, MDY"}})
                  .settings,
              (Settings{{"client_encoding", "'utf-8'"}, {"datestyle", "ISO, MDY"}}));
}

TEST(Options, EverySpellingOfASettingIsRead) {
    const Settings expected{{"work_mem", "1MB"}};
    for (const auto text :
         {"-c work_mem=1MB", "-cwork_mem=1MB", "--work_mem=1MB", "--work-mem=1MB",
          "-c work-mem=1MB", "-c\twork_mem=1MB\n", "  -c   work_mem=1MB  ", "--WORK_MEM=1MB"}) {
        EXPECT_EQ(options(text), expected) << text;
    }
}

TEST(Options, BackslashTakesTheNextByteLiterally) {
    EXPECT_EQ(options(R"(-c search_path=a,\ b -c x=\\y)"),
              (Settings{{"search_path", "a, b"}, {"x", R"(\y)"}}));
    EXPECT_EQ(options(R"(-c a=b\)"), (Settings{{"a", "b"}}));
}

TEST(Options, ValueMayBeEmptyAndHoldEqualsSignsAndDashes) {
    EXPECT_EQ(options("-c a= -c b=x=y -c c=-1-2"),
              (Settings{{"a", ""}, {"b", "x=y"}, {"c", "-1-2"}}));
}

TEST(Options, EmptyTextSetsNothing) {
    EXPECT_TRUE(options("").empty());
    EXPECT_TRUE(options(" \t\r\n\v\f ").empty());
}

TEST(Options, EverythingElseIsAnError) {
    for (const auto text : {"-c=",        "-c =", "-c =x",        "--=",       "--=x",
                            "--",         "-",    "-c",           "-c a=b -c", "-e",
                            "-d 5",       "-S 1", "work_mem=1MB", "-c -c",     "-c work_mem",
                            "--work_mem", "\\",   "-c \\",        "-c a=b \\", "-C x=y",
                            "-- -c a=b"}) {
        const auto result = read_options(text);
        ASSERT_TRUE(std::holds_alternative<ErrorFields>(result)) << text;
        EXPECT_EQ(std::get<ErrorFields>(result).sqlstate, "42601") << text;
        EXPECT_EQ(std::get<ErrorFields>(result).severity, Severity::fatal) << text;
        EXPECT_NE(std::get<ErrorFields>(result).message, "") << text;
    }
}

TEST(Options, MissingValueIsWordedAsTheServerDoes) {
    EXPECT_EQ(std::get<ErrorFields>(read_options("-c work_mem")).message,
              "-c work_mem requires a value");
    EXPECT_EQ(std::get<ErrorFields>(read_options("--work-mem")).message,
              "--work-mem requires a value");
}

TEST(Options, AllTextsOfSixHostileBytesEnd) {
    // 8^6 texts: a loop that does not make progress would hang here.
    constexpr std::string_view alphabet = "-c=\\ a\tZ";
    std::string text(6, ' ');
    std::size_t accepted_texts = 0;
    for (std::uint32_t code = 0; code < 1U << 18; ++code) {
        for (std::size_t i = 0; i < text.size(); ++i)
            text[i] = alphabet[code >> (3 * i) & 7];
        const auto result = read_options(text);
        const auto* settings = std::get_if<Settings>(&result);
        if (settings == nullptr) continue;
        ++accepted_texts;
        for (const Setting& setting : *settings)
            ASSERT_NE(setting.first, "") << text;
    }
    EXPECT_GT(accepted_texts, 0U);
}

TEST(Options, SettingsAreCounted) {
    std::string text;
    for (std::size_t i = 0; i < startup_settings_max; ++i)
        text += " -ca" + std::to_string(i) + "=";
    EXPECT_EQ(options(text).size(), startup_settings_max);
    const auto more = read_options(text + " -cb=");
    EXPECT_EQ(std::get<ErrorFields>(more).sqlstate, "54000");
    EXPECT_EQ(refused({{"user", "u"}, {"options", text}, {"b", ""}}).sqlstate, "54000");
}

TEST(Boolean, PrefixesAreReadAsTheServerDoes) {
    for (const auto text : {"t", "TRUE", "tr", "yes", "Y", "on", "1"})
        EXPECT_EQ(read_boolean(text), true) << text;
    for (const auto text : {"f", "False", "no", "N", "of", "off", "0"})
        EXPECT_EQ(read_boolean(text), false) << text;
    for (const auto text : {"", "o", "2", "truely", "10", " t", "database"})
        EXPECT_EQ(read_boolean(text), std::nullopt) << text;
}

}  // namespace
}  // namespace schemux::protocol
