// What a right proof leaves with whoever checked it: the keys of one SCRAM-SHA-256 verifier, with
// which one may log in wherever the very same verifier is kept (RFC 5802 section 3), and nowhere
// else. Wiped where it ends, and with no way to be printed.
// It must not know the messages of an exchange, nor whose secret it is.
#pragma once

#include "protocol/scram_keys.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::protocol {

class ScramSecret {
  public:
    ScramSecret(const ScramKeys& keys, std::string salt, std::uint32_t iterations)
        : keys_(keys), salt_(std::move(salt)), iterations_(iterations) {}
    ~ScramSecret();
    ScramSecret(const ScramSecret&) = default;
    ScramSecret(ScramSecret&&) = default;
    ScramSecret& operator=(const ScramSecret&) = default;
    ScramSecret& operator=(ScramSecret&&) = default;

    /// Null: what they were made of is another verifier. Lives as long as the secret.
    const ScramKeys* keys_for(std::string_view salt, std::uint32_t iterations) const;

    friend bool operator==(const ScramSecret&, const ScramSecret&) = default;

  private:
    ScramKeys keys_;
    std::string salt_;
    std::uint32_t iterations_ = 0;
};

}  // namespace schemux::protocol
