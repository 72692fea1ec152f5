// Logins by rules: which method is asked for, who is refused before anything is proved, logins by
// md5, the names of certificates, and services by the name that the client called.
#include "core/frontend_login.h"
#include "protocol/authentication.h"
#include "protocol/md5_password.h"
#include "protocol/messages.h"
#include "protocol/startup_packet.h"
#include "tests/support/login_steps.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace std::string_view_literals;
using Login = FrontendLogin;

std::string startup(std::string_view user = "ann", std::string_view database = "users") {
    std::string bytes;
    protocol::append_startup_message(bytes, {0, {{"user", user}, {"database", database}}});
    return bytes;
}

LoginRule rule(ClientAuthentication method, LoginRule::Kind kind = LoginRule::Kind::any) {
    LoginRule made;
    made.kind = kind;
    made.method = method;
    return made;
}

LoginRules rules(std::vector<LoginRule> list, std::vector<IdentityRule> maps = {}) {
    LoginRules made;
    made.method = ClientAuthentication::reject;
    made.tls = ClientTls::offered;
    made.address = "\x0a\x01\x02\x03";
    made.address_text = "10.1.2.3";
    made.rules = std::make_shared<const LoginRuleList>(std::move(list), std::move(maps));
    return made;
}

SecureChannel certificate(std::string name, std::vector<std::string> others = {}) {
    SecureChannel channel{"hash", std::move(name), std::move(others)};
    channel.has_certificate = true;
    return channel;
}

TEST(FrontendRules, TheRuleThatFitsSaysTheMethod) {
    auto given = rules({rule(ClientAuthentication::scram_sha_256, LoginRule::Kind::hostssl),
                        rule(ClientAuthentication::trust, LoginRule::Kind::hostnossl)});
    Login plain(given);
    EXPECT_TRUE(is<Login::Accepted>(offer(plain, startup())));
    Login secure = encrypted(given);
    EXPECT_TRUE(is<Login::NeedVerifier>(offer(secure, startup())));
}

TEST(FrontendRules, WhereNoneFitsTheMethodBehindThemHolds) {
    auto given = rules({rule(ClientAuthentication::scram_sha_256, LoginRule::Kind::hostssl)});
    given.method = ClientAuthentication::trust;
    Login login(given);
    EXPECT_TRUE(is<Login::Accepted>(offer(login, startup())));
}

TEST(FrontendRules, RefusalsHavePostgresqlsWords) {
    Login none(rules({}));
    auto error = error_of(offer(none, startup()));
    EXPECT_EQ(error.sqlstate, "28000");
    EXPECT_EQ(error.message,
              "no pg_hba.conf entry for host \"10.1.2.3\", user \"ann\", database \"users\", no "
              "encryption");
    Login rejected = encrypted(rules({rule(ClientAuthentication::reject)}));
    error = error_of(offer(rejected, startup()));
    EXPECT_EQ(error.sqlstate, "28000");
    EXPECT_EQ(error.message,
              "pg_hba.conf rejects connection for host \"10.1.2.3\", user \"ann\", database "
              "\"users\", SSL encryption");
    auto given = rules({});
    given.is_local = true;
    Login local(given);
    EXPECT_EQ(error_of(offer(local, startup())).message,
              "no pg_hba.conf entry for host \"[local]\", user \"ann\", database \"users\", no "
              "encryption");
}

TEST(FrontendRules, ACertificateMayBeAskedForBesideTheMethod) {
    LoginRule verified = rule(ClientAuthentication::scram_sha_256);
    verified.certificate = CertificateNeed::verified;
    LoginRule of_user = verified;
    of_user.certificate = CertificateNeed::of_user;
    const auto outcome = [](const LoginRule& one, const SecureChannel& channel) {
        Login login = encrypted(rules({one}), channel);
        return offer(login, startup());
    };
    EXPECT_TRUE(is<Login::NeedVerifier>(outcome(verified, certificate("bob"))));
    EXPECT_EQ(error_of(outcome(verified, {})).message,
              "connection requires a valid client certificate");
    EXPECT_TRUE(is<Login::NeedVerifier>(outcome(of_user, certificate("ann"))));
    EXPECT_EQ(error_of(outcome(of_user, certificate("bob"))).message,
              "certificate authentication failed for user \"ann\"");
    EXPECT_EQ(error_of(outcome(of_user, {})).sqlstate, "28000");
}

