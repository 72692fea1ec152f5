// Configuration text to Settings, with every error and warning of the file at once.
// It must not know what the settings are for, and it changes nothing.
#pragma once

#include "config/diagnostic.h"
#include "config/settings.h"
#include "config/values.h"
#include "config/yaml_tree.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace schemux::config {

/// Where each key of the file stands: `auth.users[0].name`.
using Positions = std::map<std::string, Position>;

struct LoadResult {
    std::optional<Settings> settings;  ///< there exactly if `errors` is empty
    std::vector<Diagnostic> errors;    ///< in file order, at most max_diagnostics + 1
    std::vector<Diagnostic> warnings;  ///< likewise
    Positions positions;               ///< for errors that others find later
};

/// Of the key or, if the file does not have it, of the nearest section around it.
Position nearest_position(const Positions& positions, std::string path);

/// `file_name` is what messages show and, unless the daemon changes its folder, what relative
/// paths in the file are relative to. Nothing is read from disk.
LoadResult load(const std::string& text, const std::string& file_name,
                const Environment& environment);

/// Services beside those that a configuration lists itself.
struct ServiceList {
    std::vector<Service> services;  ///< none with errors
    std::vector<Diagnostic> errors;
    std::vector<Diagnostic> warnings;
};

/// `text`: YAML whose only key is `services`. They are checked as if they stood behind those of
/// `settings`.
ServiceList load_services(const std::string& text, const std::string& file_name,
                          const Environment& environment, const Settings& settings);

/// The same of a tree that is no file's: its texts are taken as they are, with no variables, and
/// may be passwords.
ServiceList bind_services(const Node& root, const std::string& source, const Settings& settings);

/// Reads the file (at most max_file_bytes) and loads it; a file that cannot be read is an error
/// of the result.
LoadResult load_file(const std::string& file_name, const Environment& environment);

/// The variables of this process.
Environment process_environment();

}  // namespace schemux::config
