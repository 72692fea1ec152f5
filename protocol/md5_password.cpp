#include "protocol/md5_password.h"

#include <openssl/evp.h>

#include <array>

namespace schemux::protocol {

namespace {

constexpr std::size_t md5_bytes = 16;
constexpr std::string_view prefix = "md5";

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
    const auto hash = md5_hash(user, password);
    if (!hash) return {};
    return md5_answer(*hash, salt);
}

bool is_md5_hash(std::string_view secret) {
    return secret.size() == prefix.size() + 2 * md5_bytes && secret.starts_with(prefix) &&
           secret.find_first_not_of("0123456789abcdef", prefix.size()) == std::string_view::npos;
}

std::optional<std::string> md5_hash(std::string_view user, std::string_view password) {
    const auto stored = md5_hex(password, user);
    if (!stored) return {};
    return std::string(prefix) + *stored;
}

std::optional<std::string> md5_answer(std::string_view hash, std::string_view salt) {
    if (!is_md5_hash(hash)) return {};
    const auto salted = md5_hex(hash.substr(prefix.size()), salt);
    if (!salted) return {};
    return std::string(prefix) + *salted;
}

}  // namespace schemux::protocol
