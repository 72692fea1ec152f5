// Finds templates such as {{tables.users}} in SQL text and writes the text with their expansions.
// Names of channels get the service's prefix on the way, where it has one.
// Only in code, and in dollar-quoted bodies of CREATE FUNCTION/PROCEDURE and DO; literals, quoted
// identifiers and comments stay as they are unless the service's option says otherwise.
// An expansion never joins with its neighbours into another token: every token but the template
// keeps its bytes and its meaning, else the text is refused.
// It must not know services, sessions or messages: everything it needs is in the context.
#pragma once

#include "core/position_map.h"
#include "protocol/error_response.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace schemux::core {

/// What happens to templates inside '…' and the like.
enum class LiteralTemplates : std::uint8_t {
    off,       ///< untouched
    relation,  ///< a '…' that is nothing but a relation name: '{{tables.users}}_id_seq'
    all,       ///< everywhere, comments and quoted identifiers included, as pgdbm does
};

/// The session's standard_conforming_strings as far as it is certain when the text is parsed.
enum class ConformingStrings : std::uint8_t { on, off, unknown };

struct TemplateContext {
    std::string_view schema;                       ///< the service's; empty = none
    std::span<const std::string> allowed_schemas;  ///< besides its own
    bool braces = true;                            ///< {{…}}
    bool angles = true;                            ///< <<tables.…>>
    LiteralTemplates literals = LiteralTemplates::off;
    ConformingStrings standard_conforming_strings = ConformingStrings::on;
    EncodingClass encoding = EncodingClass::utf8;  ///< of the client
    std::string_view
        channel_prefix;  ///< of the service's channels (channel_speller.h); empty: none
};

struct RewriteResult {
    enum class Outcome : std::uint8_t {
        unchanged,  ///< nothing appended: forward the client's own bytes
        rewritten,  ///< the whole new text was appended
        error,      ///< nothing appended; `error` is the answer to the client
    };
    Outcome outcome = Outcome::unchanged;
    std::optional<protocol::ErrorFields> error;
};

/// Dollar quotes inside dollar quotes that are looked into.
inline constexpr std::size_t template_depth_max = 8;

/// Appends the rewritten `text` to `out` and fills `map` (emptied first; may be null).
/// Errors, with a 1-based position in characters: 42601 unknown template or one that touches a
/// neighbour, 42501 schema not allowed, 54000 nested too deeply, 0A000 client encoding, or
/// standard_conforming_strings where it is not known and would matter.
/// Allocates nothing of its own except for errors, when `out` has room and the map is small.
RewriteResult rewrite_templates(std::string_view text, const TemplateContext& context,
                                std::string& out, PositionMap* map);

}  // namespace schemux::core
