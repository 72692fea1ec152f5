// The tables of what statements cost: bounded, and what matters stays in them.

#include "core/statement_stats.h"

#include "core/limits.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace schemux::core {
namespace {

using namespace std::chrono_literals;

StatementFigures call_of(std::chrono::nanoseconds time, std::uint64_t rows = 1) {
    StatementFigures figures;
    figures.calls = 1;
    figures.rows = rows;
    figures.total = figures.longest = time;
    return figures;
}

StatementStats bounded(std::size_t statements) {
    StatementStats stats;
    stats.configure({.statements = statements});
    return stats;
}

void run(StatementStats& stats, ServiceStatements& service, const std::string& text,
         std::chrono::nanoseconds time = 1ms) {
    stats.count(service, stats.read(service, text, true).fingerprint, call_of(time));
}

std::vector<std::string> texts(const std::vector<StatementLine>& lines) {
    std::vector<std::string> all;
    all.reserve(lines.size());
    for (const StatementLine& line : lines)
        all.push_back(line.service + ": " + line.text);
    return all;
}

TEST(StatementStats, CallsOfOneFingerprintAreAddedUp) {
    StatementStats stats = bounded(10);
    CountedClient client(stats, "app");
    run(stats, client.table(), "select 1", 2ms);
    run(stats, client.table(), "select 'x'", 5ms);
    run(stats, client.table(), "select a", 1ms);
    const std::vector<StatementLine> lines = stats.top(10);
    ASSERT_EQ(texts(lines), (std::vector<std::string>{"app: select ?", "app: select a"}));
    EXPECT_EQ(lines[0].figures.calls, 2U);
    EXPECT_EQ(lines[0].figures.rows, 2U);
    EXPECT_EQ(lines[0].figures.total, 7ms);
    EXPECT_EQ(lines[0].figures.longest, 5ms);
    EXPECT_EQ(texts(stats.top(1)), (std::vector<std::string>{"app: select ?"}));
    EXPECT_EQ(stats.forgotten().times, 0U);
}

TEST(StatementStats, ServicesAreCountedApart) {
    StatementStats stats = bounded(10);
    CountedClient one(stats, "one");
    CountedClient two(stats, "two");
    run(stats, one.table(), "select 1", 1ms);
    run(stats, two.table(), "select 1", 2ms);
    EXPECT_EQ(texts(stats.top(9)), (std::vector<std::string>{"two: select ?", "one: select ?"}));
    EXPECT_EQ(texts(stats.top(9, "one")), (std::vector<std::string>{"one: select ?"}));
    EXPECT_TRUE(stats.top(9, "none").empty());
}

TEST(StatementStats, FiguresOutliveTheClients) {
    StatementStats stats = bounded(10);
    {
        CountedClient client(stats, "app");
        run(stats, client.table(), "select 1");
    }
    CountedClient client(stats, "app");
    run(stats, client.table(), "select 2");
    ASSERT_EQ(stats.top(9).size(), 1U);
    EXPECT_EQ(stats.top(9)[0].figures.calls, 2U);
}

TEST(StatementStats, AStreamOfNewTextsLeavesWhatMattersAndIsCounted) {
    StatementStats stats = bounded(64);
    CountedClient client(stats, "app");
    run(stats, client.table(), "select slow", 10s);
    for (int number = 0; number < 10'000; ++number) {
        run(stats, client.table(), "select often", 10us);
        run(stats, client.table(), "select a" + std::to_string(number), 1ms);
        ASSERT_LE(stats.size(), 64U);
    }
    const std::vector<StatementLine> lines = stats.top(64);
    EXPECT_EQ(lines[0].text, "select slow");
    std::uint64_t calls = stats.forgotten().figures.calls;
    std::uint64_t often = 0;
    for (const StatementLine& line : lines) {
        calls += line.figures.calls;
        if (line.text == "select often") often = line.figures.calls;
    }
    EXPECT_EQ(often, 10'000U);
    EXPECT_EQ(calls, 20'001U);
    EXPECT_EQ(stats.forgotten().times, 20'002U - 10'000U - 64U);
    EXPECT_EQ(stats.forgotten("app").times, stats.forgotten().times);
    EXPECT_EQ(stats.forgotten("other").times, 0U);
}

TEST(StatementStats, TenThousandTenantsStayWithinTheBoundOfAll) {
    StatementStats stats = bounded(200);
    constexpr int tenants = 10'000;
    for (int tenant = 0; tenant < tenants; ++tenant) {
        CountedClient client(stats, "tenant_" + std::to_string(tenant));
        for (int number = 0; number < 4; ++number)
            run(stats, client.table(), "select a" + std::to_string(number));
        ASSERT_LE(stats.size(), limits::counted_statements_max);
    }
    EXPECT_EQ(stats.size(), limits::counted_statements_max);
    CountedClient last(stats, "last");
    run(stats, last.table(), "select 1", 1h);
    EXPECT_EQ(stats.size(), limits::counted_statements_max);
    EXPECT_EQ(texts(stats.top(1)), (std::vector<std::string>{"last: select ?"}));
}

TEST(StatementStats, ASmallerBoundHoldsAtOnceAndNoneCountsNothing) {
    StatementStats stats = bounded(50);
    CountedClient client(stats, "app");
    for (int number = 0; number < 50; ++number)
        run(stats, client.table(), "select a" + std::to_string(number));
    stats.configure({.statements = 5});
    EXPECT_EQ(stats.size(), 5U);
    EXPECT_TRUE(stats.wanted());
    stats.configure({});
    EXPECT_FALSE(stats.wanted());
    EXPECT_EQ(stats.size(), 0U);
    run(stats, client.table(), "select 1");
    EXPECT_TRUE(stats.top(9).empty());
    EXPECT_EQ(stats.forgotten().figures.calls, 50U);
}

TEST(StatementStats, WorkersAreMerged) {
    std::vector<std::vector<StatementLine>> workers(2);
    workers[0] = {{"app", 1, "a", call_of(3ms)}, {"app", 2, "b", call_of(2ms)}};
    workers[1] = {{"app", 2, "b", call_of(4ms)}, {"other", 2, "b", call_of(1ms)}};
    workers[1][0].figures.errors = 1;
    workers[1][0].figures.wait = 7ms;
    std::vector<StatementLine> merged = merge(workers, 2);
    ASSERT_EQ(texts(merged), (std::vector<std::string>{"app: b", "app: a"}));
    EXPECT_EQ(merged[0].figures.calls, 2U);
    EXPECT_EQ(merged[0].figures.errors, 1U);
    EXPECT_EQ(merged[0].figures.total, 6ms);
    EXPECT_EQ(merged[0].figures.longest, 4ms);
    EXPECT_EQ(merged[0].figures.wait, 7ms);
    EXPECT_EQ(merge(workers, 9).size(), 3U);
    EXPECT_TRUE(merge({}, 9).empty());
}

}  // namespace
}  // namespace schemux::core
