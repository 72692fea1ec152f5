// What can be wrong with a service's names and with its place in PostgreSQL: patterns, schema,
// database, role, isolation, settings. Part of validate().
#pragma once

#include "config/validate.h"

#include <vector>

namespace schemux::config {

std::vector<Problem> check_service_identities(const Settings& settings);

/// What came of a pattern and a name: everything that has the name in it is valid.
bool is_valid_match(const Service& service);

/// Why nobody's backends may log in as this role; or nothing.
std::string check_role_name(std::string_view name);

/// Why a session's settings may not have this one; or nothing.
std::string check_setting_name(std::string_view name);

}  // namespace schemux::config
