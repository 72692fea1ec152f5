#include "core/login_rules.h"

#include <algorithm>

namespace schemux::core {

namespace {

bool same_bits(std::string_view a, std::string_view b, unsigned bits) {
    const unsigned whole = bits / 8;
    if (a.substr(0, whole) != b.substr(0, whole)) return false;
    const unsigned rest = bits % 8;
    if (rest == 0) return true;
    const auto differing = static_cast<unsigned>(static_cast<unsigned char>(a[whole]) ^
                                                 static_cast<unsigned char>(b[whole]));
    return differing >> (8 - rest) == 0;
}

bool came_so(LoginRule::Kind kind, const Newcomer& who) {
    switch (kind) {
        case LoginRule::Kind::any:
            return true;
        case LoginRule::Kind::local:
            return who.is_local;
        case LoginRule::Kind::host:
            return !who.is_local;
        case LoginRule::Kind::hostssl:
            return !who.is_local && who.is_encrypted;
        case LoginRule::Kind::hostnossl:
            return !who.is_local && !who.is_encrypted;
    }
    return false;
}

bool lists(const std::vector<std::string>& names, std::string_view name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

bool fits(const LoginRule& rule, const Newcomer& who) {
    if (!came_so(rule.kind, who)) return false;
    const auto holds = [&who](const AddressRange& range) { return range.contains(who.address); };
    if (!rule.addresses.empty() &&
        std::none_of(rule.addresses.begin(), rule.addresses.end(), holds))
        return false;
    if (rule.service_is_user && who.service == who.user) return lists(rule.users, who.user);
    if (rule.service_is_user && rule.services.empty()) return false;
    return lists(rule.services, who.service) && lists(rule.users, who.user);
}

/// What `*` stands for; nullopt: the pattern is for others.
std::optional<std::string_view> match(std::string_view pattern, std::string_view text) {
    const std::size_t star = pattern.find('*');
    if (star == std::string_view::npos)
        return pattern == text ? std::optional<std::string_view>("") : std::nullopt;
    const std::string_view before = pattern.substr(0, star);
    const std::string_view behind = pattern.substr(star + 1);
    if (text.size() < before.size() + behind.size()) return {};
    if (!text.starts_with(before) || !text.ends_with(behind)) return {};
    return text.substr(before.size(), text.size() - before.size() - behind.size());
}

}  // namespace

bool AddressRange::contains(std::string_view address) const {
    return address.size() == bytes.size() && same_bits(bytes, address, prefix);
}

bool AddressRange::is_loopback() const {
    constexpr unsigned v6_bits = 128;
    if (bytes.size() == 4) return bytes.front() == 127 && prefix >= 8;
    return prefix == v6_bits && bytes == std::string(15, '\0') + '\1';
}

const LoginRule* LoginRuleList::find(const Newcomer& who) const {
    const auto found = std::find_if(rules_.begin(), rules_.end(),
                                    [&who](const LoginRule& rule) { return fits(rule, who); });
    return found == rules_.end() ? nullptr : &*found;
}

bool LoginRuleList::maps(std::string_view map, std::string_view identity,
                         std::string_view user) const {
    if (map.empty()) return identity == user;
    return std::any_of(identities_.begin(), identities_.end(), [&](const IdentityRule& rule) {
        if (rule.map != map) return false;
        const auto middle = match(rule.identity, identity);
        if (!middle) return false;
        const std::size_t star = rule.user.find('*');
        if (star == std::string::npos) return rule.user == user;
        std::string named = rule.user;
        named.replace(star, 1, *middle);
        // An empty name is nobody's.
        return !middle->empty() && named == user;
    });
}

bool LoginRuleList::uses(ClientAuthentication method) const {
    return std::any_of(rules_.begin(), rules_.end(),
                       [method](const LoginRule& rule) { return rule.method == method; });
}

}  // namespace schemux::core
