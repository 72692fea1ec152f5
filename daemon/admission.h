// What becomes of a client that has proved who it is: the service that it asked for, whether it may
// have it, and the settings that its session begins with. It must not know how a client proves
// itself, nor connections.
#pragma once

#include "core/frontend_login.h"
#include "daemon/client_counts.h"
#include "daemon/shared_state.h"
#include "daemon/worker.h"
#include "protocol/error_response.h"

#include <variant>

namespace schemux::daemon {

/// A session without its connection, or why not. After authentication: names are not told to
/// strangers.
std::variant<NewSession, protocol::ErrorFields> admit(
    const Policy& policy, ClientCounts& counts, const core::FrontendLogin::Accepted& accepted);

}  // namespace schemux::daemon
