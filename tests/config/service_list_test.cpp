// Further services: those of a file, and those of a query's rows.

#include "config/service_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace schemux::config {
namespace {

using Lines = std::vector<std::string>;
using Row = std::vector<std::optional<std::string>>;

Settings with_users() {
    Settings settings;
    settings.services.push_back({.name = "users", .schema = "users"});
    settings.services_query.sql = "select";
    settings.pool.max_connections = 20;
    return settings;
}

Lines lines_of(const std::vector<Diagnostic>& diagnostics) {
    Lines lines;
    for (const Diagnostic& one : diagnostics)
        lines.push_back(to_string(one));
    return lines;
}

Environment no_variables() {
    return [](const std::string&) { return std::nullopt; };
}

ServiceList file(const std::string& text) {
    return load_services(text, "more.yaml", no_variables(), with_users());
}

RowServices rows(Lines columns, std::vector<Row> values) {
    return read_service_rows({std::move(columns), std::move(values)}, with_users());
}

TEST(ServicesFile, HasFurtherServices) {
    const ServiceList list = file("services:\n  - { name: a, schema: s }\n  - name: b_*\n");
    EXPECT_EQ(lines_of(list.errors), Lines{});
    ASSERT_EQ(list.services.size(), 2U);
    EXPECT_EQ(list.services[0].schema, "s");
    EXPECT_EQ(list.services[1].name, "b_*");
}

TEST(ServicesFile, SaysWhereItIsWrong) {
    EXPECT_EQ(lines_of(file("services:\n  - { name: a, shcema: s }\n").errors),
              (Lines{"more.yaml:2:16: services[0].shcema: unknown key; did you mean 'schema'?"}));
    EXPECT_EQ(lines_of(file("pool: { max_connections: 3 }\n").errors),
              (Lines{"more.yaml:1:1: pool: only the key services can be here"}));
    EXPECT_EQ(lines_of(file("services:\n  - { name: a, schema: '1 2' }\n").errors).size(), 1U);
    EXPECT_EQ(lines_of(file("- a\n").errors), (Lines{"more.yaml:1:1: file: has no services"}));
}

TEST(ServicesFile, IsCheckedBesideTheConfiguration) {
    const Lines lines = lines_of(file("services:\n  - name: b\n  - name: users\n").errors);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].find("more.yaml:3:11: services[1].name: "), 0U) << lines[0];
    const Lines much =
        lines_of(file("services: [ { name: b, pool: { guarantee: 21 } } ]\n").errors);
    ASSERT_EQ(much.size(), 1U);
    EXPECT_NE(much[0].find("services[0].pool.guarantee"), Lines::value_type::npos) << much[0];
}

TEST(ServicesFile, PlaceOfARoleThatNeedsNoPassword) {
    const std::string text =
        "services:\n  - name: b\n    role: client\n    role_password: x\n    pool: { guarantee: 1 "
        "}\n";
    const Lines lines = lines_of(file(text).errors);
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[0].find("more.yaml:4:20: services[0].role_password: "), 0U) << lines[0];
    EXPECT_EQ(lines[1].find("more.yaml:5:24: services[0].pool.guarantee: "), 0U) << lines[1];
}

TEST(ServiceRows, RoleMayBeTheClients) {
    const RowServices read =
        rows({"name", "role", "role_password"}, {{"a", "client", {}}, {"b", "client", "x"}});
    ASSERT_TRUE(read.services);
    EXPECT_TRUE(has_client_role(read.services->at("a")));
    EXPECT_EQ(isolation_of(read.services->at("a")), Isolation::strict);
    EXPECT_FALSE(read.services->contains("b"));
    EXPECT_EQ(read.errors.size(), 1U);
}

TEST(ServiceRows, EachColumnIsAKey) {
    const RowServices read = rows(
        {"name", "schema", "isolation", "role", "pool.max", "users", "settings", "create_schema",
         "templates.angles"},
        {{"a", "s", "guarded", "r", "3", R"(["al", "bo"])", R"({"work_mem": "4MB"})", "t", "f"},
         {"b", {}, {}, {}, {}, {}, {}, {}, {}}});
    EXPECT_EQ(lines_of(read.errors), Lines{});
    ASSERT_TRUE(read.services);
    const Service& a = read.services->at("a");
    EXPECT_EQ(a.schema, "s");
    EXPECT_EQ(a.isolation, Isolation::guarded);
    EXPECT_EQ(a.pool.max, 3U);
    EXPECT_EQ(a.users, (Lines{"al", "bo"}));
    EXPECT_EQ(a.settings.at("work_mem"), "4MB");
    EXPECT_TRUE(a.create_schema);
    EXPECT_FALSE(a.templates.angles);
    EXPECT_EQ(read.services->at("b"), (Service{.name = "b"}));
}

