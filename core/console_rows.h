// Rows of the admin console on the wire: RowDescription and DataRow, texts or, where a client asks
// for them, PostgreSQL's binary formats.
// It must not know commands.
#pragma once

#include "core/console_table.h"

#include <string>
#include <vector>

namespace schemux::core {

/// `binary`: which columns are to be; shorter: the others are texts.
void append_row_description(std::string& out, const ConsoleColumns& columns,
                            const std::vector<bool>& binary);
void append_data_row(std::string& out, const ConsoleTable& table, std::size_t row,
                     const std::vector<bool>& binary);

}  // namespace schemux::core
