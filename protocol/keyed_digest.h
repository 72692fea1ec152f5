// A keyed 128-bit digest over a list of fields, and random bytes. OpenSSL hidden in one place.
// Fields are length-delimited, so that no two lists share their bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace schemux::protocol {

using Digest128 = std::array<std::uint8_t, 16>;

/// SHA-256 over key and fields, cut to 128 bits. The key keeps outsiders from guessing results.
Digest128 keyed_digest(const Digest128& key, std::initializer_list<std::string_view> fields);

/// Fills `out` from the operating system's generator; aborts the process if there is none.
void random_bytes(void* out, std::size_t count);

/// Comparison in a time that does not depend on where the inputs differ.
bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace schemux::protocol
