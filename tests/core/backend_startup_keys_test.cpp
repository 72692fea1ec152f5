// The login to a backend with the keys of a client's proof in place of a password.
#include "core/backend_startup.h"
#include "protocol/base64.h"
#include "tests/support/backend_script.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::core {
namespace {

using namespace backend_script;

BackendLogin login_with_keys(std::string_view password, std::string_view salted = salt) {
    BackendLogin login = login_with(std::nullopt);
    login.keys = std::make_shared<const protocol::ScramSecret>(
        *protocol::derive_keys(password, salted, iterations), std::string(salted), iterations);
    return login;
}

TEST(BackendStartupKeys, KeysLogInWithoutThePasswordAtEveryCut) {
    const std::string script = scram_script();
    const Outcome whole = run(script, login_with_keys("pencil"));
    ASSERT_TRUE(whole.done) << whole.error.message;
    testing::for_each_split(script, [&](const Parts& parts) {
        const Outcome outcome = run(parts, login_with_keys("pencil"));
        EXPECT_TRUE(outcome.done) << parts[0].size() << outcome.error.message;
        EXPECT_EQ(outcome.sent, whole.sent);
    });
}

TEST(BackendStartupKeys, KeysAreUsedWithoutDerivingAny) {
    const ScramScript scram;
    BackendLogin login = login_with_keys("pencil");
    login.password = protocol::Secret("not asked for");
    BackendStartup machine(std::move(login));
    machine.start();
    machine.on_bytes(sasl());
    const auto answer = machine.on_bytes(sasl_continue(scram.first));
    ASSERT_TRUE(std::holds_alternative<BackendStartup::Send>(answer));
    EXPECT_EQ(std::get<BackendStartup::Send>(answer).bytes, message('p', scram.client_final));
}

TEST(BackendStartupKeys, KeysAreBoundToTheChannelAsAPasswordIs) {
    BackendLogin login = login_with_keys("pencil");
    login.end_point = std::string(32, 'e');
    login.channel_binding = ChannelBinding::required;
    protocol::ScramServer server(
        protocol::make_verifier(*protocol::derive_keys("pencil", salt, iterations), salt,
                                iterations),
        "servernonce", {login.end_point, true});
    protocol::ScramClient same("clientnonce", protocol::ScramClient::Binding::end_point,
                               login.end_point);
    const auto first = std::get<std::string>(server.on_client_first(same.first_message()));
    same.on_server_first(first);
    const auto verdict = server.on_client_final(
        same.final_message(*protocol::derive_keys("pencil", salt, iterations)));
    ASSERT_TRUE(std::holds_alternative<protocol::ScramServer::Accepted>(verdict));
    const std::string& last = std::get<protocol::ScramServer::Accepted>(verdict).server_final;
    const std::string asked = sasl({protocol::scram_plus_mechanism, protocol::scram_mechanism});
    EXPECT_TRUE(run(asked + sasl_continue(first) + sasl_final(last) + ok() + tail, login).done);
    EXPECT_EQ(run(sasl(), login).error.sqlstate, "28000") << "nothing there to be bound to";
}

TEST(BackendStartupKeys, KeysVerifyTheServerToo) {
    const ScramScript scram;
    const std::string forged = "v=" + protocol::encode_base64(std::string(32, 'f'));
    const Outcome outcome =
        run(sasl() + sasl_continue(scram.first) + sasl_final(forged) + ok() + tail,
            login_with_keys("pencil"));
    EXPECT_EQ(outcome.error.sqlstate, "28000");
}

TEST(BackendStartupKeys, KeysOfAnotherVerifierFailAtOnce) {
    const ScramScript scram;
    const Outcome outcome =
        run(sasl() + sasl_continue(scram.first), login_with_keys("pencil", "another salt"));
    EXPECT_EQ(outcome.error.sqlstate, "28P01");
    EXPECT_FALSE(outcome.transient);
    EXPECT_NE(outcome.error.message.find("another SCRAM secret"), std::string::npos);
    EXPECT_NE(outcome.error.hint, "");
}

TEST(BackendStartupKeys, PasswordIsBesideKeysOfAnotherVerifier) {
    BackendLogin login = login_with_keys("old", "another salt");
    login.password = protocol::Secret("pencil");
    EXPECT_TRUE(run(scram_script(), std::move(login)).done);
}

TEST(BackendStartupKeys, KeysAreNoPassword) {
    BackendLogin login = login_with_keys("pencil");
    login.methods.password = true;
    for (const std::string& asked : {cleartext(), md5()}) {
        const Outcome outcome = run(asked, login);
        EXPECT_EQ(outcome.error.sqlstate, "28P01");
        EXPECT_NE(outcome.error.message.find("only SCRAM keys"), std::string::npos);
    }
}

}  // namespace
}  // namespace schemux::core
