#include "config/service_pattern.h"

#include <boost/regex.hpp>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace schemux::config {

struct ServicePattern::Expression {
    boost::regex regex;
};

namespace {

constexpr std::size_t groups_max = 9;

/// The places of `\1` to `\9`, and what they say.
std::optional<std::size_t> group_at(std::string_view text, std::size_t at) {
    if (text[at] != '\\' || at + 1 >= text.size()) return {};
    const char digit = text[at + 1];
    if (digit < '1' || digit > '9') return {};
    return static_cast<std::size_t>(digit - '0');
}

}  // namespace

bool is_pattern(std::string_view name) {
    return name.starts_with('/') || name.find('*') != std::string_view::npos;
}

std::variant<ServicePattern, std::string> ServicePattern::parse(std::string_view text) {
    ServicePattern pattern;
    if (!text.starts_with('/')) {
        std::string part;
        for (const char c : text) {
            if (c == '*') {
                pattern.parts_.push_back(std::exchange(part, {}));
            } else {
                part += c;
            }
        }
        pattern.parts_.push_back(part);
        pattern.captures_ = pattern.parts_.size() - 1;
        if (pattern.captures_ > groups_max) return "at most 9 '*' are allowed";
        return pattern;
    }
    text.remove_prefix(1);
    if (text.ends_with('/')) text.remove_suffix(1);
    try {
        const Expression made{boost::regex(text.begin(), text.end(), boost::regex::perl)};
        pattern.captures_ = made.regex.mark_count();
        if (pattern.captures_ > groups_max) return "at most 9 groups are allowed";
        pattern.expression_ = std::make_shared<const Expression>(made);
    } catch (const std::runtime_error& error) {
        return std::string("is no regular expression: ") + error.what();
    }
    return pattern;
}

std::optional<ServicePattern::Captures> ServicePattern::match(std::string_view name) const {
    if (name.empty() || name.size() > matched_name_max) return {};
    if (expression_) {
        try {
            boost::match_results<std::string_view::const_iterator> found;
            if (!boost::regex_match(name.begin(), name.end(), found, expression_->regex)) return {};
            Captures captures;
            for (std::size_t i = 1; i < found.size(); ++i)
                captures.push_back(found[static_cast<int>(i)].str());
            return captures;
        } catch (const std::runtime_error&) {
            return {};  // it would take for ever
        }
    }
    if (!name.starts_with(parts_.front())) return {};
    Captures captures;
    std::size_t at = parts_.front().size();
    // The first `*` takes as little as it can, and the last one what is left.
    for (std::size_t i = 1; i < parts_.size(); ++i) {
        const bool last = i + 1 == parts_.size();
        std::size_t end = name.find(parts_[i], at + 1);
        if (last) {
            if (name.size() < at + 1 + parts_[i].size() || !name.ends_with(parts_[i])) return {};
            end = name.size() - parts_[i].size();
        }
        if (end == std::string_view::npos) return {};
        captures.emplace_back(name.substr(at, end - at));
        at = end + parts_[i].size();
    }
    return captures;
}

std::string ServicePattern::expand(std::string_view text, const Captures& captures) const {
    std::string expanded;
    std::size_t stars = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (expression_) {
            if (const auto group = group_at(text, i)) {
                if (*group <= captures.size()) expanded += captures[*group - 1];
                ++i;
                continue;
            }
        } else if (text[i] == '*') {
            // With one `*` in the name it may stand in a text more than once.
            const std::size_t which = std::min(stars++, captures.size() - 1);
            expanded += captures[which];
            continue;
        }
        expanded += text[i];
    }
    return expanded;
}

bool ServicePattern::mentions(std::string_view text) const {
    if (!expression_) return text.find('*') != std::string_view::npos;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (group_at(text, i)) return true;
    }
    return false;
}

std::string ServicePattern::check(std::string_view text) const {
    if (!expression_) {
        const auto stars = static_cast<std::size_t>(std::count(text.begin(), text.end(), '*'));
        if (captures_ > 1 && stars > captures_)
            return "has more '*' than the name (" + std::to_string(captures_) + ')';
        return {};
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto group = group_at(text, i);
        if (group && *group > captures_)
            return "names group \\" + std::to_string(*group) + ", but the expression has " +
                   std::to_string(captures_);
    }
    return {};
}

std::string ServicePattern::sample(std::string_view text) const {
    return expand(text, Captures(std::max<std::size_t>(captures_, 1), "x"));
}

}  // namespace schemux::config
