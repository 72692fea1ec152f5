#include "core/console_columns.h"

#include <array>
#include <span>

namespace schemux::core {

namespace {

/// In which versions a column is there.
enum class In : std::uint8_t { all, since_1_24, since_1_26, until_1_18, legacy };

struct Row {
    std::string_view name;
    ColumnType type;
    In in = In::all;
};

constexpr ColumnType text = ColumnType::text;
constexpr ColumnType int4 = ColumnType::int4;
constexpr ColumnType int8 = ColumnType::int8;
constexpr ColumnType numeric = ColumnType::numeric;
constexpr In since_1_24 = In::since_1_24;
constexpr In since_1_26 = In::since_1_26;
constexpr In until_1_18 = In::until_1_18;

constexpr std::array version{
    Row{"version", text},
};

constexpr std::array config{
    Row{"key", text},
    Row{"value", text},
    Row{"default", text},
    Row{"changeable", text},
};

constexpr std::array databases{
    Row{"name", text},
    Row{"host", text},
    Row{"port", int4},
    Row{"database", text},
    Row{"force_user", text},
    Row{"pool_size", int4},
    Row{"min_pool_size", int4},
    Row{"reserve_pool_size", int4, since_1_24},
    Row{"server_lifetime", int4, since_1_24},
    Row{"reserve_pool", int4, until_1_18},
    Row{"pool_mode", text},
    Row{"load_balance_hosts", text, since_1_24},
    Row{"max_connections", int4},
    Row{"current_connections", int4},
    Row{"max_client_connections", int4, since_1_24},
    Row{"current_client_connections", int4, since_1_24},
    Row{"paused", int4},
    Row{"disabled", int4},
};

constexpr std::array pools{
    Row{"database", text},
    Row{"user", text},
    Row{"cl_active", int4},
    Row{"cl_waiting", int4},
    Row{"cl_active_cancel_req", int4},
    Row{"cl_waiting_cancel_req", int4},
    Row{"sv_active", int4},
    Row{"sv_active_cancel", int4},
    Row{"sv_being_canceled", int4},
    Row{"sv_idle", int4},
    Row{"sv_used", int4},
    Row{"sv_tested", int4},
    Row{"sv_login", int4},
    Row{"maxwait", int4},
    Row{"maxwait_us", int4},
    Row{"pool_mode", text},
    Row{"load_balance_hosts", text, since_1_24},
};

constexpr std::array clients{
    Row{"type", text},
    Row{"user", text},
    Row{"database", text},
    Row{"replication", text, since_1_24},
    Row{"state", text},
    Row{"addr", text},
    Row{"port", int4},
    Row{"local_addr", text},
    Row{"local_port", int4},
    Row{"connect_time", text},
    Row{"request_time", text},
    Row{"wait", int4},
    Row{"wait_us", int4},
    Row{"close_needed", int4},
    Row{"ptr", text},
    Row{"link", text},
    Row{"remote_pid", int4},
    Row{"tls", text},
    Row{"application_name", text},
    Row{"prepared_statements", int4, since_1_24},
    Row{"id", int4, since_1_24},
};

constexpr std::array socket_rest{
    Row{"recv_pos", int4},   Row{"pkt_pos", int4},     Row{"pkt_remain", int4},
    Row{"send_pos", int4},   Row{"send_remain", int4}, Row{"pkt_avail", int4},
    Row{"send_avail", int4},
};

constexpr std::array lists{
    Row{"list", text},
    Row{"items", int4},
};

constexpr std::array users{
    Row{"name", text},
    Row{"pool_size", text, since_1_24},
    Row{"reserve_pool_size", text, since_1_24},
    Row{"pool_mode", text},
    Row{"max_user_connections", int4, since_1_24},
    Row{"current_connections", int4, since_1_24},
    Row{"max_user_client_connections", int4, since_1_24},
    Row{"current_client_connections", int4, since_1_24},
};

constexpr std::array stats{
    Row{"database", text},
    Row{"total_server_assignment_count", numeric, since_1_24},
    Row{"total_xact_count", numeric},
    Row{"total_query_count", numeric},
    Row{"total_requests", numeric, In::legacy},
    Row{"total_received", numeric},
    Row{"total_sent", numeric},
    Row{"total_xact_time", numeric},
    Row{"total_query_time", numeric},
    Row{"total_wait_time", numeric},
    Row{"total_client_parse_count", numeric, since_1_24},
    Row{"total_server_parse_count", numeric, since_1_24},
    Row{"total_bind_count", numeric, since_1_24},
    Row{"total_client_login_count", numeric, since_1_26},
    Row{"avg_server_assignment_count", numeric, since_1_24},
    Row{"avg_xact_count", numeric},
    Row{"avg_query_count", numeric},
    Row{"avg_recv", numeric},
    Row{"avg_sent", numeric},
    Row{"avg_xact_time", numeric},
    Row{"avg_query_time", numeric},
    Row{"avg_wait_time", numeric},
    Row{"avg_client_parse_count", numeric, since_1_24},
    Row{"avg_server_parse_count", numeric, since_1_24},
    Row{"avg_bind_count", numeric, since_1_24},
    Row{"avg_client_login_count", numeric, since_1_26},
};

constexpr std::array stats_totals{
    Row{"database", text},
    Row{"server_assignment_count", numeric, since_1_24},
    Row{"xact_count", numeric},
    Row{"query_count", numeric},
    Row{"bytes_received", numeric},
    Row{"bytes_sent", numeric},
    Row{"xact_time", numeric},
    Row{"query_time", numeric},
    Row{"wait_time", numeric},
    Row{"client_parse_count", numeric, since_1_24},
    Row{"server_parse_count", numeric, since_1_24},
    Row{"bind_count", numeric, since_1_24},
    Row{"client_login_count", numeric, since_1_26},
};

constexpr std::array stats_averages{
    Row{"database", text},
    Row{"server_assignment_count", numeric, since_1_24},
    Row{"xact_count", numeric},
    Row{"query_count", numeric},
    Row{"bytes_received", numeric},
    Row{"bytes_sent", numeric},
    Row{"xact_time", numeric},
    Row{"query_time", numeric},
    Row{"wait_time", numeric},
    Row{"avg_client_parse_count", numeric, since_1_24},
    Row{"avg_server_parse_count", numeric, since_1_24},
    Row{"avg_bind_count", numeric, since_1_24},
    Row{"avg_client_login_count", numeric, since_1_26},
};

constexpr std::array totals{
    Row{"name", text},
    Row{"value", numeric},
};

constexpr std::array mem{
    Row{"name", text}, Row{"size", int4},     Row{"used", int4},
    Row{"free", int4}, Row{"memtotal", int4},
};

constexpr std::array peers{
    Row{"peer_id", int4, since_1_24},
    Row{"host", text, since_1_24},
    Row{"port", int4, since_1_24},
    Row{"pool_size", int4, since_1_24},
};

constexpr std::array peer_pools{
    Row{"peer_id", int4, since_1_24},
    Row{"cl_active_cancel_req", int4, since_1_24},
    Row{"cl_waiting_cancel_req", int4, since_1_24},
    Row{"sv_active_cancel", int4, since_1_24},
    Row{"sv_login", int4, since_1_24},
};

constexpr std::array dns_hosts{
    Row{"hostname", text},
    Row{"ttl", int8},
    Row{"addrs", text},
};

constexpr std::array dns_zones{
    Row{"zonename", text},
    Row{"serial", int8},
    Row{"count", int4},
};

constexpr std::array state{
    Row{"key", text, since_1_24},
    Row{"value", text, since_1_24},
};

constexpr std::array services{
    Row{"service", text},         Row{"backend", text}, Row{"schema", text},
    Row{"isolation", text},       Row{"mode", text},    Row{"clients", int8},
    Row{"waiting", int8},         Row{"leases", int8},  Row{"transactions", int8},
    Row{"queries", int8},         Row{"errors", int8},  Row{"rewrites", int8},
    Row{"template_errors", int8}, Row{"pinned", int8},  Row{"wait_time_us", int8},
    Row{"backend_time_us", int8}, Row{"paused", int4},  Row{"disabled", int4},
};

constexpr std::array backends{
    Row{"backend", text}, Row{"maximum", int4},   Row{"minimum", int4}, Row{"open", int4},
    Row{"idle", int4},    Row{"leased", int4},    Row{"upkeep", int4},  Row{"connecting", int4},
    Row{"waiting", int4}, Row{"reachable", int4}, Row{"error", text},
};

constexpr std::array queue{
    Row{"service", text}, Row{"waiting", int8},   Row{"leases", int8},       Row{"served", int8},
    Row{"refused", int8}, Row{"timed_out", int8}, Row{"wait_time_us", int8}, Row{"paused", int4},
};

constexpr std::array pins{
    Row{"service", text},
    Row{"reason", text},
    Row{"clients", int8},
};

constexpr std::array isolation{
    Row{"service", text},
    Row{"level", text},
    Row{"role", text},
};

constexpr std::array templates{
    Row{"service", text},  Row{"schema", text}, Row{"placeholders", text},
    Row{"rewrites", int8}, Row{"errors", int8},
};

constexpr std::array statements{
    Row{"service", text},     Row{"fingerprint", text}, Row{"calls", int8},
    Row{"errors", int8},      Row{"rows", int8},        Row{"total_time_us", int8},
    Row{"avg_time_us", int8}, Row{"max_time_us", int8}, Row{"wait_time_us", int8},
    Row{"statement", text},
};

constexpr std::array labels{
    Row{"settings", text},
    Row{"clients", int8},
    Row{"backends", int8},
};

constexpr std::array leases{
    Row{"backend_pid", int4}, Row{"service", text},   Row{"user", text},
    Row{"addr", text},        Row{"client_id", int4}, Row{"application_name", text},
    Row{"began", text},       Row{"ended", text},     Row{"held_us", int8},
};

constexpr std::array events{
    Row{"number", int8}, Row{"time", text},    Row{"level", text},
    Row{"event", text},  Row{"message", text}, Row{"fields", text},
};

bool is_in(In in, ConsoleProfile profile) {
    switch (in) {
        case In::all:
            return true;
        case In::since_1_24:
            return profile >= ConsoleProfile::v1_24;
        case In::since_1_26:
            return profile >= ConsoleProfile::v1_26;
        case In::until_1_18:
            return profile <= ConsoleProfile::v1_18;
        case In::legacy:
            return profile == ConsoleProfile::legacy;
    }
    return false;
}

void add(ConsoleColumns& columns, std::span<const Row> rows, ConsoleProfile profile) {
    for (const Row& row : rows) {
        if (is_in(row.in, profile)) columns.push_back({row.name, row.type});
    }
}

std::span<const Row> rows_of(ConsoleShow show) {
    switch (show) {
        case ConsoleShow::help:
            return {};

        case ConsoleShow::version:
            return version;
        case ConsoleShow::config:
            return config;
        case ConsoleShow::databases:
            return databases;
        case ConsoleShow::pools:
            return pools;
        case ConsoleShow::clients:
        case ConsoleShow::servers:
        case ConsoleShow::sockets:
        case ConsoleShow::active_sockets:
            return clients;
        case ConsoleShow::lists:
            return lists;
        case ConsoleShow::users:
            return users;
        case ConsoleShow::stats:
            return stats;
        case ConsoleShow::stats_totals:
            return stats_totals;
        case ConsoleShow::stats_averages:
            return stats_averages;
        case ConsoleShow::totals:
            return totals;
        case ConsoleShow::mem:
            return mem;
        case ConsoleShow::peers:
            return peers;
        case ConsoleShow::peer_pools:
            return peer_pools;
        case ConsoleShow::dns_hosts:
            return dns_hosts;
        case ConsoleShow::dns_zones:
            return dns_zones;
        case ConsoleShow::state:
            return state;
        case ConsoleShow::services:
            return services;
        case ConsoleShow::backends:
            return backends;
        case ConsoleShow::queue:
            return queue;
        case ConsoleShow::pins:
            return pins;
        case ConsoleShow::isolation:
            return isolation;
        case ConsoleShow::templates:
            return templates;
        case ConsoleShow::statements:
            return statements;
        case ConsoleShow::labels:
            return labels;
        case ConsoleShow::leases:
            return leases;
        case ConsoleShow::events:
            return events;
    }
    return {};
}

bool came_with_1_24(ConsoleShow show) {
    return show == ConsoleShow::state || show == ConsoleShow::peers ||
           show == ConsoleShow::peer_pools;
}

}  // namespace

std::string_view version_of(ConsoleProfile profile) {
    switch (profile) {
        case ConsoleProfile::legacy:
        case ConsoleProfile::v1_18:
            return "1.18.0";
        case ConsoleProfile::v1_24:
            return "1.24.1";
        case ConsoleProfile::v1_26:
            return "1.26.1";
    }
    return {};
}

std::optional<ConsoleColumns> console_columns(ConsoleShow show, ConsoleProfile profile) {
    if (profile <= ConsoleProfile::v1_18 && came_with_1_24(show)) return {};
    ConsoleColumns columns;
    add(columns, rows_of(show), profile);
    if (show == ConsoleShow::sockets || show == ConsoleShow::active_sockets)
        add(columns, socket_rest, profile);
    return columns;
}

}  // namespace schemux::core
