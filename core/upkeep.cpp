#include "core/upkeep.h"

#include "protocol/message_type.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <charconv>
#include <system_error>
#include <utility>

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

/// PostgreSQL manual, pg_backend_memory_contexts (since 14).
constexpr std::string_view measure_sql =
    "SELECT pg_catalog.sum(total_bytes)FROM pg_catalog.pg_backend_memory_contexts";

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
    backend.statements.forget_unnamed();  // a simple query drops it
    protocol::append_query(out, sql);
    return upkeep;
}

Upkeep Upkeep::reset(Backend& backend, std::string& out) {
    Upkeep upkeep(UpkeepGoal::reset);
    // Statements analysed under a client's own SET must not be found by another client.
    upkeep.full_ = backend.taint.full_reset || backend.taint.settings ||
                   (backend.saw_set && backend.added_statements);
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
    backend.statements.forget_unnamed();
    protocol::append_query(out, sql);
    return upkeep;
}

Upkeep Upkeep::audit(Backend& backend, std::string& out) {
    Upkeep upkeep(UpkeepGoal::audit);
    backend.statements.forget_unnamed();
    std::string sql;
    append_audit_sql(sql, backend.label, backend.statements.census());
    protocol::append_query(out, sql);
    return upkeep;
}

Upkeep Upkeep::measure(Backend& backend, std::string& out) {
    backend.statements.forget_unnamed();
    protocol::append_query(out, measure_sql);
    return Upkeep(UpkeepGoal::measure);
}

/// An empty cycle of the extended protocol costs PostgreSQL the least.
Upkeep Upkeep::check(std::string& out) {
    protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::sync));
    return Upkeep(UpkeepGoal::check);
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
    desync_ = why;
    return Take::stop;
}

Take Upkeep::visit(const MessageInHand& message, Backend& backend) {
    const auto type = static_cast<BackendMessage>(message.header.type);
    const protocol::MessageHeader& header = message.header;
    if (!header.plausible() || !protocol::body_fits(type, header.body_bytes())) {
        return fail("an impossible length");
    }
    const bool is_error = type == BackendMessage::error_response;
    if (!is_error && !is_asynchronous(type)) {
        // What our own texts can be answered with.
        const bool possible =
            type == BackendMessage::row_description || type == BackendMessage::data_row ||
            type == BackendMessage::command_complete || type == BackendMessage::ready_for_query;
        const Request request = goal_ == UpkeepGoal::check ? Request::sync : Request::query;
        const auto stage = stage_after(request, stage_, type);
        if (!possible || !stage) return fail("an answer out of turn");
        if (type != BackendMessage::ready_for_query) stage_ = *stage;
    }
    const bool told = goal_ == UpkeepGoal::audit || goal_ == UpkeepGoal::measure;
    const bool finding = told && type == BackendMessage::data_row;
    const bool interesting = type == BackendMessage::ready_for_query || is_error || finding ||
                             type == BackendMessage::parameter_status;
    if (!interesting) {
        backend.stream = {header.body_bytes(), StreamPosition::Mode::discard};
        return Take::stream;
    }
    if (!message.complete()) {
        if (header.length > limits::inspected_message_max) return fail("an impossible length");
        return Take::need_more;
    }
    if (is_error) return on_error(message);
    if (finding) return goal_ == UpkeepGoal::audit ? on_finding(message) : on_measured(message);
    if (type == BackendMessage::parameter_status) {
        const auto status = protocol::read_parameter_status(message.body());
        if (!status || !backend.note_parameter(status->name, status->value)) {
            return fail("a broken ParameterStatus, or too many");
        }
        return Take::consumed;
    }
    return on_ready(message.body().front(), backend);
}

Take Upkeep::on_error(const MessageInHand& message) {
    const auto error = protocol::read_error(message.body());
    if (!error) return fail("a broken ErrorResponse");
    if (error->is_last_word()) {
        state_ = UpkeepState::failed;
        gone_ = true;
        return Take::stop;
    }
    if (state_ != UpkeepState::running) return fail("an error that nobody caused");
    stage_ = AnswerStage::failed;
    // Every field may be missing, but a client is always told something.
    error_ = protocol::make_error(
        error->sqlstate.empty() ? protocol::sqlstate::connection_failure : error->sqlstate,
        std::string(error->message.empty() ? "PostgreSQL refused the session's settings"
                                           : error->message));
    error_.detail = error->detail;
    error_.hint = error->hint;
    return Take::consumed;
}

