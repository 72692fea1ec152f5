// One table, several outputs: it must agree with the structs, with itself and with what it makes.
#include "config/option_table.h"

#include "config/option_value.h"
#include "config/reference.h"

#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <type_traits>

namespace schemux::config {
namespace {

/// Settings with one element in every list, so that every row has a field.
struct Everything {
    Settings settings;
    Scope scope;

    Everything() {
        settings.http.emplace();
        settings.auth.users.emplace_back();
        settings.auth.rules.emplace_back();
        settings.auth.maps.emplace_back();
        settings.services.emplace_back();
        settings.backends.emplace_back();
        settings.listen = {Listener{}};
        scope = {.settings = &settings,
                 .listener = &settings.listen[0],
                 .backend = &settings.backends[0],
                 .user = &settings.auth.users[0],
                 .rule = &settings.auth.rules[0],
                 .map = &settings.auth.maps[0],
                 .service = &settings.services[0]};
    }
};

std::vector<const Option*> active_values() {
    std::vector<const Option*> rows;
    for (const Option& option : option_table())
        if (option.field != nullptr) rows.push_back(&option);
    return rows;
}

/// A text that the row takes and that is not its default; empty if there is no other.
std::string another_value(const Option& option) {
    switch (option.type) {
        case OptionType::boolean:
            return option.default_text == "true" ? "false" : "true";
        case OptionType::integer:
        case OptionType::size:
            return std::to_string(option.max);
        case OptionType::duration:
            return std::to_string(option.max) + "ms";
        case OptionType::choice:
            return option.choices.size() > 1 ? std::string(option.choices.back()) : std::string();
        case OptionType::text:
        case OptionType::path:
            return "something";
        case OptionType::text_list:
        case OptionType::text_map:
        case OptionType::section:
        case OptionType::section_list:
            return {};
    }
    return {};
}

TEST(OptionTable, StatedDefaultsAreTheDefaultsOfTheStructs) {
    for (const Option* option : active_values()) {
        Everything everything;
        const std::string value = show_value(*option, option->field(everything.scope));
        if (option->presence == Presence::defaulted) {
            EXPECT_EQ(value, option->default_text) << option->path;
        } else if (option->type != OptionType::choice) {
            EXPECT_EQ(value, "") << option->path;
        }
    }
}

TEST(OptionTable, EveryActiveValueCanBeSetAndIsShownAsSet) {
    for (const Option* option : active_values()) {
        Everything everything;
        const Field field = option->field(everything.scope);
        if (option->type == OptionType::text_list) {
            EXPECT_EQ(set_list(*option, field, {"a", "b"}), "") << option->path;
            EXPECT_EQ(show_value(*option, field), "[a, b]") << option->path;
            continue;
        }
        if (option->type == OptionType::text_map) {
            *std::get<TextMap*>(field) = {{"a", "1"}, {"b", "x y"}};
            EXPECT_EQ(show_value(*option, field), "{a: 1, b: x y}") << option->path;
            continue;
        }
        std::string other = another_value(*option);
        if (other == show_value(*option, field)) other = option->choices.front();
        if (other.empty()) continue;
        const std::string before = show_value(*option, field);
        EXPECT_EQ(set_value(*option, field, other), "") << option->path;
        const std::string after = show_value(*option, field);
        EXPECT_NE(after, before) << option->path;
        if (option->presence != Presence::defaulted || option->type == OptionType::text) continue;
        EXPECT_EQ(set_value(*option, field, std::string(option->default_text)), "") << option->path;
        EXPECT_EQ(show_value(*option, field), option->default_text) << option->path;
    }
}

TEST(OptionTable, TwoRowsNeverShareAField) {
    Everything everything;
    std::set<const void*> seen;
    for (const Option* option : active_values()) {
        const void* at =
            std::visit([](auto* p) -> const void* { return p; }, option->field(everything.scope));
        EXPECT_TRUE(seen.insert(at).second) << option->path;
    }
}

TEST(OptionTable, RangesAreWithinTheTypesOfTheFields) {
    for (const Option* option : active_values()) {
        Everything everything;
        std::visit(
            [option](auto* at) {
                using Value = std::remove_pointer_t<decltype(at)>;
                if constexpr (std::is_integral_v<Value> && !std::is_same_v<Value, bool>) {
                    EXPECT_LE(option->max, std::numeric_limits<Value>::max()) << option->path;
                    EXPECT_LT(option->min, option->max) << option->path;
                }
            },
            option->field(everything.scope));
    }
}

TEST(OptionTable, ValuesOutsideTheRangeAreRefused) {
    for (const Option* option : active_values()) {
        if (option->type != OptionType::integer && option->type != OptionType::size) continue;
        Everything everything;
        const Field field = option->field(everything.scope);
        EXPECT_NE(set_value(*option, field, std::to_string(option->max + 1)), "") << option->path;
        if (option->min == 0) continue;
        EXPECT_NE(set_value(*option, field, std::to_string(option->min - 1)), "") << option->path;
    }
}

TEST(OptionTable, EveryRowIsCompleteAndHasItsSectionBeforeIt) {
    std::set<std::string_view> seen{""};
    for (const Option& option : option_table()) {
        EXPECT_TRUE(option.sentence.ends_with('.')) << option.path;
        EXPECT_TRUE(seen.insert(option.path).second) << option.path << " is there twice";
        if (option.type == OptionType::section_list && option.status == Status::active) {
            EXPECT_NE(option.open, nullptr) << option.path;
            seen.insert(option.path);
        }
        const std::size_t dot = option.path.rfind('.');
        std::string_view parent = dot == std::string_view::npos ? "" : option.path.substr(0, dot);
        if (parent.ends_with("[]")) parent.remove_suffix(2);
        EXPECT_TRUE(seen.contains(parent)) << option.path;
        const bool is_section =
            option.type == OptionType::section || option.type == OptionType::section_list;
        const bool has_value = option.status == Status::active && !is_section;
        EXPECT_EQ(option.field != nullptr, has_value) << option.path;
        if (!has_value) continue;
        EXPECT_EQ(option.default_text.empty(), option.presence != Presence::defaulted)
            << option.path;
    }
}

TEST(OptionTable, FindsRowsByPathAndInsideSections) {
    ASSERT_NE(find_option("pool.max_connections"), nullptr);
    EXPECT_EQ(find_option("pool.max_connections")->default_text, "20");
    EXPECT_EQ(find_option("pool.nothing"), nullptr);
    const auto inside = options_inside("services[].templates");
    ASSERT_EQ(inside.size(), 2U);
    EXPECT_EQ(inside[0]->path, "services[].templates.braces");
    EXPECT_EQ(last_key("services[].templates.braces"), "braces");
    EXPECT_EQ(last_key("workers"), "workers");
}

TEST(Reference, HasOneRowForEveryKey) {
    const std::string text = option_reference_markdown();
    for (const Option& option : option_table()) {
        const std::string row = "\n| `" + std::string(option.path) + "` | ";
        const std::size_t at = text.find(row);
        ASSERT_NE(at, std::string::npos) << option.path;
        EXPECT_EQ(text.find(row, at + 1), std::string::npos) << option.path;
    }
    EXPECT_NE(
        text.find("\n| `pool.acquire_timeout` | duration | `10s` | 1ms..24h | new-connections "),
        std::string::npos);
    EXPECT_EQ(text.find('<'), std::string::npos) << "would be taken for an HTML tag";
}

TEST(Reference, TheDefaultFileShowsEveryActiveKeyWithItsDefault) {
    const std::string text = default_config_yaml();
    for (const Option* option : active_values()) {
        const bool has_default = option->presence == Presence::defaulted;
        const std::string line = std::string(last_key(option->path)) + ": " +
                                 std::string(has_default ? option->default_text : option->example);
        EXPECT_NE(text.find(line + '\n'), std::string::npos) << option->path;
    }
    EXPECT_EQ(text.find("control_connections"), std::string::npos) << "a reserved key is offered";
}

}  // namespace
}  // namespace schemux::config
