#include "config/option_table.h"

#include "config/option_rows.h"

#include <unordered_map>

namespace schemux::config {

const std::vector<Option>& option_table() {
    static const std::vector<Option> table = make_option_rows();
    return table;
}

const Option* find_option(std::string_view path) {
    static const std::unordered_map<std::string_view, const Option*> by_path = [] {
        std::unordered_map<std::string_view, const Option*> map;
        for (const Option& option : option_table())
            map.emplace(option.path, &option);
        return map;
    }();
    const auto at = by_path.find(path);
    return at == by_path.end() ? nullptr : at->second;
}

std::vector<const Option*> options_inside(std::string_view section) {
    std::vector<const Option*> inside;
    for (const Option& option : option_table()) {
        const std::size_t dot = option.path.rfind('.');
        const std::string_view parent =
            dot == std::string_view::npos ? std::string_view() : option.path.substr(0, dot);
        if (parent == section) inside.push_back(&option);
    }
    return inside;
}

std::string_view last_key(std::string_view path) {
    const std::size_t dot = path.rfind('.');
    return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

std::string_view name_of(OptionType type) {
    switch (type) {
        case OptionType::section:
            return "section";
        case OptionType::section_list:
            return "list of sections";
        case OptionType::text:
            return "string";
        case OptionType::path:
            return "path";
        case OptionType::text_map:
            return "mapping";
        case OptionType::text_list:
            return "list of strings";
        case OptionType::boolean:
            return "boolean";
        case OptionType::integer:
            return "integer";
        case OptionType::size:
            return "size";
        case OptionType::duration:
            return "duration";
        case OptionType::choice:
            return "choice";
    }
    return "";
}

std::string_view name_of(Reload reload) {
    switch (reload) {
        case Reload::live:
            return "live";
        case Reload::new_connections:
            return "new-connections";
        case Reload::restart:
            return "restart";
    }
    return "";
}

}  // namespace schemux::config
