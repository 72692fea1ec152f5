#include "config/load.h"

#include "config/dsn.h"
#include "config/option_table.h"
#include "config/option_value.h"
#include "config/suggest.h"
#include "config/validate.h"
#include "config/yaml_tree.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace schemux::config {

namespace {

/// Longest piece of a value that an error repeats.
constexpr std::size_t max_quoted_bytes = 60;

std::string excerpt(std::string_view text) {
    if (text.size() <= max_quoted_bytes) return '\'' + std::string(text) + '\'';
    std::size_t end = max_quoted_bytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80)
        --end;
    return '\'' + std::string(text.substr(0, end)) + "...'";
}

std::string join_path(const std::string& parent, std::string_view key) {
    return parent.empty() ? std::string(key) : parent + '.' + std::string(key);
}

/// Whether `path` is `base` or lies inside it.
bool is_inside(const std::string& path, const std::string& base) {
    if (base.empty() || !path.starts_with(base)) return false;
    return path.size() == base.size() || path[base.size()] == '.' || path[base.size()] == '[';
}

/// The row of a key of this section. A key with dots must not reach into the sections below.
const Option* direct_key(const std::string& section, const std::string& key) {
    for (const Option* option : options_inside(section))
        if (last_key(option->path) == key) return option;
    return nullptr;
}

/// Whether a value that stands in the file itself lets its readers log in.
bool shows_password(const Option& option, std::string_view text) {
    if (last_key(option.path).ends_with("dsn")) return holds_password(text);
    return !text.empty() && !text.starts_with("SCRAM-SHA-256$");
}

/// Where a secret is better kept.
std::string better_place(const Option& option, const std::string& path) {
    const std::string parent(option.path.substr(0, option.path.rfind('.')));
    if (find_option(join_path(parent, "password_file")) == nullptr) return "${NAME}";
    return join_path(parent_path(path), "password_file") + " or ${NAME}";
}

std::string unknown_key_message(const std::string& section, const std::string& key) {
    std::vector<std::string_view> siblings;
    for (const Option* option : options_inside(section))
        siblings.push_back(last_key(option->path));
    std::string message = "unknown key";
    if (find_option(join_path(section, key)) != nullptr)
        return message + "; write the part after a dot as a key inside its section";
    if (const auto near = nearest_word(key, siblings)) {
        message += "; did you mean '" + std::string(*near) + "'?";
        return message;
    }
    // Right word, wrong place.
    for (const Option& option : option_table())
        if (option.status == Status::active && last_key(option.path) == key)
            return message + "; did you mean '" + std::string(option.path) + "'?";
    return message;
}

/// Binds a YAML tree to Settings, row by row of the option table.
class Binder {
  public:
    Binder(const std::string& file_name, const Environment& environment)
        : file_name_(file_name),
          environment_(environment),
          folder_(std::filesystem::path(file_name).parent_path()) {}

    LoadResult run(const std::string& text) {
        YamlTree tree = parse_yaml(text);
        for (Diagnostic& error : tree.errors)
            error_at(error.position, std::move(error.path), std::move(error.message));
        // After a syntax error half of the file is missing; complaints about it would be noise.
        if (tree.complete) bind_root(tree.root);
        return result();
    }

    /// Those of a text that has nothing else.
    ServiceList run_services(const std::string& text, const Settings& settings) {
        YamlTree tree = parse_yaml(text);
        for (Diagnostic& error : tree.errors)
            error_at(error.position, std::move(error.path), std::move(error.message));
        if (tree.complete) bind_more(tree.root, settings);
        return service_list();
    }
    ServiceList run_services(const Node& root, const Settings& settings) {
        is_text_ = false;
        bind_more(root, settings);
        return service_list();
    }

    void error_at(Position position, std::string path, std::string message) {
        errors_.push_back({file_name_, position, std::move(path), std::move(message)});
    }

