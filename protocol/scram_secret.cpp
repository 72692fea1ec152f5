#include "protocol/scram_secret.h"

#include <openssl/crypto.h>

namespace schemux::protocol {

ScramSecret::~ScramSecret() {
    // A copy of it is wiped where that one ends: what is moved away leaves its keys behind.
    OPENSSL_cleanse(&keys_, sizeof keys_);
}

const ScramKeys* ScramSecret::keys_for(std::string_view salt, std::uint32_t iterations) const {
    return salt == salt_ && iterations == iterations_ ? &keys_ : nullptr;
}

}  // namespace schemux::protocol
