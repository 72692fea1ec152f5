// The admin console without a daemon: commands, who may give them, rows, and both protocols, whole
// and cut anywhere. The columns of every version: tests/integration/console_test.py.
#include "core/console_command.h"
#include "core/console_rows.h"
#include "core/console_session.h"
#include "protocol/message_header.h"
#include "protocol/messages.h"
#include "protocol/wire_writer.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::core {
namespace {

using namespace std::string_literals;
using protocol::WireWriter;

ConsoleCommand good(std::string_view text) {
    auto read = read_console_command(text);
    EXPECT_TRUE(std::holds_alternative<ConsoleCommand>(read)) << text;
    const auto* command = std::get_if<ConsoleCommand>(&read);
    return command == nullptr ? ConsoleCommand{} : *command;
}

std::string refused(std::string_view text) {
    auto read = read_console_command(text);
    const auto* error = std::get_if<protocol::ErrorFields>(&read);
    return error == nullptr ? "taken" : error->message;
}

TEST(ConsoleCommand, ReadsNamesQuotedAndBareInAnyCase) {
    EXPECT_EQ(good("pause").verb, ConsoleVerb::pause);
    EXPECT_EQ(good("pause").target, "");
    EXPECT_EQ(good("PAUSE Orders-1;").target, "Orders-1");
    EXPECT_EQ(good("/* why */ Resume \"a \"\"b\"\"\" ; -- so").target, "a \"b\"");
    EXPECT_EQ(good("show POOLS;").show, ConsoleShow::pools);
    EXPECT_EQ(good("SHOW").show, ConsoleShow::help);
    EXPECT_EQ(good("SHUTDOWN").shutdown, ShutdownMode::immediate);
    EXPECT_EQ(good("SHUTDOWN;").shutdown, ShutdownMode::immediate);
    EXPECT_EQ(good("shutdown wait_for_clients;").shutdown, ShutdownMode::wait_for_clients);
    EXPECT_EQ(good(" ; ").verb, ConsoleVerb::nothing);
    EXPECT_EQ(good("BEGIN READ ONLY").verb, ConsoleVerb::begin);
    EXPECT_EQ(good("SET client_encoding TO 'utf8'").verb, ConsoleVerb::set_setting);
    EXPECT_EQ(good("SHOW transaction isolation level").target, "transaction_isolation");
}

TEST(ConsoleCommand, ReadsNumbersAndTexts) {
    EXPECT_EQ(good("KILL_CLIENT 4294967295").number, 4294967295U);
    EXPECT_EQ(good("KILL").target, "");
    EXPECT_EQ(good("kill orders;").target, "orders");
    EXPECT_EQ(good("SHOW LEASES;").number, 0U);
    EXPECT_EQ(good("show leases 17 ;").number, 17U);
    const ConsoleCommand explain = good("EXPLAIN REWRITE \"a b\" 'SELECT ''{{tables.x}}''; --';");
    EXPECT_EQ(explain.verb, ConsoleVerb::explain_rewrite);
    EXPECT_EQ(explain.target, "a b");
    EXPECT_EQ(explain.text, "SELECT '{{tables.x}}'; --");
}

TEST(ConsoleCommand, SaysWhatIsMissing) {
    EXPECT_EQ(refused("KILL_CLIENT"), "KILL_CLIENT wants the id of a client");
    EXPECT_EQ(refused("KILL_CLIENT -1"), "KILL_CLIENT wants the id of a client");
    EXPECT_EQ(refused("KILL_CLIENT 4294967296"), "KILL_CLIENT wants the id of a client");
    EXPECT_EQ(refused("KILL_CLIENT 1 2"), "invalid command 'KILL_CLIENT 1 2'");
    EXPECT_EQ(refused("DISABLE"), "DISABLE wants the name of a service");
    EXPECT_EQ(refused("ENABLE ;"), "ENABLE wants the name of a service");
    EXPECT_EQ(refused("EXPLAIN REWRITE a 'open"), "EXPLAIN REWRITE wants a service and a text");
    EXPECT_EQ(refused("EXPLAIN REWRITE a"), "EXPLAIN REWRITE wants a service and a text");
    EXPECT_EQ(refused("EXPLAIN REWRITE a 'b' c"), "invalid command 'EXPLAIN REWRITE a 'b' c'");
    EXPECT_EQ(refused("EXPLAIN SELECT 1"), "invalid command 'EXPLAIN SELECT 1'");
    EXPECT_EQ(refused("SHOW FDS"), "descriptors are not handed out");
    EXPECT_EQ(refused("SHOW LEASES x"),
              "SHOW LEASES wants the process id of a backend, or nothing");
}

TEST(ConsoleCommand, RefusesWhatItDoesNotKnow) {
    EXPECT_EQ(refused("FOO"), "invalid command 'FOO'");
    EXPECT_EQ(refused("SHOW nope"), "invalid command 'SHOW nope'");
    EXPECT_EQ(refused("SHOW POOLS; SHOW STATS"), "invalid command 'SHOW POOLS; SHOW STATS'");
    EXPECT_EQ(refused("PAUSE a b"), "invalid command 'PAUSE a b'");
    EXPECT_EQ(refused("PAUSE \"a"), "invalid command 'PAUSE \"a'");
    EXPECT_EQ(refused("SHUTDOWN now"), "invalid command 'SHUTDOWN now'");
    EXPECT_EQ(refused("SELECT 1"), "invalid command 'SELECT 1'");
    EXPECT_EQ(refused("SET max_client_conn = 5"), "\"max_client_conn\" cannot be set here");
    EXPECT_EQ(refused(std::string(console_command_bytes_max + 1, 'x')), "the command is too long");
    EXPECT_EQ(refused("PAUSE /* open"), "invalid command 'PAUSE /* open'");
}

TEST(ConsoleRows, AreBinaryWhereAsked) {
    ConsoleTable table({{"a", ColumnType::text},
                        {"b", ColumnType::int4},
                        {"c", ColumnType::int8},
                        {"d", ColumnType::numeric},
                        {"e", ColumnType::numeric}});
    table.add({{"a", "x"}, {"b", -2}, {"c", std::uint64_t{1} << 33U}, {"d", 1'234'567}, {"e", 0}});
    std::string out;
    append_data_row(out, table, 0, {true, true, true, true, true});
    const std::string expected =
        "\0\5"
        "\0\0\0\1x"
        "\0\0\0\4\xff\xff\xff\xfe"
        "\0\0\0\10\0\0\0\2\0\0\0\0"
        // two digits to the base of 10,000: 123 and 4567
        "\0\0\0\14\0\2\0\1\0\0\0\0\0\x7b\x11\xd7"
        "\0\0\0\10\0\0\0\0\0\0\0\0"s;
    EXPECT_EQ(out.substr(protocol::header_bytes), expected);
}

// ---- sessions ----------------------------------------------------------------------------------

std::string message(char type, std::string_view body) {
    std::string out;
    WireWriter(out).begin_message(type).bytes(body).end_message();
    return out;
}

std::string query(std::string_view text) {
    return message('Q', std::string(text) + '\0');
}

std::string extended(std::string_view text, std::uint32_t rows = 0) {
    std::string execute = "\0"s;
    WireWriter(execute).u32(rows);
    return message('P', "\0"s + std::string(text) + "\0\0\0"s) + message('B', "\0\0\0\0\0\0\0\0"s) +
           message('D', "P\0"s) + message('E', execute) + message('S', "");
}

/// What came back, by types, and what was asked to be run.
struct Talk {
    std::string types;
    std::vector<ConsoleVerb> runs;
    std::string bytes;
    bool closed = false;
};

ConsoleOutcome answer(const ConsoleSession& session, const ConsoleCommand& command) {
    if (command.target == "nope") return protocol::make_error("3D000", "no such database: nope");
    ConsoleResult result{ConsoleTable(session.columns_of(command)), {}};
    if (command.verb == ConsoleVerb::show) {
        result.table.add({{"list", "a"}, {"items", 1}});
        result.table.add({{"list", "b"}, {"items", 2}});
    }
    return result;
}

Talk talk(ConsoleRights rights, const std::vector<std::string_view>& pieces) {
    ConsoleSession session({ConsoleProfile::v1_26, rights, "0", 7, "key!"});
    Talk heard;
    for (const std::string_view piece : pieces) {
        session.on_bytes(piece);
        for (bool more = true; more;) {
            const auto step = session.next();
            more = false;
            if (const auto* run = std::get_if<ConsoleSession::Run>(&step)) {
                heard.runs.push_back(run->command.verb);
                session.on_outcome(answer(session, run->command));
                more = true;
            }
            heard.closed = std::holds_alternative<ConsoleSession::Close>(step);
        }
    }
    heard.bytes = session.take_output();
    for (std::size_t at = 0; at < heard.bytes.size();) {
        heard.types += heard.bytes[at];
        at += protocol::read_header(heard.bytes.data() + at).total_bytes();
    }
    return heard;
}

Talk talk(std::string_view bytes, ConsoleRights rights = ConsoleRights::admin) {
    return talk(rights, {bytes});
}

TEST(ConsoleSession, AnswersTheSimpleProtocol) {
    EXPECT_EQ(talk(query("SHOW LISTS")).types, "TDDCZ");
    EXPECT_EQ(talk(query("SHOW VERSION")).types, "TDCZ");
    EXPECT_EQ(talk(query("SHOW HELP")).types, "NCZ");
    EXPECT_EQ(talk(query("")).types, "IZ");
    EXPECT_EQ(talk(query("PAUSE")).types, "CZ");
    EXPECT_EQ(talk(query("PAUSE nope")).types, "EZ");
    EXPECT_EQ(talk(query("nonsense") + query("SHOW LISTS")).types, "EZTDDCZ");
    const Talk setting = talk(query("SHOW client_encoding"));
    EXPECT_EQ(setting.types, "TDCZ");
    EXPECT_NE(setting.bytes.find("client_encoding"), std::string::npos);
    EXPECT_NE(setting.bytes.find("UTF8"), std::string::npos);
}

TEST(ConsoleSession, AnswersTheExtendedProtocol) {
    EXPECT_EQ(talk(extended("SHOW LISTS")).types, "12TDDCZ");
    EXPECT_EQ(talk(extended("PAUSE")).types, "12nCZ");
    EXPECT_EQ(talk(extended("SHOW LISTS", 1)).types, "12TDsZ");
    EXPECT_EQ(talk(extended("")).types, "12nIZ");
    EXPECT_EQ(talk(extended("nonsense") + extended("SHOW LISTS")).types, "EZ12TDDCZ");
    EXPECT_EQ(talk(extended("PAUSE nope") + extended("RESUME")).types, "12nEZ12nCZ");
    EXPECT_EQ(talk(message('P', "s\0SHOW LISTS\0\0\0"s) + message('D', "Ss\0"s) +
                   message('C', "Ss\0"s) + message('D', "Ss\0"s) + message('S', ""))
                  .types,
              "1tT3EZ");
}

TEST(ConsoleSession, KeepsAPortalUntilItsTransactionEnds) {
    const std::string more = message('E', "\0\0\0\0\0"s) + message('S', "");
    EXPECT_EQ(talk(extended("SHOW LISTS", 1) + more).types, "12TDsZEZ");
    EXPECT_EQ(talk(query("BEGIN") + extended("SHOW LISTS", 1) + more).types, "CZ12TDsZDCZ");
    EXPECT_EQ(talk(query("BEGIN") + extended("SHOW LISTS", 1) + extended("COMMIT") + more).types,
              "CZ12TDsZ12nCZEZ");
}

TEST(ConsoleSession, SaysTheSameHoweverItIsCut) {
    const std::string script = query("SHOW LISTS") + extended("SHOW LISTS") + query("BEGIN") +
                               query("COMMIT") + extended("PAUSE nope") + query("RESUME");
    const Talk whole = talk(script);
    testing::for_each_split(script, [&](const testing::Parts& parts) {
        const Talk cut = talk(ConsoleRights::admin, parts);
        ASSERT_EQ(cut.bytes, whole.bytes);
        ASSERT_EQ(cut.runs, whole.runs);
    });
}

TEST(ConsoleSession, LetsStatsUsersLookAndNothingElse) {
    for (const char* text : {"PAUSE", "RESUME", "RECONNECT", "RELOAD", "SHUTDOWN",
                             "SHUTDOWN WAIT_FOR_CLIENTS", "PAUSE x"}) {
        for (const std::string& asked : {query(text), extended(text)}) {
            const Talk heard = talk(asked, ConsoleRights::stats);
            EXPECT_TRUE(heard.runs.empty()) << text;
            EXPECT_EQ(heard.types, "EZ") << text;
            EXPECT_NE(heard.bytes.find("42501"), std::string::npos) << text;
            EXPECT_EQ(talk(asked, ConsoleRights::admin).runs.size(), 1U) << text;
        }
    }
    EXPECT_EQ(talk(query("SHOW LISTS"), ConsoleRights::stats).types, "TDDCZ");
    EXPECT_EQ(talk(query("BEGIN"), ConsoleRights::stats).types, "CZ");
}

TEST(ConsoleSession, EndsWhatIsNoProtocol) {
    for (const std::string& wrong :
         {message('!', ""), message('F', "x"), message('p', "x\0"s), message('Q', "no zero"),
          "Q\0\0\0\3"s, "Q\x7f\xff\xff\xff"s,
          message('Q', std::string(ConsoleSession::message_bytes_max, 'x'))}) {
        const Talk heard = talk(wrong + query("PAUSE"));
        EXPECT_TRUE(heard.closed);
        EXPECT_TRUE(heard.runs.empty());
        EXPECT_EQ(heard.types, "E");
    }
    EXPECT_TRUE(talk(message('X', "")).closed);
}

TEST(ConsoleSession, BoundsWhatAClientLeavesHere) {
    std::string many;
    for (std::size_t at = 0; at <= ConsoleSession::names_max; ++at)
        many += message('P', "s" + std::to_string(at) + "\0PAUSE\0\0\0"s);
    const Talk heard = talk(many + message('S', ""));
    EXPECT_EQ(heard.types, std::string(ConsoleSession::names_max, '1') + "EZ");
    // While a command runs, what comes waits within a bound.
    ConsoleSession session({ConsoleProfile::v1_26, ConsoleRights::admin, "0", 7, "key!"});
    session.on_bytes(query("PAUSE"));
    ASSERT_TRUE(std::holds_alternative<ConsoleSession::Run>(session.next()));
    session.on_bytes(std::string(3 * ConsoleSession::message_bytes_max, 'x'));
    EXPECT_TRUE(std::holds_alternative<ConsoleSession::Close>(session.next()));
}

TEST(ConsoleSession, IsNoVersionThatItDoesNotDeclare) {
    ConsoleSession session({ConsoleProfile::v1_18, ConsoleRights::admin, "0", 7, "key!"});
    session.welcome();
    EXPECT_NE(session.take_output().find("1.18.0/bouncer"), std::string::npos);
    session.on_bytes(query("SHOW STATE"));
    EXPECT_TRUE(std::holds_alternative<ConsoleSession::NeedBytes>(session.next()));
    EXPECT_EQ(session.take_output().front(), 'E');
}

}  // namespace
}  // namespace schemux::core
