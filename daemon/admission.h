// What becomes of a client that has proved who it is: the service that it asked for, whether it may
// have it, and the settings that its session begins with. It must not know how a client proves
// itself, nor connections.
#pragma once

#include "core/console_session.h"
#include "core/frontend_login.h"
#include "daemon/client_counts.h"
#include "daemon/shared_state.h"
#include "daemon/worker.h"
#include "protocol/error_response.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::daemon {

/// Whether the client asks for the admin console, where there is one.
bool asks_for_console(const Policy& policy, std::string_view database);
/// What its user may do there; none: nothing.
std::optional<core::ConsoleRights> console_rights(const Policy& policy, const std::string& user);
/// Who may do nothing there is told so.
protocol::ErrorFields refuse_console(const std::string& database);

using ServicePointer = std::shared_ptr<const core::Service>;

/// The service that the client may have, or why it may have none. After authentication: names are
/// not told to strangers.
std::variant<ServicePointer, protocol::ErrorFields> choose_service(
    const Policy& policy, const protocol::StartupParameters& asked);

/// Where its service's backends log in as the client, what it has proved is kept for that. What
/// PostgreSQL said to the same just now, if it did not let it in.
std::optional<protocol::ErrorFields> hand_over_secret(const Policy& policy,
                                                      core::FrontendLogin::Accepted& accepted);

/// What is to be asked about the schema of its service before it is let in; nothing: nothing is.
std::optional<WantedSchema> schema_of(const core::Service& service);
/// Why it has no service then; nothing: it has.
std::optional<protocol::ErrorFields> refuse_for_schema(const WantedSchema& wanted,
                                                       const SchemaState& state,
                                                       const std::string& service);

/// A session without its connection, or why not.
std::variant<NewSession, protocol::ErrorFields> admit(
    const Policy& policy, ProcessState& process, const core::FrontendLogin::Accepted& accepted);

}  // namespace schemux::daemon
