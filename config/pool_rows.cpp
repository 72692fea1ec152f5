// The rows of `pool`. Only words and accessors, as in option_rows.cpp.
#include "config/option_row.h"
#include "config/option_rows.h"

namespace schemux::config {

namespace {

void add_pool(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("pool", OptionType::section, "The one bounded set of backend connections.").done(),
            row("pool.max_connections", OptionType::integer,
                "Most backend connections, over all services and workers, connecting ones "
                "included.")
                .by_default("20")
                .range(1, 10'000)
                .at([](const Scope& s) -> Field { return &s.settings->pool.max_connections; }),
            row("pool.min_connections", OptionType::integer,
                "Backend connections kept open even when nothing needs them.")
                .by_default("0")
                .range(0, 10'000)
                .at([](const Scope& s) -> Field { return &s.settings->pool.min_connections; }),
            row("pool.mode", OptionType::choice, "When a frontend gives its backend back.")
                .by_default("transaction")
                .choices({"transaction", "session", "statement"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.mode; }),
            row("pool.acquire_timeout", OptionType::duration,
                "Longest wait for a backend before the frontend gets an error.")
                .by_default("10s")
                .range(1, 24 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.acquire_timeout; }),
            row("pool.connect_timeout", OptionType::duration,
                "Longest time to make one backend connection, login included.")
                .by_default("5s")
                .range(100, hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.connect_timeout; }),
            row("pool.idle_timeout", OptionType::duration,
                "A backend unused for this long is closed, down to min_connections; 0 is never.")
                .by_default("10m")
                .range(0, 720 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->pool.idle_timeout; }),
            row("pool.lifetime", OptionType::duration,
                "A backend older than this is closed at its next release; 0 is never.")
                .by_default("1h")
                .range(0, 720 * hour)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.lifetime; }),
            row("pool.client_stall_timeout", OptionType::duration,
                "A frontend that reads nothing of its answers for this long is ended; 0 is never.")
                .by_default("0")
                .range(0, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->pool.client_stall_timeout; }),
        });
}

void add_pool_care(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("pool.health_check_after", OptionType::duration,
                "A backend that rested for longer has to answer before a frontend gets it; 0 is "
                "never.")
                .by_default("30s")
                .range(0, 24 * hour)
                .at([](const Scope& s) -> Field { return &s.settings->pool.health_check_after; }),
            row("pool.max_backend_memory", OptionType::size,
                "A backend whose memory PostgreSQL tells to be more than this is closed when it is "
                "free; the login needs pg_read_all_stats. 0: any.")
                .by_default("0")
                .range(0, std::uint64_t{1024} * 1024 * mib)
                .at([](const Scope& s) -> Field { return &s.settings->pool.max_backend_memory; }),
            row("pool.service_affinity", OptionType::boolean,
                "A frontend rather gets a backend that its service has used before: PostgreSQL "
                "keeps what it knows of each table for as long as the backend lives.")
                .by_default("true")
                .at([](const Scope& s) -> Field { return &s.settings->pool.service_affinity; }),
            row("pool.paused", OptionType::boolean,
                "Nobody is given a backend, and those that come free are closed: frontends wait.")
                .by_default("false")
                .at([](const Scope& s) -> Field { return &s.settings->pool.paused; }),
            row("pool.audit_sample", OptionType::integer,
                "One release of so many is followed by an audit: a backend with state that nobody "
                "saw come is closed; 0 is none.")
                .by_default("1000")
                .range(0, 1'000'000)
                .at([](const Scope& s) -> Field { return &s.settings->pool.audit_sample; }),
            row("pool.pin_budget", OptionType::integer,
                "Most backends that frontends of all services may keep for themselves; 0: three "
                "quarters of max_connections.")
                .by_default("0")
                .range(0, 10'000)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.settings->pool.pin_budget; }),
        });
}

void add_pool_statements(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("pool.statements_per_backend", OptionType::integer,
                "Prepared statements kept on one backend; the least used is closed for a new one.")
                .by_default("400")
                .range(4, 100'000)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field {
                    return &s.settings->pool.statements_per_backend;
                }),
            row("pool.statement_memory_per_backend", OptionType::size,
                "Memory of PostgreSQL's that they may take together, as estimated from their "
                "length.")
                .by_default("32MiB")
                .range(64 * kib, 4096 * mib)
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field {
                    return &s.settings->pool.statement_memory_per_backend;
                }),
            row("pool.rotate_backends", OptionType::boolean,
                "For tests: a frontend gets another backend for each transaction if it can.")
                .by_default("false")
                .at([](const Scope& s) -> Field { return &s.settings->pool.rotate_backends; }),
        });
}

template <std::chrono::milliseconds Pool::*member>
Option time_limit(std::string_view path, std::string_view sentence) {
    return row(path, OptionType::duration, sentence)
        .by_default("0")
        .range(0, 24 * hour)
        .on_reload(Reload::new_connections)
        .at([](const Scope& s) -> Field { return &(s.settings->pool.*member); });
}

void add_time_limits(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            time_limit<&Pool::query_timeout>(
                "pool.query_timeout",
                "Longest time for one query: then it is cancelled (57014). 0: any."),
            time_limit<&Pool::transaction_timeout>(
                "pool.transaction_timeout",
                "Longest time for one transaction: then its frontend is ended (25P04). 0: any."),
            time_limit<&Pool::idle_in_transaction_timeout>(
                "pool.idle_in_transaction_timeout",
                "Longest idle time in a transaction: then its frontend is ended (25P03). 0: any."),
            time_limit<&Pool::client_idle_timeout>(
                "pool.client_idle_timeout",
                "Longest idle time of a frontend outside of transactions: then it is ended "
                "(57P05). 0: any."),
            time_limit<&Pool::wait_notice>(
                "pool.wait_notice",
                "A frontend that waits for a backend is told so with a NOTICE after this time. 0: "
                "never."),
        });
}

}  // namespace

void add_pool_rows(std::vector<Option>& rows) {
    add_pool(rows);
    add_pool_care(rows);
    add_time_limits(rows);
    add_pool_statements(rows);
}

}  // namespace schemux::config