Take Upkeep::on_finding(const MessageInHand& message) {
    std::optional<AuditFinding> finding = read_audit_row(message.body());
    if (!finding) return fail("an answer that nobody asked for");
    if (findings_.size() < limits::audit_findings_max) findings_.push_back(std::move(*finding));
    return Take::consumed;
}

Take Upkeep::on_measured(const MessageInHand& message) {
    const auto row = protocol::read_data_row(message.body());
    if (!row || row->size() != 1 || !row->front()) return fail("an answer that nobody asked for");
    const std::string_view text = *row->front();
    const auto read = std::from_chars(text.data(), text.data() + text.size(), measured_);
    const bool whole = read.ec == std::errc() && read.ptr == text.data() + text.size();
    return whole ? Take::consumed : fail("an answer that nobody asked for");
}

Take Upkeep::on_ready(char status, Backend& backend) {
    const auto transaction = protocol::transaction_status(status);
    if (transaction != protocol::TransactionStatus::idle) {
        return fail("a transaction where none can be");
    }
    backend.transaction = *transaction;
    const bool refused = stage_ == AnswerStage::failed;
    stage_ = AnswerStage::over;
    if (goal_ == UpkeepGoal::relabel) {
        // The whole Query is one implicit transaction: refused means nothing was changed.
        state_ = refused ? UpkeepState::refused : UpkeepState::done;
        if (!refused) backend.label = target_;
        return Take::consumed;
    }
    if (refused) {
        state_ = goal_ == UpkeepGoal::measure ? UpkeepState::refused : UpkeepState::failed;
        return Take::consumed;
    }
    if (goal_ != UpkeepGoal::reset) {
        state_ = UpkeepState::done;
        return Take::consumed;
    }
    if (full_) {
        backend.label = Label{};
        backend.statements.clear();
    }
    backend.taint = {};
    backend.saw_set = false;
    backend.added_statements = false;
    state_ = UpkeepState::done;
    return Take::consumed;
}

IdleNews read_idle(std::string_view bytes, Backend& backend, Carry& carry, BufferPool& pool) {
    IdleNews news;
    const auto stop = [&news](IdleNews::Kind kind, std::string_view desync = {}) {
        news = {kind, desync};
        return Take::stop;
    };
    const auto visit = [&](const MessageInHand& message) {
        const auto type = static_cast<BackendMessage>(message.header.type);
        const bool whole = message.complete();
        if (!message.header.plausible()) {
            return stop(IdleNews::Kind::desync, "an impossible length");
        }
        if (type == BackendMessage::error_response) {
            const auto error = whole ? protocol::read_error(message.body()) : std::nullopt;
            const bool goodbye = !whole || (error && error->is_last_word());
            return goodbye ? stop(IdleNews::Kind::gone)
                           : stop(IdleNews::Kind::desync, "an error that nobody caused");
        }
        if (!is_asynchronous(type)) {
            return stop(IdleNews::Kind::desync, "an answer that nobody asked for");
        }
        const bool fits = protocol::body_fits(type, message.header.body_bytes()) &&
                          message.header.length <= limits::inspected_message_max;
        if (!fits) return stop(IdleNews::Kind::desync, "an impossible length");
        if (!whole) return Take::need_more;
        if (type == BackendMessage::parameter_status) {
            const auto status = protocol::read_parameter_status(message.body());
            if (!status || !backend.note_parameter(status->name, status->value)) {
                return stop(IdleNews::Kind::desync, "a broken ParameterStatus, or too many");
            }
            news.kind = IdleNews::Kind::parameters;
        }
        return Take::consumed;
    };
    const std::string_view in = carry.begin(bytes, backend.held, pool);
    const std::size_t consumed = walk_messages(in, backend.stream, visit, [](std::string_view) {});
    carry.finish(in, consumed, backend.held, pool);
    carry.settle(pool);
    return news;
}

}  // namespace schemux::core
