// The content of the option table, for option_table.cpp alone.
#pragma once

#include "config/option_table.h"

#include <vector>

namespace schemux::config {

std::vector<Option> make_option_rows();

}  // namespace schemux::config
