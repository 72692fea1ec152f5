#include "daemon/login_wiring.h"

#include "config/address.h"

#include <utility>
#include <vector>

namespace schemux::daemon {

namespace {

core::LoginRule::Kind rule_kind(config::RuleType type) {
    switch (type) {
        case config::RuleType::any:
            return core::LoginRule::Kind::any;
        case config::RuleType::local:
            return core::LoginRule::Kind::local;
        case config::RuleType::host:
            return core::LoginRule::Kind::host;
        case config::RuleType::hostssl:
            return core::LoginRule::Kind::hostssl;
        case config::RuleType::hostnossl:
            return core::LoginRule::Kind::hostnossl;
    }
    return core::LoginRule::Kind::any;
}

core::CertificateNeed certificate_need(config::ClientCertificate certificate) {
    switch (certificate) {
        case config::ClientCertificate::any:
            return core::CertificateNeed::none;
        case config::ClientCertificate::verify_ca:
            return core::CertificateNeed::verified;
        case config::ClientCertificate::verify_full:
            return core::CertificateNeed::of_user;
    }
    return core::CertificateNeed::of_user;
}

core::LoginRule make_rule(const config::LoginRule& from) {
    core::LoginRule rule;
    rule.kind = rule_kind(from.type);
    rule.addresses = make_ranges(from.addresses);
    rule.services = from.services;
    rule.service_is_user = from.service_is_user;
    rule.users = from.users;
    rule.method = client_authentication(from.method);
    rule.certificate = certificate_need(from.client_certificate);
    rule.map = from.map;
    return rule;
}

}  // namespace

core::ClientAuthentication client_authentication(config::AuthMethod method) {
    switch (method) {
        case config::AuthMethod::trust:
            return core::ClientAuthentication::trust;
        case config::AuthMethod::scram_sha_256:
            return core::ClientAuthentication::scram_sha_256;
        case config::AuthMethod::password:
            return core::ClientAuthentication::password;
        case config::AuthMethod::cert:
            return core::ClientAuthentication::certificate;
        case config::AuthMethod::peer:
            return core::ClientAuthentication::peer;
        case config::AuthMethod::md5:
            return core::ClientAuthentication::md5;
        case config::AuthMethod::reject:
            return core::ClientAuthentication::reject;
    }
    return core::ClientAuthentication::reject;
}

std::vector<core::AddressRange> make_ranges(const std::vector<std::string>& texts) {
    std::vector<core::AddressRange> ranges;
    for (const std::string& text : texts) {
        if (auto range = config::parse_ip_range(text))
            ranges.push_back({std::move(range->address.bytes), range->prefix});
    }
    return ranges;
}

std::shared_ptr<const core::LoginRuleList> make_login_rules(const config::Auth& auth) {
    if (auth.rules.empty()) return nullptr;
    std::vector<core::LoginRule> rules;
    for (const config::LoginRule& rule : auth.rules)
        rules.push_back(make_rule(rule));
    std::vector<core::IdentityRule> identities;
    for (const config::IdentityMap& map : auth.maps)
        identities.push_back({map.name, map.identity, map.user});
    return std::make_shared<const core::LoginRuleList>(std::move(rules), std::move(identities));
}

ControlOptions make_control_options(const config::Backend& backend, std::string name) {
    ControlOptions options;
    options.dsn = backend.dsn;
    options.source = {backend.password_command, backend.password_file};
    options.name = std::move(name);
    return options;
}

std::shared_ptr<UserLookup> make_user_lookup(const config::Settings& settings) {
    const config::Auth& auth = settings.auth;
    if (auth.query.empty()) return nullptr;
    LookupOptions options;
    options.access = make_control_options(settings.backend, "schemux auth_query");
    if (!auth.query_dsn.empty()) {
        options.access.dsn = auth.query_dsn;
        options.access.source = {};
    }
    options.query = auth.query;
    options.keep = auth.query_cache;
    return std::make_shared<UserLookup>(std::move(options));
}

}  // namespace schemux::daemon
