// "Did you mean": the nearest of a few words.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace schemux::config {

/// Words longer than this get no suggestion; bounds the work of one lookup.
inline constexpr std::size_t max_suggestion_bytes = 64;

/// The candidate with the fewest edits (insert, delete, replace, swap of neighbours), if that is
/// at most a third of the word's length (at least one, at most three); the first one on a tie.
std::optional<std::string_view> nearest_word(std::string_view word,
                                             const std::vector<std::string_view>& candidates);

}  // namespace schemux::config
