// The relay's part that reads texts: under which settings they are read, what their templates
// become, and what PostgreSQL may do with them. It must not know which message they came in.

#include "core/fixed_settings.h"
#include "core/own_settings.h"
#include "core/relay.h"

#include <utility>

namespace schemux::core {

using protocol::ErrorFields;

TemplateContext Relay::template_context() const {
    TemplateContext context = template_context_of(*service_);
    context.encoding = encoding_;
    context.standard_conforming_strings = !strings_certain()  ? ConformingStrings::unknown
                                          : standard_strings_ ? ConformingStrings::on
                                                              : ConformingStrings::off;
    return context;
}

/// A SET in the pipeline may not have been answered yet: then it is open how strings read.
bool Relay::strings_certain() const {
    return !has_backend() || !backend_->saw_set || at_rest() || only_asking();
}

/// Expands the templates of a text and tells the effects of what comes of it. The reading lives
/// until the next call.
std::variant<const TextCache::Reading*, ErrorFields> Relay::read(std::string_view text) {
    const TemplateContext context = template_context();
    const bool certain = encoding_ != EncodingClass::unsafe && !reading_open() &&
                         context.standard_conforming_strings != ConformingStrings::unknown;
    if (certain) {
        if (const TextCache::Reading* known = worker_.texts.find(text, context)) {
            if (auto error =
                    forbid_fixed_settings(*service_, text, known->effects, standard_strings_))
                return std::move(*error);
            note_databases(known->effects);
            find_fingerprint(*known, text);
            return known;
        }
    }
    if (const auto own = own_setting_of(text); own && certain) {
        TextCache::Reading& reading = worker_.texts.place_for(text, context, false);
        if (append_own_setting(reading.text, *own, *service_, worker_.version)) {
            reading.rewritten = true;
            reading.effects = effects_of(reading.text);
            find_fingerprint(reading, text);
            worker_.texts.keep();
            return &reading;
        }
    }
    TextCache::Reading& reading =
        worker_.texts.place_for(text, context, certain && !worker_.memory_short);
    RewriteResult result = rewrite_templates(text, context, reading.text, &reading.positions);
    if (result.error) {
        counters_.template_errors.add();
        return std::move(*result.error);
    }
    reading.rewritten = result.outcome == RewriteResult::Outcome::rewritten;
    reading.effects = effects_of(reading.rewritten ? reading.text : text);
    if (auto error = forbid_fixed_settings(*service_, text, reading.effects, standard_strings_))
        return std::move(*error);
    note_databases(reading.effects);
    find_fingerprint(reading, text);
    worker_.texts.keep();
    return &reading;
}

/// PostgreSQL waits five seconds for others to leave a database: idle backends do so at once.
void Relay::note_databases(const StatementEffects& effects) {
    if (effects.databases) worker_.changes_databases = service_->share->sub_pool();
}

/// Whether it is certain where its literals begin and end.
bool Relay::is_readable(std::string_view text) const {
    return encoding_ != EncodingClass::unsafe && (!reading_open() || reads_alike(text));
}

StatementEffects Relay::effects_of(std::string_view text) const {
    if (is_readable(text)) return classify_effects(text, standard_strings_);
    // Bytes that look like ASCII may be parts of characters: nothing is certain.
    StatementEffects unknown;
    unknown.add(Effect::opaque);
    unknown.frozen_literal = unknown.literal = true;
    return unknown;
}

}  // namespace schemux::core
