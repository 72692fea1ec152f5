#include "protocol/keyed_digest.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace schemux::protocol {

Digest128 keyed_digest(const Digest128& key, std::initializer_list<std::string_view> fields) {
    std::string input(key.begin(), key.end());
    for (const std::string_view field : fields) {
        const std::uint64_t size = field.size();
        input.append(reinterpret_cast<const char*>(&size), sizeof size);
        input.append(field);
    }
    std::array<unsigned char, SHA256_DIGEST_LENGTH> full{};
    SHA256(reinterpret_cast<const unsigned char*>(input.data()), input.size(), full.data());
    Digest128 digest{};
    std::copy_n(full.begin(), digest.size(), digest.begin());
    return digest;
}

void random_bytes(void* out, std::size_t count) {
    // Without randomness there are no secrets: going on would be worse than stopping.
    if (RAND_bytes(static_cast<unsigned char*>(out), static_cast<int>(count)) != 1) std::abort();
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace schemux::protocol
