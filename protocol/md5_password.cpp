#include "protocol/md5_password.h"

#include <openssl/evp.h>

#include <array>

namespace schemux::protocol {

namespace {

constexpr std::size_t md5_bytes = 16;

std::optional<std::string> md5_hex(std::string_view front, std::string_view back) {
    const std::string text = std::string(front).append(back);
    std::array<unsigned char, md5_bytes> digest{};
    unsigned int length = 0;
    const int made =
        EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_md5(), nullptr);
    if (made != 1 || length != digest.size()) return {};
    constexpr std::string_view digits = "0123456789abcdef";
    std::string hex;
    hex.reserve(2 * md5_bytes);
    for (const unsigned char byte : digest)
        hex += {digits[byte >> 4], digits[byte & 15]};
    return hex;
}

}  // namespace

std::optional<std::string> md5_password(std::string_view user, std::string_view password,
                                        std::string_view salt) {
    const auto stored = md5_hex(password, user);
    if (!stored) return {};
    const auto salted = md5_hex(*stored, salt);
    if (!salted) return {};
    return "md5" + *salted;
}

}  // namespace schemux::protocol
