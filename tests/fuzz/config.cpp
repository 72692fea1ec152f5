// The configuration file: reading, validation, what people are told about it.
// Input: a byte (bit 0: the default file is in front), then the text.
#include "config/describe.h"
#include "config/dsn.h"
#include "config/load.h"
#include "config/option_value.h"
#include "config/reference.h"
#include "config/service_list.h"
#include "config/validate.h"
#include "config/values.h"
#include "tests/fuzz/input.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace schemux::fuzz {
namespace {

using namespace config;

constexpr std::string_view file_name = "/etc/schemux/schemux.yaml";
constexpr std::size_t digits_max = 24;
constexpr std::size_t numbers_max = 64;
constexpr std::string_view secret = "hunter2-of-the-environment";

std::optional<std::string> variable(const std::string& name) {
    if (name == "SECRET") return std::string(secret);
    if (name == "NUMBER") return "7";
    if (name == "EMPTY") return "";
    if (name == "NESTED") return "${SECRET}";
    return {};
}

bool holds_secret(std::string_view text) {
    return text.find(secret) != std::string_view::npos;
}

std::vector<std::size_t> line_lengths(std::string_view text) {
    std::vector<std::size_t> lengths{0};
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool pair = text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n';
        if (pair) continue;
        if (text[i] == '\n' || text[i] == '\r') {
            lengths.push_back(0);
        } else {
            ++lengths.back();
        }
    }
    return lengths;
}

void check_diagnostics(const std::vector<Diagnostic>& list, std::string_view text) {
    demand(list.size() <= max_diagnostics + 1, "diagnostics are bounded");
    const std::vector<std::size_t> lines = line_lengths(text);
    Position last;
    for (const Diagnostic& diagnostic : list) {
        const Position at = diagnostic.position;
        demand(at.line >= 1 && at.column >= 1, "positions count from one");
        demand(at.line <= lines.size() + 1, "the line is one of the file");
        demand(last <= at, "diagnostics are in file order");
        last = at;
        demand(diagnostic.file == file_name, "a diagnostic names the file");
        demand(!diagnostic.message.empty(), "a diagnostic says something");
        demand(to_string(diagnostic).find('\0') == std::string::npos, "no zero byte is printed");
    }
}

// ---- writing settings down ----

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '$' && i + 1 < text.size() && text[i + 1] == '{') {
            out += "$$";
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(c));
            out += escape;
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string quoted(const std::vector<std::string>& list) {
    std::string out = "[";
    for (const std::string& item : list)
        out += (out.size() > 1 ? ", " : "") + quoted(item);
    return out + "]";
}

class Writer {
  public:
    std::string run(const Settings& settings) {
        values_ = list_values(settings);
        text_ = "listen:\n";
        for (const Listener& listener : settings.listen) {
            text_ += "  - port: " + std::to_string(listener.port) + '\n';
            optional("    address", listener.address);
            optional("    unix_socket_dir", listener.unix_socket_dir);
        }
        section("http");
        section("backend");
        section("pool");
        section("auth");
        if (!settings.auth.users.empty()) text_ += "  users:\n";
        for (const User& user : settings.auth.users)
            text_ += "    - name: " + quoted(user.name) + '\n';
        text_ += "services:\n";
        for (const Service& service : settings.services)
            write(service);
        section("log");
        section("limits");
        section("");
        return text_;
    }

  private:
    void write(const Service& service) {
        text_ += "  - name: " + quoted(service.name) + '\n';
        optional("    schema", service.schema);
        if (!service.users.empty()) text_ += "    users: " + quoted(service.users) + '\n';
        if (service.search_path) text_ += "    search_path: " + quoted(*service.search_path) + '\n';
        if (!service.allow_schemas.empty())
            text_ += "    allow_schemas: " + quoted(service.allow_schemas) + '\n';
        const auto boolean = [](bool value) { return value ? "true" : "false"; };
        text_ += std::string("    templates: { braces: ") + boolean(service.templates.braces) +
                 ", angles: " + boolean(service.templates.angles) + " }\n    literals: ";
        static constexpr const char* literals[] = {"\"off\"", "relation", "all"};
        text_ += literals[static_cast<std::size_t>(service.literals)];
        text_ += '\n';
    }

