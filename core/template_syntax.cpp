#include "core/template_syntax.h"

namespace schemux::core {

namespace {

constexpr std::string_view tables_word = "tables.";
constexpr std::string_view schema_template = "{{schema}}";

bool is_name_start(char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}

bool is_name_byte(char byte) {
    return is_name_start(byte) || (byte >= '0' && byte <= '9');
}

void append_quoted(std::string& out, std::string_view name, std::string_view quote) {
    out.append(quote);
    for (const char byte : name) {
        if (byte == '"') {
            out.append(quote).append(quote);
        } else {
            out.push_back(byte);
        }
    }
    out.append(quote);
}

std::optional<Template> match_tables(std::string_view text, std::string_view close) {
    std::size_t at = 2 + tables_word.size();
    Template found;
    const std::size_t first = match_template_name(text.substr(at));
    if (first == 0) return {};
    found.table = text.substr(at, first);
    at += first;
    if (text.substr(at).starts_with('.')) {
        ++at;
        const std::size_t second = match_template_name(text.substr(at));
        if (second == 0) return {};
        found.schema = found.table;
        found.table = text.substr(at, second);
        at += second;
    }
    if (!text.substr(at).starts_with(close)) return {};
    found.bytes = at + close.size();
    return found;
}

}  // namespace

std::size_t match_template_name(std::string_view text) {
    if (text.empty() || !is_name_start(text.front())) return 0;
    std::size_t length = 1;
    while (length < text.size() && is_name_byte(text[length])) {
        if (++length > template_name_max) return 0;
    }
    return length;
}

std::optional<Template> match_template(std::string_view text, TemplateDelimiter delimiter) {
    const bool braces = delimiter == TemplateDelimiter::braces;
    if (!text.starts_with(braces ? "{{" : "<<")) return {};
    if (text.substr(2).starts_with(tables_word)) return match_tables(text, braces ? "}}" : ">>");
    if (!braces || !text.starts_with(schema_template)) return {};
    Template found;
    found.bytes = schema_template.size();
    found.kind = Template::Kind::schema;
    if (text.substr(found.bytes).starts_with('.')) {
        found.kind = Template::Kind::schema_prefix;
        ++found.bytes;
    }
    return found;
}

void append_expansion(std::string& out, const Template& found, std::string_view service_schema,
                      std::string_view quote) {
    const std::string_view schema = found.schema.empty() ? service_schema : found.schema;
    if (!schema.empty()) append_quoted(out, schema, quote);
    switch (found.kind) {
        case Template::Kind::table:
            if (!schema.empty()) out.push_back('.');
            out.append(found.table);
            break;
        case Template::Kind::schema:
            if (schema.empty()) out.append("public");
            break;
        case Template::Kind::schema_prefix:
            if (!schema.empty()) out.push_back('.');
            break;
    }
}

bool has_template_beginning(std::string_view text, bool braces, bool angles) {
    constexpr auto npos = std::string_view::npos;
    if (braces && (text.find("{{tables.") != npos || text.find(schema_template) != npos))
        return true;
    return angles && text.find("<<tables.") != npos;
}

}  // namespace schemux::core
