#include "config/reference.h"

#include "config/option_table.h"
#include "config/option_value.h"

#include <optional>
#include <string_view>

namespace schemux::config {

namespace {

std::string code(std::string_view text) {
    return text.empty() ? std::string() : '`' + std::string(text) + '`';
}

/// Text for a table cell: what looks like an HTML tag must not vanish.
std::string cell(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (c == '<') {
            result += "&lt;";
        } else if (c == '|') {
            result += "\\|";
        } else {
            result += c;
        }
    }
    return result;
}

std::string default_cell(const Option& option) {
    switch (option.presence) {
        case Presence::defaulted:
            return code(option.default_text);
        case Presence::required:
            return "required";
        case Presence::optional:
        case Presence::one_of:
            return "none";
    }
    return {};
}

std::string comment_of(const Option& option) {
    std::string text = "# " + std::string(option.sentence);
    const std::string allowed = allowed_values(option);
    text += " (" + (allowed.empty() ? std::string() : allowed + "; ") +
            "reload: " + std::string(name_of(option.reload)) + ")\n";
    return text;
}

/// Writes the table as YAML. What is off stands behind a '#' in the column where it would begin,
/// so that taking the '#' away gives valid YAML.
class DefaultFile {
  public:
    std::string run() {
        write_section("", 0, {});
        return std::move(text_);
    }

  private:
    /// `off_from`: the indentation of the outermost section that is commented out.
    void write_section(std::string_view section, std::size_t indent,
                       std::optional<std::size_t> off_from) {
        bool dash = section.ends_with("[]");
        for (const Option* option : options_inside(section)) {
            if (option->status == Status::reserved) continue;
            write_option(*option, indent, dash, off_from);
            dash = false;
        }
    }

    void write_option(const Option& option, std::size_t indent, bool dash,
                      std::optional<std::size_t> off_from) {
        if (!off_from && option.presence == Presence::optional) off_from = indent;
        if (indent == 0 && !text_.empty()) text_ += '\n';
        // The comment of a list element stands above its dash.
        text_ += std::string(dash ? indent - 2 : indent, ' ') + comment_of(option);
        std::string line(indent, ' ');
        if (dash) line[indent - 2] = '-';
        if (off_from) line.insert(*off_from, 1, '#');
        const bool is_list = option.type == OptionType::section_list;
        text_ += line + std::string(last_key(option.path)) + ':';
        if (is_list || option.type == OptionType::section) {
            text_ += '\n';
            const std::string inside = std::string(option.path) + (is_list ? "[]" : "");
            write_section(inside, indent + (is_list ? 4 : 2), off_from);
            return;
        }
        const bool has_default = option.presence == Presence::defaulted;
        text_ += ' ' + std::string(has_default ? option.default_text : option.example) + '\n';
    }

    std::string text_;
};

}  // namespace

std::string option_reference_markdown() {
    std::string text =
        "| Key | Type | Default | Allowed | Reload | Meaning |\n"
        "| --- | --- | --- | --- | --- | --- |\n";
    std::string reserved = "\n| Reserved key | Meaning |\n| --- | --- |\n";
    for (const Option& option : option_table()) {
        if (option.status == Status::reserved) {
            reserved += "| " + code(option.path) + " | " + cell(option.sentence) + " |\n";
            continue;
        }
        text += "| " + code(option.path) + " | " + std::string(name_of(option.type)) + " | " +
                default_cell(option) + " | " + allowed_values(option) + " | " +
                std::string(name_of(option.reload)) + " | " + cell(option.sentence) + " |\n";
    }
    return text + reserved;
}

std::string default_config_yaml() {
    return DefaultFile().run();
}

}  // namespace schemux::config