    void optional(std::string_view key, const std::string& value) {
        if (!value.empty()) text_.append(key).append(": ") += quoted(value) + '\n';
    }

    /// The plain keys right inside a section, as the option table shows their values.
    void section(std::string_view name) {
        bool any = name.empty();
        for (const NamedValue& value : values_) {
            const std::string_view path = value.path;
            const std::string_view inside =
                name.empty() ? "" : std::string_view(path.substr(0, path.find_last_of('.') + 1));
            const bool here = name.empty()
                                  ? path.find_first_of(".[") == path.npos
                                  : inside.size() == name.size() + 1 && inside.starts_with(name);
            if (!here || value.value.empty() || value.option->path.find('[') != path.npos) continue;
            if (!std::exchange(any, true)) text_ += std::string(name) + ":\n";
            text_ += (name.empty() ? "" : "  ") + std::string(path.substr(inside.size())) + ": " +
                     quoted(value.value) + '\n';
        }
    }

    std::vector<NamedValue> values_;
    std::string text_;
};

/// Beyond what describe_changes sees, which compares values as they are shown.
bool same_numbers(const Settings& a, const Settings& b) {
    const auto numbers = [](const Settings& settings) {
        const Pool& pool = settings.pool;
        const Limits& limits = settings.limits;
        return std::make_tuple(pool.max_connections, pool.min_connections, pool.acquire_timeout,
                               pool.connect_timeout, pool.idle_timeout, pool.lifetime,
                               limits.max_query_bytes, limits.max_clients, limits.login_timeout,
                               settings.workers, settings.drain_timeout);
    };
    return numbers(a) == numbers(b);
}

/// Every key once, or the file is refused at the line of the second.
void check_duplicate(std::string_view written, std::size_t choice) {
    std::vector<std::string_view> lines;
    std::vector<std::size_t> keys;
    for (std::string_view rest = written; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n') + 1);
        const std::size_t word = line.find_first_not_of(' ');
        if (line[word] != '-') keys.push_back(lines.size());
        lines.push_back(line);
        rest.remove_prefix(line.size());
    }
    const std::size_t twice = keys[choice % keys.size()];
    std::string text;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        text += lines[i];
        if (i == twice) text += lines[i];
    }
    const LoadResult result = load(text, std::string(file_name), variable);
    if (result.settings) show("twice", lines[twice]);
    demand(!result.settings, "a key that is there twice is refused");
    // Lines count from one, and the second is the one behind.
    const bool at_second =
        std::any_of(result.errors.begin(), result.errors.end(), [twice](const Diagnostic& error) {
            return error.position.line == twice + 2 &&
                   error.message.find("line " + std::to_string(twice + 1)) != error.message.npos;
        });
    demand(at_second, "the error is at the second, and names the line of the first");
}

void check_settings(const Settings& settings, std::size_t choice) {
    for (const Problem& problem : validate(settings))
        demand(problem.severity == Severity::warning, "settings that were loaded are valid");
    demand(describe_changes(settings, settings).empty(), "nothing differs from itself");
    const std::string summary = describe(settings);
    demand(!summary.empty() && summary.back() == '\n', "the summary has whole lines");
    bool public_secret = false;
    for (const NamedValue& value : list_values(settings))
        public_secret = public_secret || (!value.option->secret && holds_secret(value.value));
    if (!public_secret && settings.backend.dsn.find("://") == std::string::npos) {
        const bool shown = show_dsn(settings.backend.dsn).find(secret) != std::string::npos;
        demand(!holds_secret(summary) || shown, "the summary shows no secret");
    }
    // Written down, they are read as the same.
    const std::string written = Writer().run(settings);
    const LoadResult again = load(written, std::string(file_name), variable);
    if (!again.settings) {
        show("written", written);
        for (const Diagnostic& error : again.errors)
            show("error", to_string(error));
    }
    demand(again.settings.has_value(), "settings can be written down");
    const std::vector<std::string> changes = describe_changes(settings, *again.settings);
    if (!changes.empty()) {
        show("written", written);
        show("change", changes.front());
    }
    demand(changes.empty() && same_numbers(settings, *again.settings),
           "settings are read as they were written");
    check_duplicate(written, choice);
}

