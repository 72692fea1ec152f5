// Appends PostgreSQL protocol messages to a byte string, big-endian.
// A message is opened by its type, closed by `end_message`, which fills in the length.
// It must not know what the messages mean. Appending to a string with spare capacity allocates
// nothing, so one writer string per worker serves the data plane.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>

namespace schemux::protocol {

class WireWriter {
  public:
    explicit WireWriter(std::string& out) : out_(out) {}

    WireWriter& u8(std::uint8_t value) {
        out_.push_back(static_cast<char>(value));
        return *this;
    }
    WireWriter& u16(std::uint16_t value) {
        const std::uint16_t wire = __builtin_bswap16(value);
        return raw(&wire, sizeof wire);
    }
    WireWriter& u32(std::uint32_t value) {
        const std::uint32_t wire = __builtin_bswap32(value);
        return raw(&wire, sizeof wire);
    }
    WireWriter& i32(std::int32_t value) { return u32(static_cast<std::uint32_t>(value)); }
    WireWriter& bytes(std::string_view value) {
        out_.append(value);
        return *this;
    }
    WireWriter& cstring(std::string_view value) {
        assert(value.find('\0') == std::string_view::npos);
        out_.append(value);
        out_.push_back('\0');
        return *this;
    }

    /// Opens a message with a type byte; its length is filled in by `end_message`.
    WireWriter& begin_message(char type) {
        out_.push_back(type);
        return begin_untyped();
    }
    /// Opens a startup-phase packet, which has a length but no type byte.
    WireWriter& begin_untyped() {
        message_at_ = out_.size();
        return u32(0);
    }
    WireWriter& end_message() {
        const std::size_t length = out_.size() - message_at_;
        assert(length <= std::numeric_limits<std::int32_t>::max());
        const std::uint32_t wire = __builtin_bswap32(static_cast<std::uint32_t>(length));
        std::memcpy(out_.data() + message_at_, &wire, sizeof wire);
        return *this;
    }

  private:
    WireWriter& raw(const void* from, std::size_t count) {
        out_.append(static_cast<const char*>(from), count);
        return *this;
    }

    std::string& out_;
    std::size_t message_at_ = 0;
};

}  // namespace schemux::protocol
