#include "core/relay.h"

#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::ErrorFields;
using protocol::make_error;
using protocol::Severity;
using protocol::TransactionStatus;

std::string_view name_of(CloseReason reason) {
    switch (reason) {
        case CloseReason::none:
            return "none";
        case CloseReason::client_terminated:
            return "client_terminated";
        case CloseReason::client_disconnected:
            return "client_disconnected";
        case CloseReason::protocol_violation:
            return "protocol_violation";
        case CloseReason::backend_lost:
            return "backend_lost";
        case CloseReason::backend_desync:
            return "backend_desync";
        case CloseReason::startup_failed:
            return "startup_failed";
        case CloseReason::shutdown:
            return "shutdown";
        case CloseReason::settings_lost:
            return "settings_lost";
        case CloseReason::pin_refused:
            return "pin_refused";
        case CloseReason::out_of_memory:
            return "out_of_memory";
        case CloseReason::transaction_refused:
            return "transaction_refused";
        case CloseReason::notifications_lost:
            return "notifications_lost";
        case CloseReason::pin_expired:
            return "pin_expired";
        case CloseReason::query_timeout:
            return "query_timeout";
        case CloseReason::transaction_timeout:
            return "transaction_timeout";
        case CloseReason::idle_in_transaction:
            return "idle_in_transaction_timeout";
        case CloseReason::client_idle:
            return "client_idle_timeout";
        case CloseReason::killed:
            return "killed";
    }
    return "none";
}

Relay::Relay(WorkerContext& worker, std::shared_ptr<const Service> service,
             ServiceCounters& counters, Label label, Identity identity)
    : worker_(worker),
      service_(std::move(service)),
      counters_(counters),
      counted_(worker.statistics, service_->name),
      startup_(std::move(label)),
      label_(startup_),
      identity_(std::move(identity)) {}

Step Relay::start(const Settings* known_welcome) {
    assert(phase_ == RelayPhase::starting);
    if (known_welcome != nullptr) {
        welcome(*known_welcome);
        phase_ = RelayPhase::idle;
        return resume();
    }
    was_starting_ = true;
    return begin_waiting();
}

Step Relay::begin_waiting() {
    phase_ = RelayPhase::waiting;
    waiting_since_ = patient_since_ = worker_.now;
    wait_noticed_ = false;
    counters_.clients_waiting.add();
    return {Next::acquire, CloseReason::none};
}

void Relay::end_waiting() {
    counters_.clients_waiting.subtract();
    counters_.wait.observe(worker_.now - waiting_since_);
}

void Relay::drop_backend() {
    statements_.forget_changes();
    own_batch_ = {};
    question_.end();
    unpin();
    backend_ = nullptr;
    counters_.leases_active.subtract();
}

void Relay::welcome(const Settings& parameters) {
    for (const auto& [name, value] : parameters)
        adopt_parameter(name, value);
    parameters_moved_ = false;
    worker_.to_frontend.generate([&](std::string& out) {
        for (const auto& [name, value] : parameters) {
            protocol::append_parameter_status(out, name, value);
        }
        protocol::append_backend_key_data(out, identity_.pid, identity_.secret);
        protocol::append_ready_for_query(out, TransactionStatus::idle);
    });
}

void Relay::adopt_parameter(std::string_view name, std::string_view value) {
    if (name == "client_encoding") encoding_ = classify_encoding(value);
    if (name == "standard_conforming_strings") standard_strings_ = value == "on";
    const auto place = LiteralSettings::place_of(name);
    if (!place || literal_settings_->at(*place) == value) return;
    if (literal_settings_.use_count() > 1)
        literal_settings_ = std::make_shared<LiteralSettings>(*literal_settings_);
    literal_settings_->set(*place, value);
}

