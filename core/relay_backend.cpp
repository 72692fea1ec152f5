// The relay's half that reads the backend: matches each answer with the request that it belongs to,
// passes, swallows or makes answers, and notices when the lease may end.
// What is not expected poisons the connection: it is never resynchronised.

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/wire_writer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::BackendMessage;
using protocol::ErrorFields;
using protocol::Handling;
using protocol::Severity;

Take Relay::poison(std::string_view why) {
    desync_ = why;
    if (!said_fatal_) {
        ErrorFields error;
        error.severity = Severity::fatal;
        error.sqlstate = sqlstate::connection_failure;
        error.message = "PostgreSQL answered what nobody had asked; the connection is closed";
        emit_error(error);
        count_error(error.sqlstate);
        said_fatal_ = true;
    }
    step_ = {Next::poison, CloseReason::backend_desync};
    return Take::stop;
}

Take Relay::visit_backend(const MessageInHand& message) {
    const auto type = static_cast<BackendMessage>(message.header.type);
    const Handling handling = protocol::handling_of(type);
    if (handling == Handling::refuse) return poison("a message that has no place in a session");
    if (!message.header.plausible() || !protocol::body_fits(type, message.header.body_bytes())) {
        return poison("an impossible length");
    }
    const bool is_error = type == BackendMessage::error_response;
    if (last_word_ && !is_error && !is_asynchronous(type)) return poison("a message behind FATAL");
    if (describes_statement(type)) return on_description(message);
    if (type == BackendMessage::data_row && asking()) return on_told(message);
    if (handling == Handling::forward) return stream_from_backend(message);
    if (message.complete()) return on_inspected(message);
    if (message.header.length <= limits::inspected_message_max) return Take::need_more;
    // Only errors and notices may be this long; they pass unread.
    if (!is_error && type != BackendMessage::notice_response) return poison("an impossible length");
    settle_head();
    if (is_error) {
        if (backend_->replies.empty()) return poison("an error that nobody caused");
        ExpectedReply& head = backend_->replies.front();
        if (head.answer == Answer::replace_error) return poison("an impossible length");
        head.stage = AnswerStage::failed;
        on_error_told();
    }
    const bool told = is_error || !answering_us();
    if (told) worker_.to_frontend.forward(message.bytes.substr(0, protocol::header_bytes));
    backend_->stream = {message.header.body_bytes(),
                        told ? StreamPosition::Mode::forward : StreamPosition::Mode::discard};
    return Take::stream;
}

/// The answer that `type` belongs to, and how far it is then; no head if it belongs to none.
Relay::Due Relay::due(BackendMessage type) {
    settle_head();
    if (backend_->replies.empty()) return {};
    ExpectedReply& head = backend_->replies.front();
    // What was sent to fail must not succeed.
    if (head.answer == Answer::replace_error) return {};
    const auto stage = stage_after(head.request, head.stage, type);
    if (!stage) return {};
    return {&head, *stage};
}

Answer Relay::take(const Due& due) {
    const Answer answer = due.head->answer;
    if (due.stage == AnswerStage::over) {
        note_success(due.head->number);
        backend_->replies.pop();
    } else {
        due.head->stage = due.stage;
    }
    return answer;
}

Take Relay::stream_from_backend(const MessageInHand& message) {
    const auto type = static_cast<BackendMessage>(message.header.type);
    Answer answer = Answer::forward;
    if (is_asynchronous(type)) {
        settle_head();  // it comes behind the answers that we make, however the bytes are cut
    } else {
        const Due answered = due(type);
        if (answered.head == nullptr) return poison("an answer out of turn");
        answer = take(answered);
    }
    const bool visible = is_told(answer);
    if (visible) {
        worker_.to_frontend.forward(message.bytes.substr(0, protocol::header_bytes));
    }
    backend_->stream = {message.header.body_bytes(),
                        visible ? StreamPosition::Mode::forward : StreamPosition::Mode::discard};
    return Take::stream;
}

