// How the rules of a configuration write a value and a list's element in what they say of it.
// Only words: it must not know any rule.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace schemux::config {

inline std::string quoted(std::string_view text) {
    return '\'' + std::string(text) + '\'';
}

/// `services[3]`.
inline std::string indexed(std::string_view list, std::size_t i) {
    return std::string(list) + '[' + std::to_string(i) + ']';
}

}  // namespace schemux::config
