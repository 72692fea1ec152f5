// What a configuration file may say, and that all its errors come at once.
#include "config/load.h"

#include "config/option_table.h"
#include "config/reference.h"
#include "tests/config/load_support.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace schemux::config {
namespace {

Settings load_good(const std::string& text) {
    const LoadResult result = load_text(text);
    EXPECT_EQ(lines_of(result.errors), Lines{});
    EXPECT_EQ(lines_of(result.warnings), Lines{});
    return result.settings.value_or(Settings{});
}

TEST(Load, LeavesEveryKeyAtItsDefault) {
    const Settings settings = load_good(base);
    ASSERT_EQ(settings.listen.size(), 1U);
    EXPECT_EQ(settings.listen[0].address, "127.0.0.1");
    EXPECT_EQ(settings.listen[0].port, 6432);
    EXPECT_FALSE(settings.http.has_value());
    EXPECT_EQ(settings.backend.dsn, "host=db");
    EXPECT_EQ(settings.pool.max_connections, 20U);
    EXPECT_EQ(settings.limits.max_query_bytes, 1048576U);
    EXPECT_EQ(settings.drain_timeout, std::chrono::seconds(25));
    EXPECT_EQ(settings.isolation_audit, IsolationAudit::warn);
    ASSERT_EQ(settings.services.size(), 1U);
    EXPECT_EQ(settings.services[0].name, "app");
    EXPECT_EQ(settings.services[0].schema, "");
    EXPECT_FALSE(settings.services[0].search_path.has_value());
    EXPECT_TRUE(settings.services[0].templates.angles);
}

TEST(Load, SetsEveryKeyOfAServicesPool) {
    const Settings settings = load_good(R"(
backend: { dsn: x=y }
auth: { method: trust }
services:
  - name: one
    pool: { weight: 2, guarantee: 3, reserve: true, max: 4, queue: 5, acquire_timeout: 6s,
            mode: session, paused: true }
)");
    const ServicePool wanted{2, 3, true, 4, 5, std::chrono::seconds(6), ServiceMode::session, true};
    EXPECT_EQ(settings.services.back().pool, wanted);
}

void expect_every_key_of_services(const std::vector<Service>& services) {
    ASSERT_EQ(services.size(), 2U);
    const Service& one = services[0];
    EXPECT_EQ(one.schema, "First");
    EXPECT_EQ(one.users, (Lines{"alice", "bob"}));
    EXPECT_EQ(one.search_path, (Lines{"First", "public"}));
    EXPECT_EQ(one.allow_schemas, (Lines{"other"}));
    EXPECT_FALSE(one.templates.braces);
    EXPECT_FALSE(one.templates.angles);
    EXPECT_EQ(one.literals, LiteralScope::all);
    EXPECT_EQ(one.channels, ChannelScope::service);
    EXPECT_EQ(one.session_features.temp_table, FeaturePolicy::pin);
    EXPECT_EQ(one.session_features.listen, FeaturePolicy::reject);
    EXPECT_EQ(one.pin_budget, 3U);
    EXPECT_EQ(one.max_clients, 9U);
    EXPECT_EQ(services[1].search_path, Lines{});
}

TEST(Load, StatusPage) {
    Settings settings = load_good(base + "http:\n");
    EXPECT_TRUE(settings.http.value_or(Http{}).status_page);
    settings = load_good(base + "http: { status_page: false, host_names: [pool.example] }\n");
    ASSERT_TRUE(settings.http.has_value());
    EXPECT_FALSE(settings.http->status_page);
    EXPECT_EQ(settings.http->host_names, std::vector<std::string>{"pool.example"});
}

void expect_every_key_of_the_log(const Log& log) {
    EXPECT_EQ(log.format, LogFormat::json);
    EXPECT_EQ(log.level, LogLevel::debug);
    EXPECT_EQ(log.file, "/var/log/x");
}

TEST(Load, SetsEveryKey) {
    const Settings settings = load_good(R"(
listen:
  - { address: "::1", port: 7001 }
  - { unix_socket_dir: /run/x, port: 7002 }
http: { address: 127.0.0.2, port: 7003 }
backend: { dsn: "postgresql://u@h/d", password_file: /etc/pw, on_connect: "SELECT 1" }
pool: { max_connections: 7, min_connections: 2, mode: statement, acquire_timeout: 250ms,
        health_check_after: 4s, paused: true, max_backend_memory: 3MiB, service_affinity: false,
        connect_timeout: 2s, idle_timeout: 3m, lifetime: 2h,
        statements_per_backend: 9, statement_memory_per_backend: 1MiB, rotate_backends: true }
auth: { method: trust, users: [ { name: alice }, { name: bob, max_clients: 6 } ] }
services:
  - name: one
    schema: First
    users: [ alice, bob ]
    search_path: [ First, public ]
    allow_schemas: [ other ]
    templates: { braces: false, angles: false }
    literals: all
    channels: service
    session_features: { temp_table: pin, listen: reject }
    pin_budget: 3
    max_clients: 9
  - { name: two, search_path: [] }
workers: 64
log: { format: json, level: debug, file: /var/log/x }
limits: { max_query_bytes: 64KiB, memory: 1GiB, max_clients: 50, max_clients_per_user: 8,
          max_clients_per_address: 7, login_timeout: 1s }
drain_timeout: 0
)");
    ASSERT_EQ(settings.listen.size(), 2U);
    EXPECT_EQ(settings.listen[0].address, "::1");
    EXPECT_EQ(settings.listen[0].port, 7001);
    EXPECT_EQ(settings.listen[1].unix_socket_dir, "/run/x");
    ASSERT_TRUE(settings.http.has_value());
    EXPECT_EQ(settings.http->address, "127.0.0.2");
    EXPECT_EQ(settings.http->port, 7003);
    EXPECT_EQ(settings.backend.dsn, "postgresql://u@h/d");
    EXPECT_EQ(settings.backend.password_file, "/etc/pw");
    EXPECT_EQ(settings.backend.on_connect, "SELECT 1");
    EXPECT_EQ(settings.pool.mode, PoolMode::statement);
    EXPECT_EQ(settings.pool.health_check_after, std::chrono::seconds(4));
    EXPECT_TRUE(settings.pool.paused);
    EXPECT_EQ(settings.pool.max_backend_memory, 3145728U);
    EXPECT_FALSE(settings.pool.service_affinity);
    EXPECT_EQ(settings.pool.max_connections, 7U);
    EXPECT_EQ(settings.pool.min_connections, 2U);
    EXPECT_EQ(settings.pool.acquire_timeout, std::chrono::milliseconds(250));
    EXPECT_EQ(settings.pool.connect_timeout, std::chrono::seconds(2));
    EXPECT_EQ(settings.pool.idle_timeout, std::chrono::minutes(3));
    EXPECT_EQ(settings.pool.lifetime, std::chrono::hours(2));
    EXPECT_EQ(settings.pool.statements_per_backend, 9U);
    EXPECT_EQ(settings.pool.statement_memory_per_backend, 1048576U);
    EXPECT_TRUE(settings.pool.rotate_backends);
    ASSERT_EQ(settings.auth.users.size(), 2U);
    EXPECT_EQ(settings.auth.users[1].name, "bob");
    EXPECT_EQ(settings.auth.users[1].max_clients, 6U);
    expect_every_key_of_services(settings.services);
    EXPECT_EQ(settings.workers, 64U);
    expect_every_key_of_the_log(settings.log);
    EXPECT_EQ(settings.limits.max_query_bytes, 65536U);
    EXPECT_EQ(settings.limits.max_clients, 50U);
    EXPECT_EQ(settings.limits.memory, 1073741824U);
    EXPECT_EQ(settings.limits.max_clients_per_user, 8U);
    EXPECT_EQ(settings.limits.max_clients_per_address, 7U);
    EXPECT_EQ(settings.limits.login_timeout, std::chrono::seconds(1));
    EXPECT_EQ(settings.drain_timeout, std::chrono::seconds(0));
}

TEST(Load, TakesWhoMaySteer) {
    EXPECT_TRUE(load_good(base).admin.users.empty());
    const Settings settings =
        load_good(base + "admin: { users: [root], stats_users: [monitor, root], compat: 1.18 }\n");
    EXPECT_EQ(settings.admin.users, std::vector<std::string>{"root"});
    EXPECT_EQ(settings.admin.stats_users, (std::vector<std::string>{"monitor", "root"}));
    EXPECT_EQ(settings.admin.compat, ConsoleCompat::v1_18);
    EXPECT_EQ(load_good(base + "admin:\n").admin.compat, ConsoleCompat::v1_26);
}

TEST(Load, TakesEachIsolationAudit) {
    EXPECT_EQ(load_good(base + "isolation_audit: off\n").isolation_audit, IsolationAudit::off);
    EXPECT_EQ(load_good(base + "isolation_audit: warn\n").isolation_audit, IsolationAudit::warn);
    EXPECT_EQ(load_good(base + "isolation_audit: require\n").isolation_audit,
              IsolationAudit::require);
}

TEST(Load, AnHttpSectionWithoutKeysHasTheDefaults) {
    const Settings settings = load_good(base + "http:\n");
    ASSERT_TRUE(settings.http.has_value());
    EXPECT_EQ(settings.http->address, "127.0.0.1");
    EXPECT_EQ(settings.http->port, 9632);
}

TEST(Load, ASectionWhoseKeysAreAllCommentedOutIsEmpty) {
    EXPECT_EQ(load_good(base + "pool:\n  # max_connections: 3\n").pool.max_connections, 20U);
}

TEST(Load, OffYesAndNullInQuotesAreStrings) {
    const Settings settings = load_good(
        "backend: { dsn: host=db }\nauth: { method: trust }\n"
        "services: [ { name: off }, { name: yes }, { name: \"null\" }, { name: 010 } ]\n");
    ASSERT_EQ(settings.services.size(), 4U);
    EXPECT_EQ(settings.services[0].name, "off");
    EXPECT_EQ(settings.services[1].name, "yes");
    EXPECT_EQ(settings.services[2].name, "null");
    EXPECT_EQ(settings.services[3].name, "010");
}

TEST(Load, ExpandsVariablesOnceAndInEveryType) {
    const Settings settings = load_good(
        "backend: { dsn: \"host=${HOST} options='$${HOST} $HOME ${EMPTY}${NESTED}'\" }\n"
        "auth: { method: trust }\n"
        "services: [ { name: a, users: [ \"${HOST}\" ] } ]\n"
        "http: { port: \"${PORT}\" }\n");
    EXPECT_EQ(settings.backend.dsn, "host=db1 options='${HOST} $HOME ${HOST}'");
    EXPECT_EQ(settings.http.value_or(Http{}).port, 7000);
    EXPECT_EQ(settings.services.at(0).users, Lines{"db1"});
}

TEST(Load, RelativePathsAreRelativeToTheFile) {
    const std::string text =
        "backend: { dsn: host=db, password_file: ../secret/pw }\n"
        "auth: { method: trust }\nservices: [ { name: a } ]\n"
        "listen: [ { unix_socket_dir: ./run/ } ]\n";
    const LoadResult nested = load(text, "/etc/schemux/f.yaml", test_environment);
    ASSERT_TRUE(nested.settings.has_value());
    EXPECT_EQ(nested.settings->backend.password_file, "/etc/secret/pw");
    EXPECT_EQ(nested.settings->listen.at(0).unix_socket_dir, "/etc/schemux/run");
    const LoadResult bare = load(text, "f.yaml", test_environment);
    ASSERT_TRUE(bare.settings.has_value());
    EXPECT_EQ(bare.settings->listen.at(0).unix_socket_dir, "run");
}

TEST(Load, ReadsAFileWithByteOrderMarkAndWindowsLineEnds) {
    std::string text = "\xef\xbb\xbf" + base + "workers: 2\n";
    for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2)
        text.insert(at, "\r");
    EXPECT_EQ(load_good(text).workers, 2U);
}