/// A number with its unit is as much as it says, or refused: nothing wraps around.
void check_units(std::string_view number) {
    const std::string digits(number.substr(0, digits_max));
    // Exact far beyond 64 bits with the largest unit of all.
    long double value = 0;
    for (const char c : digits)
        value = value * 10 + static_cast<long double>(c - '0');
    const auto is_exact = [value](auto read, std::uint64_t factor) {
        return !read || static_cast<long double>(*read) == value * static_cast<long double>(factor);
    };
    static constexpr std::array<std::pair<const char*, std::uint64_t>, 4> times = {
        {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}}};
    static constexpr std::array<std::pair<const char*, std::uint64_t>, 4> sizes = {
        {{"", 1}, {"KiB", 1U << 10U}, {"MiB", 1U << 20U}, {"GiB", 1U << 30U}}};
    for (const auto& [unit, factor] : times) {
        const auto time = parse_duration(digits + unit);
        demand(!time || is_exact(std::optional(time->count()), factor), "a time is what it says");
    }
    for (const auto& [unit, factor] : sizes)
        demand(is_exact(parse_size(digits + unit), factor), "a size is what it says");
    demand(is_exact(parse_integer(digits), 1), "a number is what it says");
}

void check_numbers(std::string_view text) {
    constexpr std::string_view decimal = "0123456789";
    std::size_t checked = 0;
    std::size_t at = text.find_first_of(decimal);
    while (at != text.npos && checked++ < numbers_max) {
        const std::size_t end = std::min(text.find_first_not_of(decimal, at), text.size());
        check_units(text.substr(at, end - at));
        at = text.find_first_of(decimal, end);
    }
}

/// Further services, beside one that there is: all are right, or it is said what is wrong.
void check_more_services(const std::string& text) {
    Settings settings;
    settings.services.push_back({.name = "app", .schema = "app"});
    settings.services_query.sql = "select";
    const ServiceList list = load_services(text, std::string(file_name), variable, settings);
    demand(list.errors.empty() || list.services.empty(), "services or errors");
    check_diagnostics(list.errors, text);
    check_diagnostics(list.warnings, text);

    ServiceRows rows;
    rows.columns = {"name", "schema", "users", "settings", "pool.max", "create_schema"};
    std::vector<std::optional<std::string>> row;
    std::string value;
    for (const char c : text) {
        if (c != '|' && c != '\n') {
            value += c;
            continue;
        }
        row.emplace_back(value.empty() ? std::nullopt : std::optional(std::move(value)));
        value.clear();
        if (c == '|' && row.size() < rows.columns.size()) continue;
        rows.rows.push_back(std::exchange(row, {}));
    }
    const RowServices read = read_service_rows(rows, settings);
    if (!read.services) return demand(!read.errors.empty(), "services or errors");
    demand(read.services->size() <= rows.rows.size(), "a row is one service at most");
    for (const auto& [name, service] : *read.services) {
        demand(name == service.name && !name.empty() && name != "app", "each has its own name");
        demand(service.schema.empty() || check_schema_name(service.schema).empty(),
               "its schema is one");
    }
}

void check(Input input) {
    std::string text;
    if (input.flag()) text = default_config_yaml();
    text += input.rest();
    const LoadResult result = load(text, std::string(file_name), variable);
    demand(result.settings.has_value() == result.errors.empty(), "settings or errors");
    check_diagnostics(result.errors, text);
    check_diagnostics(result.warnings, text);
    if (result.settings) check_settings(*result.settings, text.size());
    // Connection strings are people's own text in a text of ours.
    const std::string shown = show_dsn(text);
    demand(shown.size() <= 16 * text.size() + 16, "what is shown of a dsn is bounded");
    holds_password(text);
    check_numbers(text);
    check_more_services(text);
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
