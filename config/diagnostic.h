// What is wrong with a configuration and where, in the one form every tool prints.
// It must not know how the finding was made.
#pragma once

#include <compare>
#include <cstddef>
#include <string>
#include <vector>

namespace schemux::config {

/// A place in the file. Lines and columns start at 1; a column counts bytes.
struct Position {
    std::size_t line = 1;
    std::size_t column = 1;

    friend auto operator<=>(const Position&, const Position&) = default;
};

/// Errors beyond this many are not reported: the file is not a configuration.
inline constexpr std::size_t max_diagnostics = 100;

struct Diagnostic {
    std::string file;
    Position position;
    std::string path;  ///< `services[1].name`; list indices start at 0
    std::string message;
};

/// `file:line:column: path: message`.
std::string to_string(const Diagnostic& diagnostic);

/// `services[1].name` -> `services[1]` -> `services` -> "".
std::string parent_path(const std::string& path);

}  // namespace schemux::config
