// What people read about a configuration: complete, in their words, and never a secret.
#include "config/describe.h"

#include "config/dsn.h"

#include <gtest/gtest.h>

#include <functional>

namespace schemux::config {
namespace {

using Lines = std::vector<std::string>;

Settings two_services() {
    Settings settings;
    settings.backend.dsn = "host=db dbname=app user=u password=hunter2";
    settings.services.push_back({.name = "users", .schema = "users", .users = {"alice"}});
    settings.services.push_back({.name = "orders", .schema = "orders"});
    return settings;
}

Lines changes(const std::function<void(Settings&)>& change) {
    Settings after = two_services();
    change(after);
    return describe_changes(two_services(), after);
}

TEST(DescribeChanges, IsEmptyWhenNothingChanged) {
    EXPECT_EQ(changes([](Settings&) {}), Lines{});
}

TEST(DescribeChanges, NamesTheKeyTheValuesAndWhatReloadDoes) {
    EXPECT_EQ(changes([](Settings& s) { s.pool.max_connections = 40; }),
              Lines{"pool.max_connections: 20 -> 40 (live)"});
    EXPECT_EQ(changes([](Settings& s) { s.workers = 4; }), Lines{"workers: 1 -> 4 (restart)"});
    EXPECT_EQ(changes([](Settings& s) { s.limits.max_query_bytes = 65536; }),
              Lines{"limits.max_query_bytes: 1MiB -> 64KiB (new-connections)"});
    EXPECT_EQ(changes([](Settings& s) { s.log.level = LogLevel::debug; }),
              Lines{"log.level: info -> debug (live)"});
    EXPECT_EQ(changes([](Settings& s) { s.isolation_audit = IsolationAudit::off; }),
              Lines{"isolation_audit: warn -> off (live)"});
    EXPECT_EQ(changes([](Settings& s) { s.backend.password_file = "/pw"; }),
              Lines{"backend.password_file: (none) -> /pw (new-connections)"});
}

TEST(DescribeChanges, NeverShowsTheDsn) {
    EXPECT_EQ(changes([](Settings& s) { s.backend.dsn = "host=db password=other"; }),
              Lines{"backend.dsn: changed (new-connections)"});
}

TEST(DescribeChanges, NamesServicesAndTheirKeys) {
    EXPECT_EQ(changes([](Settings& s) {
                  s.services[0].schema = "people";
                  s.services[1].search_path = Lines{"orders", "ext"};
                  s.services[1].templates.angles = false;
                  s.services[1].users = {"bob"};
              }),
              (Lines{"services[users].schema: users -> people (new-connections)",
                     "services[orders].users: (none) -> [bob] (new-connections)",
                     "services[orders].search_path: (none) -> [orders, ext] (new-connections)",
                     "services[orders].templates.angles: true -> false (new-connections)"}));
}

TEST(DescribeChanges, ServicesComeAndGoAsAWhole) {
    EXPECT_EQ(changes([](Settings& s) { s.services[0].name = "people"; }),
              (Lines{"services[users]: removed (live)", "services[people]: added (live)"}));
}

TEST(DescribeChanges, TheOrderOfServicesDoesNotMatter) {
    EXPECT_EQ(changes([](Settings& s) { std::swap(s.services[0], s.services[1]); }), Lines{});
}

TEST(DescribeChanges, ListenersUsersAndHttpComeAndGo) {
    EXPECT_EQ(
        changes([](Settings& s) {
            s.listen = {{"::1", "", 7000}, {"", "/run/x", 6432}};
            s.http.emplace();
            s.auth.users = {{"alice"}};
        }),
        (Lines{"listen[127.0.0.1:6432]: removed (restart)", "listen[[::1]:7000]: added (restart)",
               "listen[/run/x/.s.PGSQL.6432]: added (restart)", "http: added (restart)",
               "auth.users[alice]: added (new-connections)"}));
}

TEST(DescribeChanges, HttpValuesChange) {
    Settings before = two_services();
    before.http.emplace();
    Settings after = before;
    after.http->port = 1;
    EXPECT_EQ(describe_changes(before, after), Lines{"http.port: 9632 -> 1 (restart)"});
    after.http.reset();
    EXPECT_EQ(describe_changes(before, after), Lines{"http: removed (restart)"});
}

TEST(Describe, SaysWhatTheConfigurationMeans) {
    Settings settings = two_services();
    settings.listen.push_back({"", "/run/x", 6432});
    settings.http.emplace();
    settings.pool.lifetime = {};
    settings.services.push_back({.name = "legacy", .search_path = Lines{}});
    settings.services[1].templates.angles = false;
    settings.services[1].allow_schemas = {"users"};
    settings.services[1].literals = LiteralScope::relation;
    settings.services[1].channels = ChannelScope::service;
    settings.services[1].pool = {2, 3, true, 4, 5, std::chrono::seconds(6), ServiceMode::session};
    EXPECT_EQ(describe(settings),
              "listen    127.0.0.1:6432\n"
              "          /run/x/.s.PGSQL.6432\n"
              "http      127.0.0.1:9632\n"
              "backend   host=db dbname=app user=u\n"
              "pool      at most 20 backend connections (at least 0) for 3 services and 1 worker\n"
              "          transaction mode; acquire_timeout 10s, connect_timeout 5s, idle_timeout "
              "10m, lifetime never\n"
              "auth      trust; users: any name\n"
              "limits    10000 clients, queries up to 1MiB, login_timeout 10s\n"
              "drain     25s\n"
              "log       auto, level info\n"
              "services  3\n"
              "  users: schema \"users\"; isolation shared; users: alice\n"
              "  orders: schema \"orders\"; isolation shared; may name users; templates "
              "{{}} only; relation names in literals; channels of its own; session mode; weight 2; "
              "3 backends reserved; at most "
              "4 backends; at most 5 clients waiting; acquire_timeout 6s; users: all\n"
              "  legacy: no schema: {{tables.x}} becomes x; isolation shared; empty search_path; "
              "users: all\n");
}

struct DsnCase {
    std::string dsn;
    std::string shown;
    bool password = false;
};

TEST(Dsn, ShowsNothingThatCouldBeASecret) {
    const std::vector<DsnCase> cases{
        {"host=db port=5432 dbname=app user=u", "host=db port=5432 dbname=app user=u", false},
        {"host = db  password = 'a b' user=u", "host=db user=u", true},
        {"user='o\\'b' passfile=/x options=-c", "user=o'b", false},
        {"host=db password=a\\ host=b", "host=db", true},
        {"host=db password='x", "(not shown)", true},
        {"password", "(not shown)", true},
        {"hunter2", "(not shown)", false},
        {"dbname='postgresql://u:pw@h/d'", "dbname=(not shown)", false},
        {"", "", false},
        {"postgresql://db1:5432,db2:5433/app", "postgresql://db1:5432,db2:5433/app", false},
        {"postgres://u@db/app?sslmode=require", "postgres://u@db/app", false},
        {"postgres://u:hunter2@db/app", "postgres://u@db/app", true},
        {"postgres://u:hun/ter2@db/app", "(not shown)", true},
        {"postgres://u:hun?ter2@db/app", "(not shown)", true},
        {"postgres://u:hun@ter2@db/app", "(not shown)", true},
        {"postgres:///app?user=u&password=hunter2", "postgres:///app", true},
        {"postgres:///app?password=hunter@2", "(not shown)", true},
    };
    for (const DsnCase& c : cases) {
        EXPECT_EQ(show_dsn(c.dsn), c.shown) << c.dsn;
        EXPECT_EQ(holds_password(c.dsn), c.password) << c.dsn;
    }
}

}  // namespace
}  // namespace schemux::config
