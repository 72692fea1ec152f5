#include "config/values.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace schemux::config {

namespace {

struct Unit {
    std::string_view suffix;
    std::uint64_t factor;
};

// Largest first, so that formatting finds the largest exact unit.
constexpr std::array<Unit, 4> duration_units{
    {{"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr std::array<Unit, 4> size_units{
    {{"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"", 1}}};

/// Far beyond any range in the option table, and safe in std::chrono arithmetic.
constexpr std::uint64_t value_max = 1ULL << 50;

template <std::size_t N>
std::optional<std::uint64_t> parse_with_unit(std::string_view text,
                                             const std::array<Unit, N>& units) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto number = parse_integer(text.substr(0, digits));
    if (!number) return {};
    for (const Unit& unit : units) {
        if (text.substr(digits) != unit.suffix) continue;
        if (*number > value_max / unit.factor) return {};
        return *number * unit.factor;
    }
    return {};
}

template <std::size_t N>
std::string format_with_unit(std::uint64_t value, const std::array<Unit, N>& units) {
    for (const Unit& unit : units)
        if (value % unit.factor == 0)
            return std::to_string(value / unit.factor) + std::string(unit.suffix);
    return std::to_string(value);
}

bool is_variable_name(std::string_view name) {
    constexpr std::string_view letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
           name.find_first_not_of(letters) == std::string_view::npos;
}

}  // namespace

std::optional<std::uint64_t> parse_integer(std::string_view text) {
    if (text.empty() || (text.size() > 1 && text[0] == '0')) return {};
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

std::optional<bool> parse_boolean(std::string_view text) {
    if (text == "true") return true;
    if (text == "false") return false;
    return {};
}

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    if (text == "0") return std::chrono::milliseconds(0);
    const auto value = parse_with_unit(text, duration_units);
    if (!value) return {};
    return std::chrono::milliseconds(*value);
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
    return parse_with_unit(text, size_units);
}

std::string format_duration(std::chrono::milliseconds duration) {
    if (duration.count() <= 0) return "0";
    return format_with_unit(static_cast<std::uint64_t>(duration.count()), duration_units);
}

std::string format_size(std::uint64_t bytes) {
    return bytes == 0 ? "0" : format_with_unit(bytes, size_units);
}

Expansion expand_environment(std::string_view text, const Environment& environment) {
    Expansion result;
    for (std::size_t i = 0; i < text.size();) {
        const std::string_view rest = text.substr(i);
        if (rest.starts_with("$${")) {
            result.text += "${";
            i += 3;
        } else if (rest.starts_with("${")) {
            const std::size_t close = rest.find('}');
            const std::string name(close == std::string_view::npos ? ""
                                                                   : rest.substr(2, close - 2));
            if (!is_variable_name(name)) {
                result.error =
                    "expected ${NAME} with letters, digits and '_'; '$${' stands for '${'";
                return result;
            }
            const auto value = environment(name);
            if (!value) {
                result.error = "environment variable " + name + " is not set";
                return result;
            }
            result.text += *value;
            i += close + 1;
        } else {
            result.text += text[i++];
        }
    }
    return result;
}

}  // namespace schemux::config
