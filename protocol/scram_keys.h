// The secrets of SCRAM-SHA-256: keys derived from a password, and the verifier that PostgreSQL
// keeps in pg_authid. Sources: RFC 5802 section 3, RFC 7677; PostgreSQL manual, 53.9 "pg_authid".
// Only the derivation is slow (about 0.6 µs an iteration): it may run on another thread, and its
// result may be cached for as long as password, salt and iterations stay.
// It must not know the messages that are exchanged.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::protocol {

inline constexpr std::size_t scram_key_bytes = 32;
inline constexpr std::size_t scram_salt_max = 256;
/// A hostile peer may name any number: 2^31-1 would be half an hour of one core.
inline constexpr std::uint32_t scram_iterations_max = 600'000;
inline constexpr std::uint32_t scram_iterations_default = 4096;
/// PostgreSQL's own length of a password packet that it accepts.
inline constexpr std::size_t scram_password_max = 65'535;

using ScramKey = std::array<std::uint8_t, scram_key_bytes>;

struct ScramKeys {
    ScramKey client{};
    ScramKey stored{};
    ScramKey server{};

    friend bool operator==(const ScramKeys&, const ScramKeys&) = default;
};

/// nullopt when a bound above is broken or OpenSSL refuses (a FIPS policy may).
/// The password is used as it is. That is what SASLprep (RFC 4013) makes of ASCII, and what
/// PostgreSQL does with text that is not UTF-8 or has prohibited characters. Not done: SASLprep's
/// mapping and normalisation (NFKC) of other UTF-8 text, so a password with, say, a no-break space
/// or a ligature does not match the verifier that PostgreSQL made from it.
std::optional<ScramKeys> derive_keys(std::string_view password, std::string_view salt,
                                     std::uint32_t iterations);

ScramKey hmac_sha_256(std::string_view key, std::string_view text);
ScramKey hmac_sha_256(const ScramKey& key, std::string_view text);
ScramKey sha_256(const ScramKey& key);
std::string_view bytes_of(const ScramKey& key);
/// In constant time.
bool equal(const ScramKey& a, const ScramKey& b);

/// What proves a password without holding it.
struct ScramVerifier {
    std::uint32_t iterations = 0;
    std::string salt;
    ScramKey stored{};
    ScramKey server{};
    bool doomed = false;  ///< a stand-in for an unknown user: no proof passes it

    friend bool operator==(const ScramVerifier&, const ScramVerifier&) = default;
};

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, base64 in the last three.
std::optional<ScramVerifier> read_verifier(std::string_view text);
std::string verifier_text(const ScramVerifier& verifier);
ScramVerifier make_verifier(const ScramKeys& keys, std::string_view salt, std::uint32_t iterations);

/// For a user that does not exist: the same salt each time it is asked for, so that an attacker
/// cannot tell it from a real one. `secret` is random and lives as long as the answers must agree.
ScramVerifier mock_verifier(std::string_view secret, std::string_view user,
                            std::uint32_t iterations);

/// Decimal digits only, no sign, no leading zero; nullopt outside 1..scram_iterations_max.
std::optional<std::uint32_t> read_iterations(std::string_view text);

}  // namespace schemux::protocol
