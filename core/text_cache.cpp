#include "core/text_cache.h"

#include "core/limits.h"

#include <algorithm>
#include <functional>

namespace schemux::core {

namespace {

/// Of either end of a text: enough to tell the texts of an application apart at a cost that does
/// not grow with them.
constexpr std::size_t hashed_end_bytes = 64;

}  // namespace

std::size_t TextCache::index_of(std::string_view text, const TemplateContext& context) const {
    constexpr std::size_t odd = 0x9e3779b97f4a7c15;
    const std::hash<std::string_view> hash;
    std::size_t mixed = hash(text.substr(0, hashed_end_bytes)) + text.size() * odd;
    if (text.size() > hashed_end_bytes)
        mixed = mixed * odd + hash(text.substr(text.size() - hashed_end_bytes));
    if (!context.schema.empty()) mixed = mixed * odd + hash(context.schema);
    return (mixed ^ (mixed >> 32)) % places_.size();
}

const TextCache::Reading* TextCache::find(std::string_view text,
                                          const TemplateContext& context) const {
    if (places_.empty() || text.size() > limits::cached_text_bytes_max) return nullptr;
    const Place& place = places_[index_of(text, context)];
    return place.holds && place.is_of(text, context) ? &place.reading : nullptr;
}

TextCache::Reading& TextCache::place_for(std::string_view text, const TemplateContext& context,
                                         bool worth_keeping) {
    const bool kept = worth_keeping && text.size() <= limits::cached_text_bytes_max;
    if (kept && places_.empty()) places_.resize(limits::cached_texts_max);
    last_ = kept ? &places_[index_of(text, context)] : nullptr;
    Place& place = kept ? *last_ : passing_;
    place.holds = false;
    if (kept) place.mark(text, context);
    if (place.reading.text.capacity() > limits::pooled_buffer_capacity_max)
        place.reading.text = std::string{};
    place.reading.text.clear();
    place.reading.positions.clear();
    place.reading.effects = {};
    place.reading.rewritten = false;
    place.reading.fingerprint = {};
    place.reading.traced = false;
    return place.reading;
}

void TextCache::keep() {
    if (last_ == nullptr) return;
    // Templates may have made it many times longer.
    last_->holds = last_->reading.text.size() <= 2 * limits::cached_text_bytes_max;
}

void TextCache::Place::mark(std::string_view new_text, const TemplateContext& context) {
    text = new_text;
    schema = context.schema;
    allowed_schemas.assign(context.allowed_schemas.begin(), context.allowed_schemas.end());
    channel_prefix = context.channel_prefix;
    flags = context;
    flags.schema = flags.channel_prefix = {};
    flags.allowed_schemas = {};
}

bool TextCache::Place::is_of(std::string_view other_text, const TemplateContext& context) const {
    return text == other_text && schema == context.schema && flags.braces == context.braces &&
           flags.angles == context.angles && flags.literals == context.literals &&
           flags.encoding == context.encoding &&
           flags.standard_conforming_strings == context.standard_conforming_strings &&
           channel_prefix == context.channel_prefix &&
           std::ranges::equal(allowed_schemas, context.allowed_schemas);
}

}  // namespace schemux::core
