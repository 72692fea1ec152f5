// Base64: RFC 4648's vectors, and that every value has one spelling.
#include "protocol/base64.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::protocol {
namespace {

TEST(Base64, VectorsOfTheRfc) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 7> vectors{
        {{"", ""},
         {"f", "Zg=="},
         {"fo", "Zm8="},
         {"foo", "Zm9v"},
         {"foob", "Zm9vYg=="},
         {"fooba", "Zm9vYmE="},
         {"foobar", "Zm9vYmFy"}}};
    for (const auto& [bytes, text] : vectors) {
        EXPECT_EQ(encode_base64(bytes), text);
        EXPECT_EQ(decode_base64(text), bytes);
    }
}

TEST(Base64, EveryByteComesBack) {
    std::string bytes;
    for (int i = 0; i < 256; ++i) {
        bytes.push_back(static_cast<char>(255 - i));
        EXPECT_EQ(decode_base64(encode_base64(bytes)), bytes);
    }
}

TEST(Base64, OtherSpellingsAreRefused) {
    for (const auto text : {"Z", "Zg", "Zg=", "Zg===", "=", "==", "====", "Z===", "Zh==", "Zm9=",
                            "Zm9v\n", "Zm9v====", "Zg==Zg==", "Zm 9", "Zm-_", "Zm9v ", "Z=g="}) {
        EXPECT_FALSE(decode_base64(text)) << text;
    }
}

TEST(Base64, OnlySixtyFourCharactersAreDigits) {
    int digits = 0;
    for (int c = 0; c < 256; ++c)
        digits += decode_base64(std::string("AAA") + static_cast<char>(c)).has_value() ? 1 : 0;
    // '=' is no digit, but legal as the last character.
    EXPECT_EQ(digits, 64 + 1);
}

}  // namespace
}  // namespace schemux::protocol
