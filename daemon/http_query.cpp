#include "daemon/http_query.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace schemux::daemon {

namespace {

/// The byte that two hexadecimal digits stand for.
std::optional<char> byte_of(std::string_view digits) {
    constexpr std::size_t digits_in_a_byte = 2;
    constexpr int hexadecimal = 16;
    unsigned value = 0;
    const char* const end = digits.data() + digits.size();
    const auto [stopped, error] = std::from_chars(digits.data(), end, value, hexadecimal);
    if (digits.size() != digits_in_a_byte || error != std::errc() || stopped != end) return {};
    return static_cast<char>(value);
}

std::string decoded(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto byte = text[at] == '%' ? byte_of(text.substr(at + 1, 2)) : std::nullopt;
        if (byte) {
            out += *byte;
            at += 2;
        } else {
            out += text[at] == '+' ? ' ' : text[at];
        }
    }
    return out;
}

}  // namespace

std::optional<std::string> query_value(std::string_view target, std::string_view name) {
    const std::size_t mark = target.find('?');
    if (mark == std::string_view::npos) return {};
    std::string_view rest = target.substr(mark + 1);
    while (!rest.empty()) {
        const std::string_view pair = rest.substr(0, rest.find('&'));
        rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
        const std::size_t equals = pair.find('=');
        if (decoded(pair.substr(0, equals)) != name) continue;
        return equals == std::string_view::npos ? "" : decoded(pair.substr(equals + 1));
    }
    return {};
}

}  // namespace schemux::daemon
