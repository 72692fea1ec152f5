// SQL texts of many kinds, to be mutated. It must not know what is done with them.
#pragma once

#include <span>
#include <string_view>

namespace schemux::differential {

/// More than eighty texts; together they have every kind of token.
std::span<const std::string_view> statements();

}  // namespace schemux::differential
