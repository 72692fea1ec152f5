#include "daemon/schema_keeper.h"

#include "core/label.h"
#include "daemon/log.h"
#include "protocol/sqlstate.h"

#include <libpq-fe.h>

#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

constexpr auto kept_there = std::chrono::seconds(60);
/// Who logs in again and again to what is not there asks no more often.
constexpr auto kept_otherwise = std::chrono::seconds(1);
/// For all of the dsn's database, when the server cannot be reached: one attempt in so long.
constexpr auto unreachable_pause = std::chrono::seconds(1);
constexpr std::size_t known_max = 20'000;

constexpr const char* question = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1";

void log_failure(const std::string& why) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "schema_not_checked", {{"error", why}});
}

std::string creation_of(const WantedSchema& wanted) {
    std::string sql = "CREATE SCHEMA ";
    core::append_quoted_identifier(sql, wanted.schema);
    if (wanted.owner.empty()) return sql;
    sql += " AUTHORIZATION ";
    core::append_quoted_identifier(sql, wanted.owner);
    return sql;
}

}  // namespace

std::optional<SchemaState> SchemaKeeper::remembered(const WantedSchema& wanted) {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(wanted);
    if (found == known_.end()) return {};
    if (Clock::now() < found->second.until) return found->second.state;
    known_.erase(found);
    return {};
}

void SchemaKeeper::remember(const WantedSchema& wanted, const SchemaState& state) {
    const bool there = state.is == SchemaState::Is::there;
    const auto keep = there ? kept_there : kept_otherwise;
    const std::lock_guard lock(mutex_);
    if (known_.size() >= known_max) known_.clear();
    known_.insert_or_assign(wanted, Entry{state, Clock::now() + keep});
}

ControlConnection& SchemaKeeper::connection_to(const std::string& database) {
    if (!connection_ || connected_to_ != database) {
        ControlOptions access = access_;
        access.database = database;
        connection_.emplace(std::move(access), stopped_);
        connected_to_ = database;
    }
    return *connection_;
}

SchemaState SchemaKeeper::ask(const WantedSchema& wanted) {
    // Whoever stood in the line in front may have asked the same.
    if (auto known = remembered(wanted)) return std::move(*known);
    // Another database may be one that a client thought of: it says nothing of the server.
    const bool own = wanted.database.empty();
    if (stopped_ || (own && Clock::now() < unreachable_until_)) return {};
    SchemaState state = look(wanted);
    if (state.is == SchemaState::Is::missing && wanted.create) state = create(wanted);
    if (state.is == SchemaState::Is::unknown) {
        log_failure(state.why);
        if (own) unreachable_until_ = Clock::now() + unreachable_pause;
    }
    remember(wanted, state);
    return state;
}

SchemaState SchemaKeeper::look(const WantedSchema& wanted) {
    using Is = SchemaState::Is;
    ControlConnection& connection = connection_to(wanted.database);
    const bool was_open = connection.is_open();
    ControlConnection::Answer answer = connection.ask(question, {wanted.schema});
    // A connection that broke while nobody used it is no failure.
    if (!answer.result && was_open && !answer.silent)
        answer = connection.ask(question, {wanted.schema});
    if (!answer.result) return {Is::unknown, {}, std::move(answer.why)};
    if (PQresultStatus(answer.result.get()) != PGRES_TUPLES_OK)
        return {Is::unknown, {}, error_of(*answer.result)};
    return {PQntuples(answer.result.get()) > 0 ? Is::there : Is::missing};
}

/// Another schemux, or a program, may make it at the same moment: then it is there.
SchemaState SchemaKeeper::create(const WantedSchema& wanted) {
    using Is = SchemaState::Is;
    const ControlConnection::Answer answer =
        connection_to(wanted.database).ask(creation_of(wanted));
    if (!answer.result) return {Is::unknown, {}, answer.why};
    if (PQresultStatus(answer.result.get()) == PGRES_COMMAND_OK) {
        created_.fetch_add(1, std::memory_order_relaxed);
        log_event(
            LogLevel::info, "schema_created",
            {{"schema", wanted.schema}, {"database", wanted.database}, {"owner", wanted.owner}});
        return {Is::there};
    }
    SchemaState state = look(wanted);
    if (state.is != Is::missing) return state;
    const char* sqlstate = PQresultErrorField(answer.result.get(), PG_DIAG_SQLSTATE);
    const char* message = PQresultErrorField(answer.result.get(), PG_DIAG_MESSAGE_PRIMARY);
    return {Is::refused, sqlstate == nullptr ? std::string() : sqlstate,
            message == nullptr ? std::string() : message};
}

}  // namespace schemux::daemon
