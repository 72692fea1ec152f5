// The login to a backend: good servers at every cut, and servers that lie.
#include "core/backend_startup.h"

#include "protocol/base64.h"
#include "tests/support/backend_script.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace backend_script;

void expect_violation(const std::string& script, std::string_view why,
                      BackendLogin login = login_with()) {
    const Outcome outcome = run(script, std::move(login));
    EXPECT_TRUE(outcome.violated()) << why;
    EXPECT_TRUE(outcome.transient) << why;
}

/// Every cut ends alike, and no truncation is ever taken for the whole.
void expect_done_everywhere(const std::string& script, const BackendLogin& login) {
    const Outcome whole = run(script, login);
    ASSERT_TRUE(whole.done) << whole.error.message;
    testing::for_each_split(script, [&](const Parts& parts) {
        const Outcome outcome = run(parts, login);
        EXPECT_TRUE(outcome.done) << parts[0].size() << outcome.error.message;
        EXPECT_EQ(outcome.sent, whole.sent);
        EXPECT_EQ(outcome.parameters, whole.parameters);
        EXPECT_EQ(outcome.key.secret, whole.key.secret);
    });
    testing::for_each_truncation(script, [&](std::string_view prefix) {
        const Outcome outcome = run(Parts{prefix}, login);
        EXPECT_TRUE(outcome.waits) << prefix.size();
        EXPECT_FALSE(outcome.done) << prefix.size();
    });
}

TEST(BackendStartup, StartsWithTheStartupMessage) {
    Driver driver(login_with());
    const std::string sent = driver.sent();
    const auto packet = protocol::read_first_packet(sent);
    EXPECT_EQ(std::get<protocol::StartupMessage>(packet).parameters,
              (std::vector<protocol::ParameterView>{
                  {"user", "app"}, {"database", "db"}, {"application_name", "schemux"}}));
}

TEST(BackendStartup, TooLongStartupFailsBeforeItIsSent) {
    BackendLogin login = login_with();
    login.settings.emplace_back("x", std::string(protocol::startup_packet_max, 'v'));
    const Outcome outcome = run(Parts{}, login);
    EXPECT_EQ(outcome.error.sqlstate, "54000");
    EXPECT_EQ(outcome.sent, "");
}

TEST(BackendStartup, TrustLoginAtEveryCut) {
    expect_done_everywhere(ok() + tail, login_with(std::nullopt));
}

TEST(BackendStartup, ScramLoginAtEveryCut) {
    expect_done_everywhere(scram_script(), login_with());
}

TEST(BackendStartup, CleartextLoginAtEveryCutWhereAllowed) {
    BackendLogin login = login_with();
    login.methods.password = true;
    expect_done_everywhere(cleartext() + ok() + tail, login);
}

TEST(BackendStartup, ResultHoldsParametersAndKey) {
    const Outcome outcome = run(ok() + parameter("TimeZone", "UTC") + parameter("a", "1") +
                                parameter("TimeZone", "GMT") + key("0123456789abcdef") + ready());
    ASSERT_TRUE(outcome.done);
    EXPECT_EQ(outcome.parameters,
              (std::vector<protocol::Setting>{{"TimeZone", "GMT"}, {"a", "1"}}));
    EXPECT_EQ(outcome.key.pid, 0x1234U);
    EXPECT_EQ(outcome.key.secret, "0123456789abcdef");
}

TEST(BackendStartup, KeyIsOptional) {
    const Outcome outcome = run(ok() + ready());
    EXPECT_TRUE(outcome.done);
    EXPECT_EQ(outcome.key.secret, "");
}

TEST(BackendStartup, ScramSendsItsMessagesInOrder) {
    const ScramScript scram;
    Driver driver(login_with());
    driver.sent();
    driver.feed(sasl());
    EXPECT_EQ(driver.sent(), message('p', "SCRAM-SHA-256\0\0\0\0\x13n,,n=,r=clientnonce"sv));
    driver.feed(sasl_continue(scram.first));
    EXPECT_EQ(driver.sent(), message('p', scram.client_final));
    driver.feed(sasl_final(scram.last) + ok() + tail);
    EXPECT_TRUE(driver.outcome().done);
}

