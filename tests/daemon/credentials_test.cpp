// Keys are derived once, users that do not exist look like those that do.
#include "daemon/credentials.h"

#include "protocol/md5_password.h"

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
using protocol::Secret;

const MockSecret mock;

TEST(Credentials, GivenVerifierIsThereAtOnce) {
    const Credentials credentials(Secrets{{"ann", verifier("pencil")}});
    EXPECT_EQ(credentials.find("ann", mock), verifier("pencil"));
    EXPECT_EQ(credentials.next_to_derive(), std::nullopt);
}

TEST(Credentials, PasswordIsDerivedOnceAndThenStays) {
    Credentials credentials(Secrets{{"ann", Secret("pencil")}, {"bob", Secret("crayon")}});
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
    Credentials before(
        Secrets{{"ann", Secret("pencil")}, {"bob", Secret("crayon")}, {"gone", Secret("x")}});
    before.derive("ann");
    before.derive("bob");
    const Credentials after(
        Secrets{{"ann", Secret("pencil")}, {"bob", Secret("chalk")}, {"new", Secret("x")}},
        &before);
    EXPECT_EQ(after.find("ann", mock), before.find("ann", mock));
    EXPECT_EQ(after.find("bob", mock), std::nullopt) << "the password is another one";
    EXPECT_EQ(after.find("new", mock), std::nullopt);
    EXPECT_TRUE(after.find("gone", mock)->doomed);
}

TEST(Credentials, ThreadsAgreeOnOneVerifier) {
    Credentials credentials(Secrets{{"ann", Secret("pencil")}});
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

TEST(Credentials, Md5HashesServeMd5AndPasswordsOnly) {
    const std::string hash = *protocol::md5_hash("ann", "pencil");
    Credentials credentials(Secrets{{"ann", Md5Hash{hash}}, {"bob", verifier("crayon")}});
    EXPECT_EQ(credentials.find_md5_hash("ann", mock), hash);
    EXPECT_TRUE(credentials.find("ann", mock)->doomed) << "by SCRAM she cannot get in";
    EXPECT_EQ(credentials.next_to_derive(), std::nullopt);
    EXPECT_TRUE(credentials.matches("ann", "pencil", mock));
    EXPECT_FALSE(credentials.matches("ann", "crayon", mock));
    EXPECT_EQ(credentials.find_md5_hash("bob", mock), std::nullopt) << "he is to use SCRAM";
    EXPECT_TRUE(credentials.matches("bob", "crayon", mock));
}

TEST(Credentials, PasswordsServeMd5Too) {
    const Credentials credentials(Secrets{{"ann", Secret("pencil")}});
    EXPECT_EQ(credentials.find_md5_hash("ann", mock), protocol::md5_hash("ann", "pencil"));
}

TEST(Credentials, WhoDoesNotExistIsAskedAsMostAre) {
    const Credentials md5(
        Secrets{{"ann", Secret("pencil")}, {"bob", Secret("x")}, {"c", verifier("x")}});
    const auto stand_in = md5.find_md5_hash("nobody", mock);
    ASSERT_TRUE(stand_in);
    EXPECT_TRUE(protocol::is_md5_hash(*stand_in));
    const Credentials scram(Secrets{{"ann", verifier("pencil")}, {"bob", Secret("x")}});
    EXPECT_EQ(scram.find_md5_hash("nobody", mock), std::nullopt);
}

TEST(Credentials, NobodyLooksLikeTheUsersThatThereAre) {
    const auto scram = Credentials(Secrets{{"ann", verifier("pencil", 77)}}).nobody();
    EXPECT_FALSE(scram->knows("ann"));
    EXPECT_EQ(scram->find("ann", mock)->iterations, 77U);
    EXPECT_TRUE(scram->find("ann", mock)->doomed);
    EXPECT_EQ(scram->find_md5_hash("ann", mock), std::nullopt);
    const auto md5 = Credentials(Secrets{{"ann", Md5Hash{"md5" + std::string(32, 'a')}}}).nobody();
    EXPECT_TRUE(md5->find_md5_hash("nobody", mock));
}

TEST(KnownSecrets, AreToldApartByHowTheyBegin) {
    const auto index = [](std::string_view text) {
        const auto read = read_known_secret(text);
        const auto* known = std::get_if<KnownSecret>(&read);
        return known == nullptr ? 9U : known->index();
    };
    EXPECT_EQ(index("pencil"), 0U);
    EXPECT_EQ(index(protocol::verifier_text(verifier("x"))), 1U);
    EXPECT_EQ(index("md5" + std::string(32, 'a')), 2U);
    EXPECT_EQ(index("md5" + std::string(32, 'A')), 0U);
    EXPECT_EQ(index("md5" + std::string(31, 'a')), 0U);
    EXPECT_EQ(index("SCRAM-SHA-256$nonsense"), 9U);
    EXPECT_EQ(index(""), 9U);
    EXPECT_EQ(index(std::string("a\0b", 3)), 9U);
}

}  // namespace
}  // namespace schemux::daemon
