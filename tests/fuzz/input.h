// What every fuzz target shares: random choices taken from the front of the input, ways to cut
// bytes into pieces, and the check that ends the process when a property is broken.
// It must not know what is tested.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::fuzz {

/// A property that is broken is a crash: libFuzzer keeps the input.
inline void demand(bool holds, std::string_view property) {
    if (holds) return;
    std::fprintf(stderr, "BROKEN: %.*s\n", static_cast<int>(property.size()), property.data());
    std::abort();
}

inline void show(std::string_view name, std::string_view bytes) {
    std::fprintf(stderr, "%.*s (%zu bytes): ", static_cast<int>(name.size()), name.data(),
                 bytes.size());
    for (const char c : bytes) {
        if (c >= ' ' && c <= '~') {
            std::fputc(c, stderr);
        } else {
            std::fprintf(stderr, "\\%02x", static_cast<unsigned char>(c));
        }
    }
    std::fputc('\n', stderr);
}

/// `demand(a == b)`, showing both when they are not.
inline void demand_equal(std::string_view a, std::string_view b, std::string_view property) {
    if (a == b) return;
    show("this ", a);
    show("other", b);
    demand(false, property);
}

/// Bytes in memory of their own, so that AddressSanitizer sees what reads beyond them or later.
class Copy {
  public:
    explicit Copy(std::string_view bytes) : size_(bytes.size()), at_(new char[size_]) {
        std::copy(bytes.begin(), bytes.end(), at_.get());
    }
    std::string_view view() const { return {at_.get(), size_}; }

  private:
    std::size_t size_;
    std::unique_ptr<char[]> at_;
};

/// Choices from the front of the input; zero for ever when it is used up.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size)
        : bytes_(reinterpret_cast<const char*>(data), size) {}
    explicit Input(std::string_view bytes) : bytes_(bytes) {}

    bool empty() const { return bytes_.empty(); }
    std::uint8_t u8() {
        if (bytes_.empty()) return 0;
        const auto value = static_cast<std::uint8_t>(bytes_.front());
        bytes_.remove_prefix(1);
        return value;
    }
    std::uint16_t u16() {
        const unsigned high = u8();
        return static_cast<std::uint16_t>(high << 8U | u8());
    }
    bool flag() { return (u8() & 1U) != 0; }
    /// 0 … count - 1.
    std::size_t below(std::size_t count) { return count < 2 ? 0 : u8() % count; }
    std::string_view take(std::size_t count) {
        const std::string_view taken = bytes_.substr(0, count);
        bytes_.remove_prefix(taken.size());
        return taken;
    }
    /// A length byte, then so many bytes.
    std::string_view text() { return take(u8()); }
    /// Up to the next `end` byte, which is dropped.
    std::string_view until(char end) {
        const std::size_t at = std::min(bytes_.find(end), bytes_.size());
        const std::string_view taken = bytes_.substr(0, at);
        bytes_.remove_prefix(std::min(at + 1, bytes_.size()));
        return taken;
    }
    std::string_view rest() { return take(bytes_.size()); }

  private:
    std::string_view bytes_;
};

/// Repeatable numbers for what is not worth bytes of the input.
class Numbers {
  public:
    explicit Numbers(std::uint64_t seed) : state_(seed * 2 + 1) {}
    std::uint32_t next() {
        state_ ^= state_ << 13U;
        state_ ^= state_ >> 7U;
        state_ ^= state_ << 17U;
        return static_cast<std::uint32_t>(state_ >> 16U);
    }
    std::size_t below(std::size_t count) { return next() % count; }

  private:
    std::uint64_t state_;
};

using Pieces = std::vector<std::string_view>;

/// One way to cut `bytes` for each seed: 0 is whole, 1 byte by byte, others at random.
inline Pieces cut(std::string_view bytes, std::uint64_t seed) {
    if (seed == 0) return {bytes};
    Numbers numbers(seed);
    Pieces pieces;
    const std::size_t longest = seed == 1 ? 1 : 1 + numbers.below(bytes.size() + 1);
    while (!bytes.empty()) {
        const std::size_t count = std::min(bytes.size(), 1 + numbers.below(longest));
        pieces.push_back(bytes.substr(0, count));
        bytes.remove_prefix(count);
    }
    return pieces;
}

}  // namespace schemux::fuzz

/// Each target is one of these.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