Take Relay::on_inspected(const MessageInHand& message) {
    switch (static_cast<BackendMessage>(message.header.type)) {
        case BackendMessage::notice_response:
            if (!protocol::read_error(message.body())) return poison("a broken NoticeResponse");
            settle_head();  // it speaks of what comes behind the answers that we make
            // The client was told it when it prepared the statement.
            if (!answering_us()) emit_diagnostic(message);
            return Take::consumed;
        case BackendMessage::parameter_status:
            return on_parameter_status(message);
        case BackendMessage::error_response:
            return on_error(message);
        case BackendMessage::ready_for_query:
            return on_ready(message);
        case BackendMessage::command_complete:
            return on_command_complete(message);
        case BackendMessage::notification_response:
            return on_notified(message);
        case BackendMessage::copy_in_response:
            return on_copy_in(message);
        case BackendMessage::parse_complete:
        case BackendMessage::bind_complete:
        case BackendMessage::close_complete:
        case BackendMessage::no_data:
        case BackendMessage::portal_suspended:
        case BackendMessage::empty_query_response:
            return on_plain_answer(message);
        // Streamed or refused before they get here.
        case BackendMessage::authentication:
        case BackendMessage::backend_key_data:
        case BackendMessage::copy_both_response:
        case BackendMessage::copy_data:
        case BackendMessage::copy_done:
        case BackendMessage::copy_out_response:
        case BackendMessage::data_row:
        case BackendMessage::function_call_response:
        case BackendMessage::negotiate_protocol_version:
        case BackendMessage::parameter_description:
        case BackendMessage::row_description:
            break;
    }
    return poison("a message that has no place in a session");
}

/// The backend is at what we asked for ourselves.
bool Relay::answering_us() const {
    const ExpectedReplies& replies = backend_->replies;
    return !replies.empty() && !is_told(replies.front().answer);
}

/// The backend is at a question about the client's session.
bool Relay::asking() const {
    if (backend_->replies.empty()) return false;
    const Answer answer = backend_->replies.front().answer;
    return answer == Answer::ask || answer == Answer::probe;
}

Take Relay::on_told(const MessageInHand& message) {
    const bool settings = backend_->replies.front().answer == Answer::ask;
    return settings ? on_setting(message) : on_features(message);
}

Take Relay::pass(const MessageInHand& message, Answer answer) {
    if (is_told(answer)) worker_.to_frontend.forward(message.bytes);
    return Take::consumed;
}

/// A message without anything in it that matters here but its type.
Take Relay::on_plain_answer(const MessageInHand& message) {
    const Due answered = due(static_cast<BackendMessage>(message.header.type));
    if (answered.head == nullptr) return poison("an answer out of turn");
    // Nothing was to be run, or the rows that were asked for are told.
    if (answered.head->request == Request::execute)
        end_call(answered.head->fingerprint, answered.head->statement);
    return pass(message, take(answered));
}

/// Makes the answers whose turn has come and that no backend will give.
void Relay::settle_head() {
    ExpectedReplies& replies = backend_->replies;
    while (!replies.empty()) {
        const ExpectedReply& head = replies.front();
        if (head.request != Request::copy_end) {
            if (head.answer != Answer::fabricate) return;
            const auto type = head.request == Request::parse ? BackendMessage::parse_complete
                                                             : BackendMessage::close_complete;
            worker_.to_frontend.generate(
                [type](std::string& out) { protocol::append_empty(out, static_cast<char>(type)); });
            note_success(head.number);
        }
        replies.pop();
    }
}

namespace {

bool is_missing_statement(const ExpectedReply* head, std::string_view code) {
    return head != nullptr && code == sqlstate::undefined_prepared_statement &&
           (head->request == Request::bind || head->request == Request::describe) &&
           head->statement && !head->statement->name.empty();
}

}  // namespace

Take Relay::on_error(const MessageInHand& message) {
    settle_head();
    const auto error = protocol::read_error(message.body());
    if (!error) return poison("a broken ErrorResponse");
    const bool is_last_word = error->is_last_word();
    if (is_last_word) {
        backend_->dying = true;
        // It goes away between two clients' transactions: this one has all its answers.
        if (can_release()) return Take::consumed;
        said_fatal_ = true;
    } else if (backend_->replies.empty()) {
        return poison("an error that nobody caused");
    }
    ExpectedReply* head = backend_->replies.empty() ? nullptr : &backend_->replies.front();
    if (head != nullptr) {
        head->stage = AnswerStage::failed;
        note_call_error(*head, error->sqlstate, is_last_word);
    }
    if (head != nullptr && head->answer == Answer::replace_error && !is_last_word) {
        emit_error(*head->error);
        count_error(head->error->sqlstate);
        head->answer = Answer::forward;
    } else if (answering_us() && !is_last_word &&
               (head->request == Request::query || failed_unheard())) {
        // Of settle_strays() it has shown what it was to show; on_settings_told() asks once more.
        // A cancel that hit load_channels(): what the backend listens on is not all.
        if (head->answer == Answer::discard) channels_.begin_lease();
    } else if (is_missing_statement(head, error->sqlstate)) {
        // PostgreSQL's words speak of the name that it knows.
        emit_error(unknown_statement(head->statement->name));
        count_error(error->sqlstate);
        backend_->statements.remove_now(head->statement->id);
    } else {
        emit_diagnostic(message);
        count_error(error->sqlstate);
    }
    // A shared statement that DDL has made stale: who prepares its text again must get a new one.
    const bool stale = error->sqlstate == sqlstate::feature_not_supported && head != nullptr &&
                       head->statement && head->is_extended();
    if (stale) worker_.namer->renew(head->statement->epoch);
    // The backend has a statement that we do not know of: the reset puts that right.
    const bool own_prepare = head != nullptr && head->statement && head->statement->names.empty();
    if (error->sqlstate == sqlstate::duplicate_prepared_statement && own_prepare)
        backend_->taint.full_reset = true;
    if (error->sqlstate == sqlstate::read_only_sql_transaction) backend_->refused_to_write = true;
    const bool cancelled = error->sqlstate == sqlstate::query_canceled;
    if (restoring_ > 0 && restoring_ < limits::restores_max && cancelled) label_lost_ = true;
    // A SET may have been refused: then only PostgreSQL knows which of them are the session's.
    if (moved_.any()) moved_.add_all();
    on_error_told();
    if (is_last_word) on_last_word();
    return Take::consumed;
}

