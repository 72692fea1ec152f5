// What the tests of loading share: a file's first lines, variables and messages as text.
#pragma once

#include "config/load.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace schemux::config {

using Lines = std::vector<std::string>;

/// Three lines that every file needs; what a test adds begins at line 4.
inline const std::string base =
    "backend: { dsn: host=db }\n"
    "auth: { method: trust }\n"
    "services: [ { name: app } ]\n";

inline std::optional<std::string> test_environment(const std::string& name) {
    static const std::map<std::string, std::string> variables{{"HOST", "db1"},
                                                              {"PORT", "7000"},
                                                              {"SECRET", "hunter2"},
                                                              {"EMPTY", ""},
                                                              {"NESTED", "${HOST}"}};
    const auto at = variables.find(name);
    if (at == variables.end()) return {};
    return at->second;
}

inline Lines lines_of(const std::vector<Diagnostic>& diagnostics) {
    Lines lines;
    for (const Diagnostic& diagnostic : diagnostics)
        lines.push_back(to_string(diagnostic));
    return lines;
}

inline LoadResult load_text(const std::string& text) {
    return load(text, "f.yaml", test_environment);
}

}  // namespace schemux::config