    LoadResult result() {
        finish(errors_, "errors");
        finish(warnings_, "warnings");
        LoadResult result{{}, std::move(errors_), std::move(warnings_), std::move(positions_)};
        if (result.errors.empty()) result.settings = std::move(settings_);
        return result;
    }

  private:
    void finish(std::vector<Diagnostic>& list, std::string_view what) const {
        std::stable_sort(list.begin(), list.end(), [](const Diagnostic& a, const Diagnostic& b) {
            return a.position < b.position;
        });
        if (list.size() <= max_diagnostics) return;
        list.resize(max_diagnostics);
        list.push_back({file_name_, list.back().position, "file",
                        "more " + std::string(what) + " follow; only the first " +
                            std::to_string(max_diagnostics) + " are shown"});
    }

    void bind_root(const Node& root) {
        positions_[""] = {};
        const bool has_backend =
            std::any_of(root.members.begin(), root.members.end(), [](const Member& member) {
                return member.key == "backend" || member.key == "backends";
            });
        const bool has_keys = root.kind == NodeKind::map || root.kind == NodeKind::null;
        if (has_keys && !has_backend) error_at({}, "backend", "required key is missing");
        bind_section(root, "", "", {.settings = &settings_});
        if (root.kind != NodeKind::map) return;
        add_problems();
        // Whatever is said of the one backend holds for the first of several.
        std::vector<Backend>& others = settings_.backends;
        if (!positions_.contains("backend") && !others.empty()) {
            settings_.backend = std::move(others.front());
            others.erase(others.begin());
        }
    }

    void bind_more(const Node& root, const Settings& settings) {
        settings_ = settings;
        known_services_ = settings.services.size();
        if (root.kind != NodeKind::map) return error_at(root.position, "file", "has no services");
        for (const Member& member : root.members) {
            if (member.key == "services") {
                bind_member(member, "", "", {.settings = &settings_});
            } else {
                error_at(member.key_position, member.key, "only the key services can be here");
            }
        }
        add_problems();
    }

    ServiceList service_list() {
        finish(errors_, "errors");
        finish(warnings_, "warnings");
        ServiceList list{{}, std::move(errors_), std::move(warnings_)};
        if (!list.errors.empty()) return list;
        const auto first = settings_.services.begin() + static_cast<long>(known_services_);
        list.services.assign(std::make_move_iterator(first),
                             std::make_move_iterator(settings_.services.end()));
        return list;
    }

    /// As it is called in the text that is bound here; nothing: that is not where it stands.
    std::optional<std::string> path_here(const std::string& path) const {
        constexpr std::string_view list = "services[";
        if (known_services_ == 0) return path;
        if (!path.starts_with(list)) return {};
        std::size_t index = 0;
        const char* const end = path.data() + path.size();
        const auto read = std::from_chars(path.data() + list.size(), end, index);
        if (index < known_services_) return {};
        return std::string(list) + std::to_string(index - known_services_) +
               std::string(read.ptr, end);
    }

    bool full() const { return errors_.size() > max_diagnostics; }

    /// `section` is the path in the option table, `path` the one people see.
    void bind_section(const Node& node, const std::string& section, const std::string& path,
                      const Scope& scope) {
        if (node.kind != NodeKind::map && node.kind != NodeKind::null) {
            error_at(node.position, path.empty() ? "file" : path, "expected keys and values");
            return;
        }
        for (const Member& member : node.members) {
            if (full()) return;
            bind_member(member, section, path, scope);
        }
        for (const Option* option : options_inside(section)) {
            if (option->presence != Presence::required) continue;
            const std::string_view key = last_key(option->path);
            const bool found =
                std::any_of(node.members.begin(), node.members.end(),
                            [key](const Member& member) { return member.key == key; });
            if (!found)
                error_at(path.empty() ? Position{} : positions_[path], join_path(path, key),
                         "required key is missing");
        }
    }