/// The session is over, whether the server closes the connection or not: nothing more is owed.
void Relay::on_last_word() {
    last_word_ = true;
    backend_->replies.clear();
    statements_.forget_changes();
    copy_in_ = false;
    batch_open_ = false;
    if (phase_ != RelayPhase::lingering) step_ = {Next::close, CloseReason::backend_lost};
}

/// PostgreSQL has told of an error: what it skips now is not owed any more.
void Relay::on_error_told() {
    copy_in_ = false;
    stray_readies_ += std::exchange(loose_syncs_, 0);
    ExpectedReplies& replies = backend_->replies;
    if (replies.empty()) return;
    if (replies.front().is_extended()) return fail_extended();
    if (replies.front().request != Request::sync) note_failure(replies.front().number);
}

void Relay::fail_extended() {
    ExpectedReplies& replies = backend_->replies;
    const std::uint64_t failed = replies.front().number;
    note_failure(failed);
    replies.pop();
    while (!replies.empty() && replies.front().request != Request::sync) {
        note_skip(replies.front().number);
        replies.pop();
    }
    if (failed >= own_batch_.first && failed <= own_batch_.last) return answer_query_unsent();
    if (!replies.empty()) return;
    skip_until_sync_ = true;
    batch_open_ = true;  // a Query that ended the batch was skipped with it
}

void Relay::note_success(std::uint64_t request) {
    statements_.succeeded(request);
    backend_->statements.succeeded(request);
}

/// PostgreSQL began the request and failed.
void Relay::note_failure(std::uint64_t request) {
    statements_.failed(request);
    backend_->statements.failed(request);
}

/// PostgreSQL passed over it, behind an error.
void Relay::note_skip(std::uint64_t request) {
    statements_.skipped(request);
    backend_->statements.skipped(request);
}

/// A command is complete that changes names, foreseen or not.
void Relay::note_names(std::uint64_t request, std::string_view tag) {
    const bool foreseen = backend_->statements.command(request);
    statements_.command(request);
    if (foreseen) return;
    if (tag == "DEALLOCATE ALL" || tag == "DISCARD ALL") {
        statements_.remove_all_now();
        backend_->statements.remove_all_now();
    } else {
        backend_->taint.full_reset = true;
    }
}

Take Relay::on_ready(const MessageInHand& message) {
    settle_head();
    const auto status = message.body().size() == 1
                            ? protocol::transaction_status(message.body().front())
                            : std::nullopt;
    if (!status) return poison("a broken ReadyForQuery");
    const Due answered = due(BackendMessage::ready_for_query);
    if (answered.head == nullptr && stray_readies_ > 0) return on_stray_ready(message, *status);
    if (answered.head == nullptr) return poison("a ReadyForQuery out of turn");
    const Request request = answered.head->request;
    const bool failed = answered.head->stage == AnswerStage::failed;
    last_ready_ = answered.head->number;
    if (request == Request::query) end_call(answered.head->fingerprint, answered.head->statement);
    const Answer answer = take(answered);
    // A Query of ours, settle_strays() say: what came late came before its answer.
    if (request == Request::query && !is_told(answer)) stray_readies_ = 0;
    if (backend_->transaction == protocol::TransactionStatus::idle)
        transaction_began_ = query_began_;
    backend_->transaction = *status;
    copy_in_ = false;
    if (is_told(answer)) {
        counters_.query.observe(worker_.now - query_began_);
        query_began_ = worker_.now;
    }
    const bool portals_gone =
        *status == protocol::TransactionStatus::idle && backend_->replies.empty();
    if (portals_gone) {
        naming_portals_.clear();
        calls_.portals.clear();
    }
    if (answer == Answer::ask) on_settings_told(failed);
    if (answer == Answer::probe) on_features_told(failed);
    const bool restored = answer == Answer::restore;
    // It is put back again where a cancel that came late has hit that.
    if ((restored || answer == Answer::forward) && restore_label()) return Take::consumed;
    if (restored) restoring_ = 0;
    if (!label_lost_) reset_.clear();
    if (*status == protocol::TransactionStatus::failed) channels_.roll_back();
    if (restored || answer == Answer::forward) tell_withheld();
    if (service_->mode == PoolMode::statement && *status != protocol::TransactionStatus::idle) {
        end_transaction_refused();
        return Take::consumed;
    }
    if ((restored || answer == Answer::forward) && withhold_ready()) return Take::consumed;
    return pass(message, restored ? Answer::forward : answer);
}