TEST(BackendStartup, BytesThatArriveWhileKeysAreDerivedAreKept) {
    const ScramScript scram;
    BackendStartup machine(login_with());
    machine.start();
    machine.on_bytes(sasl());
    const auto wanted = machine.on_bytes(sasl_continue(scram.first));
    ASSERT_TRUE(std::holds_alternative<BackendStartup::DeriveKeys>(wanted));
    EXPECT_EQ(std::get<BackendStartup::DeriveKeys>(wanted).salt, salt);
    EXPECT_EQ(std::get<BackendStartup::DeriveKeys>(wanted).iterations, iterations);
    EXPECT_TRUE(std::holds_alternative<BackendStartup::NeedBytes>(
        machine.on_bytes(error("57P03", "going down"))));
    machine.on_keys(*protocol::derive_keys("pencil", salt, iterations));
    const auto failed = machine.on_bytes({});
    ASSERT_TRUE(std::holds_alternative<BackendStartup::Failed>(failed));
    EXPECT_EQ(std::get<BackendStartup::Failed>(failed).error.sqlstate, "57P03");
}

TEST(BackendStartup, WrongServerSignatureIsRefused) {
    const ScramScript scram;
    const std::string forged = "v=" + protocol::encode_base64(std::string(32, 'f'));
    const Outcome outcome =
        run(sasl() + sasl_continue(scram.first) + sasl_final(forged) + ok() + tail);
    EXPECT_EQ(outcome.error.sqlstate, "28000");
    EXPECT_FALSE(outcome.done);
}

TEST(BackendStartup, ServerWithAnotherPasswordDoesNotPass) {
    const ScramScript other("not the password");
    EXPECT_EQ(other.last, "");  // it could not verify us, so it cannot answer
    const Outcome outcome = run(sasl() + sasl_continue(other.first) +
                                error("28P01", "password authentication failed for user \"app\""));
    EXPECT_EQ(outcome.error.sqlstate, "28P01");
    EXPECT_FALSE(outcome.transient);
}

TEST(BackendStartup, OkBeforeTheServerProvedItselfIsRefused) {
    const ScramScript scram;
    expect_violation(sasl() + ok() + tail, "after the mechanisms");
    expect_violation(sasl() + sasl_continue(scram.first) + ok() + tail, "after server-first");
}

TEST(BackendStartup, IterationBombsAreRefusedBeforeAnyWork) {
    for (const auto count : {"0", "600001", "2147483647", "4294967297", "-5"}) {
        expect_violation(sasl() + sasl_continue("r=clientnonceX,s=c2FsdA==,i="s + count), count);
    }
}

TEST(BackendStartup, BrokenScramMessagesAreRefused) {
    const ScramScript scram;
    for (const std::string& first :
         {""s, "r=other,s=c2FsdA==,i=1"s, "r=clientnonce,s=c2FsdA==,i=1"s, "r=clientnonceX,i=1"s,
          "r=clientnonceX,s=!,i=1"s, "r=clientnonce" + std::string(513, 'x') + ",s=c2FsdA==,i=1",
          std::string(5000, 'r')}) {
        expect_violation(sasl() + sasl_continue(first), first);
    }
    for (const std::string& last : {""s, "v="s, "x=1"s, std::string(5000, 'v')})
        expect_violation(sasl() + sasl_continue(scram.first) + sasl_final(last), last);
    EXPECT_EQ(run(sasl() + sasl_continue(scram.first) + sasl_final("e=other-error")).error.sqlstate,
              "28P01");
}

