// Rules that make no sense, by the place and the words that are said of them.
#include "config/login_rules.h"
#include "config/validate.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace schemux::config {
namespace {

using Lines = std::vector<std::string>;

Settings good_settings() {
    Settings settings;
    settings.backend.dsn = "host=db";
    settings.services.push_back({.name = "app", .schema = "app"});
    settings.auth.method = AuthMethod::reject;
    settings.auth.users.push_back({.name = "ann", .password = "x"});
    settings.auth.maps.push_back({"m", "a", "ann"});
    return settings;
}

Lines problems(Settings settings) {
    Lines lines;
    for (const Problem& problem : validate(settings))
        lines.push_back((problem.severity == Severity::warning ? "warning " : "") + problem.path +
                        ": " + problem.message);
    return lines;
}

Lines problems_of(const LoginRule& rule, const std::string& address = "127.0.0.1") {
    Settings settings = good_settings();
    settings.listen[0].address = address;
    settings.auth.rules.push_back(rule);
    return problems(settings);
}

LoginRule rule(RuleType type, AuthMethod method) {
    LoginRule made;
    made.type = type;
    made.method = method;
    return made;
}

TEST(LoginRuleCheck, TrustIsForWhoIsOnThisMachine) {
    const std::string words =
        "auth.rules[0].method: trust is allowed only for unix sockets and loopback addresses: type "
        "local, or addresses such as 127.0.0.1";
    LoginRule here = rule(RuleType::host, AuthMethod::trust);
    EXPECT_EQ(problems_of(here), Lines{}) << "nobody else can come";
    EXPECT_EQ(problems_of(here, "10.0.0.1"), Lines{words});
    EXPECT_EQ(problems_of(rule(RuleType::any, AuthMethod::trust), "0.0.0.0"), Lines{words});
    EXPECT_EQ(problems_of(rule(RuleType::local, AuthMethod::trust), "10.0.0.1"), Lines{});
    here.addresses = {"127.0.0.0/8", "::1"};
    EXPECT_EQ(problems_of(here, "10.0.0.1"), Lines{});
    here.addresses.emplace_back("10.0.0.0/8");
    EXPECT_EQ(problems_of(here, "10.0.0.1"), Lines{words});
}

TEST(LoginRuleCheck, MethodsNeedTheirWay) {
    EXPECT_EQ(problems_of(rule(RuleType::any, AuthMethod::peer)),
              Lines{"auth.rules[0].method: peer is for unix sockets: type local"});
    const Lines no_tls{"auth.rules[0].method: a certificate is there only with TLS: type hostssl"};
    EXPECT_EQ(problems_of(rule(RuleType::local, AuthMethod::cert)), no_tls);
    EXPECT_EQ(problems_of(rule(RuleType::hostnossl, AuthMethod::cert)), no_tls);
    EXPECT_EQ(problems_of(rule(RuleType::hostssl, AuthMethod::cert)), Lines{});
    LoginRule both = rule(RuleType::local, AuthMethod::scram_sha_256);
    both.client_certificate = ClientCertificate::verify_ca;
    EXPECT_EQ(problems_of(both), no_tls);
}

TEST(LoginRuleCheck, AddressesServicesAndMaps) {
    LoginRule one = rule(RuleType::local, AuthMethod::scram_sha_256);
    one.addresses = {"10.0.0.0/8"};
    EXPECT_EQ(problems_of(one), Lines{"auth.rules[0].addresses: a unix socket has no address"});
    one.type = RuleType::host;
    one.addresses = {"10.0.0.0/8", "db.example"};
    EXPECT_EQ(problems_of(one),
              Lines{"auth.rules[0].addresses: 'db.example' is no IP address or range such as "
                    "10.0.0.0/8; names are not resolved"});
    one.addresses = {};
    one.services = {"app", "ap"};
    EXPECT_EQ(problems_of(one), Lines{"auth.rules[0].services[1]: 'ap' is not in services"});
    one.services = {};
    one.map = "m";
    EXPECT_EQ(problems_of(one), Lines{"auth.rules[0].map: is of use only with cert, peer or a "
                                      "certificate for the user"});
    one.method = AuthMethod::cert;
    EXPECT_EQ(problems_of(one), Lines{});
    one.map = "n";
    EXPECT_EQ(problems_of(one), Lines{"auth.rules[0].map: 'n' is not in auth.maps"});
}

Lines changed(const std::function<void(Settings&)>& change) {
    Settings settings = good_settings();
    settings.auth.rules.push_back(rule(RuleType::any, AuthMethod::scram_sha_256));
    change(settings);
    return problems(settings);
}

TEST(LoginRuleCheck, TheRestOfTheSection) {
    EXPECT_EQ(changed([](Settings&) {}), Lines{});
    EXPECT_EQ(changed([](Settings& s) { s.auth.hba_file = "x"; }),
              Lines{"auth.hba_file: excludes auth.rules"});
    EXPECT_EQ(changed([](Settings& s) {
                  s.auth.maps = {{"m", "*.*", "*"}};
              }),
              Lines{"auth.maps[0].identity: one '*' is understood, no more"});
    EXPECT_EQ(changed([](Settings& s) {
                  s.auth.maps = {{"m", "a", "*"}};
              }),
              Lines{"auth.maps[0].user: '*' is what stands for it in identity, where there is "
                    "none"});
    EXPECT_EQ(changed([](Settings& s) { s.auth.query_dsn = "x"; }),
              Lines{"auth.query_dsn: is of use only with auth.query"});
    EXPECT_EQ(changed([](Settings& s) { s.auth.query = "SELECT 1"; }),
              Lines{"auth.query: the user's name is $1, which is not in it"});
    EXPECT_EQ(changed([](Settings& s) { s.auth.users.clear(); }),
              Lines{"auth.users: nobody could log in: auth.method needs users with a password"});
    const auto no_users = [](std::string Auth::*other) {
        return changed([other](Settings& s) {
            s.auth.users.clear();
            s.auth.*other = "$1";
        });
    };
    EXPECT_EQ(no_users(&Auth::users_file), Lines{});
    EXPECT_EQ(no_users(&Auth::query), Lines{});
    EXPECT_EQ(changed([](Settings& s) { s.auth.rules.clear(); }),
              (Lines{"listen[0]: nobody could log in: auth.method is reject and there are no rules",
                     "warning auth.users[0]: the password is never asked for: auth.method is "
                     "reject"}));
}

TEST(LoginRuleCheck, ProxiesAndTheBackendsPassword) {
    EXPECT_EQ(changed([](Settings& s) {
                  s.listen[0].proxies = {"10.0.0.7", "x"};
              }),
              Lines{"listen[0].proxies[1]: 'x' is no IP address or range such as 10.0.0.0/8"});
    EXPECT_EQ(changed([](Settings& s) {
                  s.listen[0].proxies = {"10.0.0.7"};
                  s.auth.rules[0].method = AuthMethod::trust;
              }),
              Lines{"auth.rules[0].method: trust is not for clients of a proxy"});
    EXPECT_EQ(changed([](Settings& s) { s.backend.password_command = {"token"}; }),
              Lines{"backend.password_command[0]: must be the program's whole path"});
    EXPECT_EQ(changed([](Settings& s) {
                  s.backend.password_command = {"/bin/token"};
                  s.backend.password_file = "x";
                  s.auth.query = "$1";
              }),
              (Lines{"backend.password_command: excludes password_file",
                     "auth.query_dsn: is needed beside backend.password_command"}));
    EXPECT_EQ(changed([](Settings& s) {
                  s.services[0].server_names = {"a.b", "A.b", "a.b"};
              }),
              (Lines{"services[0].server_names[1]: must be in lower case",
                     "services[0].server_names[2]: 'a.b' means another service already"}));
}

}  // namespace
}  // namespace schemux::config