Step Relay::on_granted(Backend& backend) {
    // A notice of the server's own may have arrived in part; the rest passes through this lease.
    assert(phase_ == RelayPhase::waiting && backend.replies.empty() &&
           backend.transaction == TransactionStatus::idle);
    end_waiting();
    calls_.wait = worker_.now - waiting_since_;
    calls_.lease_told = false;
    counters_.leases_active.add();
    backend_ = &backend;
    backend.saw_set = false;
    backend.added_statements = false;
    // Nobody watches what a session leaves behind in its backend.
    backend.taint.full_reset = backend.taint.full_reset || service_->keeps_backend() ||
                               service_->state == StateCare::strict;
    note_placeholders();
    label_lost_ = settings_foreseen_ = reading_moved_ = pin_wanted_ = false;
    heard_before_ = Heard::no;
    hears_itself_ = channels_foreseen_ = ready_withheld_ = false;
    channels_.begin_lease();
    reset_.clear();
    restoring_ = 0;
    moved_.clear();
    withheld_.clear();
    unanswered_questions_ = 0;
    reading_moved_by_ = last_ready_ = 0;
    loose_syncs_ = 0;
    stray_readies_ = 0;
    answers_pressed_ = 0;
    batch_executes_ = false;
    last_word_ = false;
    lease_began_ = worker_.now;
    requests_before_ = backend.replies.last_number();
    phase_ = RelayPhase::leased;
    // What this session is: the label's settings as the backend reported them.
    if (parameters_moved_) {
        for (const auto& [name, value] : backend.parameters)
            adopt_parameter(name, value);
        parameters_moved_ = false;
    }
    if (was_starting_) {
        was_starting_ = false;
        welcome(backend.parameters);
        return finish_batch();
    }
    tell_what_holds();
    return process_frontend({});
}

/// What the client set in an earlier lease went with it: it is told so before its next answer.
void Relay::tell_what_holds() {
    for (const auto& told : told_parameters_) {
        const std::string_view value = backend_->parameter(told.first);
        if (value == told.second) continue;
        worker_.to_frontend.generate(
            [&](std::string& out) { protocol::append_parameter_status(out, told.first, value); });
    }
    told_parameters_.clear();
}

Step Relay::on_acquire_failed(ErrorFields error) {
    assert(phase_ == RelayPhase::waiting);
    end_waiting();
    pin_wanted_ = false;
    give_pin();
    count_error(error.sqlstate);
    phase_ = RelayPhase::idle;
    if (was_starting_) {
        error.severity = Severity::fatal;
        emit_error(error);
        said_fatal_ = true;
        return {Next::close, CloseReason::startup_failed};
    }
    error.severity = Severity::error;
    // The message that asked for the backend is the first one held; the error is its answer.
    assert(held_.size() >= protocol::header_bytes);
    const protocol::MessageHeader header = protocol::read_header(held_.data());
    const auto type = static_cast<protocol::FrontendMessage>(header.type);
    emit_error(error);
    if (type == protocol::FrontendMessage::query ||
        type == protocol::FrontendMessage::function_call) {
        worker_.to_frontend.generate([](std::string& out) {
            protocol::append_ready_for_query(out, TransactionStatus::idle);
        });
    } else {
        skip_until_sync_ = true;
    }
    held_until_ = 0;
    if (held_.size() >= header.total_bytes()) {
        held_.erase(0, header.total_bytes());
    } else {
        stream_ = {header.total_bytes() - held_.size(), StreamPosition::Mode::discard};
        held_.clear();
    }
    return resume();
}

Step Relay::resume() {
    if (phase_ != RelayPhase::idle) return {};
    if (!held_.empty()) {
        const Step step = process_frontend({});
        if (step.next != Next::proceed || phase_ != RelayPhase::idle) return step;
    }
    return draining_ ? on_drain() : Step{};
}

Step Relay::on_frontend_bytes(std::string_view bytes) {
    counters_.received_bytes.add(bytes.size());
    heard_at_ = worker_.now;
    if (!wants_frontend_bytes() || phase_ == RelayPhase::starting ||
        phase_ == RelayPhase::waiting || cancelling()) {
        held_.append(bytes);  // at most what was read before the reading stopped
        return {};
    }
    return process_frontend(bytes);
}

bool Relay::wants_frontend_bytes() const {
    switch (phase_) {
        case RelayPhase::idle:
            return true;
        case RelayPhase::leased:
            return !stalled_ && !terminated_ && violation_.empty() && !backend_->replies.full() &&
                   (!cancelling() || held_.size() < limits::held_during_cancel_max);
        case RelayPhase::starting:
        case RelayPhase::waiting:
        case RelayPhase::lingering:
        case RelayPhase::closed:
            return false;
    }
    return false;
}

Step Relay::on_backend_bytes(std::string_view bytes) {
    assert(has_backend());
    step_ = {};
    const std::string_view in = worker_.backend_carry.begin(bytes, backend_->held, worker_.buffers);
    const std::size_t consumed = walk_messages(
        in, backend_->stream,
        [this](const MessageInHand& message) { return visit_backend(message); },
        [this](std::string_view body) {
            if (backend_->stream.mode == StreamPosition::Mode::forward) {
                worker_.to_frontend.forward(body);
            }
        });
    worker_.backend_carry.finish(in, consumed, backend_->held, worker_.buffers);
    const bool leased = phase_ == RelayPhase::leased;
    if (stalled_ && step_.next == Next::proceed && leased && !cancelling()) {
        return process_frontend({});
    }
    return finish_batch();
}

