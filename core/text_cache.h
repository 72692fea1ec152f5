// What was found in the texts that came last, so that a text that comes again, as the texts of
// prepared statements and of most applications do, is not read again: its templates expanded, its
// positions, its effects. Bounded in number and size; allocates nothing once its places are warm.
// A place is found by a cheap hash, but only the whole text and all that its reading depends on
// make a hit. It must not know whose text it is.
#pragma once

#include "core/fingerprint.h"
#include "core/position_map.h"
#include "core/statement_effects.h"
#include "core/template_rewriter.h"

#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

class TextCache {
  public:
    struct Reading {
        std::string text;  ///< what PostgreSQL gets; empty if that is the client's own
        PositionMap positions;
        StatementEffects effects{};
        bool rewritten = false;
        // Found when somebody first asks for it.
        mutable FingerprintRef fingerprint;  ///< of the client's text
        mutable bool traced = false;         ///< FingerprintReader::traced()
    };

    /// Null, or what `keep` was given under an equal text and context. It lives until `place_for`.
    const Reading* find(std::string_view text, const TemplateContext& context) const;
    /// An empty reading to be filled; the oldest one in its place is gone. Of a text that is too
    /// long, or not `worth_keeping`, nothing stays.
    Reading& place_for(std::string_view text, const TemplateContext& context, bool worth_keeping);
    /// The reading that `place_for` gave last is complete.
    void keep();

  private:
    struct Place {
        std::string text;
        std::string schema;
        std::vector<std::string> allowed_schemas;
        std::string channel_prefix;
        TemplateContext flags;  ///< without what the strings above hold
        Reading reading;
        bool holds = false;

        void mark(std::string_view new_text, const TemplateContext& context);
        bool is_of(std::string_view other_text, const TemplateContext& context) const;
    };
    std::size_t index_of(std::string_view text, const TemplateContext& context) const;

    std::vector<Place> places_;  ///< none before the first text
    Place passing_;              ///< for what is not kept
    Place* last_ = nullptr;
};

}  // namespace schemux::core
