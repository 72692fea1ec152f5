// Makes texts: of fragments that matter to a scanner, of mutated statements, and of either with
// templates put in. The same seed gives the same texts on every machine.
// It must not know the lexer or its oracle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace schemux::differential {

class Generator {
  public:
    explicit Generator(std::uint64_t seed) : random_(seed) {}

    std::string fragments();
    std::string mutation();
    std::string with_templates();

  private:
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
    std::string_view fragment();
    std::string some_bytes();
    void mutate(std::string& text);

    std::mt19937_64 random_;
    std::size_t openers_one_in_ = 4;
};

}  // namespace schemux::differential
