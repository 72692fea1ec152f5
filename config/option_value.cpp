#include "config/option_value.h"

#include "config/address.h"
#include "config/values.h"

#include <cassert>
#include <optional>
#include <type_traits>
#include <utility>

namespace schemux::config {

namespace {

std::string join(const std::vector<std::string_view>& words) {
    std::string text;
    for (const std::string_view word : words) {
        if (!text.empty()) text += ", ";
        text += word;
    }
    return text;
}

std::string show_list(const std::vector<std::string>& items) {
    return '[' + join({items.begin(), items.end()}) + ']';
}

std::string show_map(const TextMap& map) {
    if (map.empty()) return {};
    std::string text;
    for (const auto& [name, value] : map) {
        if (!text.empty()) text += ", ";
        text += name;
        text += ": ";
        text += value;
    }
    return '{' + text + '}';
}

std::string out_of_range(const Option& option) {
    return "must be in the range " + allowed_values(option);
}

/// Puts an enumerator or number in place; the row's range is within the field's type.
void assign_number(const Field& field, std::uint64_t number) {
    std::visit(
        [number](auto* at) {
            using Value = std::remove_pointer_t<decltype(at)>;
            if constexpr (std::is_enum_v<Value> || (std::is_integral_v<Value>)) {
                *at = static_cast<Value>(number);
            } else if constexpr (std::is_same_v<Value, std::chrono::milliseconds>) {
                *at = std::chrono::milliseconds(number);
            } else {
                assert(false && "the row's type does not fit its field");
            }
        },
        field);
}

std::uint64_t number_in(const Field& field) {
    return std::visit(
        [](auto* at) -> std::uint64_t {
            using Value = std::remove_pointer_t<decltype(at)>;
            if constexpr (std::is_enum_v<Value> || std::is_integral_v<Value>) {
                return static_cast<std::uint64_t>(*at);
            } else if constexpr (std::is_same_v<Value, std::chrono::milliseconds>) {
                return static_cast<std::uint64_t>(at->count());
            } else {
                assert(false && "the row's type does not fit its field");
                return 0;
            }
        },
        field);
}

std::string set_number(const Option& option, const Field& field,
                       std::optional<std::uint64_t> number, std::string_view expected) {
    if (!number) return "expected " + std::string(expected);
    if (*number < option.min || *number > option.max) return out_of_range(option);
    assign_number(field, *number);
    return {};
}

std::string set_integer(const Option& option, const Field& field, const std::string& text) {
    const bool padded = text.size() > 1 && text[0] == '0' &&
                        text.find_first_not_of("0123456789") == std::string::npos;
    if (padded) return "a number must not start with 0, which YAML 1.1 reads as octal";
    return set_number(option, field, parse_integer(text), "a whole decimal number");
}

std::string set_duration(const Option& option, const Field& field, const std::string& text) {
    const auto duration = parse_duration(text);
    std::optional<std::uint64_t> number;
    if (duration) number = static_cast<std::uint64_t>(duration->count());
    return set_number(option, field, number,
                      "a duration: a whole number with ms, s, m or h, such as 250ms or 10s");
}

std::string set_choice(const Option& option, const Field& field, const std::string& text) {
    for (std::size_t i = 0; i < option.choices.size(); ++i) {
        if (option.choices[i] != text) continue;
        assign_number(field, i);
        return {};
    }
    return "expected one of: " + join(option.choices);
}

/// A placeholder name for element `i` that has none (yet).
std::string element_name(const std::string& name, std::size_t i) {
    return name.empty() ? '#' + std::to_string(i) : name;
}

struct Element {
    std::string name;
    Scope scope;
};

/// The elements of the list at `path`, in order.
std::vector<Element> elements_of(Settings& settings, std::string_view path) {
    std::vector<Element> elements;
    const auto add = [&elements, path](const std::string& name, const Scope& scope) {
        elements.push_back(
            {std::string(path) + '[' + element_name(name, elements.size()) + ']', scope});
    };
    if (path == "listen") {
        for (Listener& listener : settings.listen)
            add(endpoint_of(listener), {.settings = &settings, .listener = &listener});
    } else if (path == "backends") {
        for (Backend& backend : settings.backends)
            add(backend.name, {.settings = &settings, .backend = &backend});
    } else if (path == "auth.users") {
        for (User& user : settings.auth.users)
            add(user.name, {.settings = &settings, .user = &user});
    } else if (path == "auth.rules") {
        for (LoginRule& rule : settings.auth.rules)
            add("", {.settings = &settings, .rule = &rule});
    } else if (path == "auth.maps") {
        for (IdentityMap& map : settings.auth.maps)
            add("", {.settings = &settings, .map = &map});
    } else if (path == "services") {
        for (Service& service : settings.services)
            add(service.name, {.settings = &settings, .service = &service});
    } else {
        assert(false && "a section list that elements_of does not know");
    }
    return elements;
}

}  // namespace

std::string set_value(const Option& option, const Field& field, const std::string& text) {
    switch (option.type) {
        case OptionType::text:
        case OptionType::path:
            if (text.empty()) return "must not be empty; leave the key out instead";
            *std::get<std::string*>(field) = text;
            return {};
        case OptionType::boolean: {
            const auto value = parse_boolean(text);
            if (!value) return "expected true or false";
            *std::get<bool*>(field) = *value;
            return {};
        }
        case OptionType::integer:
            return set_integer(option, field, text);
        case OptionType::size:
            return set_number(option, field, parse_size(text),
                              "a size: a whole number of bytes, or with KiB, MiB or GiB");
        case OptionType::duration:
            return set_duration(option, field, text);
        case OptionType::choice:
            return set_choice(option, field, text);
        case OptionType::text_list:
        case OptionType::text_map:
        case OptionType::section:
        case OptionType::section_list:
            break;
    }
    assert(false && "not a scalar");
    return "not a scalar";
}

std::string set_list(const Option& option, const Field& field, std::vector<std::string> items) {
    assert(option.type == OptionType::text_list);
    if (items.empty() && option.min > 0)
        return "the list must not be empty; leave the key out instead";
    if (items.size() > option.max) return "more than " + std::to_string(option.max) + " entries";
    if (const auto* plain = std::get_if<std::vector<std::string>*>(&field)) {
        **plain = std::move(items);
    } else {
        *std::get<std::optional<std::vector<std::string>>*>(field) = std::move(items);
    }
    return {};
}

std::string show_value(const Option& option, const Field& field) {
    switch (option.type) {
        case OptionType::text:
        case OptionType::path:
            return *std::get<std::string*>(field);
        case OptionType::boolean:
            return *std::get<bool*>(field) ? "true" : "false";
        case OptionType::integer:
            return std::to_string(number_in(field));
        case OptionType::size:
            return format_size(number_in(field));
        case OptionType::duration:
            return format_duration(std::chrono::milliseconds(number_in(field)));
        case OptionType::choice:
            return std::string(option.choices.at(number_in(field)));
        case OptionType::text_list: {
            if (const auto* plain = std::get_if<std::vector<std::string>*>(&field)) {
                const bool absent = (*plain)->empty() && option.presence == Presence::optional;
                return absent ? std::string() : show_list(**plain);
            }
            const auto& list = *std::get<std::optional<std::vector<std::string>>*>(field);
            return list ? show_list(*list) : std::string();
        }
        case OptionType::text_map:
            return show_map(*std::get<TextMap*>(field));
        case OptionType::section:
        case OptionType::section_list:
            break;
    }
    return {};
}

std::string allowed_values(const Option& option) {
    switch (option.type) {
        case OptionType::choice:
            return join(option.choices);
        case OptionType::integer:
            return std::to_string(option.min) + ".." + std::to_string(option.max);
        case OptionType::size:
            return format_size(option.min) + ".." + format_size(option.max);
        case OptionType::duration:
            return format_duration(std::chrono::milliseconds(option.min)) + ".." +
                   format_duration(std::chrono::milliseconds(option.max));
        case OptionType::boolean:
            return "true, false";
        case OptionType::text_list:
        case OptionType::text_map:
        case OptionType::section_list:
            return std::to_string(option.min) + ".." + std::to_string(option.max) + " entries";
        case OptionType::text:
        case OptionType::path:
        case OptionType::section:
            return {};
    }
    return {};
}

std::vector<NamedValue> list_values(const Settings& settings) {
    // Fields are pointers to mutable values; a copy keeps the caller's settings untouched.
    Settings copy = settings;
    const Scope top{.settings = &copy};
    std::vector<NamedValue> values;
    for (const Option& option : option_table()) {
        if (option.field == nullptr) continue;
        if (option.path.starts_with("http.") && !copy.http) continue;
        const std::size_t brackets = option.path.find("[]");
        if (brackets == std::string_view::npos) {
            values.push_back(
                {std::string(option.path), &option, show_value(option, option.field(top))});
            continue;
        }
        const std::string rest(option.path.substr(brackets + 2));
        for (const Element& element : elements_of(copy, option.path.substr(0, brackets)))
            values.push_back(
                {element.name + rest, &option, show_value(option, option.field(element.scope))});
    }
    return values;
}

std::vector<std::string> list_elements(const Settings& settings, const Option& section_list) {
    Settings copy = settings;
    std::vector<std::string> names;
    for (Element& element : elements_of(copy, section_list.path))
        names.push_back(std::move(element.name));
    return names;
}

std::string endpoint_of(const Listener& listener) {
    if (listener.is_unix())
        return listener.unix_socket_dir + "/.s.PGSQL." + std::to_string(listener.port);
    return format_endpoint(listener.address, listener.port);
}

}  // namespace schemux::config