    void bind_member(const Member& member, const std::string& section, const std::string& path,
                     const Scope& scope) {
        const std::string here = join_path(path, member.key);
        const Option* option = direct_key(section, member.key);
        if (option == nullptr) {
            error_at(member.key_position, here, unknown_key_message(section, member.key));
            return;
        }
        positions_[here] = member.value.position;
        if (option->status == Status::reserved) {
            error_at(member.key_position, here,
                     "reserved for a later version; this version does not act on it");
        } else if (option->type == OptionType::section) {
            bind_section(member.value, std::string(option->path), here,
                         option->open != nullptr ? option->open(scope) : scope);
        } else if (option->type == OptionType::section_list) {
            bind_section_list(member.value, *option, here, scope);
        } else if (option->type == OptionType::text_list) {
            bind_text_list(member.value, *option, here, option->field(scope));
        } else if (option->type == OptionType::text_map) {
            bind_text_map(member.value, *option, here, option->field(scope));
        } else {
            bind_scalar(member.value, *option, here, option->field(scope));
        }
    }

    void bind_section_list(const Node& node, const Option& option, const std::string& path,
                           const Scope& scope) {
        if (node.kind != NodeKind::sequence && node.kind != NodeKind::null) {
            error_at(node.position, path, "expected a list");
            return;
        }
        if (node.items.size() + known_services_ > option.max) {
            error_at(node.position, path, "more than " + std::to_string(option.max) + " entries");
            return;
        }
        // The default listener makes way for what the file says.
        if (option.path == "listen") settings_.listen.clear();
        const std::string section = std::string(option.path) + "[]";
        for (std::size_t i = 0; i < node.items.size() && !full(); ++i) {
            const std::string here = path + '[' + std::to_string(i) + ']';
            positions_[here] = node.items[i].position;
            const Scope element = option.open(scope);
            if (node.items[i].kind == NodeKind::null) {
                error_at(node.items[i].position, here, "expected keys and values");
            } else {
                bind_section(node.items[i], section, here, element);
            }
        }
    }

    void bind_text_list(const Node& node, const Option& option, const std::string& path,
                        const Field& field) {
        if (node.kind != NodeKind::sequence) {
            error_at(node.position, path, "expected a list, such as [a, b]");
            return;
        }
        std::vector<std::string> texts;
        bool good = true;
        for (std::size_t i = 0; i < node.items.size() && !full(); ++i) {
            const std::string here = path + '[' + std::to_string(i) + ']';
            positions_[here] = node.items[i].position;
            auto text = scalar_text(node.items[i], here);
            if (text && text->empty()) {
                error_at(node.items[i].position, here, "must not be empty");
                text.reset();
            }
            good = good && text.has_value();
            texts.push_back(text.value_or(std::string()));
        }
        if (!good) return;
        const std::string wrong = set_list(option, field, std::move(texts));
        if (!wrong.empty()) error_at(node.position, path, wrong);
    }

    void bind_text_map(const Node& node, const Option& option, const std::string& path,
                       const Field& field) {
        if (node.kind != NodeKind::map) {
            error_at(node.position, path, "expected names and values, such as {a: 1}");
            return;
        }
        if (node.members.size() > option.max) {
            error_at(node.position, path, "more than " + std::to_string(option.max) + " entries");
            return;
        }
        TextMap& map = *std::get<TextMap*>(field);
        for (const Member& member : node.members) {
            const std::string here = join_path(path, member.key);
            positions_[here] = member.value.position;
            auto text = scalar_text(member.value, here);
            if (text) map.emplace(member.key, *std::move(text));
        }
    }