TEST(BackendStartup, EveryAuthenticationMessageHasOneTurn) {
    const ScramScript scram;
    const std::string half = sasl() + sasl_continue(scram.first);
    const std::string whole = half + sasl_final(scram.last);
    expect_violation(sasl() + sasl(), "SASL twice");
    expect_violation(half + sasl(), "SASL again");
    expect_violation(half + sasl_continue(scram.first), "continue twice");
    expect_violation(whole + sasl_final(scram.last), "final twice");
    expect_violation(whole + sasl(), "SASL after final");
    expect_violation(sasl() + cleartext(), "password after SASL");
    expect_violation(sasl() + message('R', "\0\0\0\x05salt"sv), "md5 after SASL");
    expect_violation(sasl() + message('R', "\0\0\0\x07"sv), "GSS after SASL");
    expect_violation(sasl_continue(scram.first), "continue first");
    expect_violation(sasl_final(scram.last), "final first");
    expect_violation(ok() + ok(), "ok twice");
    expect_violation(ok() + sasl(), "SASL after ok");
}

TEST(BackendStartup, CleartextIsSentOnlyWhereAllowed) {
    const Outcome refused = run(cleartext());
    EXPECT_EQ(refused.error.sqlstate, "28000");
    EXPECT_EQ(refused.sent.find("pencil"), std::string::npos);
    BackendLogin login = login_with();
    login.methods.password = true;
    const std::string sent = run(cleartext(), login).sent;
    EXPECT_TRUE(sent.ends_with("p\0\0\0\x0bpencil\0"sv));
    expect_violation(cleartext() + cleartext(), "twice", login);
}

TEST(BackendStartup, PasswordIsMissed) {
    BackendLogin login = login_with(std::nullopt);
    login.methods.password = true;
    EXPECT_EQ(run(cleartext(), login).error.sqlstate, "28P01");
    EXPECT_EQ(run(sasl(), login).error.sqlstate, "28P01");
}

TEST(BackendStartup, Md5LoginAtEveryCut) {
    expect_done_everywhere(md5() + ok() + tail, login_with());
}

TEST(BackendStartup, Md5AnswersTheSalt) {
    const std::string sent = run(md5()).sent;
    EXPECT_TRUE(
        sent.ends_with(message('p', *protocol::md5_password("app", "pencil", "salt") + '\0')));
    expect_violation(md5() + md5(), "twice");
}

TEST(BackendStartup, MethodsThatAreNotAcceptedGetNoAnswer) {
    const auto refused_with = [](const AcceptedMethods& methods, const std::string& script) {
        BackendLogin login = login_with();
        login.methods = methods;
        const Outcome outcome = run(script, login);
        EXPECT_EQ(outcome.sent, run(Parts{}, login).sent) << "only the startup packet";
        return outcome.error.sqlstate;
    };
    const AcceptedMethods all{true, true, true, true};
    AcceptedMethods methods = all;
    methods.none = false;
    EXPECT_EQ(refused_with(methods, ok() + tail), "28000");
    methods = all;
    methods.md5 = false;
    EXPECT_EQ(refused_with(methods, md5()), "28000");
    methods = all;
    methods.scram_sha_256 = false;
    EXPECT_EQ(refused_with(methods, sasl()), "28000");
    methods = all;
    methods.password = false;
    EXPECT_EQ(refused_with(methods, cleartext()), "28000");
}

TEST(BackendStartup, NoneMeansTheServersFirstAnswerOnly) {
    BackendLogin login = login_with();
    login.methods.none = false;
    EXPECT_TRUE(run(scram_script(), login).done);
    EXPECT_TRUE(run(md5() + ok() + tail, login).done);
}

