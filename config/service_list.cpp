#include "config/service_list.h"

#include "config/option_table.h"
#include "config/service_pattern.h"
#include "config/suggest.h"
#include "config/yaml_tree.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>
#include <utility>

namespace schemux::config {

namespace {

constexpr std::string_view source = "services_query";
/// For one service that everybody knows of: names that TLS calls, what is kept for it; and what
/// would have this process read files.
constexpr std::array<std::string_view, 4> not_for_rows{"server_names", "pool.guarantee",
                                                       "pool.reserve", "role_password_file"};

Diagnostic wrong_column(std::size_t column, const std::string& name, std::string message) {
    return {std::string(source), {1, column + 1}, name, std::move(message)};
}

bool is_list(const Option& option) {
    return option.type == OptionType::text_list || option.type == OptionType::text_map;
}

/// PostgreSQL's own words for booleans.
std::string yaml_boolean(const std::string& text) {
    if (text == "t") return "true";
    return text == "f" ? "false" : text;
}

Member make_member(const std::string& key, Node value) {
    return {key, value.position, std::move(value)};
}

/// The section of that name, which may have to be made.
Node& section_in(Node& parent, const std::string& key) {
    for (Member& member : parent.members) {
        if (member.key == key) return member.value;
    }
    Node section;
    section.kind = NodeKind::map;
    section.position = parent.position;
    parent.members.push_back(make_member(key, std::move(section)));
    return parent.members.back().value;
}

class RowReader {
  public:
    RowReader(const ServiceRows& rows, const Settings& settings)
        : rows_(rows), settings_(settings) {}

    RowServices run() {
        if (!read_columns()) return std::move(result_);
        Node list;
        list.kind = NodeKind::sequence;
        for (std::size_t row = 0; row < rows_.rows.size(); ++row)
            list.items.push_back(node_of(row));
        // Without the rows that were wrong at first, others cannot become so.
        for (int attempt = 0; attempt < 2; ++attempt) {
            if (bind(list)) break;
        }
        return std::move(result_);
    }

  private:
    bool read_columns() {
        std::set<std::string> seen;
        for (std::size_t i = 0; i < rows_.columns.size(); ++i) {
            const std::string& name = rows_.columns[i];
            const Option* option = find_option("services[]." + name);
            const bool is_value = option != nullptr && option->field != nullptr;
            if (option != nullptr && !is_value) {
                add(wrong_column(i, name, "is a section: say which key of it, after a dot"));
            } else if (!is_value) {
                add(wrong_column(i, name, "is no key of a service" + hint_for(name)));
            } else if (std::find(not_for_rows.begin(), not_for_rows.end(), name) !=
                       not_for_rows.end()) {
                add(wrong_column(i, name, "cannot be said of services of services_query"));
            } else if (!seen.insert(name).second) {
                add(wrong_column(i, name, "is there twice"));
            }
            options_.push_back(option);
        }
        if (!seen.contains("name")) add(wrong_column(0, "name", "there is no such column"));
        return result_.errors.empty();
    }

    static std::string hint_for(const std::string& name) {
        std::vector<std::string_view> keys;
        for (const Option* option : options_inside("services[]"))
            keys.push_back(last_key(option->path));
        const auto near = nearest_word(name, keys);
        return near ? "; did you mean '" + std::string(*near) + "'?" : "";
    }

    void add(Diagnostic error) { result_.errors.push_back(std::move(error)); }

    Node node_of(std::size_t row) const {
        Node node;
        node.kind = NodeKind::map;
        node.position = {row + 1, 1};
        const auto& values = rows_.rows[row];
        for (std::size_t i = 0; i < values.size() && i < options_.size(); ++i) {
            if (!values[i]) continue;
            const std::string& name = rows_.columns[i];
            const std::size_t dot = name.rfind('.');
            Node& parent = dot == name.npos ? node : section_in(node, name.substr(0, dot));
            parent.members.push_back(
                make_member(dot == name.npos ? name : name.substr(dot + 1),
                            value_of(*options_[i], *values[i], {row + 1, i + 1})));
        }
        return node;
    }

    static Node value_of(const Option& option, const std::string& text, Position position) {
        if (is_list(option)) {
            // JSON is YAML. What is neither is left a text, which is no list.
            YamlTree tree = parse_yaml(text);
            if (tree.complete && tree.errors.empty()) {
                place(tree.root, position);
                return std::move(tree.root);
            }
        }
        Node value;
        value.kind = NodeKind::scalar;
        value.position = position;
        value.scalar = option.type == OptionType::boolean ? yaml_boolean(text) : text;
        return value;
    }

    static void place(Node& node, Position position) {
        node.position = position;
        for (Node& item : node.items)
            place(item, position);
        for (Member& member : node.members) {
            member.key_position = position;
            place(member.value, position);
        }
    }

    /// False: without some rows it may be right.
    bool bind(Node& list) {
        Node root;
        root.kind = NodeKind::map;
        root.members.push_back(make_member("services", std::move(list)));
        ServiceList bound = bind_services(root, std::string(source), settings_);
        list = std::move(root.members.front().value);
        if (bound.errors.empty()) return take(std::move(bound.services), list);
        std::set<std::size_t> wrong;
        const bool known = std::all_of(bound.errors.begin(), bound.errors.end(),
                                       [&wrong](const Diagnostic& error) {
                                           const auto index = row_of(error.path);
                                           if (index) wrong.insert(*index);
                                           return index.has_value();
                                       });
        const bool too_many = bound.errors.size() > max_diagnostics;
        for (Diagnostic& error : bound.errors)
            add(std::move(error));
        if (!known || too_many) return true;
        for (auto index = wrong.rbegin(); index != wrong.rend(); ++index)
            list.items.erase(list.items.begin() + static_cast<long>(*index));
        return false;
    }

    /// `services[3].schema` is of the fourth.
    static std::optional<std::size_t> row_of(const std::string& path) {
        constexpr std::string_view list = "services[";
        if (!path.starts_with(list)) return {};
        std::size_t index = 0;
        const char* const end = path.data() + path.size();
        const auto read = std::from_chars(path.data() + list.size(), end, index);
        if (read.ec != std::errc()) return {};
        return index;
    }

    bool take(std::vector<Service> services, const Node& list) {
        ListedServices listed;
        for (std::size_t i = 0; i < services.size(); ++i) {
            std::string name = services[i].name;
            if (is_pattern(name)) {
                add({std::string(source), list.items[i].position, "name",
                     '\'' + name + "' is a pattern; those are for the configuration"});
                continue;
            }
            listed.emplace(std::move(name), std::move(services[i]));
        }
        result_.services = std::move(listed);
        return true;
    }

    const ServiceRows& rows_;
    const Settings& settings_;
    std::vector<const Option*> options_;
    RowServices result_;
};

}  // namespace

RowServices read_service_rows(const ServiceRows& rows, const Settings& settings) {
    return RowReader(rows, settings).run();
}

}  // namespace schemux::config