TEST(Load, ReportsAllErrorsAtOnceInFileOrder) {
    const LoadResult result = load_text(R"(listen:
  - { address: localhost }
pool:
  max_connections: zero
  idle_timout: 3
services:
  - { name: a, schema: pg_x }
  - { name: a }
workers: 1
workers: 2
)");
    EXPECT_EQ(lines_of(result.errors),
              (Lines{"f.yaml:1:1: backend: required key is missing",
                     "f.yaml:1:1: auth: required key is missing",
                     "f.yaml:2:16: listen[0].address: 'localhost' is not a numeric IP address; "
                     "names are not resolved",
                     "f.yaml:4:20: pool.max_connections: expected a whole decimal number; found "
                     "'zero'",
                     "f.yaml:5:3: pool.idle_timout: unknown key; did you mean 'idle_timeout'?",
                     "f.yaml:7:24: services[0].schema: 'pg_x' belongs to PostgreSQL itself",
                     "f.yaml:8:13: services[1].name: service 'a' is already defined as services[0]",
                     "f.yaml:10:1: workers: duplicate key; it is already set at line 9"}));
}

TEST(Load, StopsAfterAHundredErrors) {
    std::string text = base;
    for (int i = 0; i < 500; ++i)
        text += "zzz" + std::to_string(i) + ": 1\n";
    const LoadResult result = load_text(text);
    ASSERT_EQ(result.errors.size(), max_diagnostics + 1);
    EXPECT_EQ(to_string(result.errors.back()),
              "f.yaml:103:1: file: more errors follow; only the first 100 are shown");
}

