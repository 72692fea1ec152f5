// Which services a backend has served: PostgreSQL keeps what it knows of their tables (its catalog
// caches) for as long as the backend lives, so another backend would have to learn, and keep, the
// same. Services are known by their cache_key; two that share one only make a worse choice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace schemux::core {

class ServicesSeen {
  public:
    bool has(std::size_t service) const {
        return service / word_bits < words_.size() &&
               (words_[service / word_bits] >> (service % word_bits) & 1U) != 0;
    }
    void add(std::size_t service) {
        if (has(service)) return;
        if (service / word_bits >= words_.size()) words_.resize(service / word_bits + 1);
        words_[service / word_bits] |= std::uint64_t{1} << (service % word_bits);
        ++count_;
    }
    std::size_t count() const { return count_; }

  private:
    static constexpr std::size_t word_bits = 64;
    std::vector<std::uint64_t> words_;
    std::size_t count_ = 0;
};

}  // namespace schemux::core
