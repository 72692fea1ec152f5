// Several clusters by name: which is the default one, what may be said of each, and what services
// may ask for.
#include "config/describe.h"
#include "tests/config/load_support.h"

#include <gtest/gtest.h>

namespace schemux::config {
namespace {

const std::string rest = "auth: { method: trust }\n";

Settings loaded(const std::string& text) {
    LoadResult result = load_text(text);
    EXPECT_EQ(lines_of(result.errors), Lines{});
    return result.settings.value_or(Settings{});
}

TEST(Backends, StandBesideTheDefaultOne) {
    const Settings settings =
        loaded("backend: { dsn: host=one }\n" + rest +
               "backends:\n"
               "  - { name: reports, dsn: host=two, max_connections: 3, min_connections: 1 }\n"
               "services: [ { name: app }, { name: sums, backend: reports } ]\n");
    ASSERT_EQ(settings.backends.size(), 1U);
    EXPECT_EQ(settings.backend.dsn, "host=one");
    EXPECT_EQ(settings.backend.name, "");
    EXPECT_EQ(settings.backends[0].dsn, "host=two");
    EXPECT_EQ(find_backend(settings, ""), 0U);
    EXPECT_EQ(find_backend(settings, settings.services[1].backend), 1U);
    EXPECT_EQ(find_backend(settings, "report"), std::nullopt);
    EXPECT_EQ(connections_of(settings, settings.backend), 20U);
    EXPECT_EQ(connections_of(settings, settings.backends[0]), 3U);
    EXPECT_EQ(least_connections_of(settings, settings.backends[0]), 1U);
    Settings many = settings;
    many.pool.min_connections = 20;
    many.backends[0].min_connections = 0;
    EXPECT_EQ(least_connections_of(many, many.backends[0]), 3U) << "its bound";
}

TEST(Backends, TheFirstIsTheDefaultOneWhereThereIsNoOther) {
    const Settings settings =
        loaded(rest +
               "pool: { max_connections: 7, min_connections: 3 }\n"
               "backends: [ { name: main, dsn: host=one }, { name: reports, dsn: host=two } ]\n"
               "services: [ { name: app }, { name: own, backend: main } ]\n");
    EXPECT_EQ(settings.backend.name, "main");
    EXPECT_EQ(settings.backend.path, "backends[0]");
    ASSERT_EQ(settings.backends.size(), 1U);
    EXPECT_EQ(settings.backends[0].path, "backends[1]");
    EXPECT_EQ(find_backend(settings, "main"), 0U);
    EXPECT_EQ(connections_of(settings, settings.backend), 7U);
    EXPECT_EQ(least_connections_of(settings, settings.backend), 3U);
}

TEST(Backends, AreDescribed) {
    const std::string text = describe(
        loaded("backend: { dsn: host=one }\n" + rest +
               "backends: [ { name: reports, dsn: host=two password=x, max_connections: 3 } ]\n"
               "services: [ { name: sums, backend: reports } ]\n"));
    EXPECT_NE(text.find("reports: host=two; at most 3 connections (at least 0)"), std::string::npos)
        << text;
    EXPECT_NE(text.find("; on backend \"reports\""), std::string::npos) << text;
}

TEST(Backends, TheSameSchemaOrRoleOnTwoOfThemIsNotTheSame) {
    const std::string text = "backend: { dsn: host=one }\n" + rest +
                             "backends: [ { name: two, dsn: b } ]\n"
                             "services:\n"
                             "  - { name: a, schema: s, role: r }\n"
                             "  - { name: b, schema: s, role: r, backend: two }\n"
                             "  - { name: c, schema: s, database: other }\n";
    EXPECT_EQ(lines_of(load_text(text).warnings), Lines{});
    EXPECT_EQ(lines_of(load_text(text + "  - { name: d, schema: s, backend: two }\n").warnings),
              Lines{"f.yaml:8:24: services[3].schema: service 'b' has the same schema"});
}

struct Wrong {
    std::string text;
    Lines errors;
};

TEST(Backends, SayWhatIsWrongWithThem) {
    const std::string one = "backend: { dsn: host=one }\n" + rest;
    const std::vector<Wrong> all{
        {one + "services: [ { name: app, backend: reports } ]\n",
         {"f.yaml:3:35: services[0].backend: there is no backend 'reports'; backends lists them by "
          "name"}},
        {one + "backends: [ { name: reports, dsn: host=two } ]\n"
               "services: [ { name: app, backend: report } ]\n",
         {"f.yaml:4:35: services[0].backend: there is no backend 'report'; did you mean "
          "'reports'?"}},
        {one + "services: [ { name: app } ]\nbackends: [ { dsn: host=two } ]\n",
         {"f.yaml:4:13: backends[0].name: required key is missing"}},
        {one + "services: [ { name: app } ]\nbackends: [ { name: two } ]\n",
         {"f.yaml:4:13: backends[0].dsn: required key is missing"}},
        {one + "services: [ { name: app } ]\n"
               "backends: [ { name: two, dsn: a }, { name: two, dsn: b } ]\n",
         {"f.yaml:4:44: backends[1].name: backend 'two' is listed twice"}},
        {one + "services: [ { name: app } ]\nbackends: [ { name: t w, dsn: a } ]\n",
         {"f.yaml:4:21: backends[0].name: 't w' must be letters, digits, '_', '-' and '.'"}},
        {one + "services: [ { name: app } ]\n"
               "backends: [ { name: two, dsn: a, max_connections: 2, min_connections: 3 } ]\n",
         {"f.yaml:4:71: backends[0].min_connections: 3 is more than max_connections (2)"}},
        {one + "services: [ { name: app } ]\n"
               "backends: [ { name: two, dsn: a, require_auth: [ kerberos ] } ]\n",
         {"f.yaml:4:50: backends[0].require_auth[0]: 'kerberos' is no way to log in; known are "
          "none, password, md5, scram-sha-256"}},
        {one + "services: [ { name: app } ]\n"
               "backends: [ { name: two, dsn: a, password_command: [ ls ], password_file: x } ]\n",
         {"f.yaml:4:52: backends[0].password_command: excludes password_file",
          "f.yaml:4:54: backends[0].password_command[0]: must be the program's whole path"}},
    };
    for (const Wrong& wrong : all)
        EXPECT_EQ(lines_of(load_text(wrong.text).errors), wrong.errors) << wrong.text;
}

TEST(Backends, EachHasItsOwnBoundForGuarantees) {
    const std::string text = "backend: { dsn: host=one }\n" + rest +
                             "pool: { max_connections: 4 }\n"
                             "backends: [ { name: two, dsn: b, max_connections: 5 } ]\n"
                             "services:\n"
                             "  - { name: a, pool: { guarantee: 4 } }\n"
                             "  - { name: b, backend: two, pool: { guarantee: 3 } }\n"
                             "  - { name: c, backend: two, pool: { guarantee: ";
    EXPECT_EQ(lines_of(load_text(text + "2 } }\n").errors), Lines{});
    EXPECT_EQ(
        lines_of(load_text(text + "3 } }\n").errors),
        Lines{"f.yaml:8:49: services[2].pool.guarantee: the guarantees up to here are 6, more "
              "than backends[0].max_connections (5)"});
}

TEST(Backends, ChangesOfThemAreTold) {
    const std::string text = "backend: { dsn: host=one }\n" + rest +
                             "services: [ { name: app } ]\n"
                             "backends: [ { name: two, dsn: b, max_connections: ";
    const Settings before = loaded(text + "5 } ]\n");
    EXPECT_EQ(describe_changes(before, loaded(text + "6 } ]\n")),
              Lines{"backends[two].max_connections: 5 -> 6 (live)"});
    EXPECT_EQ(describe_changes(before, loaded(text + "5 }, { name: three, dsn: c } ]\n")),
              Lines{"backends[three]: added (restart)"});
}

}  // namespace
}  // namespace schemux::config
