// Text to value and back for every type a key may have, and ${NAME} expansion.
// Pure functions; they must not know which key the text belongs to.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::config {

/// Looks up an environment variable; nothing if it is not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// Decimal digits without sign or leading zeros: YAML 1.1 would read 010 as 8, so it is refused.
std::optional<std::uint64_t> parse_integer(std::string_view text);

/// Exactly `true` or `false`; `yes`, `no`, `on`, `off` are strings.
std::optional<bool> parse_boolean(std::string_view text);

/// `250ms`, `10s`, `5m`, `1h`, or a bare `0`.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// Bytes: `4096`, `64KiB`, `1MiB`, `2GiB`.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// In the largest unit that is exact; parse_duration and parse_size read it back.
std::string format_duration(std::chrono::milliseconds duration);
std::string format_size(std::uint64_t bytes);

struct Expansion {
    std::string text;
    std::string error;  ///< empty: fine. Never holds a variable's value.
};

/// Replaces ${NAME} by the variable's value, once (values are not expanded again);
/// `$${` stands for `${`, any other `$` for itself.
Expansion expand_environment(std::string_view text, const Environment& environment);

}  // namespace schemux::config
