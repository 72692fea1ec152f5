#include "protocol/secret.h"

#include <openssl/crypto.h>

namespace schemux::protocol {

void wipe(std::string& text) {
    // A short text stays in its place when it is moved away.
    text.resize(text.capacity());
    OPENSSL_cleanse(text.data(), text.size());
    text.clear();
}

}  // namespace schemux::protocol
