// A bounds-checked cursor over received bytes, big-endian as the PostgreSQL protocol is.
// It never throws and never reads past the end: a failed read makes it `failed()` for good and
// returns zero or an empty view, so that a decoder checks once at its end.
// It must not know which message it reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace schemux::protocol {

class WireReader {
  public:
    explicit WireReader(std::string_view bytes) : bytes_(bytes) {}

    std::uint8_t u8() { return take(1) ? byte(position_ - 1) : std::uint8_t{0}; }

    std::uint16_t u16() {
        if (!take(2)) return 0;
        return static_cast<std::uint16_t>(byte(position_ - 2) << 8 | byte(position_ - 1));
    }

    std::uint32_t u32() {
        if (!take(4)) return 0;
        const std::size_t at = position_ - 4;
        return static_cast<std::uint32_t>(byte(at)) << 24 |
               static_cast<std::uint32_t>(byte(at + 1)) << 16 |
               static_cast<std::uint32_t>(byte(at + 2)) << 8 | byte(at + 3);
    }

    std::int32_t i32() { return static_cast<std::int32_t>(u32()); }

    /// The text up to the next zero byte; the cursor moves behind that byte.
    std::string_view cstring() {
        const std::string_view rest = remaining();
        const std::size_t end = rest.find('\0');
        if (end == std::string_view::npos) {
            failed_ = true;
            return {};
        }
        position_ += end + 1;
        return rest.substr(0, end);
    }

    std::string_view bytes(std::size_t count) {
        if (!take(count)) return {};
        return bytes_.substr(position_ - count, count);
    }

    std::string_view remaining() const {
        return failed_ ? std::string_view{} : bytes_.substr(position_);
    }
    std::size_t position() const { return position_; }
    bool failed() const { return failed_; }
    /// True when everything was read and nothing failed: most messages must end so.
    bool finished() const { return !failed_ && position_ == bytes_.size(); }

  private:
    bool take(std::size_t count) {
        // Compared by subtraction: `position_ + count` could wrap.
        if (failed_ || count > bytes_.size() - position_) {
            failed_ = true;
            return false;
        }
        position_ += count;
        return true;
    }

    std::uint8_t byte(std::size_t at) const { return static_cast<std::uint8_t>(bytes_[at]); }

    std::string_view bytes_;
    std::size_t position_ = 0;
    bool failed_ = false;
};

/// The big-endian 32-bit number at `at`; the caller has checked that four bytes are there.
inline std::uint32_t read_u32(const char* at) {
    std::uint32_t value = 0;
    std::memcpy(&value, at, sizeof value);
    return __builtin_bswap32(value);
}

}  // namespace schemux::protocol