TEST(FrontendRules, OtherNamesOfACertificateCountByAMapOnly) {
    LoginRule mapped = rule(ClientAuthentication::certificate);
    mapped.map = "m";
    const std::vector<IdentityRule> maps{{"m", "spiffe://x/*", "*"}, {"m", "machine", "bob"}};
    const auto accepted = [&](const LoginRule& one, const SecureChannel& channel) {
        Login login = encrypted(rules({one}, maps), channel);
        return is<Login::Accepted>(offer(login, startup()));
    };
    EXPECT_TRUE(accepted(mapped, certificate("x", {"a.example", "spiffe://x/ann"})));
    EXPECT_FALSE(accepted(mapped, certificate("x", {"spiffe://x/bob"})));
    EXPECT_FALSE(accepted(mapped, certificate("ann"))) << "the map decides";
    EXPECT_FALSE(accepted(mapped, certificate("machine")));
    const LoginRule plain = rule(ClientAuthentication::certificate);
    EXPECT_FALSE(accepted(plain, certificate("x", {"ann"})));
    EXPECT_TRUE(accepted(plain, certificate("ann", {"x"})));
}

TEST(FrontendRules, PeersMayBeMappedToo) {
    LoginRule mapped = rule(ClientAuthentication::peer, LoginRule::Kind::local);
    mapped.map = "m";
    auto given = rules({mapped}, {{"m", "deploy", "ann"}});
    given.is_local = true;
    given.address = "";
    for (const auto& [peer, right] : {std::pair{"deploy", true}, {"ann", false}}) {
        given.peer = peer;
        Login login(given);
        EXPECT_EQ(is<Login::Accepted>(offer(login, startup())), right);
    }
}

TEST(FrontendRules, TheNameThatWasCalledSelectsTheService) {
    LoginRule one = rule(ClientAuthentication::trust);
    one.services = {"orders"};
    SecureChannel channel;
    channel.service = "orders";
    Login login = encrypted(rules({one}), channel);
    const auto action = offer(login, startup("ann", "whatever"));
    ASSERT_TRUE(is<Login::Accepted>(action));
    EXPECT_EQ(std::get<Login::Accepted>(action).parameters.database, "orders");
}

TEST(FrontendMd5, TheRightAnswerGetsIn) {
    const std::string hash = *protocol::md5_hash("ann", "pencil");
    const auto outcome = [&hash](std::string_view answer) {
        Login login(rules({rule(ClientAuthentication::md5)}));
        const auto asked = offer(login, startup());
        EXPECT_TRUE(is<Login::NeedVerifier>(asked));
        EXPECT_TRUE(std::get<Login::NeedVerifier>(asked).md5_may_be_used);
        const auto reply = login.on_md5_hash(hash, "salt");
        EXPECT_EQ(std::get<Login::Reply>(reply).bytes, "R\0\0\0\x0c\0\0\0\5salt"sv);
        return offer(login, password(answer));
    };
    EXPECT_TRUE(is<Login::Accepted>(outcome(*protocol::md5_password("ann", "pencil", "salt"))));
    for (const std::string& wrong :
         {*protocol::md5_password("ann", "pen", "salt"),
          *protocol::md5_password("bob", "pencil", "salt"),
          *protocol::md5_password("ann", "pencil", "tlas"), hash, std::string("pencil")}) {
        const auto error = error_of(outcome(wrong));
        EXPECT_EQ(error.sqlstate, "28P01");
        EXPECT_EQ(error.message, "password authentication failed for user \"ann\"");
    }
    EXPECT_EQ(error_of(outcome("")).message, "empty password returned by client");
}

TEST(FrontendMd5, NothingMatchesWhatIsNoHash) {
    Login login(rules({rule(ClientAuthentication::md5)}));
    offer(login, startup());
    login.on_md5_hash("nonsense", "salt");
    EXPECT_EQ(error_of(offer(login, password("x"))).sqlstate, "28P01");
}

TEST(FrontendMd5, AUserWithAVerifierLogsInByScram) {
    Login login(rules({rule(ClientAuthentication::md5)}));
    offer(login, startup());
    const auto reply = login.on_verifier(protocol::mock_verifier("secret", "ann", 2), "nonce");
    EXPECT_NE(std::get<Login::Reply>(reply).bytes.find("SCRAM-SHA-256"), std::string::npos);
}

TEST(FrontendRules, WhatCannotBeLookedUpEndsTheLogin) {
    Login login(rules({rule(ClientAuthentication::scram_sha_256)}));
    EXPECT_FALSE(std::get<Login::NeedVerifier>(offer(login, startup())).md5_may_be_used);
    protocol::ErrorFields error;
    error.sqlstate = "08006";
    error.message = "not now";
    const auto refused = login.on_no_answer(error);
    EXPECT_EQ(error_of(refused).sqlstate, "08006");
    EXPECT_EQ(error_of(refused).severity, protocol::Severity::fatal);
    EXPECT_TRUE(is<Login::Close>(login.on_bytes("x").action));
}

}  // namespace
}  // namespace schemux::core
