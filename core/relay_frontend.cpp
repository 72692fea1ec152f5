// The relay's half that reads the client: what each message needs, becomes, and will be answered
// by. Table of the messages: protocol/message_type.h. What the backend answers: relay_backend.cpp.

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <cassert>
#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::ErrorFields;
using protocol::FrontendMessage;
using protocol::Handling;
using protocol::make_error;
using protocol::Severity;
using protocol::TransactionStatus;

namespace {

// A text that PostgreSQL's grammar refuses in every state.
constexpr std::string_view unparsable_text = "{";

bool small_message(FrontendMessage type) {
    switch (type) {
        case FrontendMessage::close:
        case FrontendMessage::describe:
        case FrontendMessage::execute:
        case FrontendMessage::flush:
        case FrontendMessage::sync:
        case FrontendMessage::terminate:
        case FrontendMessage::copy_done:
        case FrontendMessage::copy_fail:
            return true;
        case FrontendMessage::bind:
        case FrontendMessage::copy_data:
        case FrontendMessage::function_call:
        case FrontendMessage::parse:
        case FrontendMessage::password:
        case FrontendMessage::query:
            return false;
    }
    return false;
}

/// What PostgreSQL takes while it reads the data of a COPY FROM STDIN; and Terminate, to which it
/// would say two errors that nobody reads.
bool part_of_copy(FrontendMessage type) {
    switch (type) {
        case FrontendMessage::copy_data:
        case FrontendMessage::copy_done:
        case FrontendMessage::copy_fail:
        case FrontendMessage::flush:
        case FrontendMessage::sync:
        case FrontendMessage::terminate:
            return true;
        case FrontendMessage::bind:
        case FrontendMessage::close:
        case FrontendMessage::describe:
        case FrontendMessage::execute:
        case FrontendMessage::function_call:
        case FrontendMessage::parse:
        case FrontendMessage::password:
        case FrontendMessage::query:
            return false;
    }
    return false;
}

}  // namespace

/// No statement of this name ever exists: a Bind to it fails, and the transaction with it, exactly
/// as the client's own broken message would have made it fail.
void append_failing_bind(std::string& out) {
    constexpr std::string_view missing_statement = "sx_refused";
    constexpr std::string_view no_parameters{"\0\0\0\0\0\0", 6};
    protocol::append_bind_header(out, "", missing_statement, no_parameters.size());
    out.append(no_parameters);
}

Step Relay::process_frontend(std::string_view fresh) {
    if (held_until_ > held_.size() + fresh.size()) {
        held_.append(fresh);
        return finish_batch();
    }
    held_until_ = 0;
    stalled_ = false;
    step_ = {};
    const std::string_view in = worker_.frontend_carry.begin(fresh, held_, worker_.buffers);
    const std::size_t consumed = walk_messages(
        in, stream_, [this](const MessageInHand& message) { return visit_frontend(message); },
        [this](std::string_view body) {
            if (stream_.mode == StreamPosition::Mode::forward) worker_.to_backend.forward(body);
        });
    worker_.frontend_carry.finish(in, consumed, held_, worker_.buffers);
    return finish_batch();
}

Take Relay::visit_frontend(const MessageInHand& message) {
    const auto type = static_cast<FrontendMessage>(message.header.type);
    const Handling handling = protocol::handling_of(type);
    if (handling == Handling::refuse || (copy_in_ && !part_of_copy(type))) {
        return violate(message, "invalid frontend message type " +
                                    std::to_string(static_cast<unsigned char>(type)));
    }
    if (!message.header.plausible() ||
        (small_message(type) && message.header.length > protocol::small_message_max)) {
        return violate(message, "invalid message length");
    }
    if (skip_until_sync_ && type != FrontendMessage::sync && type != FrontendMessage::terminate) {
        return discard(message);
    }
    if (handling == Handling::inspect && !message.complete()) return Take::need_more;
    if (has_backend() && too_much_open()) return stall();
    if (must_wait_for_label(type)) return stall();
    return dispatch(message);
}

/// What waits for answers has reached a bound: reading stops until some have come.
bool Relay::too_much_open() {
    const auto reached = [this] {
        return backend_->replies.full() || statements_.open_changes() >= limits::open_changes_max ||
               backend_->statements.open_changes() >= limits::open_changes_max;
    };
    if (!reached()) return false;
    if (backend_->replies.owed() == 0 && !amid_answer()) settle_head();
    if (!reached()) return false;
    // They may wait for a Sync that is not read before they have come.
    const std::uint64_t last = backend_->replies.last_number();
    if (std::exchange(answers_pressed_, last) != last) ask_for_answers();
    return true;
}