TEST(Load, WarnsOfAPasswordInTheDsnButNotOfAVariable) {
    const auto with_dsn = [](const std::string& dsn) {
        return lines_of(load_text("backend: { dsn: \"" + dsn +
                                  "\" }\nauth: { method: trust }\nservices: [ { name: a } ]\n")
                            .warnings);
    };
    const Lines expected{
        "f.yaml:1:17: backend.dsn: holds a password; use backend.password_file or ${NAME}"};
    EXPECT_EQ(with_dsn("host=db password=x"), expected);
    EXPECT_EQ(with_dsn("postgresql://u:x@db/app"), expected);
    EXPECT_EQ(with_dsn("host=db password=${SECRET}"), Lines{});
    EXPECT_EQ(with_dsn("postgresql://u@db:5432/app"), Lines{});
}

TEST(Load, WarningsHavePlacesAndDoNotRefuseTheFile) {
    const LoadResult result = load_text(base + "http: { address: 0.0.0.0 }\n");
    EXPECT_EQ(lines_of(result.warnings),
              Lines{"f.yaml:4:18: http.address: anybody who reaches 0.0.0.0 can read the metrics "
                    "and status page"});
    EXPECT_TRUE(result.settings.has_value());
}

TEST(Load, NeverRepeatsTheDsnInAnError) {
    const LoadResult result = load_text(
        "backend: { dsn: [ \"password=hunter2\" ] }\nauth: { method: trust }\n"
        "services: [ { name: a } ]\n");
    EXPECT_EQ(lines_of(result.errors), Lines{"f.yaml:1:17: backend.dsn: expected a single value"});
}

