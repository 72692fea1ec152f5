// A text is found again only as it was, under all that its reading depends on.

#include "core/text_cache.h"

#include "core/limits.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace schemux::core {
namespace {

const std::string text = "SELECT * FROM {{tables.users}}";

TemplateContext context_of(std::string_view schema) {
    TemplateContext context;
    context.schema = schema;
    return context;
}

void put(TextCache& cache, std::string_view key, const TemplateContext& context,
         const std::string& rewritten) {
    TextCache::Reading& reading = cache.place_for(key, context, true);
    reading.text = rewritten;
    reading.rewritten = true;
    reading.positions.add(0, 1, 0, 2);
    reading.effects.add(Effect::sequence);
    cache.keep();
}

std::string found(const TextCache& cache, std::string_view key, const TemplateContext& context) {
    const TextCache::Reading* reading = cache.find(key, context);
    return reading == nullptr ? "nothing" : reading->text;
}

TEST(TextCacheTest, GivesBackWhatWasKept) {
    TextCache cache;
    EXPECT_EQ(cache.find(text, context_of("app")), nullptr);
    put(cache, text, context_of("app"), "expanded");
    const TextCache::Reading* reading = cache.find(text, context_of("app"));
    ASSERT_NE(reading, nullptr);
    EXPECT_EQ(reading->text, "expanded");
    EXPECT_TRUE(reading->rewritten);
    EXPECT_FALSE(reading->positions.empty());
    EXPECT_TRUE(reading->effects.has(Effect::sequence));
}

TEST(TextCacheTest, APlaceThatIsUsedAgainHasNothingOfTheLastText) {
    TextCache cache;
    put(cache, text, context_of("app"), "expanded");
    const TextCache::Reading& reading = cache.place_for(text, context_of("app"), true);
    EXPECT_EQ(reading.text, "");
    EXPECT_FALSE(reading.rewritten);
    EXPECT_TRUE(reading.positions.empty());
    EXPECT_TRUE(reading.effects.none());
}

TEST(TextCacheTest, WhatWasNotKeptIsNotFound) {
    TextCache cache;
    put(cache, text, context_of("app"), "expanded");
    cache.place_for(text, context_of("app"), true).text = "an error came of it";
    EXPECT_EQ(found(cache, text, context_of("app")), "nothing");
    cache.place_for(text, context_of("app"), false).text = "not worth it";
    cache.keep();
    EXPECT_EQ(found(cache, text, context_of("app")), "nothing");
}

TEST(TextCacheTest, TextsWithTheSameEndsAreTold) {
    TextCache cache;
    const std::string ends(100, 'x');
    put(cache, ends + "a" + ends, context_of("app"), "first");
    EXPECT_EQ(found(cache, ends + "b" + ends, context_of("app")), "nothing");
    put(cache, ends + "b" + ends, context_of("app"), "second");
    EXPECT_EQ(found(cache, ends + "b" + ends, context_of("app")), "second");
    EXPECT_EQ(found(cache, ends + "a" + ends, context_of("app")), "nothing");
}

TEST(TextCacheTest, EverythingThatTheReadingDependsOnCounts) {
    static const std::vector<std::string> some_allowed{"other"};
    const std::vector<std::function<void(TemplateContext&)>> changes{
        [](auto& context) { context.schema = "app2"; },
        [](auto& context) { context.allowed_schemas = some_allowed; },
        [](auto& context) { context.braces = false; },
        [](auto& context) { context.angles = false; },
        [](auto& context) { context.literals = LiteralTemplates::all; },
        [](auto& context) { context.standard_conforming_strings = ConformingStrings::off; },
        [](auto& context) { context.encoding = EncodingClass::single_byte; },
        [](auto& context) { context.channel_prefix = "app:"; },
    };
    for (std::size_t at = 0; at < changes.size(); ++at) {
        TextCache cache;
        put(cache, text, context_of("app"), "expanded");
        TemplateContext other = context_of("app");
        changes[at](other);
        EXPECT_EQ(found(cache, text, other), "nothing") << at;
        put(cache, text, other, "otherwise");
        EXPECT_EQ(found(cache, text, other), "otherwise") << at;
        EXPECT_NE(found(cache, text, context_of("app")), "otherwise") << at;
    }
}

TEST(TextCacheTest, TheContextsOwnerMayGo) {
    TextCache cache;
    {
        const std::string schema = "a schema whose name is no short string";
        const std::vector<std::string> allowed{"another schema with a long name"};
        TemplateContext context = context_of(schema);
        context.allowed_schemas = allowed;
        put(cache, text, context, "expanded");
    }
    EXPECT_EQ(found(cache, text, context_of("app")), "nothing");
}

TEST(TextCacheTest, LongTextsAreNotKept) {
    TextCache cache;
    const std::string longest(limits::cached_text_bytes_max, 'x');
    put(cache, longest, context_of("app"), "expanded");
    EXPECT_EQ(found(cache, longest, context_of("app")), "expanded");
    put(cache, longest + "x", context_of("app"), "expanded");
    EXPECT_EQ(found(cache, longest + "x", context_of("app")), "nothing");
    put(cache, text, context_of("app"), std::string(3 * limits::cached_text_bytes_max, 'x'));
    EXPECT_EQ(found(cache, text, context_of("app")), "nothing");
}

}  // namespace
}  // namespace schemux::core
