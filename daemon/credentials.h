// What proves the passwords of users: one SCRAM verifier each, given or derived from a password
// once. Deriving costs milliseconds: callers do it on a thread that serves nobody. Thread-safe.
// It must not know files, configuration or the messages of a login.
#pragma once

#include "protocol/scram_keys.h"

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

struct UserSecret {
    std::string user;
    std::variant<std::string, protocol::ScramVerifier> secret;  ///< a password or its verifier
};

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

    /// Of a user that does not exist a stand-in that no proof passes. nullopt: not derived yet.
    std::optional<protocol::ScramVerifier> find(std::string_view user,
                                                const MockSecret& mock) const;
    /// Slow (2 ms). For a user that `find` has nothing for; at most once a user does the work.
    void derive(std::string_view user);
    /// Slow, whether the user exists or not: whether this is the user's password.
    bool matches(std::string_view user, std::string_view password, const MockSecret& mock);
    /// Some user whose keys are still to be derived, if there is one.
    std::optional<std::string> next_to_derive() const;

  private:
    struct Entry {
        std::string password;  ///< empty: the verifier was given
        std::optional<protocol::ScramVerifier> verifier;
    };

    std::uint32_t usual_iterations() const;

    mutable std::mutex mutex_;  ///< guards the verifiers; who exists never changes
    std::map<std::string, Entry, std::less<>> entries_;
    std::uint32_t mock_iterations_ = protocol::scram_iterations_default;
};

}  // namespace schemux::daemon
