// Text to values at their borders: what YAML or strtol would silently take for something else.
#include "config/values.h"

#include <gtest/gtest.h>

#include <vector>

namespace schemux::config {
namespace {

using std::chrono::milliseconds;

TEST(Integers, AreDecimalDigitsOnly) {
    EXPECT_EQ(parse_integer("0"), 0U);
    EXPECT_EQ(parse_integer("18446744073709551615"), 18446744073709551615U);
    for (const std::string_view bad : {"", "00", "010", "+1", "-1", "1_000", "1e3", "1.0", " 1",
                                       "1 ", "0x1", "0o7", "18446744073709551616"})
        EXPECT_FALSE(parse_integer(bad).has_value()) << bad;
}

TEST(Booleans, AreTrueAndFalseInLowerCase) {
    EXPECT_EQ(parse_boolean("true"), true);
    EXPECT_EQ(parse_boolean("false"), false);
    for (const std::string_view bad : {"yes", "no", "on", "off", "True", "FALSE", "1", "0", ""})
        EXPECT_FALSE(parse_boolean(bad).has_value()) << bad;
}

TEST(Durations, HaveAUnit) {
    EXPECT_EQ(parse_duration("250ms"), milliseconds(250));
    EXPECT_EQ(parse_duration("10s"), milliseconds(10'000));
    EXPECT_EQ(parse_duration("5m"), milliseconds(300'000));
    EXPECT_EQ(parse_duration("1h"), milliseconds(3'600'000));
    EXPECT_EQ(parse_duration("0"), milliseconds(0));
    EXPECT_EQ(parse_duration("0s"), milliseconds(0));
    for (const std::string_view bad :
         {"", "1", "10", "s", "1.5s", "-1s", "1 s", "1S", "1sec", "1h30m", "010s", "1us", "1d",
          "99999999999999999999s", "18446744073709551615h"})
        EXPECT_FALSE(parse_duration(bad).has_value()) << bad;
}

TEST(Sizes, ArePowersOf1024) {
    EXPECT_EQ(parse_size("4096"), 4096U);
    EXPECT_EQ(parse_size("64KiB"), 65536U);
    EXPECT_EQ(parse_size("1MiB"), 1048576U);
    EXPECT_EQ(parse_size("2GiB"), 2147483648U);
    for (const std::string_view bad : {"", "KiB", "64KB", "64kib", "64K", "1TiB", "1.5MiB",
                                       "064KiB", "1 MiB", "-1", "18446744073709551615GiB"})
        EXPECT_FALSE(parse_size(bad).has_value()) << bad;
}

TEST(Formatting, UsesTheLargestExactUnitAndReadsBack) {
    EXPECT_EQ(format_duration(milliseconds(3'600'000)), "1h");
    EXPECT_EQ(format_duration(milliseconds(90'000)), "90s");
    EXPECT_EQ(format_duration(milliseconds(1'001)), "1001ms");
    EXPECT_EQ(format_duration(milliseconds(0)), "0");
    EXPECT_EQ(format_size(65536), "64KiB");
    EXPECT_EQ(format_size(65537), "65537");
    EXPECT_EQ(format_size(0), "0");
    for (const std::uint64_t value : {1ULL, 999ULL, 1000ULL, 1024ULL, 60'000ULL, 7'200'000ULL}) {
        const milliseconds duration(value);
        EXPECT_EQ(parse_duration(format_duration(duration)), duration);
        EXPECT_EQ(parse_size(format_size(value)), value);
    }
}

struct ExpansionCase {
    std::string text;
    std::string result;
    std::string error;
};

TEST(Expansion, ReplacesVariablesOnce) {
    const Environment environment = [](const std::string& name) -> std::optional<std::string> {
        if (name == "A") return "a";
        if (name == "_b1") return "${A}";
        if (name == "EMPTY") return "";
        return {};
    };
    const std::string grammar =
        "expected ${NAME} with letters, digits and '_'; '$${' stands for '${'";
    const std::vector<ExpansionCase> cases{
        {"", "", ""},
        {"plain", "plain", ""},
        {"${A}", "a", ""},
        {"x${A}y${A}", "xaya", ""},
        {"${_b1}", "${A}", ""},
        {"[${EMPTY}]", "[]", ""},
        {"$A $ $$ }", "$A $ $$ }", ""},
        {"$${A}", "${A}", ""},
        {"$$${A}", "$${A}", ""},
        {"${GONE}", "", "environment variable GONE is not set"},
        {"${}", "", grammar},
        {"${A", "", grammar},
        {"${1A}", "", grammar},
        {"${A B}", "", grammar},
        {"${A:-x}", "", grammar},
        {"${${A}}", "", grammar},
    };
    for (const ExpansionCase& c : cases) {
        const Expansion expansion = expand_environment(c.text, environment);
        EXPECT_EQ(expansion.error, c.error) << c.text;
        if (!c.error.empty()) continue;
        EXPECT_EQ(expansion.text, c.result) << c.text;
    }
}

}  // namespace
}  // namespace schemux::config
