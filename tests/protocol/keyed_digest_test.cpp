// What cancel keys, mock verifiers and nonces rest on.
#include "protocol/keyed_digest.h"

#include "protocol/base64.h"
#include "protocol/scram_sha_256.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

using namespace std::string_view_literals;

TEST(EqualInConstantTime, IsEqualityOfAllBytes) {
    EXPECT_TRUE(equal_in_constant_time("", ""));
    EXPECT_TRUE(equal_in_constant_time("secret", "secret"));
    EXPECT_FALSE(equal_in_constant_time("secret", "secreT"));
    EXPECT_FALSE(equal_in_constant_time("Secret", "secret"));
    EXPECT_TRUE(equal_in_constant_time("a\0b"sv, "a\0b"sv));
    EXPECT_FALSE(equal_in_constant_time("a\0b"sv, "a\0c"sv));
}

TEST(EqualInConstantTime, APrefixIsNotEqual) {
    EXPECT_FALSE(equal_in_constant_time("secret", "secre"));
    EXPECT_FALSE(equal_in_constant_time("secre", "secret"));
    EXPECT_FALSE(equal_in_constant_time("", "s"));
    EXPECT_FALSE(equal_in_constant_time("s", ""));
    EXPECT_FALSE(equal_in_constant_time("a\0"sv, "a"));
}

TEST(KeyedDigest, DependsOnTheKeyAndOnWhereFieldsEnd) {
    const Digest128 key{1};
    const Digest128 digest = keyed_digest(key, {"ab", "c"});
    EXPECT_EQ(digest, keyed_digest(key, {"ab", "c"}));
    EXPECT_NE(digest, keyed_digest(Digest128{2}, {"ab", "c"}));
    EXPECT_NE(digest, keyed_digest(key, {"a", "bc"}));
    EXPECT_NE(digest, keyed_digest(key, {"abc"}));
    EXPECT_NE(digest, keyed_digest(key, {"ab", "c", ""}));
}

TEST(ScramNonce, IsRandomPrintableAndWithoutComma) {
    const std::string nonce = make_scram_nonce();
    const auto bytes = decode_base64(nonce);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->size(), scram_nonce_random_bytes);
    EXPECT_TRUE(std::all_of(nonce.begin(), nonce.end(),
                            [](char c) { return c > 0x20 && c < 0x7f && c != ','; }));
    EXPECT_NE(nonce, make_scram_nonce());
}

}  // namespace
}  // namespace schemux::protocol
