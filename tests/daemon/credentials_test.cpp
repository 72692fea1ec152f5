// Keys are derived once, users that do not exist look like those that do.
#include "daemon/credentials.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace schemux::daemon {
namespace {

protocol::ScramVerifier verifier(std::string_view password, std::uint32_t iterations = 5) {
    return protocol::make_verifier(*protocol::derive_keys(password, "saltsaltsaltsalt", iterations),
                                   "saltsaltsaltsalt", iterations);
}

bool proves(const protocol::ScramVerifier& verifier, std::string_view password) {
    const auto keys = protocol::derive_keys(password, verifier.salt, verifier.iterations);
    return keys && keys->stored == verifier.stored && keys->server == verifier.server;
}

using Secrets = std::vector<UserSecret>;

const MockSecret mock;

TEST(Credentials, GivenVerifierIsThereAtOnce) {
    const Credentials credentials(Secrets{{"ann", verifier("pencil")}});
    EXPECT_EQ(credentials.find("ann", mock), verifier("pencil"));
    EXPECT_EQ(credentials.next_to_derive(), std::nullopt);
}

TEST(Credentials, PasswordIsDerivedOnceAndThenStays) {
    Credentials credentials(Secrets{{"ann", "pencil"}, {"bob", "crayon"}});
    EXPECT_EQ(credentials.find("ann", mock), std::nullopt);
    EXPECT_EQ(credentials.next_to_derive(), "ann");
    credentials.derive("ann");
    const auto first = credentials.find("ann", mock);
    ASSERT_TRUE(first);
    EXPECT_TRUE(proves(*first, "pencil"));
    EXPECT_FALSE(proves(*first, "crayon"));
    credentials.derive("ann");
    EXPECT_EQ(credentials.find("ann", mock), first) << "a second derivation has another salt";
    EXPECT_EQ(credentials.next_to_derive(), "bob");
}

TEST(Credentials, DerivingForNobodyDoesNothing) {
    Credentials credentials;
    credentials.derive("nobody");
    EXPECT_FALSE(credentials.knows("nobody"));
}

TEST(Credentials, UnknownUserHasAStandInThatStaysAndNeverPasses) {
    const Credentials credentials(Secrets{{"ann", verifier("pencil")}});
    const auto stand_in = credentials.find("nobody", mock);
    ASSERT_TRUE(stand_in);
    EXPECT_TRUE(stand_in->doomed);
    EXPECT_EQ(stand_in->salt.size(), 16U);
    EXPECT_EQ(stand_in, credentials.find("nobody", mock));
    EXPECT_NE(stand_in->salt, credentials.find("somebody", mock)->salt);
    EXPECT_NE(stand_in->salt, credentials.find("nobody", MockSecret())->salt);
}

TEST(Credentials, StandInHasTheIterationsThatMostUsersHave) {
    const Credentials credentials(
        Secrets{{"a", verifier("x", 10)}, {"b", verifier("x", 20)}, {"c", verifier("x", 20)}});
    EXPECT_EQ(credentials.find("nobody", mock)->iterations, 20U);
    EXPECT_EQ(Credentials().find("nobody", mock)->iterations, protocol::scram_iterations_default);
}

TEST(Credentials, ReloadKeepsWhatWasDerivedFromTheSamePassword) {
    Credentials before(Secrets{{"ann", "pencil"}, {"bob", "crayon"}, {"gone", "x"}});
    before.derive("ann");
    before.derive("bob");
    const Credentials after(Secrets{{"ann", "pencil"}, {"bob", "chalk"}, {"new", "x"}}, &before);
    EXPECT_EQ(after.find("ann", mock), before.find("ann", mock));
    EXPECT_EQ(after.find("bob", mock), std::nullopt) << "the password is another one";
    EXPECT_EQ(after.find("new", mock), std::nullopt);
    EXPECT_TRUE(after.find("gone", mock)->doomed);
}

TEST(Credentials, ThreadsAgreeOnOneVerifier) {
    Credentials credentials(Secrets{{"ann", "pencil"}});
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&credentials] { credentials.derive("ann"); });
    const auto seen_early = credentials.find("ann", mock);
    for (std::thread& thread : threads)
        thread.join();
    const auto final = credentials.find("ann", mock);
    ASSERT_TRUE(final);
    if (seen_early) {
        EXPECT_EQ(seen_early, final);
    }
}

}  // namespace
}  // namespace schemux::daemon