TEST(LoadFile, ReportsAFileThatIsNotThere) {
    const LoadResult result = load_file("/no/such/schemux.yaml", test_environment);
    EXPECT_EQ(lines_of(result.errors), Lines{"/no/such/schemux.yaml:1:1: file: cannot be read"});
}

TEST(LoadFile, ReportsAFolder) {
    const LoadResult result = load_file("/", test_environment);
    EXPECT_EQ(lines_of(result.errors), Lines{"/:1:1: file: cannot be read"});
}

TEST(LoadFile, TheExampleHasNeitherErrorsNorWarningsAndShowsEveryKey) {
    const auto example = std::filesystem::path(__FILE__).parent_path() / ".." / ".." / "deploy" /
                         "examples" / "schemux.yaml";
    const LoadResult result = load_file(example.string(), test_environment);
    EXPECT_EQ(lines_of(result.errors), Lines{});
    EXPECT_EQ(lines_of(result.warnings), Lines{});
    std::ifstream file(example);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    for (const Option& option : option_table()) {
        if (option.status == Status::reserved) continue;
        EXPECT_NE(text.find(std::string(last_key(option.path)) + ':'), std::string::npos)
            << option.path;
    }
}

TEST(LoadFile, TheDefaultFileLoadsToTheDefaults) {
    const Settings settings = load_good(default_config_yaml());
    EXPECT_EQ(settings.listen.at(0).address, "127.0.0.1");
    EXPECT_FALSE(settings.http.has_value());
    EXPECT_EQ(settings.services.at(0).name, "app");
    EXPECT_EQ(settings.services.at(0).schema, "");
}

TEST(LoadFile, TheDefaultFileLoadsWithWhatIsCommentedOut) {
    std::string text = default_config_yaml();
    const std::string variable = "${ALICE_PASSWORD}";  // which is not set here
    text.replace(text.find(variable), variable.size(), "x");
    // Only in front of a key: a comment has a blank behind its '#'.
    for (std::size_t at = 0; (at = text.find('#', at)) != std::string::npos; ++at) {
        const std::size_t key = text.find_first_not_of(" -", at + 1);
        const bool in_section = text[at + 1] == ' ' && text[at + 2] == ' ';
        if (key == at + 1 || in_section) text.erase(at, 1);
    }
    const LoadResult result = load_text(text);
    // What excludes each other, and trust; nothing else may be wrong.
    std::vector<std::string> paths;
    for (const Diagnostic& error : result.errors)
        paths.push_back(error.path);
    const std::vector<std::string> expected{
        "listen[0]",                 // address and unix_socket_dir
        "listen[0].proxies",         // of a unix socket
        "listen[0].proxies",         // beside trust
        "listen[0].tls",             // of a unix socket
        "backend.password_command",  // beside password_file
        "backends[0].password_command",
        "auth.rules[0].map",          // with a method that has no use for it
        "auth.hba_file",              // beside rules
        "auth.users[0]",              // three secrets
        "services[0].role_password",  // two of them
    };
    EXPECT_EQ(paths, expected) << text;
}

}  // namespace
}  // namespace schemux::config
