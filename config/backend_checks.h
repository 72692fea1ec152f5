// What can be wrong with where PostgreSQL is: the one backend, or several by name, and what of them
// services ask for. Part of validate().
#pragma once

#include "config/validate.h"

#include <vector>

namespace schemux::config {

std::vector<Problem> check_backends(const Settings& settings);

}  // namespace schemux::config
