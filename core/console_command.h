// The commands of the admin console: PgBouncer's, and ours. Text in, one command or an error out.
// It must not know what a command does, nor who may give it.
#pragma once

#include "protocol/error_response.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::core {

enum class ConsoleVerb : std::uint8_t {
    nothing,  ///< an empty text
    show,
    show_setting,  ///< of the console's own session: SHOW client_encoding
    set_setting,   ///< of the same, which is accepted and does nothing
    begin,
    end,  ///< COMMIT and ROLLBACK: `tag` says which
    pause,
    resume,
    reconnect,
    disable,
    enable,
    kill,
    kill_client,  ///< `number` says which
    wait_close,
    reload,
    shutdown,
    explain_rewrite,  ///< of `text`, for a client of the service `target`
};

enum class ConsoleShow : std::uint8_t {
    help,
    version,
    state,
    config,
    databases,
    pools,
    clients,
    servers,
    sockets,
    active_sockets,
    lists,
    users,
    stats,
    stats_totals,
    stats_averages,
    totals,
    mem,
    peers,
    peer_pools,
    dns_hosts,
    dns_zones,
    // Ours.
    services,
    backends,
    queue,
    pins,
    isolation,
    templates,
    statements,
    labels,
    leases,  ///< `number`: of one backend's pid; 0: of all
    events,
};

enum class ShutdownMode : std::uint8_t { immediate, wait_for_servers, wait_for_clients };

struct ConsoleCommand {
    ConsoleVerb verb = ConsoleVerb::nothing;
    ConsoleShow show = ConsoleShow::help;
    ShutdownMode shutdown = ShutdownMode::immediate;
    std::string target{};  ///< a service, or a setting; empty: all
    std::string text{};    ///< SQL
    std::uint32_t number = 0;
    std::string tag{};  ///< CommandComplete's

    friend bool operator==(const ConsoleCommand&, const ConsoleCommand&) = default;
};

/// Longer ones are refused.
inline constexpr std::size_t console_command_bytes_max = 8 * 1024;

std::variant<ConsoleCommand, protocol::ErrorFields> read_console_command(std::string_view text);

/// The console's own view of a setting's name that `text` is; empty: drivers have no use for it.
std::string_view session_setting(std::string_view text);

/// As SHOW has it, in lower case.
std::string_view name_of(ConsoleShow show);

/// What SHOW HELP says.
std::string console_help();

}  // namespace schemux::core
