// Setting and showing the value of one row of the option table, whatever its type.
// It must not know YAML, files, the environment or which row it is.
#pragma once

#include "config/option_table.h"

#include <string>
#include <vector>

namespace schemux::config {

/// Sets a value from the text of one scalar. The answer is empty, or what is wrong, without
/// quoting the text: it may come from an environment variable.
/// Only for rows that are neither sections nor lists.
std::string set_value(const Option& option, const Field& field, const std::string& text);

/// Sets a list of strings; the answer is as above.
std::string set_list(const Option& option, const Field& field, std::vector<std::string> items);

/// The value as a YAML flow scalar or list would say it: `10s`, `64KiB`, `[a, b]`, `relation`.
/// Empty for an empty string and an optional list that is not there.
std::string show_value(const Option& option, const Field& field);

/// `1..64`, `1ms..24h`, `off, relation, all`; empty if anything of the type goes.
std::string allowed_values(const Option& option);

/// All settings in force as (path, row, value), list elements named by what they are:
/// `services[orders].schema`, `listen[127.0.0.1:6432].port`.
struct NamedValue {
    std::string path;
    const Option* option = nullptr;
    std::string value;
};
std::vector<NamedValue> list_values(const Settings& settings);

/// The names of the elements of a section list, as in NamedValue: `services[orders]`.
std::vector<std::string> list_elements(const Settings& settings, const Option& section_list);

/// `127.0.0.1:6432` or `/run/schemux/.s.PGSQL.6432`.
std::string endpoint_of(const Listener& listener);

}  // namespace schemux::config
