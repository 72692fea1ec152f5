// JSON that is valid whatever names clients think of, and says what it was given.
#include "daemon/status_json.h"

#include "daemon/json_text.h"
#include "daemon/status_page.h"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include <limits>

namespace schemux::daemon {
namespace {

boost::json::value parsed(const std::string& text) {
    boost::system::error_code error;
    boost::json::value value = boost::json::parse(text, error);
    EXPECT_FALSE(error) << error.message() << ": " << text;
    return value;
}

const std::vector<std::string> hostile{
    "</script><script>alert(1)</script>",    "\"},{\"a\":\"\\",
    std::string("\0\x01\x1f\x7f", 4),        "\xff\xfe\xc0\x80 \xed\xa0\x80 \xf5",
    "\xe2\x80\xa8 line\r\n\r\ndata: forged", std::string(100'000, '\\')};

Status status_with(const std::string& name) {
    Status status;
    status.version = "1";
    status.readiness = name;
    status.pools.push_back({name, true, 5, 4, 3, 1, 0, 0, 2});
    ServiceSample now;
    now.clients = 7;
    now.pinned[0] = 2;
    status.totals = now;
    status.services_total = 3;
    status.services.push_back({name, name, now, ServiceRates{1.5, 2, 0, {}, {}}});
    status.events.push_back({1, {}, LogLevel::info, "first", name, {{"key", name}}});
    status.events.push_back({2, {}, LogLevel::error, "second", "", {}});
    return status;
}

TEST(StatusJson, IsValidWhateverTheNames) {
    for (const std::string& name : hostile) {
        const std::deque<HistoryPoint> history(2);
        const std::string text = status_json(status_with(name), &history);
        const auto value = parsed(text);
        EXPECT_TRUE(value.as_object().contains("history"));
        // One line, so that it is one event of a stream.
        EXPECT_EQ(text.find_first_of("\r\n"), std::string::npos);
        parsed(events_json(status_with(name).events));
    }
    EXPECT_EQ(parsed(status_json(status_with(hostile[0]), nullptr))
                  .at("services")
                  .at(0)
                  .at("name")
                  .as_string(),
              hostile[0]);
}

TEST(StatusJson, SaysWhatThereIs) {
    const auto value = parsed(status_json(status_with("users"), nullptr));
    EXPECT_FALSE(value.as_object().contains("history"));
    EXPECT_EQ(value.at("clusters").at(0).at("pool").at("maximum").to_number<int>(), 5);
    EXPECT_EQ(value.at("services_total").to_number<int>(), 3);
    const auto& service = value.at("services").at(0);
    EXPECT_EQ(service.at("clients").to_number<int>(), 7);
    EXPECT_DOUBLE_EQ(service.at("transactions_per_second").to_number<double>(), 1.5);
    EXPECT_TRUE(service.at("wait_p99_seconds").is_null());
    EXPECT_EQ(service.at("pins").at("temp_table").to_number<int>(), 2);
    EXPECT_EQ(service.at("pins").as_object().size(), 1U);
    EXPECT_TRUE(value.at("totals").at("queries_per_second").is_null());
    EXPECT_TRUE(value.at("statements").as_array().empty());
    EXPECT_EQ(value.at("events").at(0).at("event").as_string(), "second");
    EXPECT_EQ(value.at("events").at(1).at("fields").at(0).at(0).as_string(), "key");
}

TEST(StatusJson, StatementsHaveTheirUnits) {
    core::StatementLine line{"users", 0xabc, "SELECT \xff $1", {}};
    line.figures.calls = 4;
    line.figures.rows = 8;
    line.figures.total = std::chrono::milliseconds(10);
    line.figures.longest = std::chrono::milliseconds(7);
    Status status = status_with("users");
    status.statements = {line};
    const auto shown = parsed(status_json(status, nullptr)).at("statements").at(0);
    EXPECT_FALSE(shown.as_object().contains("fingerprint"));
    EXPECT_DOUBLE_EQ(shown.at("total_seconds").to_number<double>(), 0.01);
    EXPECT_DOUBLE_EQ(shown.at("mean_seconds").to_number<double>(), 0.0025);
    EXPECT_EQ(shown.at("statement").as_string(), "SELECT \xef\xbf\xbd $1");
    const auto listed = parsed(statements_json({line})).at("statements").at(0);
    EXPECT_EQ(listed.at("fingerprint").as_string(), "0000000000000abc");
    EXPECT_EQ(listed.at("rows").to_number<int>(), 8);
}

TEST(StatusJson, HistoryHasAListForEachSeries) {
    std::deque<HistoryPoint> history(3);
    history[1].pool.leased = 4;
    const auto value = parsed(status_json({}, &history)).at("history").as_object();
    EXPECT_GE(value.size(), 10U);
    for (const auto& [name, series] : value)
        EXPECT_EQ(series.as_array().size(), 3U) << std::string_view(name.data(), name.size());
    EXPECT_EQ(value.at("leased").at(1).to_number<int>(), 4);
    EXPECT_TRUE(value.at("wait_p99_seconds").at(0).is_null());
}

TEST(JsonText, CommasAreWhereTheyBelong) {
    JsonText json;
    json.begin_array().begin_object().end_object().begin_array().end_array();
    json.number(std::uint64_t{1}).flag(false).text("x");
    json.begin_object().number("a", 1.5).text("b", "c").flag("d", true).end_object();
    json.number(std::optional<double>()).number(std::numeric_limits<double>::infinity());
    json.end_array();
    EXPECT_EQ(json.take(), R"([{},[],1,false,"x",{"a":1.5,"b":"c","d":true},null,null])");
}

TEST(StatusPage, RunsItsOwnScriptOnlyAndLoadsNothing) {
    const HttpReply page = status_page();
    std::string policy;
    for (const auto& [name, value] : page.headers)
        policy += name == "Content-Security-Policy" ? value : "";
    EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
    EXPECT_NE(policy.find("script-src 'sha256-"), std::string::npos);
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
    EXPECT_TRUE(page.body.starts_with("<!doctype html>"));
    EXPECT_TRUE(page.body.ends_with("</html>\n"));
    for (const char* foreign : {"innerHTML", "insertAdjacentHTML", "document.write", "eval(",
                                " style=", " onclick=", "src=\"", "@import"})
        EXPECT_EQ(page.body.find(foreign), std::string::npos) << foreign;
}

}  // namespace
}  // namespace schemux::daemon
