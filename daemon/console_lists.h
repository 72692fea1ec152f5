// The admin console's rows of single things, as workers tell of them: clients, backends, their
// connections, labels, leases, statements; and of recent events.
// It must not know workers: what they told comes as values.
#pragma once

#include "core/console_session.h"
#include "core/statement_stats.h"
#include "daemon/recent_events.h"
#include "daemon/worker_lines.h"

#include <vector>

namespace schemux::daemon {

/// What backends log in to where nothing else is said, by the clusters' places.
using DefaultIdentities = std::vector<core::BackendIdentity>;

/// SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS, LABELS.
void list_connections(core::ConsoleTable& out, core::ConsoleShow show,
                      const std::vector<WorkerLines>& workers, const DefaultIdentities& identities);
/// The newest one first.
void list_leases(core::ConsoleTable& out, const std::vector<WorkerLeases>& workers);
void list_statements(core::ConsoleTable& out, const std::vector<core::StatementLine>& lines);
/// The newest one first.
void list_events(core::ConsoleTable& out, const std::vector<RecentEvent>& events);

}  // namespace schemux::daemon
