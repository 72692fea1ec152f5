// The log writer: one event is one line whatever a client puts into it, in both formats.
#include "daemon/log.h"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include <limits>
#include <mutex>
#include <string>
#include <vector>

namespace schemux::daemon {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Time = std::chrono::system_clock::time_point;

const Time some_time{milliseconds(1675209599007)};  // 2023-01-31 23:59:59.007 UTC

std::string json_line(std::string_view message, LogFields fields) {
    return format_log_line(LogFormat::json, false, some_time, LogLevel::info, "an_event", message,
                           fields);
}

std::string text_line(std::string_view message, LogFields fields) {
    return format_log_line(LogFormat::text, false, some_time, LogLevel::warning, "an_event",
                           message, fields);
}

TEST(LogLine, JsonHasFixedKeysFirstAndTypedFields) {
    EXPECT_EQ(json_line("hello", {{"service", "users"},
                                  {"ok", true},
                                  {"backend_pid", -7},
                                  {"bytes", std::size_t{18446744073709551615U}},
                                  {"dur_s", 0.25}}),
              R"({"ts":"2023-01-31T23:59:59.007Z","level":"info","event":"an_event","msg":"hello",)"
              R"("service":"users","ok":true,"backend_pid":-7,"bytes":18446744073709551615,)"
              R"("dur_s":0.25})");
}

TEST(LogLine, JsonWithoutMessageHasNoMsg) {
    EXPECT_EQ(json_line("", {}),
              R"({"ts":"2023-01-31T23:59:59.007Z","level":"info","event":"an_event"})");
}

TEST(LogLine, JsonTextRoundTripsThroughAParser) {
    std::string nasty = "a\"b\\c\n{\"level\":\"fatal\"}\r\x01\x7f é";
    nasty.push_back('\0');
    const std::string line = json_line("m\nx", {{"user", nasty}});
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto value = boost::json::parse(line);
    EXPECT_EQ(std::string_view(value.at("user").as_string()), nasty);
    EXPECT_EQ(std::string_view(value.at("msg").as_string()), "m\nx");
}

TEST(LogLine, JsonReplacesBytesThatAreNotUtf8) {
    // A lone continuation, an overlong slash, a surrogate, above U+10FFFF, a cut sequence.
    for (const std::string bad :
         {"\x80", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
        const auto value = boost::json::parse(json_line("", {{"user", "<" + bad + ">"}}));
        std::string expected = "<";
        for (std::size_t i = 0; i < bad.size(); ++i)
            expected += "\xEF\xBF\xBD";
        EXPECT_EQ(std::string_view(value.at("user").as_string()), expected + ">");
    }
}

TEST(LogLine, JsonHasNoInfinities) {
    const double infinity = std::numeric_limits<double>::infinity();
    EXPECT_TRUE(boost::json::parse(json_line("", {{"x", infinity}})).at("x").is_null());
}

TEST(LogLine, TextQuotesOnlyWhatNeedsIt) {
    EXPECT_EQ(text_line("hello", {{"service", "users"}, {"client", "127.0.0.1:5"}, {"n", 3}}),
              "2023-01-31T23:59:59.007Z warning an_event: hello service=users client=127.0.0.1:5 "
              "n=3");
    EXPECT_EQ(text_line("", {{"a", "two words"}, {"b", ""}, {"c", "x=1"}, {"d", "q\"q\\"}}),
              "2023-01-31T23:59:59.007Z warning an_event a=\"two words\" b=\"\" c=\"x=1\" "
              "d=\"q\\\"q\\\\\"");
}

TEST(LogLine, TextEscapesWhatCouldEndTheLineOrSteerATerminal) {
    EXPECT_EQ(text_line("", {{"a", "x\ny\t\x1b[31m\x7f\xC2\x9B\xFF é"}}),
              "2023-01-31T23:59:59.007Z warning an_event "
              "a=\"x\\ny\\t\\x1b[31m\\x7f\\xc2\\x9b\\xff é\"");
}

TEST(LogLine, LongValuesAreCutAtACharacterBoundary) {
    std::string text(max_log_value_bytes - 1, 'a');
    text += "é and more";  // the two bytes of é straddle the bound
    const auto value = boost::json::parse(json_line("", {{"a", text}}));
    EXPECT_EQ(std::string_view(value.at("a").as_string()),
              std::string(max_log_value_bytes - 1, 'a') + "...");
}

TEST(LogLine, JournalPrefixReplacesTimeAndLevel) {
    const auto line = [](LogLevel level) {
        return format_log_line(LogFormat::text, true, some_time, level, "e", "", {});
    };
    EXPECT_EQ(line(LogLevel::error), "<3>e");
    EXPECT_EQ(line(LogLevel::warning), "<4>e");
    EXPECT_EQ(line(LogLevel::info), "<6>e");
    EXPECT_EQ(line(LogLevel::debug), "<7>e");
}

TEST(LogLine, TimesBeforeTheEpochKeepTheirMilliseconds) {
    const std::string line = format_log_line(LogFormat::text, false, Time{milliseconds(-1)},
                                             LogLevel::info, "e", "", {});
    EXPECT_EQ(line, "1969-12-31T23:59:59.999Z info e");
}

TEST(LogNames, LevelsAndFormatsParse) {
    for (const auto level :
         {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error, LogLevel::off}) {
        EXPECT_EQ(parse_log_level(name_of(level)), level);
    }
    EXPECT_EQ(parse_log_level("warn"), LogLevel::warning);
    EXPECT_EQ(parse_log_level("INFO"), std::nullopt);
    EXPECT_EQ(parse_log_format("auto"), LogFormat::automatic);
    EXPECT_EQ(parse_log_format("json"), LogFormat::json);
    EXPECT_EQ(parse_log_format("xml"), std::nullopt);
}

class LogWriter : public testing::Test {
  protected:
    void start(LogLevel level) {
        LogOptions options;
        options.format = LogFormat::json;
        options.level = level;
        options.sink = [this](std::string_view line) {
            const std::lock_guard lock(mutex_);
            lines_.emplace_back(line);
        };
        start_logging(options);
    }
    std::vector<std::string> stop() {
        stop_logging();
        set_log_level(LogLevel::info);
        const std::lock_guard lock(mutex_);
        return lines_;
    }

  private:
    std::mutex mutex_;
    std::vector<std::string> lines_;
};

TEST_F(LogWriter, StoppingWritesEverythingQueuedInOrder) {
    start(LogLevel::info);
    for (int i = 0; i < 100; ++i)
        log_event(LogLevel::info, "numbered", {{"i", i}});
    const auto lines = stop();
    ASSERT_EQ(lines.size(), 100U);
    for (int i = 0; i < 100; ++i) {
        const auto value = boost::json::parse(lines[static_cast<std::size_t>(i)]);
        EXPECT_EQ(value.at("i").as_int64(), i);
    }
}

TEST_F(LogWriter, LevelCanChangeWhileRunning) {
    start(LogLevel::warning);
    log_event(LogLevel::info, "hidden", {});
    set_log_level(LogLevel::debug);
    log_event(LogLevel::debug, "shown", "a message", {});
    set_log_level(LogLevel::off);
    log_event(LogLevel::error, "hidden_too", {});
    const auto lines = stop();
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(boost::json::parse(lines[0]).at("event").as_string(), "shown");
}

TEST_F(LogWriter, LimitedEventsSayHowManyWereLeftOut) {
    start(LogLevel::info);
    LogLimiter limiter(std::chrono::hours(1), 1);
    for (int i = 0; i < 4; ++i)
        log_event_limited(limiter, LogLevel::info, "repeated", {{"i", i}});
    EXPECT_EQ(stop().size(), 1U);
    // A debug event that is not shown anyway does not use up the allowance.
    LogLimiter untouched(std::chrono::hours(1), 1);
    log_event_limited(untouched, LogLevel::debug, "repeated", {});
    EXPECT_TRUE(untouched.admit(LogLimiter::Clock::now()).has_value());
}

TEST(LogLimiter, AdmitsABurstPerIntervalAndCountsTheRest) {
    LogLimiter limiter(seconds(10), 2);
    const LogLimiter::Clock::time_point start{};
    EXPECT_EQ(limiter.admit(start), 0U);
    EXPECT_EQ(limiter.admit(start + seconds(1)), 0U);
    EXPECT_EQ(limiter.admit(start + seconds(2)), std::nullopt);
    EXPECT_EQ(limiter.admit(start + milliseconds(9999)), std::nullopt);
    EXPECT_EQ(limiter.admit(start + seconds(10)), 2U);
    EXPECT_EQ(limiter.admit(start + seconds(10)), 0U);
    EXPECT_EQ(limiter.admit(start + seconds(10)), std::nullopt);
}

TEST(LogLine, SuppressedCountIsTheLastField) {
    const std::string line =
        format_log_line(LogFormat::json, false, some_time, LogLevel::info, "e", "", {{"a", 1}}, 41);
    EXPECT_TRUE(line.ends_with(R"("a":1,"suppressed":41})"));
}

}  // namespace
}  // namespace schemux::daemon