Take Relay::dispatch(const MessageInHand& message) {
    switch (static_cast<FrontendMessage>(message.header.type)) {
        case FrontendMessage::query:
            return on_query(message);
        case FrontendMessage::parse:
            return on_parse(message);
        case FrontendMessage::bind:
            return on_bind(message);
        case FrontendMessage::describe:
            return on_describe(message);
        case FrontendMessage::close:
            return on_close(message);
        case FrontendMessage::execute:
            return on_execute(message);
        case FrontendMessage::sync:
            return on_sync(message);
        case FrontendMessage::flush:
            return on_flush(message);
        case FrontendMessage::function_call:
            return on_function_call(message);
        case FrontendMessage::copy_data:
        case FrontendMessage::copy_done:
        case FrontendMessage::copy_fail:
            return on_copy(message);
        case FrontendMessage::terminate:
            return on_terminate();
        case FrontendMessage::password:
            break;  // refused by the table
    }
    return violate(message, "invalid frontend message type");
}

Take Relay::acquire() {
    assert(phase_ == RelayPhase::idle);
    step_ = begin_waiting();
    return Take::stop;
}

/// What to do with this message depends on answers that will come: it is looked at again then.
Take Relay::stall() {
    stalled_ = true;
    return Take::stop;
}

Take Relay::stream_body(const MessageInHand& message, StreamPosition::Mode mode) {
    stream_ = {message.header.body_bytes(), mode};
    return Take::stream;
}

Take Relay::discard(const MessageInHand& message) {
    return stream_body(message, StreamPosition::Mode::discard);
}

/// The client broke the protocol: nothing after this can be trusted. What came before it is
/// answered first, as by PostgreSQL.
Take Relay::violate(const MessageInHand& message, std::string why) {
    violation_ = std::move(why);
    violating_type_ = message.header.type;
    ask_for_answers();
    return Take::stop;
}

/// The client says no more, and a batch that it leaves open has answers that wait for a Sync.
void Relay::ask_for_answers() {
    const bool unsynced = has_backend() && batch_open_ && !copy_in_ && backend_->replies.owed() > 0;
    if (!unsynced) return;
    send_flush();
}

/// The client has all answers to what it sent before it broke the protocol.
Step Relay::end_violated() {
    const auto fatal = [](std::string text) {
        return make_error(sqlstate::protocol_violation, std::move(text), Severity::fatal);
    };
    const auto type = static_cast<FrontendMessage>(violating_type_);
    if (!amid_answer() && copy_in_ && !part_of_copy(type)) {
        // PostgreSQL reads what a COPY FROM STDIN is sent with other eyes, and gives up.
        constexpr std::string_view digits = "0123456789ABCDEF";
        const auto number = static_cast<unsigned char>(violating_type_);
        emit_error(make_error(sqlstate::protocol_violation,
                              std::string("unexpected message type 0x") + digits[number >> 4U] +
                                  digits[number & 15U] + " during COPY from stdin"));
        emit_error(fatal("terminating connection because protocol synchronization was lost"));
    } else if (!amid_answer()) {
        emit_error(fatal(std::move(violation_)));
    }
    count_error(sqlstate::protocol_violation);
    said_fatal_ = true;
    return {Next::close, CloseReason::protocol_violation};
}

Take Relay::refuse_broken(const MessageInHand& message) {
    return refuse(message, broken_message(message.header.type, message.body()), false);
}

