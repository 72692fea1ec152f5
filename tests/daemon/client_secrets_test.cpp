// What clients have proved to be roles, and what PostgreSQL said of it.
#include "daemon/client_secrets.h"

#include "protocol/sqlstate.h"

#include <gtest/gtest.h>

#include <string>

namespace schemux::daemon {
namespace {

using Proved = core::FrontendLogin::Proved;
constexpr std::uint32_t iterations = 2;

Proved password(const std::string& text) {
    return {protocol::Secret(text), {}};
}

Proved keys(const std::string& salt, const std::string& of = "pencil") {
    return {{},
            protocol::ScramSecret(*protocol::derive_keys(of, salt, iterations), salt, iterations)};
}

protocol::ErrorFields refused() {
    return protocol::make_error(protocol::sqlstate::invalid_password, "no");
}

TEST(ClientSecrets, AreThoseOfTheLastProof) {
    ClientSecrets secrets;
    EXPECT_FALSE(secrets.find("ann"));
    secrets.learn("ann", password("old"));
    secrets.learn("bob", password("bobs"));
    secrets.learn("ann", password("new"));
    EXPECT_EQ(secrets.find("ann")->password.view(), "new");
    EXPECT_EQ(secrets.find("bob")->password.view(), "bobs");
}

TEST(ClientSecrets, WhatWasNotShownAgainStays) {
    ClientSecrets secrets;
    secrets.learn("ann", password("word"));
    secrets.learn("ann", keys("salt"));
    secrets.learn("ann", {});
    const auto known = secrets.find("ann");
    EXPECT_EQ(known->password.view(), "word");
    ASSERT_TRUE(known->keys);
    EXPECT_NE(known->keys->keys_for("salt", iterations), nullptr);
}

TEST(ClientSecrets, TheSameAgainIsNoOtherVersion) {
    ClientSecrets secrets;
    secrets.learn("ann", keys("salt"));
    const auto first = secrets.find("ann")->version;
    secrets.learn("ann", keys("salt"));
    EXPECT_EQ(secrets.find("ann")->version, first);
    secrets.learn("ann", keys("salt", "another"));
    EXPECT_NE(secrets.find("ann")->version, first);
}

TEST(ClientSecrets, ARefusalHoldsForItsSecretAndItsTime) {
    ClientSecrets secrets;
    const core::BackendIdentity who{"", "ann"};
    const ClientSecrets::Time now{};
    const auto until = now + std::chrono::seconds(1);
    secrets.refuse(who, refused(), until);
    EXPECT_FALSE(secrets.refusal(who, now)) << "no client was this role";
    secrets.learn("ann", password("old"));
    secrets.refuse(who, refused(), until);
    ASSERT_TRUE(secrets.refusal(who, now));
    EXPECT_FALSE(secrets.refusal(who, now)->outdated);
    EXPECT_EQ(secrets.refusal(who, now)->error.message, "no");
    EXPECT_FALSE(secrets.refusal({"other", "ann"}, now)) << "another database may let her in";
    EXPECT_FALSE(secrets.refusal(who, until));
    secrets.learn("ann", password("new"));
    EXPECT_TRUE(secrets.refusal(who, now)->outdated);
}

TEST(ClientSecrets, AsManyAreKeptAsThereMayBe) {
    ClientSecrets secrets;
    secrets.learn("first", password("x"));
    secrets.learn("second", password("x"));
    for (std::size_t i = 0; i < ClientSecrets::roles_max - 2; ++i)
        secrets.learn(std::to_string(i), {});
    secrets.learn("first", {});  // it is new again
    secrets.learn("one more", {});
    EXPECT_TRUE(secrets.find("first"));
    EXPECT_FALSE(secrets.find("second"));
    EXPECT_TRUE(secrets.find("one more"));
}

TEST(ClientSecrets, HintsHoldNoSecret) {
    ClientSecrets secrets;
    secrets.learn("ann", password("word"));
    EXPECT_NE(hint_for(*secrets.find("ann"), "ann").find("another password"), std::string::npos);
    EXPECT_EQ(hint_for(*secrets.find("ann"), "ann").find("word\""), std::string::npos);
    secrets.learn("bob", {});
    EXPECT_NE(hint_for(*secrets.find("bob"), "bob").find("proved no password"), std::string::npos);
}

}  // namespace
}  // namespace schemux::daemon
