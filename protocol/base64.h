// Base64 (RFC 4648, section 4) as SCRAM uses it: padded, one line, nothing ignored.
// OpenSSL's decoder skips white space and hides the padding, which would give one value several
// spellings.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace schemux::protocol {

std::string encode_base64(std::string_view bytes);

/// nullopt for every text that `encode_base64` cannot have made: a length not divisible by four, a
/// foreign character, padding elsewhere than at the end, unused bits that are not zero.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace schemux::protocol
