// What proves the passwords of users: one SCRAM verifier each, given or derived from a password
// once, or an md5 hash where there is nothing better. Deriving costs milliseconds: callers do it on
// a thread that serves nobody. Thread-safe. It must not know files, configuration or the messages
// of a login.
#pragma once

#include "protocol/scram_keys.h"
#include "protocol/secret.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::daemon {

/// "md5" and 32 digits, as in pg_authid.
struct Md5Hash {
    std::string text;
};

/// A password, or what was made of it.
using KnownSecret = std::variant<protocol::Secret, protocol::ScramVerifier, Md5Hash>;

struct UserSecret {
    std::string user;
    KnownSecret secret;
};

struct NoSecret {
    std::string why;  ///< without the secret
};
/// Told apart as PostgreSQL tells them: by what they begin with.
std::variant<KnownSecret, NoSecret> read_known_secret(std::string_view text);

/// Random, as long as the process lives: users that do not exist have a salt that stays.
class MockSecret {
  public:
    MockSecret();
    std::string_view bytes() const;

  private:
    std::array<char, protocol::scram_key_bytes> bytes_{};
};

class Credentials {
  public:
    Credentials() = default;
    /// Takes over what `before` (may be null) has derived from the same passwords.
    explicit Credentials(std::vector<UserSecret> secrets, const Credentials* before = nullptr);

    bool knows(std::string_view user) const { return entries_.find(user) != entries_.end(); }

    /// Nobody is in it; who asks there gets a stand-in that looks like these users.
    std::shared_ptr<Credentials> nobody() const;

    /// Of a user that does not exist, or has an md5 hash only, a stand-in that no proof passes.
    /// nullopt: not derived yet.
    std::optional<protocol::ScramVerifier> find(std::string_view user,
                                                const MockSecret& mock) const;
    /// Empty: there is only what was made of it, or no such user.
    protocol::Secret password_of(std::string_view user) const;
    /// Slow (2 ms). For a user that `find` has nothing for; at most once a user does the work.
    void derive(std::string_view user);
    /// Slow, whether the user exists or not: whether this is the user's password.
    bool matches(std::string_view user, std::string_view password, const MockSecret& mock);
    /// For logins by md5; a stand-in for users that do not exist, where most have one. nullopt: the
    /// user is to log in by SCRAM.
    std::optional<std::string> find_md5_hash(std::string_view user, const MockSecret& mock) const;
    /// Some user whose keys are still to be derived, if there is one.
    std::optional<std::string> next_to_derive() const;

  private:
    struct Entry {
        protocol::Secret password;  ///< empty: the verifier or the hash was given
        std::string md5_hash;
        std::optional<protocol::ScramVerifier> verifier;

        bool has_md5() const { return !md5_hash.empty() || !password.empty(); }
    };

    std::uint32_t usual_iterations() const;

    mutable std::mutex mutex_;  ///< guards the verifiers; who exists never changes
    std::map<std::string, Entry, std::less<>> entries_;
    bool mostly_md5_ = false;
    std::uint32_t mock_iterations_ = protocol::scram_iterations_default;
};

}  // namespace schemux::daemon