TEST(BackendStartup, UnsupportedMethodsAreNamed) {
    EXPECT_EQ(run(message('R', "\0\0\0\x07"sv)).error.sqlstate, "0A000");
    EXPECT_EQ(run(sasl({"SCRAM-SHA-256-PLUS", "OAUTHBEARER"})).error.sqlstate, "0A000");
    EXPECT_TRUE(run(sasl({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"})).waits);
}

TEST(BackendStartup, ServersErrorsKeepTheirFields) {
    for (const std::string& before : {""s, ok(), sasl(), ok() + parameter("a", "b")}) {
        const Outcome outcome = run(before + error("3D000", "database \"db\" does not exist"));
        EXPECT_EQ(outcome.error.severity, protocol::Severity::fatal);
        EXPECT_EQ(outcome.error.sqlstate, "3D000");
        EXPECT_EQ(outcome.error.message, "database \"db\" does not exist");
        EXPECT_EQ(outcome.error.detail, "d");
        EXPECT_EQ(outcome.error.hint, "h");
        EXPECT_FALSE(outcome.transient);
    }
}

TEST(BackendStartup, ErrorIsReadAtEveryCut) {
    testing::for_each_split(error("28P01", "no"),
                            [](const Parts& parts) { EXPECT_EQ(run(parts).error.message, "no"); });
}

TEST(BackendStartup, PassingConditionsAreTransient) {
    for (const auto code : {"57P03", "53300", "57P01"})
        EXPECT_TRUE(run(error(code, "later")).transient) << code;
    for (const auto code : {"28P01", "28000", "3D000", "42501", "08P01", "XX000"})
        EXPECT_FALSE(run(error(code, "never")).transient) << code;
}

TEST(BackendStartup, ErrorWithoutFieldsIsStillAnError) {
    for (const auto body : {"\0"sv, "SFATAL\0\0"sv, "C\0\0"sv, "C28P0\0\0"sv, "C28P0\n\0\0"sv}) {
        const Outcome outcome = run(message('E', body));
        EXPECT_EQ(outcome.error.sqlstate, "08006");
        EXPECT_NE(outcome.error.message, "");
    }
    expect_violation(message('E', ""), "no terminator");
    expect_violation(message('E', "Mx"), "no zero byte");
}

TEST(BackendStartup, LongErrorTextsAreCutBetweenCharacters) {
    std::string text = "x";
    while (text.size() < 3 * backend_error_text_max)
        text += "\xe2\x82\xac";
    const Outcome outcome = run(error("28P01", text));
    EXPECT_LE(outcome.error.message.size(), backend_error_text_max);
    EXPECT_GT(outcome.error.message.size(), backend_error_text_max - 3);
    EXPECT_EQ(outcome.error.message.size() % 3, 1U);
}

TEST(BackendStartup, ClosedConnectionIsTransient) {
    Driver driver(login_with());
    const auto action = driver.machine().on_closed();
    const auto& failed = std::get<BackendStartup::Failed>(action);
    EXPECT_TRUE(failed.transient);
    EXPECT_EQ(failed.error.sqlstate, "08006");
}

TEST(BackendStartup, PostmasterThatCannotForkIsTransient) {
    testing::for_each_split("Ecould not fork new process for connection: \n\0"sv,
                            [](const Parts& parts) {
                                const Outcome outcome = run(parts);
                                EXPECT_EQ(outcome.error.sqlstate, "08006");
                                EXPECT_TRUE(outcome.transient);
                            });
    expect_violation(ok() + "Ecould not fork", "only as the first message");
}

TEST(BackendStartup, NoticesAreIgnoredAnywhere) {
    std::string notice;
    protocol::append_error(notice, {protocol::Severity::warning, "01000", "hm", "", "", 0});
    const ScramScript scram;
    EXPECT_TRUE(run(notice + sasl() + notice + sasl_continue(scram.first) + notice +
                    sasl_final(scram.last) + notice + ok() + notice + tail)
                    .done);
    expect_violation(message('N', "Mx"), "malformed notice");
}

TEST(BackendStartup, NegotiationMayOnlyGoDown) {
    const std::string to_zero = message('v', "\0\x03\0\0\0\0\0\0"sv);
    const std::string to_two = message('v', "\0\x03\0\x02\0\0\0\0"sv);
    EXPECT_TRUE(run(to_zero + ok() + tail).done);
    expect_violation(to_two + ok() + tail, "above what was asked");
    BackendLogin newer = login_with();
    newer.protocol_minor = 2;
    EXPECT_TRUE(run(to_zero + ok() + tail, newer).done);
    EXPECT_TRUE(run(to_two + ok() + tail, newer).done);
    expect_violation(to_zero + to_zero, "twice", newer);
    expect_violation(sasl() + to_zero, "after a request", newer);
    expect_violation(ok() + to_zero, "after ok", newer);
    expect_violation(message('v', "\0\x04\0\0\0\0\0\0"sv), "major", newer);
    expect_violation(message('v', "\0\x03\0\0\0\0\0\x01_pq_.x\0"sv), "options unasked", newer);
    expect_violation(message('v', "\0\x03\0\0"sv), "short", newer);
}

TEST(BackendStartup, NothingButSettingsAndKeyMayComeBetweenOkAndReady) {
    for (int type = 0; type < 256; ++type) {
        const char c = static_cast<char>(type);
        if ("ENRSKZv"sv.find(c) != std::string_view::npos) continue;
        expect_violation(ok() + message(c, "x"), std::to_string(type));
    }
}

TEST(BackendStartup, NothingButAuthenticationMayComeFirst) {
    for (int type = 0; type < 256; ++type) {
        const char c = static_cast<char>(type);
        if ("ENRv"sv.find(c) != std::string_view::npos) continue;
        expect_violation(message(c, "I"), std::to_string(type));
        expect_violation(sasl() + message(c, "I"), std::to_string(type));
    }
}

TEST(BackendStartup, ReadyMustBeIdleAndLast) {
    expect_violation(ok() + ready(TransactionStatus::in_transaction), "T");
    expect_violation(ok() + ready(TransactionStatus::failed), "E");
    expect_violation(ok() + message('Z', ""), "empty");
    expect_violation(ok() + message('Z', "II"), "long");
    expect_violation(ok() + ready() + ready(), "leftover");
    expect_violation(ok() + ready() + "x", "leftover byte");
    BackendStartup machine(login_with());
    machine.start();
    ASSERT_TRUE(std::holds_alternative<BackendStartup::Done>(machine.on_bytes(ok() + ready())));
    EXPECT_TRUE(std::holds_alternative<BackendStartup::Failed>(machine.on_bytes("x")));
}

TEST(BackendStartup, KeysAndSettingsAreChecked) {
    expect_violation(ok() + key("abc"), "short key");
    expect_violation(ok() + key(std::string(257, 'k')), "long key");
    expect_violation(ok() + key() + key(), "two keys");
    EXPECT_TRUE(run(ok() + key(std::string(256, 'k')) + ready()).done);
    expect_violation(ok() + parameter("", "x"), "no name");
    expect_violation(ok() + message('S', "a\0b"sv), "no zero byte");
    expect_violation(ok() + message('S', "a\0b\0c"sv), "trailing");
}

TEST(BackendStartup, SettingsAreCounted) {
    std::string script = ok();
    for (std::size_t i = 0; i < limits::reported_parameters_max; ++i)
        script += parameter("p" + std::to_string(i), "v");
    EXPECT_EQ(run(script + parameter("p0", "again") + ready()).parameters.size(),
              limits::reported_parameters_max);
    expect_violation(script + parameter("one_more", "v") + ready(), "one more");
}

TEST(BackendStartup, HostileLengthsFailAtTheHeader) {
    for (const std::uint32_t length :
         {0U, 1U, 2U, 3U, backend_login_message_max + 1, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        expect_violation(header('R', length), std::to_string(length));
        expect_violation(ok() + header('S', length), std::to_string(length));
        expect_violation(ok() + header('E', length), std::to_string(length));
    }
    EXPECT_TRUE(run(header('R', backend_login_message_max)).waits);
    expect_violation("HTTP/1.1 400 Bad Request\r\n", "another protocol");
}

TEST(BackendStartup, TotalOfAllBytesIsBounded) {
    const std::string notice = message('N', "M" + std::string(60'000, 'x') + "\0\0"s);
    Driver driver(login_with());
    std::size_t fed = 0;
    while (driver.outcome().waits && fed < 2 * backend_login_bytes_max) {
        driver.feed(notice);
        fed += notice.size();
    }
    EXPECT_TRUE(driver.outcome().violated());
    EXPECT_LE(fed, backend_login_bytes_max + notice.size());
}

TEST(BackendStartup, OneReadAboveTheTotalIsRefused) {
    expect_violation(std::string(backend_login_bytes_max + 1, 'N'), "one read");
}

TEST(BackendStartup, MalformedAuthenticationIsRefused) {
    for (const auto body :
         {""sv, "\0\0\0"sv, "\0\0\0\0x"sv, "\0\0\0\x0a"sv, "\0\0\0\x0a\0"sv, "\0\0\0\x05sal"sv}) {
        expect_violation(message('R', body), "malformed");
    }
}

BackendLogin login_running(std::string sql) {
    BackendLogin login = login_with(std::nullopt);
    login.on_connect = std::move(sql);
    return login;
}

std::string query(std::string_view sql) {
    std::string out;
    protocol::append_query(out, sql);
    return out;
}

/// A result of every kind of message that there may be, and a parameter that changes.
const std::string result = message('T', "\0\0"s) + message('D', "\0\0"s) +
                           message('C', "SELECT 1\0"s) + parameter("TimeZone", "UTC") +
                           message('I', "") + ready();

TEST(BackendStartup, OnConnectRunsBehindTheLoginAndLeavesNothing) {
    testing::for_each_split(result, [](const Parts& parts) {
        Driver driver(login_running("LOAD 'x'"));
        driver.sent();
        driver.feed(ok() + tail);
        EXPECT_EQ(driver.sent(), query("LOAD 'x'"));
        for (const std::string_view part : parts)
            driver.feed(part);
        EXPECT_EQ(driver.sent(), query("DISCARD ALL"));
        EXPECT_FALSE(driver.outcome().done);
        driver.feed(message('C', "DISCARD ALL\0"s) + parameter("TimeZone", "Europe/Berlin") +
                    ready());
        EXPECT_TRUE(driver.outcome().done);
        EXPECT_EQ(driver.outcome().parameters.back().second, "Europe/Berlin");
    });
}

TEST(BackendStartup, OnConnectThatFailsIsTheServersError) {
    Driver driver(login_running("LOAD 'y'"));
    driver.feed(ok() + tail);
    driver.feed(error("58P01", "could not access file"));
    const Outcome outcome = driver.outcome();
    EXPECT_EQ(outcome.error.sqlstate, "58P01");
    EXPECT_EQ(outcome.error.message, "backend.on_connect failed: could not access file");
    EXPECT_FALSE(outcome.transient);
}

TEST(BackendStartup, OnConnectMustEndItsTransaction) {
    Driver driver(login_running("BEGIN"));
    driver.feed(ok() + tail);
    driver.feed(message('C', "BEGIN\0"s) + ready(TransactionStatus::in_transaction));
    EXPECT_EQ(driver.outcome().error.sqlstate, "25001");
}

TEST(BackendStartup, OnConnectIsAnsweredByNothingElse) {
    for (const std::string& odd : {message('G', "\0\0\0"s), message('H', "\0\0\0"s),
                                   message('1', ""), ready() + ready(), key()}) {
        Driver driver(login_running("SELECT 1"));
        driver.feed(ok() + tail);
        driver.feed(odd);
        EXPECT_TRUE(driver.outcome().violated()) << odd[0];
    }
}

}  // namespace
}  // namespace schemux::core
