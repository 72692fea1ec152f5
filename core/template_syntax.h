// The template grammar alone: what is a template at one place of a text, and what it becomes.
//   {{tables.NAME}}  {{tables.SCHEMA.NAME}}  {{schema}}  {{schema}}.   <<tables.NAME>> and so on
// ASCII, case-sensitive, no inner spaces; NAME = [A-Za-z_][A-Za-z0-9_]{0,62}.
// It must not know where in SQL a template may stand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

/// Bytes of a table or schema name in a template: one less than PostgreSQL's NAMEDATALEN.
inline constexpr std::size_t template_name_max = 63;

struct Template {
    enum class Kind : std::uint8_t {
        table,          ///< {{tables.NAME}} or {{tables.SCHEMA.NAME}}
        schema,         ///< {{schema}}
        schema_prefix,  ///< {{schema}}. with its point
    };
    Kind kind = Kind::table;
    std::string_view schema;  ///< as named in the template; empty = the service's
    std::string_view table;
    std::size_t bytes = 0;  ///< of the whole template, delimiters included
};

enum class TemplateDelimiter : std::uint8_t { braces, angles };

/// The template that `text` starts with, which must start with the opening delimiter.
std::optional<Template> match_template(std::string_view text, TemplateDelimiter delimiter);

/// Appends what the template becomes under `service_schema` (empty = none); `quote` is `"`, or
/// `""` inside a quoted identifier. The schema part is quoted, the table part is not.
void append_expansion(std::string& out, const Template& found, std::string_view service_schema,
                      std::string_view quote = "\"");

/// Bytes of NAME at the front of `text`, 0 when there is none or it is too long.
std::size_t match_template_name(std::string_view text);

/// Whether an exact beginning of a known template (`{{tables.`, `{{schema}}`, `<<tables.`) occurs.
bool has_template_beginning(std::string_view text, bool braces, bool angles);

}  // namespace schemux::core