/// Nothing of the client's is under way on its backend, or open there.
bool Relay::work_is_over() const {
    if (!has_backend() || !at_batch_end()) return false;
    // Nothing more comes of it, and nobody is left to be told so.
    if (last_word_ && phase_ == RelayPhase::lingering) return true;
    // Nobody is left to end the transaction of a client that said goodbye: upkeep rolls it back.
    const bool transaction_over =
        backend_->transaction == TransactionStatus::idle || phase_ == RelayPhase::lingering;
    if (!backend_->owes_nothing() || !transaction_over) return false;
    // A message of the client's that is under way to the backend must get there whole.
    return !mid_message();
}

bool Relay::can_release() const {
    if (phase_ == RelayPhase::lingering) return work_is_over();
    return work_is_over() && !keeps_backend() && !ready_withheld_ && heard_before_ != Heard::asked;
}

Step Relay::finish_batch() {
    if (step_.next != Next::proceed) return std::exchange(step_, {});
    if (phase_ == RelayPhase::lingering) worker_.to_frontend.clear();
    if (has_backend() && !amid_answer()) settle_head();
    if (has_backend() && abandoned_) wind_up();
    if (has_backend() && stray_readies_ > 0) settle_strays();
    if (!violation_.empty() && phase_ != RelayPhase::lingering &&
        (!has_backend() || copy_in_ || backend_->owes_nothing())) {
        return end_violated();
    }
    if (terminated_ && phase_ == RelayPhase::leased && backend_->owes_nothing()) {
        return {Next::close, CloseReason::client_terminated};
    }
    if (draining_ && at_rest()) return on_drain();
    if (must_ask_for_settings()) {
        if (!cancelling()) ask_for_settings();
        return {};
    }
    if (must_ask_for_features()) {
        if (cancelling() || ask_for_features()) return {};
        if (step_.next != Next::proceed) return std::exchange(step_, {});
    }
    if (!notifications_.empty() && may_be_notified()) tell_notifications();
    if (!can_release()) return {};
    if (!pin_wanted_) {
        counters_.transactions.add();
        counters_.transaction.observe(worker_.now - lease_began_);
    }
    drop_backend();
    phase_ = phase_ == RelayPhase::lingering ? RelayPhase::closed : RelayPhase::idle;
    return {Next::release, CloseReason::none};
}

void Relay::on_backend_poisoned() {
    drop_backend();
    phase_ = RelayPhase::idle;
}

/// What the client sends behind its CancelRequest must not be hit by it: it waits.
bool Relay::cancelling() const {
    return phase_ == RelayPhase::leased && backend_->cancels_in_flight > 0;
}

/// Nothing is open that only a further message of the client's could end.
bool Relay::at_batch_end() const {
    return !copy_in_ && !batch_open_;
}

/// Part of a message of the client's has gone to the backend.
bool Relay::mid_message() const {
    return stream_.body_left > 0 && stream_.mode == StreamPosition::Mode::forward;
}

/// Whether PostgreSQL read a Sync before the COPY failed that it was sent into, or answers it
/// afterwards, shows when the answer comes to something that was sent behind it: an empty Query.
void Relay::settle_strays() {
    const bool quiet = backend_->replies.empty() && at_batch_end() && !mid_message();
    if (!quiet || last_word_ || backend_->dying) return;
    const ExpectedReply& reply = backend_->replies.push(Request::query, Answer::discard);
    backend_->statements.remove(reply.number, When::attempted, unnamed_statement);
    worker_.to_backend.generate([](std::string& out) { protocol::append_query(out, ""); });
}

/// Part of a backend's message has gone to the client: nothing of ours may come between.
bool Relay::amid_answer() const {
    return has_backend() && backend_->stream.body_left > 0 &&
           backend_->stream.mode == StreamPosition::Mode::forward;
}

Step Relay::on_backend_lost() {
    if (amid_answer()) said_fatal_ = true;
    end_call_lost(sqlstate::connection_failure);
    drop_backend();
    const bool silent = phase_ == RelayPhase::lingering;
    phase_ = RelayPhase::idle;
    if (silent) return {Next::close, CloseReason::client_terminated};
    if (!said_fatal_) {
        ErrorFields error = make_error(sqlstate::connection_failure,
                                       "the connection to PostgreSQL was lost", Severity::fatal);
        error.detail = "The outcome of the work under way is not known.";
        emit_error(error);
        count_error(error.sqlstate);
        said_fatal_ = true;
    }
    return {Next::close, CloseReason::backend_lost};
}

