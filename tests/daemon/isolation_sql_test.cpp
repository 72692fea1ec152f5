// The SQL that keeps services apart says what it should, and names cannot say anything in it.
#include "daemon/isolation_sql.h"

#include "daemon/isolation_report.h"

#include <gtest/gtest.h>

#include <string>

namespace schemux::daemon {
namespace {

using core::Isolation;

IsolationPlan plan_of(IsolatedService service) {
    return {"pool", "app", {std::move(service)}};
}

IsolatedService billing(Isolation level = Isolation::strict) {
    return {"billing", "billing", "billing_svc", "app", level};
}

bool has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(IsolationSql, StrictRolesLogInAndHaveNoPowers) {
    const std::string sql = isolation_sql(plan_of(billing()));
    EXPECT_TRUE(has(sql,
                    "CREATE ROLE \"billing_svc\" LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB "
                    "NOREPLICATION NOBYPASSRLS;"));
    EXPECT_TRUE(has(sql, "--   \\password \"billing_svc\"\n"));
    EXPECT_FALSE(has(sql, "GRANT \"billing_svc\" TO"));
    EXPECT_FALSE(has(sql, "PASSWORD '"));
}

TEST(IsolationSql, GuardedRolesAreSetByTheLogin) {
    const std::string sql = isolation_sql(plan_of(billing(Isolation::guarded)));
    EXPECT_TRUE(has(sql, "CREATE ROLE \"billing_svc\" NOLOGIN NOSUPERUSER"));
    EXPECT_TRUE(
        has(sql, "EXECUTE 'GRANT \"billing_svc\" TO \"pool\" WITH INHERIT FALSE, SET TRUE'"));
    EXPECT_TRUE(has(sql, "ALTER ROLE \"pool\" NOINHERIT;"));
    EXPECT_FALSE(has(sql, "\\password"));
}

TEST(IsolationSql, AServiceGetsItsSchemaAndNobodyElseDoes) {
    const std::string sql = isolation_sql(plan_of(billing()));
    for (const char* part :
         {"CREATE SCHEMA IF NOT EXISTS \"billing\";",
          "REVOKE ALL ON SCHEMA \"billing\" FROM PUBLIC;",
          "GRANT USAGE, CREATE ON SCHEMA \"billing\" TO \"billing_svc\";",
          "REVOKE ALL ON ALL ROUTINES IN SCHEMA \"billing\" FROM PUBLIC;",
          "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA \"billing\"",
          "REVOKE ALL ON DATABASE \"app\" FROM PUBLIC;",
          "REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
          "GRANT CONNECT, TEMPORARY ON DATABASE \"app\" TO \"pool\";",
          "ALTER DEFAULT PRIVILEGES FOR ROLE \"billing_svc\" REVOKE EXECUTE ON ROUTINES FROM "
          "PUBLIC"})
        EXPECT_TRUE(has(sql, part)) << part;
    // Either of them would run with the rights of whoever writes to the table.
    EXPECT_FALSE(has(sql, "TRIGGER"));
}

TEST(IsolationSql, NamesStayNames) {
    IsolatedService odd{"n\nDROP", "s\"; DROP", "r'$schemux$\\", "d'\"b", Isolation::guarded};
    odd.allow_schemas = {"a\"b'"};
    const std::string sql = isolation_sql({"l\"'", "app", {odd}});
    EXPECT_TRUE(has(sql, "CREATE SCHEMA IF NOT EXISTS \"s\"\"; DROP\";"));
    EXPECT_TRUE(has(sql, "rolname = E'r''$schemux$\\x5c'"));
    EXPECT_TRUE(has(sql, "DO $schemux2$\n"));
    EXPECT_TRUE(has(sql, "\\connect -reuse-previous=on \"dbname='d\\'\"\"b'\"\n"));
    EXPECT_TRUE(has(sql, "nspname = 'a\"b'''"));
    EXPECT_TRUE(has(sql, "-- service n?DROP (guarded)\n"));
    EXPECT_FALSE(has(sql, "\nDROP"));
}

TEST(IsolationSql, ARoleOfSeveralServicesIsMadeOnce) {
    IsolationPlan plan = plan_of(billing(Isolation::guarded));
    plan.services.push_back({"invoices", "invoices", "billing_svc", "other", Isolation::strict});
    const std::string sql = isolation_sql(plan);
    EXPECT_EQ(sql.find("CREATE ROLE"), sql.rfind("CREATE ROLE"));
    EXPECT_TRUE(has(sql, "CREATE ROLE \"billing_svc\" LOGIN"));
    EXPECT_TRUE(has(sql, "-- of billing, invoices\n"));
    EXPECT_LT(sql.find("dbname='app'"), sql.find("dbname='other'"));
}

TEST(IsolationSql, AllowedSchemasAreOpenedUnlessSomebodyElseHasThem) {
    IsolationPlan plan = plan_of(billing());
    plan.services[0].allow_schemas = {"reference", "orders"};
    plan.services.push_back({"orders", "orders", "orders_svc", "app", Isolation::strict});
    const std::string sql = isolation_sql(plan);
    EXPECT_TRUE(has(sql, "\n        GRANT USAGE ON SCHEMA \"reference\" TO \"billing_svc\";"));
    EXPECT_TRUE(has(sql, "\n--   GRANT USAGE ON SCHEMA \"orders\" TO \"billing_svc\";"));
    EXPECT_TRUE(has(sql, "\n--   GRANT SELECT ON ALL TABLES IN SCHEMA \"reference\""));
    plan.neighbours = {plan.services[1]};
    plan.services.pop_back();
    EXPECT_FALSE(has(isolation_sql(plan), "\n        GRANT USAGE ON SCHEMA \"orders\""));
}

TEST(IsolationSql, WithoutRolesThereIsNothingToRun) {
    IsolationPlan plan = plan_of({"legacy", "", "", "app", Isolation::shared});
    plan.patterns = {"tenant_*"};
    plan.of_clients = {"own"};
    const std::string sql = isolation_sql(plan);
    EXPECT_TRUE(has(sql, "-- tenant_* is a pattern: --service NAME"));
    EXPECT_TRUE(has(sql, "-- own has its clients' own roles"));
    EXPECT_TRUE(has(sql, "-- legacy is shared"));
    for (std::size_t at = 0; at < sql.size(); at = sql.find('\n', at) + 1)
        EXPECT_TRUE(sql[at] == '-' || sql[at] == '\n') << sql.substr(at, 40);
}

TEST(IsolationSql, OthersMayStillConnect) {
    IsolationPlan plan = plan_of(billing());
    plan.others = {{"asker", "app"}, {"elsewhere", "other"}};
    const std::string sql = isolation_sql(plan);
    EXPECT_TRUE(has(sql, "GRANT CONNECT, TEMPORARY ON DATABASE \"app\" TO \"asker\";"));
    EXPECT_FALSE(has(sql, "elsewhere"));
}

TEST(IsolationReport, AHoleIsWhereItsFindingSays) {
    IsolatedService orders{"orders", "orders", "orders_svc", "app", Isolation::strict};
    IsolatedService legacy{"legacy", "", "", "app", Isolation::shared};
    IsolationReport report{{billing(), orders, legacy}, {}, {"own"}, "pool", {}};
    EXPECT_EQ(report.between(report.services[0], report.services[0]), Separation::same);
    EXPECT_EQ(report.between(report.services[0], report.services[1]), Separation::ok);
    EXPECT_EQ(report.between(report.services[0], report.services[2]), Separation::shared);
    report.findings.push_back({Severity::hole, "table", "app", "orders_svc", "billing", "",
                               "billing.t", "orders_svc has SELECT", "REVOKE"});
    EXPECT_EQ(report.between(report.services[1], report.services[0]), Separation::hole);
    EXPECT_EQ(report.between(report.services[0], report.services[1]), Separation::ok);
    EXPECT_TRUE(has(to_text(report), "orders   HOLE     -       shared\n")) << to_text(report);
    EXPECT_TRUE(has(to_json(report), "\"pairs\":[[\"orders\",\"billing\"]]"));
    EXPECT_TRUE(has(to_text(report), "note  own has its clients' own roles"));
    EXPECT_TRUE(has(to_json(report), "\"client_roles\":[\"own\"]"));
    report.findings[0].severity = Severity::note;
    EXPECT_EQ(report.between(report.services[1], report.services[0]), Separation::ok);
}

TEST(IsolationReport, WhatARoleIsItIsTowardsEverybody) {
    IsolatedService orders{"orders", "orders", "orders_svc", "other", Isolation::strict};
    const Finding finding{Severity::hole, "role attribute", "app",  "billing_svc", "", "",
                          "billing_svc",  "is SUPERUSER",   "ALTER"};
    EXPECT_TRUE(finding.concerns(billing(), orders));
    EXPECT_FALSE(finding.concerns(orders, billing()));
}

}  // namespace
}  // namespace schemux::daemon
