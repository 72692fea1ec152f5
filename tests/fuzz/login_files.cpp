// What is read of a login's surroundings: pg_hba.conf, userlist.txt, and the header of a proxy.
// Input: a byte that says which, then its text.
#include "config/address.h"
#include "config/hba_file.h"
#include "config/login_rules.h"
#include "config/users_file.h"
#include "core/login_rules.h"
#include "protocol/proxy_header.h"
#include "tests/fuzz/input.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::fuzz {
namespace {

std::size_t lines_of(std::string_view text) {
    return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
}

void check_errors(const std::vector<config::LineError>& errors, std::string_view text) {
    for (const config::LineError& error : errors) {
        demand(error.line >= 1 && error.line <= lines_of(text), "the line is one of the file");
        demand(!error.message.empty(), "an error says something");
    }
}

core::LoginRule without_method(const config::LoginRule& from) {
    core::LoginRule rule;
    rule.kind = static_cast<core::LoginRule::Kind>(from.type);
    for (const std::string& text : from.addresses) {
        const auto range = config::parse_ip_range(text);
        demand(range.has_value(), "an address that was taken is one");
        demand(range->prefix <= range->address.bytes.size() * 8, "a prefix is within it");
        rule.addresses.push_back({range->address.bytes, range->prefix});
    }
    rule.services = from.services;
    rule.service_is_user = from.service_is_user;
    rule.users = from.users;
    return rule;
}

/// Whoever comes, the first rule that fits alone is the one that is found.
void check_rules(const std::vector<core::LoginRule>& rules) {
    const core::LoginRuleList list(rules, {});
    for (const std::string_view address : {std::string_view(), std::string_view("\x7f\0\0\1", 4),
                                           std::string_view("\x0a\1\2\3", 4)}) {
        core::Newcomer who;
        who.is_local = address.empty();
        who.address = address;
        who.service = "users";
        who.user = "users";
        const auto first = std::find_if(rules.begin(), rules.end(), [&](const auto& rule) {
            return core::LoginRuleList({rule}, {}).find(who) != nullptr;
        });
        const core::LoginRule* found = list.find(who);
        demand((found == nullptr) == (first == rules.end()), "somebody fits or nobody");
        demand(found == nullptr || *found == *first, "the first that fits decides");
    }
}

void check_hba(std::string_view text) {
    const config::HbaFile file = config::read_hba_file(text);
    check_errors(file.errors, text);
    demand(file.rules.size() <= config::hba_rules_max + 1, "rules are bounded");
    config::Settings settings;
    std::vector<core::LoginRule> rules;
    unsigned last = 0;
    for (const config::LoginRule& rule : file.rules) {
        demand(rule.line > last && rule.line <= lines_of(text), "rules are in the file's order");
        last = rule.line;
        demand(rule.type != config::RuleType::any, "every line has a type");
        demand(rule.type != config::RuleType::local || rule.addresses.empty(),
               "a unix socket has no address");
        config::check_login_rule(rule, settings);
        rules.push_back(without_method(rule));
    }
    check_rules(rules);
}

void check_users(std::string_view text) {
    const config::UsersFile file = config::read_users_file(text);
    check_errors(file.errors, text);
    std::set<std::string_view> names;
    for (const config::ListedUser& user : file.users) {
        demand(!user.name.empty() && names.insert(user.name).second, "a user is there once");
        demand(user.line >= 1 && user.line <= lines_of(text), "the line is one of the file");
    }
}

void check_header(std::string_view bytes) {
    using namespace protocol;
    const auto whole = read_proxy_header(bytes);
    const auto* header = std::get_if<ProxyHeader>(&whole);
    if (header != nullptr) {
        demand(header->bytes >= 16 && header->bytes <= std::min(bytes.size(), proxy_header_max),
               "a header is within what came, and bounded");
        demand(
            header->address.empty() || header->address.size() == 4 || header->address.size() == 16,
            "an address is one");
    }
    demand(!std::holds_alternative<ProxyHeaderIncomplete>(whole) || bytes.size() < proxy_header_max,
           "what is held is bounded");
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        const auto part = read_proxy_header(bytes.substr(0, size));
        const auto* early = std::get_if<ProxyHeader>(&part);
        if (early != nullptr) {
            demand(header != nullptr && header->bytes == early->bytes &&
                       header->address == early->address,
                   "more bytes change nothing");
        }
        demand(!std::holds_alternative<ProxyHeaderFault>(part) ||
                   std::holds_alternative<ProxyHeaderFault>(whole),
               "a fault stays one");
    }
}

void check(Input input) {
    const std::uint8_t which = input.u8();
    const Copy text(std::string(input.rest()));
    switch (which % 3) {
        case 0:
            return check_hba(text.view());
        case 1:
            return check_users(text.view());
        default:
            return check_header(text.view());
    }
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
