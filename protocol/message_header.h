// The five bytes in front of every message after startup: type and length.
// Lengths count themselves, not the type byte (PostgreSQL manual, 55.2.1).
#pragma once

#include "protocol/wire_reader.h"

#include <cstddef>
#include <cstdint>

namespace schemux::protocol {

inline constexpr std::size_t header_bytes = 5;
inline constexpr std::uint32_t length_field_bytes = 4;

/// PostgreSQL's own PQ_LARGE_MESSAGE_LIMIT (MaxAllocSize - 1) and PQ_SMALL_MESSAGE_LIMIT.
inline constexpr std::uint32_t large_message_max = 0x3fffffff - 1;
inline constexpr std::uint32_t small_message_max = 10'000;

struct MessageHeader {
    char type = 0;
    std::uint32_t length = 0;  ///< as on the wire: includes its own four bytes

    std::uint32_t body_bytes() const { return length - length_field_bytes; }
    std::size_t total_bytes() const { return std::size_t{length} + 1; }
    bool plausible() const { return length >= length_field_bytes && length <= large_message_max; }
};

/// The header at `at`; the caller has checked that `header_bytes` are there.
inline MessageHeader read_header(const char* at) {
    return {at[0], read_u32(at + 1)};
}

}  // namespace schemux::protocol