TEST(ServiceRows, TextsAreTakenAsTheyAre) {
    const RowServices read = rows({"name", "role", "role_password"}, {{"a", "r", "${HOME}"}});
    EXPECT_EQ(lines_of(read.errors), Lines{});
    ASSERT_TRUE(read.services);
    EXPECT_EQ(read.services->at("a").role_password, "${HOME}");
}

TEST(ServiceRows, WrongOnesAreLeftOut) {
    const RowServices read = rows({"name", "schema", "pool.max"}, {{"a", "a", {}},
                                                                   {"b", "pg_b", {}},
                                                                   {"c", "c", "many"},
                                                                   {{}, "d", {}},
                                                                   {"users", "u", {}},
                                                                   {"t_*", "t", {}},
                                                                   {"a", "again", {}},
                                                                   {"e", "e", "1"}});
    ASSERT_TRUE(read.services);
    Lines names;
    for (const auto& [name, service] : *read.services)
        names.push_back(name);
    EXPECT_EQ(names, (Lines{"a", "e"}));
    EXPECT_EQ(read.services->at("a").schema, "a");
    Lines lines = lines_of(read.errors);
    ASSERT_EQ(lines.size(), 6U);
    std::sort(lines.begin(), lines.end());
    const Lines begin{"services_query:2:2: services[1].schema: ",
                      "services_query:3:3: services[2].pool.max: ",
                      "services_query:4:1: services[3].name: ",
                      "services_query:5:1: services[4].name: ",
                      "services_query:6:1: name: 't_*' is a pattern",
                      "services_query:7:1: services[6].name: "};
    for (std::size_t i = 0; i < begin.size(); ++i)
        EXPECT_EQ(lines[i].find(begin[i]), 0U) << lines[i];
}

TEST(ServiceRows, AnswerThatIsNoListIsRefused) {
    const auto refused = [](Lines columns) {
        const RowServices read = rows(std::move(columns), {{"a", "b"}});
        EXPECT_FALSE(read.services);
        return lines_of(read.errors);
    };
    EXPECT_EQ(refused({"schema", "users"}),
              (Lines{"services_query:1:1: name: there is no such column"}));
    EXPECT_EQ(refused({"name", "shcema"}),
              (Lines{"services_query:1:2: shcema: is no key of a service; did you mean "
                     "'schema'?"}));
    EXPECT_EQ(refused({"name", "name"}), (Lines{"services_query:1:2: name: is there twice"}));
    EXPECT_EQ(refused({"name", "pool"}),
              (Lines{"services_query:1:2: pool: is a section: say which key of it, after a dot"}));
    EXPECT_EQ(refused({"name", "role_password_file"}),
              (Lines{"services_query:1:2: role_password_file: cannot be said of services of "
                     "services_query"}));
}

TEST(ServiceRows, NoRowsAreNoServices) {
    const RowServices read = rows({"name"}, {});
    ASSERT_TRUE(read.services);
    EXPECT_TRUE(read.services->empty());
}

TEST(ServiceRows, ManyWrongOnesAreNoList) {
    std::vector<Row> values;
    values.reserve(10'001);
    for (int i = 0; i < 200; ++i)
        values.push_back({"n" + std::to_string(i), "pg_x"});
    values.push_back({"good", "good"});
    const RowServices read = rows({"name", "schema"}, values);
    EXPECT_FALSE(read.services);
    EXPECT_GE(read.errors.size(), 100U);
}

TEST(ServiceRows, TenThousandAreTaken) {
    std::vector<Row> values;
    values.reserve(10'001);
    for (int i = 0; i < 9'999; ++i)
        values.push_back({"n" + std::to_string(i), "s" + std::to_string(i)});
    const RowServices read = rows({"name", "schema"}, values);
    EXPECT_EQ(lines_of(read.errors), Lines{});
    ASSERT_TRUE(read.services);
    EXPECT_EQ(read.services->size(), 9'999U);
    values.push_back({"more", "more"});
    values.push_back({"most", "most"});
    EXPECT_FALSE(rows({"name", "schema"}, values).services);
}

}  // namespace
}  // namespace schemux::config