CancelOutcome Relay::on_cancel(Step& step) {
    step = {};
    if (phase_ == RelayPhase::waiting && !was_starting_) {
        step = on_acquire_failed(
            make_error(sqlstate::query_canceled, "canceling statement due to user request"));
        return CancelOutcome::answered;
    }
    held_at_cancel_ = held_.size();
    const bool more = cancelling() && !held_.empty();
    const bool running = has_backend() && (more || !backend_->replies.empty()) && !only_asking();
    return running ? CancelOutcome::forward : CancelOutcome::nothing;
}

Step Relay::on_cancel_end() {
    if (phase_ != RelayPhase::leased) return {};
    if (!held_.empty()) return process_frontend({});
    step_ = {};
    return finish_batch();
}

Step Relay::hear_until_cancel() {
    if (phase_ != RelayPhase::leased) return {};
    const std::size_t heard = std::min(held_at_cancel_, held_.size());
    const std::string behind = held_.substr(heard);
    held_.resize(heard);
    const Step step = held_.empty() ? Step{} : process_frontend({});
    held_.append(behind);
    return step;
}

Step Relay::on_drain() {
    draining_ = true;
    const bool resting = phase_ == RelayPhase::idle || at_rest();
    const bool busy = !resting || !held_.empty() || stream_.body_left > 0;
    if (busy) return {};
    emit_error(make_error(sqlstate::admin_shutdown,
                          "terminating connection due to administrator command", Severity::fatal));
    said_fatal_ = true;
    return {Next::close, CloseReason::shutdown};
}

Disposal Relay::on_frontend_closed() {
    const RelayPhase before = std::exchange(phase_, RelayPhase::closed);
    worker_.buffers.give(std::move(held_));
    if (before == RelayPhase::waiting) {
        end_waiting();
        give_pin();
    }
    if (before != RelayPhase::leased && before != RelayPhase::lingering) return Disposal::none;
    Backend& backend = *backend_;
    // It said Terminate and did not stay for its answers: PostgreSQL runs what came before it.
    if (terminated_ && !mid_message() && at_batch_end() && !backend.replies.empty()) {
        phase_ = RelayPhase::lingering;
        return Disposal::linger;
    }
    // Late data of a COPY that has failed: the rest of it would be taken from the next client.
    const bool cut_off = mid_message() && at_batch_end() && backend.owes_nothing();
    if (backend.dying || cut_off || !complete_message()) {
        drop_backend();
        return Disposal::abort;
    }
    if (at_batch_end() && backend.owes_nothing()) {
        drop_backend();
        return backend.transaction == TransactionStatus::idle ? Disposal::release : Disposal::reset;
    }
    phase_ = RelayPhase::lingering;
    abandon();
    return Disposal::linger;
}

/// The backend waits for the rest of a message whose client is gone: anything will do where it is
/// rolled back. Not so a function's arguments: it would be called with them.
bool Relay::complete_message() {
    if (!mid_message()) return true;
    const bool called =
        !backend_->replies.empty() && backend_->replies.back().request == Request::function_call;
    if (called || stream_.body_left > limits::padding_max) return false;
    worker_.to_backend.generate([this](std::string& out) { out.append(stream_.body_left, '\0'); });
    stream_ = {};
    return true;
}

void Relay::abandon() {
    abandoned_ = true;
    ask_for_answers();
    wind_up();
}

/// Ends what only a further message of the client's could end, and in such a way that the
/// transaction fails: what it has done without a Sync or a CopyDone must not be committed.
void Relay::wind_up() {
    if (copy_in_) {
        copy_in_ = false;
        worker_.to_backend.generate(
            [](std::string& out) { protocol::append_copy_fail(out, "client is gone"); });
        return;
    }
    // Behind the answers to the batch: it may begin a COPY yet, in which a Sync would be lost.
    if (!batch_open_ || backend_->replies.owed() > 0) return;
    batch_open_ = false;
    const bool failed = std::exchange(skip_until_sync_, false);
    if (!failed) backend_->replies.push(Request::bind, Answer::discard);
    backend_->replies.push(Request::sync, Answer::discard);
    worker_.to_backend.generate([failed](std::string& out) {
        if (!failed) append_failing_bind(out);
        protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::sync));
    });
}

}  // namespace schemux::core
