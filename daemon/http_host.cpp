#include "daemon/http_host.h"

#include <boost/asio/ip/address.hpp>

#include <algorithm>

namespace schemux::daemon {

namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_name(std::string_view left, std::string_view right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](char a, char b) { return lower(a) == lower(b); });
}

bool is_port(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_address(std::string_view text, bool in_brackets) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(std::string(text), error);
    return !error && address.is_v6() == in_brackets;
}

}  // namespace

bool is_own_host(std::string_view host, const std::vector<std::string>& names) {
    if (host.empty()) return true;
    if (host.front() == '[') {
        const std::size_t end = host.find(']');
        if (end == std::string_view::npos) return false;
        const std::string_view rest = host.substr(end + 1);
        const bool right = rest.empty() || (rest.front() == ':' && is_port(rest.substr(1)));
        return right && is_address(host.substr(1, end - 1), true);
    }
    const std::size_t colon = host.find(':');
    const std::string_view name = host.substr(0, colon);
    if (colon != std::string_view::npos && !is_port(host.substr(colon + 1))) return false;
    if (same_name(name, "localhost") || is_address(name, false)) return true;
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& known) { return same_name(name, known); });
}

}  // namespace schemux::daemon
