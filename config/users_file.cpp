#include "config/users_file.h"

#include <optional>
#include <unordered_map>
#include <utility>

namespace schemux::config {

namespace {

void skip_blanks(std::string_view& rest) {
    const std::size_t blanks = std::min(rest.find_first_not_of(" \t\r"), rest.size());
    rest.remove_prefix(blanks);
}

/// nullopt: no quoted text stands here.
std::optional<std::string> take_quoted(std::string_view& rest) {
    skip_blanks(rest);
    if (!rest.starts_with('"')) return {};
    std::string text;
    for (std::size_t i = 1; i < rest.size(); ++i) {
        if (rest[i] != '"') {
            text += rest[i];
        } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
            text += rest[i++];
        } else {
            rest.remove_prefix(i + 1);
            return text;
        }
    }
    return {};
}

}  // namespace

UsersFile read_users_file(std::string_view text) {
    UsersFile file;
    std::unordered_map<std::string, unsigned> lines;
    unsigned number = 0;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        ++number;
        skip_blanks(line);
        if (line.empty() || line.front() == ';' || line.front() == '#') continue;
        auto name = take_quoted(line);
        auto secret = name ? take_quoted(line) : std::nullopt;
        if (!secret) {
            file.errors.push_back({number, "expected \"name\" \"secret\", both in quotes"});
        } else if (name->empty()) {
            file.errors.push_back({number, "the name is empty"});
        } else if (const auto [first, is_new] = lines.emplace(*name, number); !is_new) {
            file.errors.push_back(
                {number, "this user is in line " + std::to_string(first->second) + " already"});
        } else if (file.users.size() >= listed_users_max) {
            file.errors.push_back(
                {number, "more than " + std::to_string(listed_users_max) + " users"});
            break;
        } else {
            file.users.push_back({std::move(*name), std::move(*secret), number});
        }
    }
    return file;
}

}  // namespace schemux::config
