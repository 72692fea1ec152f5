// PostgreSQL's pg_hba.conf: text to login rules, every fault with its line.
// Source: PostgreSQL manual, 21.1 "The pg_hba.conf File". Not taken, and said so: groups (+name),
// regular expressions, included files, host names, samehost and samenet, methods that schemux does
// not have. Replication and GSSAPI encryption are never served: their lines fit nobody.
// It must not open files or judge whether a rule is wise.
#pragma once

#include "config/settings.h"

#include <string>
#include <string_view>
#include <vector>

namespace schemux::config {

inline constexpr std::size_t hba_rules_max = 1'000;
inline constexpr std::size_t hba_names_max = 1'000;  ///< in one field

struct LineError {
    unsigned line = 0;
    std::string message;
};

struct HbaFile {
    std::vector<LoginRule> rules;
    std::vector<LineError> errors;
};

HbaFile read_hba_file(std::string_view text);

}  // namespace schemux::config