/// The answer to a Sync that was sent into a COPY which had failed before it was read.
Take Relay::on_stray_ready(const MessageInHand& message, protocol::TransactionStatus status) {
    --stray_readies_;
    backend_->transaction = status;
    if (backend_->replies.empty()) {
        skip_until_sync_ = false;
        batch_open_ = false;
    }
    return pass(message, Answer::forward);
}

Take Relay::on_command_complete(const MessageInHand& message) {
    const auto tag = protocol::read_text(message.body());
    if (!tag) return poison("a broken CommandComplete");
    const Due answered = due(BackendMessage::command_complete);
    // A COPY FROM STDIN is over when its end was sent, not before.
    const bool early = copy_in_ && answered.head != nullptr;
    if (answered.head == nullptr || early) return poison("a CommandComplete out of turn");
    // Evidence on the wire of what the text did not show, or did not show clearly enough.
    const bool sets = (*tag == "SET" || *tag == "RESET") && !answering_us();
    if (sets && !settings_foreseen_) {
        backend_->saw_set = true;
        suspect_settings({});
    }
    if (*tag == "DEALLOCATE ALL" || *tag == "DISCARD ALL" || *tag == "DEALLOCATE" ||
        *tag == "PREPARE") {
        note_names(answered.head->number, *tag);
    }
    if (*tag == "LOAD") backend_->dying = true;  // nothing unloads a module
    const bool runs_code = *tag == "DO" || *tag == "CALL";
    if (*tag == "ROLLBACK") channels_.roll_back();
    if (runs_code || (*tag == "LISTEN" && !answering_us())) {
        backend_->taint.full_reset = true;
        suspect_features();
    }
    if (runs_code && !settings_foreseen_) suspect_settings({});
    loose_syncs_ = 0;
    note_rows(*answered.head, *tag);
    if (answered.head->request == Request::execute)
        end_call(answered.head->fingerprint, answered.head->statement);
    return pass(message, take(answered));
}

Take Relay::on_copy_in(const MessageInHand& message) {
    const Due answered = due(BackendMessage::copy_in_response);
    if (answered.head == nullptr) return poison("a CopyInResponse out of turn");
    const Request request = answered.head->request;
    const Answer answer = take(answered);
    copy_in_ = true;
    // What was sent before we knew: PostgreSQL reads a Sync inside COPY and ignores it, until the
    // CopyDone or CopyFail that may have been sent ahead too (manual, 55.2.7).
    ExpectedReplies& replies = backend_->replies;
    for (std::size_t at = 1; at < replies.size() && copy_in_;) {
        const Request behind = replies.at(at).request;
        const bool unsent = replies.at(at).answer == Answer::fabricate;
        if (!unsent && behind != Request::sync && behind != Request::copy_end) break;
        if (unsent) {
            ++at;  // PostgreSQL never sees it
            continue;
        }
        if (behind == Request::copy_end) {
            copy_in_ = false;
        } else {
            ++loose_syncs_;
        }
        replies.erase(at);
    }
    // The Sync that ends an extended COPY comes behind its data: the batch is open until then.
    const bool sync_is_out = replies.next_sync(1) < replies.size();
    if (request == Request::execute && !sync_is_out) batch_open_ = true;
    if (copy_in_ && terminated_) end_copy_unheard();
    // The last word came ahead of this, when a Sync still seemed to bring the answers.
    if (terminated_ || abandoned_ || !violation_.empty()) ask_for_answers();
    return pass(message, answer);
}

/// The client said goodbye behind a COPY FROM STDIN: no data will come.
void Relay::end_copy_unheard() {
    copy_in_ = false;
    batch_open_ = false;
    backend_->dying = true;
    const bool extended = backend_->replies.front().request == Request::execute;
    if (extended) backend_->replies.push(Request::sync, Answer::discard);
    worker_.to_backend.generate([extended](std::string& out) {
        protocol::append_copy_fail(out, "client has terminated");
        if (extended) {
            protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::sync));
        }
    });
}

void Relay::count_error(std::string_view code) {
    const auto index = static_cast<std::size_t>(error_class_of(code.data(), code.size()));
    counters_.errors[index].add();
}

}  // namespace schemux::core
