// Keys and verifiers of SCRAM-SHA-256: bounds, spelling, the stand-in for unknown users.
#include "protocol/scram_keys.h"

#include "protocol/base64.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

const std::string zero_key = encode_base64(std::string(scram_key_bytes, '\0'));

TEST(ScramKeys, DerivationHasBounds) {
    EXPECT_TRUE(derive_keys("p", "salt", 1));
    EXPECT_TRUE(derive_keys("", "salt", 1));
    EXPECT_FALSE(derive_keys("p", "salt", 0));
    EXPECT_FALSE(derive_keys("p", "salt", scram_iterations_max + 1));
    EXPECT_FALSE(derive_keys("p", "salt", 0x80000000U));
    EXPECT_FALSE(derive_keys("p", "", 1));
    EXPECT_TRUE(derive_keys("p", std::string(scram_salt_max, 's'), 1));
    EXPECT_FALSE(derive_keys("p", std::string(scram_salt_max + 1, 's'), 1));
    EXPECT_FALSE(derive_keys(std::string(scram_password_max + 1, 'p'), "salt", 1));
}

TEST(ScramKeys, PasswordSaltAndIterationsAllMatter) {
    const auto keys = derive_keys("pencil", "salt", 2);
    EXPECT_EQ(keys, derive_keys("pencil", "salt", 2));
    EXPECT_NE(keys, derive_keys("pencil ", "salt", 2));
    EXPECT_NE(keys, derive_keys("pencil", "salt2", 2));
    EXPECT_NE(keys, derive_keys("pencil", "salt", 3));
    EXPECT_EQ(keys->stored, sha_256(keys->client));
}

TEST(ScramKeys, NonAsciiPasswordsAreTakenAsTheyAre) {
    EXPECT_TRUE(derive_keys("p\xc3\xa4sse", "salt", 1));
    EXPECT_TRUE(derive_keys("\xff\xfe not UTF-8", "salt", 1));
    EXPECT_NE(derive_keys("p\xc2\xa0q", "salt", 1), derive_keys("p q", "salt", 1));
}

TEST(ScramVerifier, WrittenThenReadIsTheSame) {
    const auto keys = derive_keys("pencil", "0123456789abcdef", 4096);
    const ScramVerifier verifier = make_verifier(*keys, "0123456789abcdef", 4096);
    const std::string text = verifier_text(verifier);
    EXPECT_TRUE(text.starts_with("SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$")) << text;
    EXPECT_EQ(read_verifier(text), verifier);
}

TEST(ScramVerifier, PostgresqlsOwnIsRead) {
    // Made by PostgreSQL 15: ALTER ROLE … PASSWORD 'pencil'.
    const auto verifier = read_verifier(
        "SCRAM-SHA-256$4096:Pld5E0O9qckLHvJ+VcPs2w==$6BiAT7o3UxojMf1i0ePmxegDcZuf+h66oA6MrTy889k=:"
        "Ab6n7wplB75WkOPQKgdxhMkgK20HMmFNbwlNH2HG4/c=");
    ASSERT_TRUE(verifier);
    const auto keys = derive_keys("pencil", verifier->salt, verifier->iterations);
    ASSERT_TRUE(keys);
    EXPECT_EQ(keys->stored, verifier->stored);
    EXPECT_EQ(keys->server, verifier->server);
}

TEST(ScramVerifier, AnythingElseIsRefused) {
    const std::string good = "SCRAM-SHA-256$4096:c2FsdA==$" + zero_key + ":" + zero_key;
    ASSERT_TRUE(read_verifier(good));
    for (const std::string& text :
         {std::string(), std::string("md5c2FsdA=="), "SCRAM-SHA-1" + good.substr(13),
          "scram-sha-256" + good.substr(13), good + "=", good + ":", " " + good, good + "\n",
          "SCRAM-SHA-256$0:c2FsdA==$" + zero_key + ":" + zero_key,
          "SCRAM-SHA-256$-1:c2FsdA==$" + zero_key + ":" + zero_key,
          "SCRAM-SHA-256$600001:c2FsdA==$" + zero_key + ":" + zero_key,
          "SCRAM-SHA-256$4096:$" + zero_key + ":" + zero_key,
          "SCRAM-SHA-256$4096:c2Fsd$" + zero_key + ":" + zero_key,
          "SCRAM-SHA-256$4096:c2FsdA==$" + zero_key + ":c2FsdA==",
          "SCRAM-SHA-256$4096:c2FsdA==$c2FsdA==:" + zero_key,
          "SCRAM-SHA-256$4096$c2FsdA==:" + zero_key + ":" + zero_key}) {
        EXPECT_FALSE(read_verifier(text)) << text;
    }
    for (std::size_t i = 0; i < good.size(); ++i)
        EXPECT_FALSE(read_verifier(good.substr(0, i))) << i;
}

TEST(ScramVerifier, MockIsStableForAUserAndDiffersBetweenUsers) {
    const ScramVerifier mock = mock_verifier("secret", "ann", 4096);
    EXPECT_EQ(mock, mock_verifier("secret", "ann", 4096));
    EXPECT_NE(mock.salt, mock_verifier("secret", "bob", 4096).salt);
    EXPECT_NE(mock.salt, mock_verifier("other", "ann", 4096).salt);
    EXPECT_EQ(mock.salt.size(), 16U);
    EXPECT_EQ(mock.iterations, 4096U);
    EXPECT_TRUE(mock.doomed);
}

TEST(ScramIterations, OnlyPlainNumbersInBounds) {
    EXPECT_EQ(read_iterations("1"), 1U);
    EXPECT_EQ(read_iterations("600000"), 600'000U);
    for (const auto text : {"", "0", "00", "01", "-1", "+1", "1 ", " 1", "1.0", "0x10", "600001",
                            "2147483647", "4294967297", "99999999999999999999"}) {
        EXPECT_FALSE(read_iterations(text)) << text;
    }
}

}  // namespace
}  // namespace schemux::protocol
