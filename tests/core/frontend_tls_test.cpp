// Logins over TLS, and by what TLS or the operating system says of the client: when a handshake is
// asked for, what may come in front of it, who is let in.
#include "core/frontend_login.h"
#include "protocol/authentication.h"
#include "protocol/messages.h"
#include "protocol/startup_packet.h"
#include "protocol/wire_writer.h"
#include "tests/support/login_steps.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::core {
namespace {

using namespace std::string_view_literals;
using Login = FrontendLogin;

std::string startup(std::string_view user = "ann") {
    std::string bytes;
    protocol::append_startup_message(bytes, {0, {{"user", user}, {"database", "users"}}});
    return bytes;
}

LoginRules rules(ClientAuthentication method, ClientTls tls) {
    LoginRules rules;
    rules.method = method;
    rules.tls = tls;
    return rules;
}

/// A client with a certificate that was verified.
SecureChannel verified(std::optional<std::string> name) {
    SecureChannel channel{"hash", std::move(name)};
    channel.has_certificate = channel.certificate_name.has_value();
    return channel;
}

TEST(FrontendTls, ARequestIsAnsweredAndTheHandshakeIsDue) {
    for (const ClientTls use : {ClientTls::offered, ClientTls::required}) {
        Login login(rules(ClientAuthentication::trust, use));
        const auto action = offer(login, ssl_request());
        ASSERT_TRUE(is<Login::StartTls>(action));
        EXPECT_EQ(std::get<Login::StartTls>(action).bytes, "S");
        EXPECT_FALSE(std::get<Login::StartTls>(action).direct);
        EXPECT_EQ(login.held_bytes(), 0U);
        login.on_encrypted({});
        EXPECT_TRUE(is<Login::Accepted>(offer(login, startup())));
    }
}

TEST(FrontendTls, NothingMayComeInFrontOfTheHandshake) {
    Login login(rules(ClientAuthentication::trust, ClientTls::offered));
    const auto error = error_of(offer(login, ssl_request() + startup()));
    EXPECT_EQ(error.sqlstate, "08P01");
    EXPECT_EQ(error.message, "received unencrypted data after SSL request");
    EXPECT_TRUE(is<Login::Close>(login.on_bytes("x").action));
}

TEST(FrontendTls, WithoutTlsTheRequestIsDeclinedAsBefore) {
    Login login(rules(ClientAuthentication::trust, ClientTls::off));
    const auto action = offer(login, ssl_request());
    ASSERT_TRUE(is<Login::Reply>(action));
    EXPECT_EQ(std::get<Login::Reply>(action).bytes, "N");
    EXPECT_TRUE(is<Login::Accepted>(offer(login, startup())));
}

TEST(FrontendTls, AHandshakeMayComeAtOnceButOnlyAsTheFirstThing) {
    Login login(rules(ClientAuthentication::trust, ClientTls::offered));
    const auto step = login.on_bytes("\x16\x03\x01"sv);
    EXPECT_EQ(step.consumed, 0U);
    ASSERT_TRUE(is<Login::StartTls>(step.action));
    EXPECT_EQ(std::get<Login::StartTls>(step.action).bytes, "");
    EXPECT_TRUE(std::get<Login::StartTls>(step.action).direct);
    login.on_encrypted({});
    // As PostgreSQL 17: it is encrypted already.
    const auto again = offer(login, ssl_request());
    ASSERT_TRUE(is<Login::Reply>(again));
    EXPECT_EQ(std::get<Login::Reply>(again).bytes, "N");
    EXPECT_EQ(error_of(offer(login, ssl_request())).sqlstate, "0A000");

    Login off(rules(ClientAuthentication::trust, ClientTls::off));
    EXPECT_TRUE(is<Login::Close>(off.on_bytes("\x16\x03\x01\x02"sv).action));
    Login later = encrypted(rules(ClientAuthentication::trust, ClientTls::offered));
    EXPECT_TRUE(is<Login::Close>(later.on_bytes("\x16\x03\x01\x02"sv).action));
}

TEST(FrontendTls, ASecondRequestInsideIsAVersionThatNobodyKnows) {
    Login login = encrypted(rules(ClientAuthentication::trust, ClientTls::offered));
    EXPECT_EQ(error_of(offer(login, ssl_request())).message,
              "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2");
}

TEST(FrontendTls, NothingIsTakenWhileAHandshakeIsDue) {
    Login login(rules(ClientAuthentication::trust, ClientTls::offered));
    offer(login, ssl_request());
    EXPECT_TRUE(is<Login::Close>(login.on_bytes(startup()).action));
}

TEST(FrontendTls, WhereItIsRequiredNobodyGetsInWithout) {
    for (const auto method : {ClientAuthentication::trust, ClientAuthentication::scram_sha_256}) {
        Login login(rules(method, ClientTls::required));
        EXPECT_EQ(error_of(offer(login, startup())).sqlstate, "28000");
    }
    Login login(rules(ClientAuthentication::trust, ClientTls::required));
    std::string cancel;
    protocol::append_cancel_request(cancel, 1, "abcd");
    EXPECT_TRUE(is<Login::Cancel>(offer(login, cancel)));
}

TEST(FrontendTls, ChannelBindingIsOfferedWhereThereIsSomethingToBindTo) {
    const auto mechanisms = [](SecureChannel channel) {
        Login login = encrypted(rules(ClientAuthentication::scram_sha_256, ClientTls::required),
                                std::move(channel));
        EXPECT_TRUE(is<Login::NeedVerifier>(offer(login, startup())));
        const auto reply = login.on_verifier(protocol::mock_verifier("secret", "ann", 2), "nonce");
        return std::get<Login::Reply>(reply).bytes.substr(9);
    };
    EXPECT_EQ(mechanisms({"hash", {}}), "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"sv);
    EXPECT_EQ(mechanisms({}), "SCRAM-SHA-256\0\0"sv);
}

TEST(FrontendTls, PlusIsNoMechanismWithoutAChannel) {
    Login login(rules(ClientAuthentication::scram_sha_256, ClientTls::offered));
    offer(login, startup());
    login.on_verifier(protocol::mock_verifier("secret", "ann", 2), "nonce");
    std::string bytes;
    protocol::append_sasl_initial_response(bytes, {protocol::scram_plus_mechanism, "p=x,,n=,r=a"});
    EXPECT_EQ(error_of(offer(login, bytes)).message,
              "client selected an invalid SASL authentication mechanism");
}

TEST(FrontendPassword, IsAskedForOnlyWhereNobodyReadsAlong) {
    LoginRules local = rules(ClientAuthentication::password, ClientTls::off);
    Login open(local);
    EXPECT_EQ(error_of(offer(open, startup())).sqlstate, "28000");
    local.is_local = true;
    Login at_socket(local);
    Login over_tls = encrypted(rules(ClientAuthentication::password, ClientTls::required));
    for (Login* login : {&at_socket, &over_tls}) {
        const auto asked = offer(*login, startup());
        ASSERT_TRUE(is<Login::Reply>(asked));
        EXPECT_EQ(std::get<Login::Reply>(asked).bytes, "R\0\0\0\x08\0\0\0\x03"sv);
        const auto given = offer(*login, password("pencil"));
        ASSERT_TRUE(is<Login::CheckPassword>(given));
        EXPECT_EQ(std::get<Login::CheckPassword>(given).user, "ann");
        EXPECT_EQ(std::get<Login::CheckPassword>(given).password.view(), "pencil");
    }
    EXPECT_TRUE(is<Login::Close>(at_socket.on_bytes(startup()).action));
    const auto accepted = over_tls.on_password_checked(true, protocol::Secret("pencil"));
    ASSERT_TRUE(is<Login::Accepted>(accepted));
    EXPECT_EQ(std::get<Login::Accepted>(accepted).parameters.user, "ann");
}

TEST(FrontendPassword, AWrongOneIsRefusedInPostgresqlsWords) {
    Login login = encrypted(rules(ClientAuthentication::password, ClientTls::required));
    offer(login, startup());
    offer(login, password("pen"));
    const auto error = error_of(login.on_password_checked(false));
    EXPECT_EQ(error.sqlstate, "28P01");
    EXPECT_EQ(error.message, "password authentication failed for user \"ann\"");
}

TEST(FrontendPassword, OddAnswersAreRefused) {
    const auto refused = [](std::string_view bytes) {
        Login login = encrypted(rules(ClientAuthentication::password, ClientTls::required));
        offer(login, startup());
        return error_of(login.on_bytes(bytes).action).sqlstate;
    };
    EXPECT_EQ(refused("p\0\0\0\5\0"sv), "28P01");        // empty
    EXPECT_EQ(refused("p\0\0\0\4"sv), "08P01");          // not a text
    EXPECT_EQ(refused("p\0\0\0\7a\0b"sv), "08P01");      // something behind it
    EXPECT_EQ(refused("p\0\0\4\5"sv), "28P01");          // 1,025 bytes
    EXPECT_EQ(refused("p\xff\xff\xff\xff"sv), "28P01");  // 4 GiB
    EXPECT_EQ(refused("Q"sv), "08P01");
}

TEST(FrontendCertificate, ItsNameMustBeTheUsers) {
    const auto action = [](std::optional<std::string> name) {
        Login login = encrypted(rules(ClientAuthentication::certificate, ClientTls::required),
                                verified(std::move(name)));
        return offer(login, startup());
    };
    EXPECT_TRUE(is<Login::Accepted>(action("ann")));
    for (const char* name : {"bob", "", "Ann", "ann "}) {
        EXPECT_EQ(error_of(action(name)).message,
                  "certificate authentication failed for user \"ann\"");
    }
    EXPECT_EQ(error_of(action({})).message, "connection requires a valid client certificate");
}

TEST(FrontendCertificate, MayBeAskedForBesideAnyMethod) {
    LoginRules both = rules(ClientAuthentication::scram_sha_256, ClientTls::required);
    both.certificate_is_user = true;
    Login right = encrypted(both, verified("ann"));
    EXPECT_TRUE(is<Login::NeedVerifier>(offer(right, startup())));
    Login wrong = encrypted(both, verified("bob"));
    EXPECT_EQ(error_of(offer(wrong, startup())).sqlstate, "28000");
}

TEST(FrontendPeer, TheSystemsNameMustBeTheUsers) {
    const auto action = [](std::optional<std::string> peer) {
        LoginRules given = rules(ClientAuthentication::peer, ClientTls::off);
        given.is_local = true;
        given.peer = std::move(peer);
        Login login(std::move(given));
        return offer(login, startup());
    };
    EXPECT_TRUE(is<Login::Accepted>(action("ann")));
    EXPECT_EQ(error_of(action("bob")).message, "Peer authentication failed for user \"ann\"");
    EXPECT_EQ(error_of(action({})).sqlstate, "28000");
}

}  // namespace
}  // namespace schemux::core
