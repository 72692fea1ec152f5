#include "config/dsn.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace schemux::config {

namespace {

constexpr std::string_view not_shown = "(not shown)";
constexpr std::string_view blanks = " \t\r\n";
constexpr std::array<std::string_view, 7> shown_keys{
    "host", "hostaddr", "port", "dbname", "user", "sslmode", "target_session_attrs"};

using Pairs = std::vector<std::pair<std::string, std::string>>;

bool is_blank(char c) {
    return blanks.find(c) != std::string_view::npos;
}

/// One value of a conninfo string (PostgreSQL manual, 34.1.1.1); moves `at` behind it.
std::optional<std::string> read_value(std::string_view text, std::size_t& at) {
    std::string value;
    const bool quoted = at < text.size() && text[at] == '\'';
    if (quoted) ++at;
    for (; at < text.size(); ++at) {
        if (quoted ? text[at] == '\'' : is_blank(text[at])) break;
        if (text[at] == '\\' && ++at == text.size()) return {};
        value += text[at];
    }
    if (quoted && at++ == text.size()) return {};
    return value;
}

std::optional<Pairs> read_conninfo(std::string_view text) {
    Pairs pairs;
    for (std::size_t at = 0;;) {
        at = text.find_first_not_of(blanks, at);
        if (at == std::string_view::npos) return pairs;
        const std::size_t equals = text.find('=', at);
        if (equals == std::string_view::npos) return {};
        std::string key(text.substr(at, equals - at));
        while (!key.empty() && is_blank(key.back()))
            key.pop_back();
        if (key.find_first_of(blanks) != std::string::npos) return {};
        at = std::min(text.find_first_not_of(blanks, equals + 1), text.size());
        auto value = read_value(text, at);
        if (!value) return {};
        pairs.emplace_back(std::move(key), std::move(*value));
    }
}

std::string show_uri(std::string_view scheme, std::string_view rest) {
    const std::size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
    const std::string_view authority = rest.substr(0, authority_end);
    std::string_view path = rest.substr(authority_end);
    // A password with a bare '/', '?' or '@' would end up in the wrong part; show nothing then.
    if (path.find('@') != std::string_view::npos) return std::string(not_shown);
    path = path.substr(0, path.find('?'));
    const std::size_t at_sign = authority.find('@');
    if (at_sign == std::string_view::npos)
        return std::string(scheme) + std::string(authority) + std::string(path);
    if (authority.find('@', at_sign + 1) != std::string_view::npos) return std::string(not_shown);
    const std::string_view user = authority.substr(0, std::min(authority.find(':'), at_sign));
    return std::string(scheme) + std::string(user) + std::string(authority.substr(at_sign)) +
           std::string(path);
}

std::optional<std::pair<std::string_view, std::string_view>> split_uri(std::string_view dsn) {
    for (const std::string_view scheme : {"postgresql://", "postgres://"})
        if (dsn.starts_with(scheme)) return {{scheme, dsn.substr(scheme.size())}};
    return {};
}

}  // namespace

std::string show_dsn(std::string_view dsn) {
    if (const auto uri = split_uri(dsn)) return show_uri(uri->first, uri->second);
    const auto pairs = read_conninfo(dsn);
    if (!pairs) return std::string(not_shown);
    std::string shown;
    for (const auto& [key, value] : *pairs) {
        if (std::find(shown_keys.begin(), shown_keys.end(), key) == shown_keys.end()) continue;
        if (!shown.empty()) shown += ' ';
        // dbname may be a whole connection string of its own.
        const bool nested = value.find_first_of("=@") != std::string::npos;
        shown += key + '=' + (nested ? std::string(not_shown) : value);
    }
    return shown;
}

bool holds_password(std::string_view dsn) {
    if (const auto uri = split_uri(dsn)) {
        const std::string_view user_part = uri->second.substr(0, uri->second.find('@'));
        const bool has_user_part = user_part.size() < uri->second.size();
        if (has_user_part && user_part.find(':') != std::string_view::npos) return true;
        return uri->second.find("password=") != std::string_view::npos;
    }
    const auto pairs = read_conninfo(dsn);
    if (!pairs) return dsn.find("password") != std::string_view::npos;
    return std::any_of(pairs->begin(), pairs->end(),
                       [](const auto& pair) { return pair.first == "password"; });
}

}  // namespace schemux::config
