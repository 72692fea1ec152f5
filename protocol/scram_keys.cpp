#include "protocol/scram_keys.h"

#include "protocol/base64.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cstdlib>

namespace schemux::protocol {

namespace {

constexpr std::string_view verifier_prefix = "SCRAM-SHA-256$";
constexpr std::size_t mock_salt_bytes = 16;  // PostgreSQL's SCRAM_DEFAULT_SALT_LEN

const unsigned char* octets(std::string_view text) {
    return reinterpret_cast<const unsigned char*>(text.data());
}

std::optional<ScramKey> read_key(std::string_view base64) {
    const auto bytes = decode_base64(base64);
    if (!bytes || bytes->size() != scram_key_bytes) return {};
    ScramKey key;
    std::copy(bytes->begin(), bytes->end(), reinterpret_cast<char*>(key.data()));
    return key;
}

bool salt_fits(std::string_view salt) {
    return !salt.empty() && salt.size() <= scram_salt_max;
}

}  // namespace

std::optional<ScramKeys> derive_keys(std::string_view password, std::string_view salt,
                                     std::uint32_t iterations) {
    if (password.size() > scram_password_max || !salt_fits(salt)) return {};
    if (iterations == 0 || iterations > scram_iterations_max) return {};
    ScramKey salted;
    const int derived = PKCS5_PBKDF2_HMAC(
        password.data() == nullptr ? "" : password.data(), static_cast<int>(password.size()),
        octets(salt), static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
        static_cast<int>(salted.size()), salted.data());
    if (derived != 1) return {};
    ScramKeys keys;
    keys.client = hmac_sha_256(salted, "Client Key");
    keys.stored = sha_256(keys.client);
    keys.server = hmac_sha_256(salted, "Server Key");
    OPENSSL_cleanse(salted.data(), salted.size());
    return keys;
}

ScramKey hmac_sha_256(std::string_view key, std::string_view text) {
    ScramKey result;
    unsigned int length = 0;
    const unsigned char* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                                     octets(text), text.size(), result.data(), &length);
    // Only a broken OpenSSL gets here, and a zero digest would be a forgeable one.
    if (made == nullptr || length != result.size()) std::abort();
    return result;
}

ScramKey hmac_sha_256(const ScramKey& key, std::string_view text) {
    return hmac_sha_256(bytes_of(key), text);
}

ScramKey sha_256(const ScramKey& key) {
    ScramKey result;
    if (SHA256(key.data(), key.size(), result.data()) == nullptr) std::abort();
    return result;
}

std::string_view bytes_of(const ScramKey& key) {
    return {reinterpret_cast<const char*>(key.data()), key.size()};
}

bool equal(const ScramKey& a, const ScramKey& b) {
    return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::optional<ScramVerifier> read_verifier(std::string_view text) {
    if (!text.starts_with(verifier_prefix)) return {};
    text.remove_prefix(verifier_prefix.size());
    const std::size_t salt_at = text.find(':');
    const std::size_t stored_at = text.find('$');
    if (stored_at == std::string_view::npos || salt_at >= stored_at) return {};
    const std::size_t server_at = text.find(':', stored_at);
    if (server_at == std::string_view::npos) return {};

    const auto iterations = read_iterations(text.substr(0, salt_at));
    const auto salt = decode_base64(text.substr(salt_at + 1, stored_at - salt_at - 1));
    const auto stored = read_key(text.substr(stored_at + 1, server_at - stored_at - 1));
    const auto server = read_key(text.substr(server_at + 1));
    if (!iterations || !salt || !salt_fits(*salt) || !stored || !server) return {};
    return ScramVerifier{*iterations, *salt, *stored, *server, false};
}

std::string verifier_text(const ScramVerifier& verifier) {
    return std::string(verifier_prefix) + std::to_string(verifier.iterations) + ':' +
           encode_base64(verifier.salt) + '$' + encode_base64(bytes_of(verifier.stored)) + ':' +
           encode_base64(bytes_of(verifier.server));
}

ScramVerifier make_verifier(const ScramKeys& keys, std::string_view salt,
                            std::uint32_t iterations) {
    return {iterations, std::string(salt), keys.stored, keys.server, false};
}

ScramVerifier mock_verifier(std::string_view secret, std::string_view user,
                            std::uint32_t iterations) {
    assert(!secret.empty());
    const ScramKey digest = hmac_sha_256(secret, user);
    ScramVerifier verifier;
    verifier.iterations = iterations;
    verifier.salt = bytes_of(digest).substr(0, mock_salt_bytes);
    verifier.doomed = true;
    return verifier;
}

std::optional<std::uint32_t> read_iterations(std::string_view text) {
    std::uint32_t value = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || text.starts_with('0')) return {};
    if (value > scram_iterations_max) return {};
    return value;
}

}  // namespace schemux::protocol
