// Repeatable choices: the same seed makes the same ones everywhere. And the end of a seed in which
// something does not hold. It must not know what is simulated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace schemux::simulation {

/// SplitMix64.
class Choice {
  public:
    explicit Choice(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15U;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ mixed >> 30U) * 0xbf58476d1ce4e5b9U;
        mixed = (mixed ^ mixed >> 27U) * 0x94d049bb133111ebU;
        return mixed ^ mixed >> 31U;
    }
    /// 0 … count - 1; 0 for none.
    std::size_t below(std::size_t count) { return count == 0 ? 0 : next() % count; }
    std::size_t between(std::size_t least, std::size_t most) {
        return least + below(most - least + 1);
    }
    bool chance(unsigned percent) { return below(100) < percent; }

  private:
    std::uint64_t state_;
};

/// An invariant that does not hold.
class Broken : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

inline void demand(bool holds, const char* invariant) {
    if (!holds) throw Broken(invariant);
}

}  // namespace schemux::simulation