/// Answers one message with an error. Without a backend the whole answer is made here. With one, a
/// message that is bound to fail goes in its place, so that PostgreSQL's own transaction fails and
/// skips as it would have, and its error is replaced by ours. `readable`: PostgreSQL would have
/// begun to execute the message.
Take Relay::refuse(const MessageInHand& message, ErrorFields error, bool readable) {
    const auto type = static_cast<FrontendMessage>(message.header.type);
    const bool simple = type == FrontendMessage::query || type == FrontendMessage::function_call;
    // Even one that fails drops the unnamed statement (exec_simple_query, exec_parse_message).
    const bool unnamed_parse =
        type == FrontendMessage::parse && !message.body().empty() && message.body().front() == '\0';
    const bool drops = readable && (type == FrontendMessage::query || unnamed_parse);
    // A backend at rest need not know: nothing of it depends on the message.
    const bool unheard = !has_backend() || (backend_->at_rest() && at_batch_end());
    if (unheard) {
        if (drops) statements_.remove_now("");
        emit_error(error);
        count_error(error.sqlstate);
        if (simple) {
            worker_.to_frontend.generate([](std::string& out) {
                protocol::append_ready_for_query(out, TransactionStatus::idle);
            });
        } else {
            skip_until_sync_ = true;
        }
        return discard(message);
    }
    if (backend_->replies.empty()) query_began_ = worker_.now;
    ExpectedReply& reply =
        backend_->replies.push(simple ? Request::query : Request::bind, Answer::replace_error);
    reply.error = std::make_unique<ErrorFields>(std::move(error));
    if (drops) statements_.remove(reply.number, When::attempted, "");
    if (simple) {
        backend_->statements.remove(reply.number, When::attempted, unnamed_statement);
    }
    worker_.to_backend.generate([simple](std::string& out) {
        if (simple) {
            protocol::append_query(out, unparsable_text);
        } else {
            append_failing_bind(out);
        }
    });
    batch_open_ = !simple;
    return discard(message);
}

Take Relay::on_query(const MessageInHand& message) {
    if (message.header.length > longest_text()) return on_oversized(message);
    if (!message.complete()) {
        held_until_ = message.header.total_bytes();
        return Take::need_more;
    }
    const auto text = protocol::read_text(message.body());
    if (!text) return refuse_broken(message);
    // The batch that was to prepare it has failed in its place.
    if (std::exchange(query_answered_, false)) {
        statements_.remove_now("");
        return discard(message);
    }
    if (must_wait_for_reading(*text)) return stall();
    // The text is looked at once, when there is a backend to tell which settings hold.
    if (phase_ == RelayPhase::idle) {
        return answer_deallocate(*text) || answer_resets(*text) ? Take::consumed : acquire();
    }
    auto read_text = read(*text);
    if (auto* error = std::get_if<ErrorFields>(&read_text))
        return refuse(message, std::move(*error));
    const auto& reading = *std::get<const TextCache::Reading*>(read_text);
    const bool changed = reading.rewritten;
    StatementEffects effects = reading.effects;
    StatementRef statement;
    if (changed || effects.names_statements || keeps_text(reading)) {
        statement = worker_.statements.make();
        statement->text = changed ? std::string_view{reading.text} : *text;
        statement->positions = reading.positions;
        statement->effects = effects;
        note_text(*statement, reading, *text);
    }
    if (effects.names_statements) {
        if (!read_names(*statement)) return stall();
        const Copy copy = statement->names.empty() ? Copy::ready : ready_query_names(*statement);
        if (copy != Copy::ready) return unready(message, copy);
        effects = statement->effects;
    }
    if (waits_for_pin(effects)) return stall();
    if (auto error = forbidden(effects)) return refuse(message, std::move(*error));
    if (must_hear_before(effects)) return stall();
    load_channels(effects);
    if (changed) counters_.rewrites.add();
    const Take taken = send_query(message, statement, effects, statement ? statement->text : *text);
    begin_call(reading.fingerprint);
    return taken;
}

/// `statement`: of a text that is not the client's own any more; or null.
Take Relay::send_query(const MessageInHand& message, const StatementRef& statement,
                       const StatementEffects& effects, std::string_view text) {
    note_effects(effects, text);
    counters_.queries_simple.add();
    if (backend_->replies.empty()) query_began_ = worker_.now;
    backend_->replies.push(Request::query, Answer::forward).statement = statement;
    if (statement) log_names(statement, When::one_of_commands);
    drop_unnamed(When::attempted);
    note_query_in_batch();
    if (statement) {
        worker_.to_backend.generate(
            [text](std::string& out) { protocol::append_query(out, text); });
    } else {
        worker_.to_backend.forward(message.bytes);
    }
    return Take::consumed;
}

/// A Query or FunctionCall ends a batch without a Sync. PostgreSQL 18 fails what comes next when an
/// Execute is in it (XX000): that is to be the reset.
void Relay::note_query_in_batch() {
    if (batch_open_ && batch_executes_) backend_->taint.full_reset = true;
    batch_open_ = batch_executes_ = false;
}

