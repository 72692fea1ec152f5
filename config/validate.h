// The rules that one key alone cannot break: uniqueness, references, names, where trust is allowed.
// Pure; it must not know YAML, files or positions.
#pragma once

#include "config/settings.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {

/// PostgreSQL's NAMEDATALEN - 1: longer names would be cut by the server.
inline constexpr std::size_t max_name_bytes = 63;

/// sizeof(sockaddr_un::sun_path) - 1 on Linux.
inline constexpr std::size_t max_unix_path_bytes = 107;

enum class Severity : std::uint8_t { error, warning };

struct Problem {
    Severity severity = Severity::error;
    std::string path;  ///< `services[1].name`; list indices start at 0
    std::string message;
    std::string related;  ///< another path that the rule reads; empty: none
};

/// Everything that is wrong or doubtful, in no particular order. Values that are missing
/// altogether (an empty service name, no dsn) are the loader's to report.
std::vector<Problem> validate(const Settings& settings);

/// Empty, or why PostgreSQL or the template grammar would not take it as a service's schema.
std::string check_schema_name(std::string_view name);

}  // namespace schemux::config
