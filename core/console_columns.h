// The columns of every SHOW: PgBouncer's own, name by name and type by type as the declared version
// has them, since exporters go by names, places or counts; and those of our commands.
// It must not know what stands in them.
#pragma once

#include "core/console_command.h"
#include "core/console_table.h"

#include <cstdint>
#include <optional>
#include <string_view>

namespace schemux::core {

/// Versions of PgBouncer's console that it can be; `admin.compat`. `legacy`: 1.18's, and what the
/// exporter of Debian 12 still asks for (prometheus-pgbouncer-exporter 1.7).
enum class ConsoleProfile : std::uint8_t { legacy, v1_18, v1_24, v1_26 };

/// The release that is declared, as in SHOW VERSION.
std::string_view version_of(ConsoleProfile profile);

/// Nothing: that version has no such command.
std::optional<ConsoleColumns> console_columns(ConsoleShow show, ConsoleProfile profile);

}  // namespace schemux::core