/// A Query longer than max_query_bytes passes unread, and the backend is reset after it.
Take Relay::on_oversized(const MessageInHand& message) {
    const auto type = static_cast<FrontendMessage>(message.header.type);
    // Its first byte tells whether it is the unnamed statement's.
    if (type == FrontendMessage::parse && message.body().empty()) return Take::need_more;
    if (type == FrontendMessage::parse || service_->braces || service_->angles) {
        return refuse(message, too_long(message.header.length));
    }
    if (phase_ == RelayPhase::idle) return acquire();
    backend_->taint.full_reset = true;
    backend_->saw_set = true;
    suspect_settings({});
    suspect_features();
    note_query_in_batch();
    if (backend_->replies.empty()) query_began_ = worker_.now;
    backend_->replies.push(Request::query, Answer::forward);
    drop_unnamed(When::attempted);
    worker_.to_backend.forward(message.bytes.substr(0, protocol::header_bytes));
    return stream_body(message, StreamPosition::Mode::forward);
}

Take Relay::on_execute(const MessageInHand& message) {
    if (phase_ == RelayPhase::idle) return acquire();
    const std::string_view body = message.body();
    const std::string_view portal = body.substr(0, body.find('\0'));
    const StatementRef statement = statement_of_portal(portal);
    if (statement && !take_away_closed(*statement)) return stall();
    batch_open_ = batch_executes_ = true;
    counters_.queries_extended.add();
    if (backend_->replies.empty()) query_began_ = worker_.now;
    backend_->replies.push(Request::execute, Answer::forward).statement = statement;
    begin_execute(statement, portal);
    if (statement) log_names(statement, When::command);
    worker_.to_backend.forward(message.bytes);
    return Take::consumed;
}

/// With a body it is an error too, and still ends the batch.
Take Relay::on_sync(const MessageInHand& message) {
    skip_until_sync_ = false;
    const bool nothing_open = !has_backend() || (backend_->at_rest() && at_batch_end());
    if (nothing_open) {
        // PostgreSQL would say just this.
        if (!message.body().empty()) {
            emit_error(broken_message(message.header.type, message.body()));
            count_error(sqlstate::protocol_violation);
        }
        worker_.to_frontend.generate([](std::string& out) {
            protocol::append_ready_for_query(out, TransactionStatus::idle);
        });
        return Take::consumed;
    }
    worker_.to_backend.forward(message.bytes);
    // While a COPY FROM STDIN runs PostgreSQL ignores a Sync (manual, 55.2.7): nothing is owed.
    if (copy_in_) {
        ++loose_syncs_;
        return Take::consumed;
    }
    batch_open_ = batch_executes_ = false;
    if (backend_->replies.empty()) query_began_ = worker_.now;
    backend_->replies.push(Request::sync, Answer::forward);
    return Take::consumed;
}

Take Relay::on_flush(const MessageInHand& message) {
    // PostgreSQL would fail it where no answer is expected; in a COPY it does not look.
    if (!message.body().empty() && !copy_in_) return refuse_broken(message);
    // One that owes nothing has nothing to tell, and may be the next client's in a moment.
    const bool owes = has_backend() && (!backend_->at_rest() || !at_batch_end());
    if (owes) worker_.to_backend.forward(message.bytes);
    return Take::consumed;
}

Take Relay::on_function_call(const MessageInHand& message) {
    if (phase_ == RelayPhase::idle) return acquire();
    backend_->taint.full_reset = true;
    suspect_settings({});
    suspect_features();
    note_query_in_batch();
    if (backend_->replies.empty()) query_began_ = worker_.now;
    backend_->replies.push(Request::function_call, Answer::forward);
    worker_.to_backend.forward(message.bytes.substr(0, protocol::header_bytes));
    return stream_body(message, StreamPosition::Mode::forward);
}

Take Relay::on_copy(const MessageInHand& message) {
    // Late data of a COPY that has ended is read and dropped, as PostgreSQL does (manual, 55.2.7).
    const bool may_copy = has_backend() && (copy_in_ || !backend_->replies.empty());
    if (!may_copy) return discard(message);
    if (static_cast<FrontendMessage>(message.header.type) != FrontendMessage::copy_data) {
        if (copy_in_) {
            copy_in_ = false;
        } else {
            backend_->replies.push(Request::copy_end, Answer::forward);
        }
    }
    worker_.to_backend.forward(message.bytes.substr(0, protocol::header_bytes));
    return stream_body(message, StreamPosition::Mode::forward);
}

Take Relay::on_terminate() {
    terminated_ = true;
    // PostgreSQL works off what came before a Terminate; so do we.
    if (has_backend() && !copy_in_ && !backend_->replies.empty()) {
        ask_for_answers();
        return Take::stop;
    }
    step_ = {Next::close, CloseReason::client_terminated};
    return Take::stop;
}

}  // namespace schemux::core
