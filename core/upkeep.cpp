#include "core/upkeep.h"

#include "protocol/message_type.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace schemux::core {

using protocol::BackendMessage;

namespace {

// DISCARD ALL in its parts (PostgreSQL manual, DISCARD), since it cannot share a Query with the
// ROLLBACK in front. RESET ALL early: a client's statement_timeout must not outlive it here, and
// names are looked up in pg_catalog alone from there on. The seed of random() is last, and random.
constexpr std::string_view full_reset_sql =
    "SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;RESET ALL;DEALLOCATE ALL;CLOSE ALL;UNLISTEN *;"
    "SELECT pg_catalog.pg_advisory_unlock_all();DISCARD PLANS;DISCARD SEQUENCES;DISCARD TEMP;"
    "SELECT pg_catalog.setseed(('x'||pg_catalog.left(pg_catalog.gen_random_uuid()"
    "::pg_catalog.text,6))::bit(24)::pg_catalog.int4/16777216.0)";

}  // namespace

bool Upkeep::reset_needed(const Backend& backend) {
    const bool foreign_analysis = backend.saw_set && backend.added_statements;
    return backend.taint.any() || foreign_analysis ||
           backend.transaction != protocol::TransactionStatus::idle;
}

Upkeep Upkeep::relabel(Backend& backend, const Label& target, std::string& out) {
    Upkeep upkeep(UpkeepGoal::relabel);
    upkeep.target_ = target;
    std::string sql;
    append_relabel_sql(sql, backend.label, target);
    if (sql.empty()) {
        backend.label = target;
        upkeep.state_ = UpkeepState::done;
        return upkeep;
    }
    backend.unnamed_version = 0;  // a simple query drops the unnamed statement
    protocol::append_query(out, sql);
    return upkeep;
}

Upkeep Upkeep::reset(Backend& backend, std::string& out) {
    Upkeep upkeep(UpkeepGoal::reset);
    // Statements analysed under a client's own SET must not be found by another client.
    upkeep.full_ = backend.taint.full_reset || (backend.saw_set && backend.added_statements);
    std::string sql;
    if (backend.transaction != protocol::TransactionStatus::idle) sql = "ROLLBACK;";
    if (upkeep.full_) {
        sql.append(full_reset_sql);
    } else if (backend.taint.sequences) {
        sql.append("DISCARD SEQUENCES");
    }
    if (sql.empty()) {
        upkeep.state_ = UpkeepState::done;
        return upkeep;
    }
    backend.unnamed_version = 0;
    protocol::append_query(out, sql);
    return upkeep;
}

UpkeepState Upkeep::on_bytes(std::string_view bytes, Backend& backend, Carry& carry,
                             BufferPool& pool) {
    const std::string_view in = carry.begin(bytes, backend.held, pool);
    const std::size_t consumed = walk_messages(
        in, backend.stream,
        [this, &backend](const MessageInHand& message) { return visit(message, backend); },
        [](std::string_view) {});
    carry.finish(in, consumed, backend.held, pool);
    carry.settle(pool);
    return state_;
}

Take Upkeep::fail(std::string_view why) {
    state_ = UpkeepState::failed;
    error_ = {.severity = protocol::Severity::fatal,
              .sqlstate = std::string(protocol::sqlstate::connection_failure),
              .message = std::string(why),
              .detail = {},
              .hint = {},
              .position = 0};
    return Take::stop;
}

Take Upkeep::visit(const MessageInHand& message, Backend& backend) {
    const auto type = static_cast<BackendMessage>(message.header.type);
    if (!message.header.plausible()) return fail("the backend sent an invalid message length");
    const bool interesting = type == BackendMessage::ready_for_query ||
                             type == BackendMessage::parameter_status ||
                             type == BackendMessage::error_response;
    const bool unasked = type == BackendMessage::parameter_status ||
                         type == BackendMessage::notice_response ||
                         type == BackendMessage::notification_response;
    if (state_ != UpkeepState::running && !unasked) {
        return fail("the backend sent a message after its upkeep");
    }
    if (!interesting) {
        if (protocol::handling_of(type) == protocol::Handling::refuse) {
            return fail("the backend sent a message out of turn");
        }
        backend.stream = {message.header.body_bytes(), StreamPosition::Mode::discard};
        return Take::stream;
    }
    if (!message.complete()) {
        if (message.header.length > limits::inspected_message_max) {
            return fail("the backend sent an oversized message");
        }
        return Take::need_more;
    }
    if (type == BackendMessage::parameter_status) {
        const auto status = protocol::read_parameter_status(message.body());
        if (!status) return fail("the backend sent a broken ParameterStatus");
        backend.note_parameter(status->name, status->value);
    } else if (type == BackendMessage::error_response) {
        const auto error = protocol::read_error(message.body());
        if (!error) return fail("the backend sent a broken ErrorResponse");
        errored_ = true;
        error_ = {.severity = protocol::Severity::error,
                  .sqlstate = std::string(error->sqlstate),
                  .message = std::string(error->message),
                  .detail = std::string(error->detail),
                  .hint = std::string(error->hint),
                  .position = 0};
    } else {
        if (message.body().size() != 1) return fail("the backend sent a broken ReadyForQuery");
        finish(message.body().front(), backend);
    }
    return Take::consumed;
}

void Upkeep::finish(char status, Backend& backend) {
    const auto transaction = protocol::transaction_status(status);
    if (transaction != protocol::TransactionStatus::idle) {
        fail("the backend was not idle after its upkeep");
        return;
    }
    backend.transaction = *transaction;
    if (goal_ == UpkeepGoal::relabel) {
        // The whole Query is one implicit transaction: refused means nothing was changed.
        state_ = errored_ ? UpkeepState::refused : UpkeepState::done;
        if (!errored_) backend.label = target_;
        return;
    }
    if (errored_) {
        state_ = UpkeepState::failed;
        return;
    }
    if (full_) {
        backend.label = Label{};
        backend.statements.clear();
    }
    backend.taint = {};
    backend.saw_set = false;
    backend.added_statements = false;
    state_ = UpkeepState::done;
}

}  // namespace schemux::core