    void bind_scalar(const Node& node, const Option& option, const std::string& path,
                     const Field& field) {
        auto text = scalar_text(node, path);
        if (!text) return;
        if (option.secret && is_text_ && node.scalar.find("${") == std::string::npos &&
            shows_password(option, *text))
            warnings_.push_back({file_name_, node.position, path,
                                 "holds a password; use " + better_place(option, path)});
        if (option.type == OptionType::path && !text->empty()) text = resolve(*text);
        std::string wrong = set_value(option, field, *text);
        if (wrong.empty()) return;
        // The file's own text, never what a variable held.
        if (!node.scalar.empty() && !option.secret) wrong += "; found " + excerpt(node.scalar);
        error_at(node.position, path, wrong);
    }

    std::string resolve(const std::string& path) const {
        std::string resolved = (folder_ / path).lexically_normal().string();
        if (resolved.size() > 1 && resolved.back() == '/') resolved.pop_back();
        return resolved;
    }

    std::optional<std::string> scalar_text(const Node& node, const std::string& path) {
        if (node.kind == NodeKind::null) {
            error_at(node.position, path, "has no value; leave the key out for the default");
            return {};
        }
        if (node.kind != NodeKind::scalar) {
            error_at(node.position, path, "expected a single value");
            return {};
        }
        if (!is_text_) return node.scalar;
        Expansion expansion = expand_environment(node.scalar, environment_);
        if (!expansion.error.empty()) {
            error_at(node.position, path, expansion.error);
            return {};
        }
        return std::move(expansion.text);
    }

    /// Adds what validate() finds, except where an error already explains it.
    void add_problems() {
        const std::size_t bound = errors_.size();
        const auto explained = [&](const std::string& path) {
            return std::any_of(
                errors_.begin(), errors_.begin() + static_cast<std::ptrdiff_t>(bound),
                [&](const Diagnostic& error) { return is_inside(error.path, path); });
        };
        for (Problem& problem : validate(settings_)) {
            if (full()) return;
            const std::optional<std::string> path = path_here(problem.path);
            if (!path || explained(*path)) continue;
            const std::optional<std::string> related = path_here(problem.related);
            if (related && explained(*related)) continue;
            std::vector<Diagnostic>& list =
                problem.severity == Severity::error ? errors_ : warnings_;
            const Position position = nearest_position(positions_, *path);
            list.push_back({file_name_, position, *path, std::move(problem.message)});
        }
    }

    std::string file_name_;
    const Environment& environment_;
    std::filesystem::path folder_;
    Settings settings_;
    std::vector<Diagnostic> errors_;
    std::vector<Diagnostic> warnings_;
    Positions positions_;
    std::size_t known_services_ = 0;  ///< that are not of this text, in front of its own
    bool is_text_ = true;             ///< a file, whose texts may have variables
};

}  // namespace

Position nearest_position(const Positions& positions, std::string path) {
    while (!path.empty() && !positions.contains(path))
        path = parent_path(path);
    const auto found = positions.find(path);
    return found == positions.end() ? Position{} : found->second;
}

LoadResult load(const std::string& text, const std::string& file_name,
                const Environment& environment) {
    return Binder(file_name, environment).run(text);
}

ServiceList load_services(const std::string& text, const std::string& file_name,
                          const Environment& environment, const Settings& settings) {
    return Binder(file_name, environment).run_services(text, settings);
}

ServiceList bind_services(const Node& root, const std::string& source, const Settings& settings) {
    const Environment none = [](const std::string&) { return std::nullopt; };
    return Binder(source, none).run_services(root, settings);
}

LoadResult load_file(const std::string& file_name, const Environment& environment) {
    std::ifstream file(file_name, std::ios::binary);
    // One byte more than allowed, so that load() sees what is too long.
    std::string text(max_file_bytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!file.is_open() || file.bad()) {
        LoadResult result;
        result.errors.push_back({file_name, {}, "file", "cannot be read"});
        return result;
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    return load(text, file_name, environment);
}

Environment process_environment() {
    return [](const std::string& name) -> std::optional<std::string> {
        const char* value = std::getenv(name.c_str());
        if (value == nullptr) return {};
        return std::string(value);
    };
}

}  // namespace schemux::config
