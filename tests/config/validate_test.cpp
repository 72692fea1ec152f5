// Rules across keys, on plain settings without a file.
#include "config/validate.h"

#include <gtest/gtest.h>

#include <functional>
#include <ostream>

namespace schemux::config {
namespace {

using Lines = std::vector<std::string>;

Settings good_settings() {
    Settings settings;
    settings.backend.dsn = "host=db";
    settings.services.push_back({.name = "app", .schema = "app"});
    return settings;
}

Lines problems_of(const Settings& settings) {
    Lines lines;
    for (const Problem& problem : validate(settings))
        lines.push_back((problem.severity == Severity::warning ? "warning " : "") + problem.path +
                        ": " + problem.message);
    return lines;
}

struct Rule {
    std::string name;
    std::function<void(Settings&)> change;
    Lines problems;
};

std::ostream& operator<<(std::ostream& out, const Rule& rule) {
    return out << rule.name;
}

std::string name_of_rule(const testing::TestParamInfo<Rule>& info) {
    return info.param.name;
}

class Rules : public testing::TestWithParam<Rule> {};

TEST_P(Rules, FindExactlyTheseProblems) {
    Settings settings = good_settings();
    GetParam().change(settings);
    EXPECT_EQ(problems_of(settings), GetParam().problems);
}

std::function<void(Settings&)> listen_on(std::vector<Listener> listeners) {
    return [listeners = std::move(listeners)](Settings& s) { s.listen = listeners; };
}

std::function<void(Settings&)> service(Service value) {
    return [value = std::move(value)](Settings& s) { s.services = {value}; };
}

/// The method with these users.
std::function<void(Settings&)> scram_users(std::vector<User> users) {
    return [users = std::move(users)](Settings& s) {
        s.auth.method = AuthMethod::scram_sha_256;
        s.auth.users = users;
    };
}

constexpr const char* needs_secret =
    "auth.users[0]: needs password, password_file or scram_verifier: auth.method is scram-sha-256";

std::string trust_refused(const std::string& address) {
    return "listen[0].address: auth.method trust is allowed only on loopback addresses and unix "
           "sockets, not on " +
           address;
}

std::string bad_name(const std::string& path, const std::string& name) {
    return path + ": '" + name + "' must be letters, digits and '_', not starting with a digit";
}

const std::vector<Rule> listener_rules{
    {"NothingIsWrong", [](Settings&) {}, {}},
    {"AnyLoopbackAddress", listen_on({{"127.255.0.3", "", 1}, {"::1", "", 2}}), {}},
    {"ScramWithOneSecretEach",
     scram_users({{.name = "a", .password = "x"},
                  {.name = "b", .password_file = "/x"},
                  {.name = "c", .scram_verifier = "x"}}),
     {}},
    {"ScramOnTheNetwork",
     [](Settings& s) {
         scram_users({{.name = "a", .password = "x"}})(s);
         s.listen = {{"10.0.0.1", "", 1}};
     },
     {}},
    {"ScramWithoutUsers",
     scram_users({}),
     {"auth.users: nobody could log in: auth.method needs users with a password"}},
    {"ScramUserWithoutSecret", scram_users({{.name = "a"}}), {needs_secret}},
    {"TwoSecretsForOneUser",
     scram_users({{.name = "a", .password = "x", .scram_verifier = "y"}}),
     {"auth.users[0]: password, password_file and scram_verifier exclude each other"}},
    {"SecretUnderTrust",
     [](Settings& s) { s.auth.users = {{.name = "a", .password = "x"}}; },
     {"warning auth.users[0]: the password is never asked for: auth.method is trust"}},
    {"ShortestStall",
     [](Settings& s) { s.pool.client_stall_timeout = std::chrono::seconds(1); },
     {}},
    {"StallThatAnyClientHas",
     [](Settings& s) { s.pool.client_stall_timeout = std::chrono::milliseconds(999); },
     {"pool.client_stall_timeout: must be 0 or at least 1s"}},
    {"WaysToLogIn",
     [](Settings& s) {
         s.backend.require_auth = {"none", "password", "md5", "scram-sha-256"};
     },
     {}},
    {"UnknownWayToLogIn",
     [](Settings& s) {
         s.backend.require_auth = {"md5", "gss"};
     },
     {"backend.require_auth[1]: 'gss' is no way to log in; known are none, password, md5, "
      "scram-sha-256"}},
    {"TrustOnTheNetwork", listen_on({{"10.0.0.1", "", 1}}), {trust_refused("10.0.0.1")}},
    {"TrustOnEveryV6Address", listen_on({{"::", "", 1}}), {trust_refused("::")}},
    {"TrustOnMappedLoopback",
     listen_on({{"::ffff:127.0.0.1", "", 1}}),
     {trust_refused("::ffff:127.0.0.1")}},
    {"TrustOn128", listen_on({{"128.0.0.1", "", 1}}), {trust_refused("128.0.0.1")}},
    {"TrustOnAUnixSocket", listen_on({{"", "/run/x", 1}}), {}},
    {"HostName",
     listen_on({{"localhost", "", 1}}),
     {"listen[0].address: 'localhost' is not a numeric IP address; names are not resolved"}},
    {"Brackets",
     listen_on({{"[::1]", "", 1}}),
     {"listen[0].address: '[::1]' is not a numeric IP address; names are not resolved"}},
    {"BothKinds",
     listen_on({{"127.0.0.1", "/run/x", 1}}),
     {"listen[0]: address and unix_socket_dir exclude each other; make two entries"}},
    {"NeitherKind", listen_on({{"", "", 1}}), {"listen[0]: needs address or unix_socket_dir"}},
    {"PortZero",
     listen_on({{"127.0.0.1", "", 0}}),
     {"listen[0].port: must be in the range 1..65535"}},
    {"SameEndpoint",
     listen_on({{"127.0.0.1", "", 1}, {"127.0.0.1", "", 1}}),
     {"listen[1]: the same address and port as listen[0]"}},
    {"SameEndpointSpelledDifferently",
     listen_on({{"::1", "", 1}, {"0:0::1", "", 1}}),
     {"listen[1]: the same address and port as listen[0]"}},
    {"SameUnixSocket",
     listen_on({{"", "/run/x", 1}, {"", "/run/x", 2}, {"", "/run/x", 1}}),
     {"listen[2]: the same socket as listen[0]"}},
    {"UnixPathThatJustFits", listen_on({{"", '/' + std::string(95, 'x'), 1}}), {}},
    {"UnixPathTooLong",
     listen_on({{"", '/' + std::string(96, 'x'), 1}}),
     {"listen[0].unix_socket_dir: the socket path has 108 bytes; at most 107 fit"}},
    {"NoListener", listen_on({}), {"listen: at least one listener is needed"}},
    {"HttpOnTheListenersPort",
     [](Settings& s) {
         s.http = Http{"127.0.0.1", 6432};
     },
     {"http: the same address and port as listen[0]"}},
    {"HttpOverlapsTheListener",
     [](Settings& s) {
         s.http = Http{"0.0.0.0", 6432};
     },
     {"http: overlaps listen[0]",
      "warning http.address: anybody who reaches 0.0.0.0 can read the metrics and status page"}},
    {"HttpHostName",
     [](Settings& s) {
         s.http = Http{"metrics", 1};
     },
     {"http.address: 'metrics' is not a numeric IP address; names are not resolved"}},
    {"HostNames",
     [](Settings& s) {
         s.http.emplace();
         s.http->host_names = {"pool.example", "localhost:9632", ""};
     },
     {"http.host_names[1]: 'localhost:9632' is no host name; it stands without a port",
      "http.host_names[2]: '' is no host name; it stands without a port"}},
};
INSTANTIATE_TEST_SUITE_P(Listeners, Rules, testing::ValuesIn(listener_rules), name_of_rule);

const std::vector<Rule> service_rules{
    {"NoService",
     [](Settings& s) { s.services.clear(); },
     {"services: at least one service is needed"}},
    {"TwiceTheSameName",
     [](Settings& s) { s.services.push_back({.name = "app", .schema = "other"}); },
     {"services[1].name: service 'app' is already defined as services[0]"}},
    {"NamesDifferingInCase",
     [](Settings& s) { s.services.push_back({.name = "App", .schema = "other"}); },
     {}},
    {"TwiceTheSameSchema",
     [](Settings& s) { s.services.push_back({.name = "b", .schema = "app"}); },
     {"warning services[1].schema: service 'app' has the same schema"}},
    {"Longest", service({.name = std::string(63, 'n'), .schema = std::string(63, 's')}), {}},
    {"TooLong",
     service({.name = std::string(64, 'n'), .schema = std::string(64, 's')}),
     {"services[0].name: the name has 64 bytes; at most 63 are allowed",
      "services[0].schema: the name has 64 bytes; at most 63 are allowed"}},
    {"AdminConsole",
     service({.name = "schemux"}),
     {"services[0].name: 'schemux' is the name of the admin console"}},
    {"AdminConsoleOfPgBouncer",
     service({.name = "pgbouncer"}),
     {"services[0].name: 'pgbouncer' is the name of the admin console"}},
    {"NamePattern", service({.name = "tenant_*", .schema = "tenant_*"}), {}},
    {"NamePatternOfOneSchema",
     service({.name = "tenant_*", .schema = "all"}),
     {"warning services[0].name: all services that it matches have the same schema, database and "
      "role"}},
    {"PatternOfAnyRole",
     service({.name = "t_*", .schema = "*", .role = "*"}),
     {"warning services[0].role: clients can name any role, a superuser too: let the name begin "
      "with something"}},
    {"NamePatternWithAGuarantee",
     service({.name = "t*", .schema = "t*", .server_names = {"x"}, .pool = {.guarantee = 1}}),
     {"services[0].pool.guarantee: cannot be given to each of any number of services",
      "services[0].server_names[0]: needs one '*', which is what the pattern's stands for"}},
    {"StarInANameOfOneService",
     service({.name = "one", .schema = "a", .server_names = {"*.x"}}),
     {"services[0].server_names[0]: a '*' is for services of a pattern"}},
    {"ServerNameOfAnExpression",
     service({.name = "/t_(.*)", .schema = "\\1", .server_names = {"*.x"}}),
     {"services[0].server_names[0]: are for services and for patterns with one '*'"}},
    {"NoRegularExpression",
     service({.name = "/(", .schema = "a"}),
     {"services[0].name: is no regular expression: Unmatched marking parenthesis ( or \\(.  The "
      "error occurred while parsing the regular expression: '(>>>HERE>>>'."}},
    {"NoSuchGroup",
     service({.name = "/(a)", .schema = "\\2"}),
     {"services[0].schema: names group \\2, but the expression has 1",
      "services[0].schema: '' must be letters, digits and '_', not starting with a digit"}},
    {"StarInASchema",
     service({.name = "a", .schema = "a*"}),
     {bad_name("services[0].schema", "a*")}},
    {"StrictWithoutARole",
     service({.name = "a", .isolation = Isolation::strict}),
     {"services[0].isolation: guarded and strict need a role"}},
    {"SharedWithARole",
     service({.name = "a", .role = "r", .isolation = Isolation::shared}),
     {"services[0].role: is for isolation guarded or strict, not shared"}},
    {"GuardedWithAPassword",
     service({.name = "a", .role = "r", .role_password = "x", .isolation = Isolation::guarded}),
     {"services[0].role_password: isolation guarded does not log in as the role"}},
    {"PasswordWithoutARole",
     service({.name = "a", .role_password = "x"}),
     {"services[0].role_password: there is no role"}},
    {"RoleOfTheClient", service({.name = "a", .schema = "a", .role = "client"}), {}},
    {"RoleOfTheClientIsNobodyElses",
     [](Settings& s) {
         s.services = {{.name = "a", .role = "client"}, {.name = "t_*", .role = "client"}};
     },
     {}},
    {"RoleOfTheClientShared",
     service({.name = "a", .role = "client", .isolation = Isolation::shared}),
     {"services[0].role: is for isolation guarded or strict, not shared"}},
    {"RoleOfTheClientGuarded",
     service({.name = "a", .role = "client", .isolation = Isolation::guarded}),
     {}},
    {"RoleOfTheClientWithAPassword",
     service({.name = "a", .role = "client", .role_password = "x"}),
     {"services[0].role_password: with role client the clients' own secrets are used"}},
    {"RoleOfTheClientWithAPasswordFile",
     service({.name = "a", .role = "client", .role_password_file = "x"}),
     {"services[0].role_password_file: with role client the clients' own secrets are used"}},
    {"RoleOfTheClientWithAGuarantee",
     service({.name = "a", .role = "client", .pool = {.guarantee = 1, .reserve = true}}),
     {"services[0].pool.guarantee: cannot be given to each of any number of users",
      "services[0].pool.reserve: cannot be given to each of any number of users"}},
    {"RoleOfPostgres",
     service({.name = "a", .role = "pg_monitor"}),
     {"services[0].role: 'pg_monitor' belongs to PostgreSQL itself"}},
    {"TwoServicesOfOneRole",
     [](Settings& s) {
         s.services = {{.name = "a", .role = "r"}, {.name = "b", .role = "r"}};
     },
     {"warning services[1].role: service 'a' has the same role: nothing keeps the two apart"}},
    {"MoreStrictServicesThanSlots",
     [](Settings& s) {
         s.pool.max_connections = 5;
         s.services = {{.name = "a", .role = "r"}, {.name = "b", .role = "q"}};
     },
     {"warning services: 2 services have a login of their own, more than a third of "
      "pool.max_connections (5): backends will often be closed for another one's sake"}},
    {"SettingsThatAreNotForServices",
     service({.name = "a", .settings = {{"search_path", "x"}, {"Role", "y"}, {"role", "z"}}}),
     {"services[0].settings.Role: must be letters in lower case, digits, '_' and '.'",
      "services[0].settings.role: is what the key role is for",
      "services[0].settings.search_path: is a key of its own: search_path"}},
    {"SharedListenerOfAnotherDatabase",
     service(
         {.name = "a", .database = "other", .session_features = {.listen = FeaturePolicy::share}}),
     {"services[0].session_features.listen: share listens in the dsn's database, and not in this "
      "one"}},
    {"ControlCharacterInTheName",
     service({.name = "a\nb"}),
     {"services[0].name: the name has a control character"}},
    {"SchemaStartsWithADigit",
     service({.name = "a", .schema = "1a"}),
     {bad_name("services[0].schema", "1a")}},
    {"SchemaWithAQuote",
     service({.name = "a", .schema = "a\"b"}),
     {bad_name("services[0].schema", "a\"b")}},
    {"SchemaNotAscii",
     service({.name = "a", .schema = "\xc3\xa9"}),
     {bad_name("services[0].schema", "\xc3\xa9")}},
    {"SchemaWithAHyphen",
     service({.name = "a", .schema = "a-b"}),
     {bad_name("services[0].schema", "a-b")}},
    {"SystemSchema",
     service({.name = "a", .schema = "pg_catalog"}),
     {"services[0].schema: 'pg_catalog' belongs to PostgreSQL itself"}},
    {"InformationSchema",
     service({.name = "a", .schema = "information_schema"}),
     {"services[0].schema: 'information_schema' belongs to PostgreSQL itself"}},
    {"AllowedSystemSchema",
     service({.name = "a", .allow_schemas = {"ok", "pg_toast", "ok"}}),
     {"services[0].allow_schemas[1]: 'pg_toast' belongs to PostgreSQL itself",
      "services[0].allow_schemas[2]: 'ok' is listed twice"}},
    {"SearchPathMayNameSystemSchemas",
     service({.name = "a", .search_path = Lines{"app", "pg_catalog"}}),
     {}},
    {"SearchPathIsNames",
     service({.name = "a", .search_path = Lines{"app, public", "$user"}}),
     {bad_name("services[0].search_path[0]", "app, public"),
      bad_name("services[0].search_path[1]", "$user")}},
    {"UsersAreFreeWithoutAList", service({.name = "a", .users = {"anybody"}}), {}},
    {"UserTwice",
     service({.name = "a", .users = {"x", "x"}}),
     {"services[0].users[1]: 'x' is listed twice"}},
    {"UserNotInTheList",
     [](Settings& s) {
         s.auth.users = {{"alice"}};
         s.services[0].users = {"alice", "Alice"};
     },
     {"services[0].users[1]: user 'Alice' is not in auth.users"}},
    {"UserDefinedTwice",
     [](Settings& s) {
         s.auth.users = {{"bob"}, {"bob"}};
     },
     {"auth.users[1].name: user 'bob' is listed twice"}},
    {"UserPattern",
     [](Settings& s) { s.auth.users = {{"*"}}; },
     {"auth.users[0].name: patterns with '*' are for services only"}},
};
INSTANTIATE_TEST_SUITE_P(Services, Rules, testing::ValuesIn(service_rules), name_of_rule);

const std::vector<Rule> pool_rules{
    {"MinEqualsMax", [](Settings& s) { s.pool.min_connections = s.pool.max_connections; }, {}},
    {"MinAboveMax",
     [](Settings& s) { s.pool.min_connections = 21; },
     {"pool.min_connections: 21 is more than pool.max_connections (20)"}},
    {"IdleTimeoutWithoutEffect",
     [](Settings& s) { s.pool.lifetime = std::chrono::minutes(10); },
     {"warning pool.idle_timeout: has no effect: pool.lifetime (10m) is not longer"}},
    {"NoLifetime", [](Settings& s) { s.pool.lifetime = {}; }, {}},
    {"FewerClientsThanBackends",
     [](Settings& s) { s.limits.max_clients = 5; },
     {"warning limits.max_clients: 5 is less than pool.max_connections (20); the rest cannot be "
      "used"}},
    {"MemoryForTheProcessAlone",
     [](Settings& s) { s.limits.memory = 1 << 20; },
     {"warning limits.memory: 1MiB is less than 64MiB; the process itself may leave no room for "
      "clients"}},
    {"MemoryForClientsToo", [](Settings& s) { s.limits.memory = 64 << 20; }, {}},
    {"GuaranteeAboveTheServicesMaximum",
     service({.name = "a", .pool = {.guarantee = 3, .max = 2}}),
     {"services[0].pool.guarantee: 3 is more than max (2)"}},
    {"ReserveOfNothing",
     service({.name = "a", .pool = {.reserve = true}}),
     {"warning services[0].pool.reserve: has no effect without a guarantee"}},
    {"GuaranteesAboveThePool",
     [](Settings& s) {
         s.services = {{.name = "a", .pool = {.guarantee = 20}},
                       {.name = "b", .pool = {.guarantee = 1}},
                       {.name = "c", .pool = {.guarantee = 1}}};
     },
     {"services[1].pool.guarantee: the guarantees up to here are 21, more than "
      "pool.max_connections (20)"}},
};
INSTANTIATE_TEST_SUITE_P(Pool, Rules, testing::ValuesIn(pool_rules), name_of_rule);

}  // namespace
}  // namespace schemux::config
