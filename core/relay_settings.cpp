// The relay's part that lets a client keep its settings on whatever backend it gets. What a text
// may change is noted when it is sent; when the lease would end PostgreSQL is asked what has become
// of it, and the answer is the client's label from then on. So SET, set_config, commit, rollback,
// savepoints and functions need not be understood here, only suspected.
// What it must not know: how a backend is brought under a label (upkeep.h).

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::make_error;
using protocol::Severity;

namespace {

bool speaks_of(std::string_view text, std::string_view word) {
    const auto same = [](char a, char b) { return (a | ' ') == (b | ' '); };
    return std::search(text.begin(), text.end(), word.begin(), word.end(), same) != text.end();
}

bool speaks_of_resets(std::string_view text) {
    return speaks_of(text, "reset") || speaks_of(text, "discard") || speaks_of(text, "default");
}

}  // namespace

/// What a text that is sent now may leave behind. `values`: of its parameters, if they are at hand.
void Relay::note_effects(const StatementEffects& effects, std::string_view text,
                         std::string_view values) {
    note_settings(effects, text, values);
    note_features(effects);
    if (effects.none()) return;
    if (effects.has(Effect::sequence)) backend_->taint.sequences = true;
    StatementEffects others = effects;
    others.remove(Effect::sequence);
    others.remove(Effect::release);
    others.remove(Effect::settings);
    others.remove(Effect::role);
    if (others.none()) return;
    backend_->taint.full_reset = true;
    // Settings may be others from here on, so what is parsed now is parsed under no label.
    backend_->saw_set = true;
}

/// A text is sent that may change settings. `values`: where names may stand that it does not show.
void Relay::note_settings(const StatementEffects& effects, std::string_view text,
                          std::string_view values) {
    if (effects.changes_meaning) backend_->saw_set = true;
    // Once it has changed in a transaction, the end of that changes it again.
    const bool ends = effects.ends_transaction || effects.savepoint;
    if (effects.changes_reading || (reading_moved_ && ends)) {
        reading_moved_ = true;
        reading_moved_by_ = backend_->replies.last_number() + 1;
    }
    settings_foreseen_ = settings_foreseen_ || effects.sets_locally;
    const bool sets = effects.sets_locally || effects.has(Effect::settings);
    if (service_->close_placeholders && (sets || speaks_of(text, "set_config"))) {
        note_placeholders(text);
        note_placeholders(values);
    }
    const bool shown = effects.has(Effect::settings) || effects.has(Effect::role);
    const bool hidden = effects.has(Effect::opaque) || effects.has(Effect::prepare);
    if (!shown && !hidden) return;
    settings_foreseen_ = true;
    backend_->taint.settings = true;
    if (hidden) {
        suspect_settings(text);
        if (!startup_.is_base() && speaks_of_resets(text)) label_lost_ = true;
    }
    if (!shown && !label_lost_) return;
    const SettingReferences references = find_settings(text, standard_strings_);
    if (references.any) {
        suspect_settings(text);
        suspect_settings(values);
    }
    for (const std::string& name : references.set) {
        note_moved(name);
        // Another user has another role.
        if (name == "session_authorization") moved_.add("role");
    }
    if (references.resets_all || !references.reset.empty()) moved_.add_all();
    if (references.resets_all && !startup_.is_base()) {
        label_lost_ = true;
        reset_.add_all();
    }
    if (references.resets_who) note_reset("session_authorization");
    for (const std::string& name : references.reset) {
        note_moved(name);
        note_reset(name);
    }
}

/// Back to what the session began with.
void Relay::note_reset(const std::string& name) {
    // With the user the role goes back.
    if (name == "session_authorization") note_reset("role");
    if (startup_.find(name) == nullptr) return;
    label_lost_ = true;
    reset_.add(name);
}

/// A setting with a dot stays behind as an empty text (E13), whatever becomes of its value.
void Relay::note_placeholders(std::string_view text) {
    if (!service_->close_placeholders) return;
    std::vector<std::string> names;
    find_dotted_names(text, 1, names);
    if (!names.empty()) backend_->dying = true;
}

void Relay::note_placeholders() {
    for (const auto& [name, value] : label_.settings())
        note_placeholders(name);
}

void Relay::note_moved(std::string_view name) {
    if (is_old_setting(name)) moved_.add_all();
    if (is_plain_setting(name)) return moved_.add(name);
    // Asked for by it, another setting might answer, and this one stay behind.
    moved_.add_all();
    backend_->taint.full_reset = true;
}

/// It may change any setting; those with a dot in their names are in no view.
void Relay::suspect_settings(std::string_view text) {
    moved_.add_all();
    backend_->taint.settings = true;
    std::vector<std::string> names;
    find_dotted_names(text, limits::dotted_names_max, names);
    for (const std::string& name : names)
        moved_.add(name);
}

/// A change of how texts are read is under way: PostgreSQL tells of it with the ReadyForQuery.
bool Relay::reading_open() const {
    return has_backend() && reading_moved_by_ > last_ready_;
}

bool Relay::must_wait_for_reading(std::string_view text) const {
    return reading_open() && backend_->replies.ready_is_due() && !reads_alike(text);
}

/// The lease would end, and nobody knows what settings the client has.
bool Relay::must_ask_for_settings() const {
    return moved_.any() && phase_ == RelayPhase::leased && !terminated_ &&
           !service_->keeps_backend() && !last_word_ && work_is_over();
}

void Relay::ask_for_settings() {
    const ExpectedReply& reply = backend_->replies.push(Request::query, Answer::ask);
    backend_->statements.remove(reply.number, When::attempted, unnamed_statement);
    worker_.to_backend.generate([this](std::string& out) {
        std::string sql;
        const auto haste = unanswered_questions_ > 0 ? SettingsQuestion::Haste::ended_before
                                                     : SettingsQuestion::Haste::usual;
        question_.ask(moved_, label_, haste, sql);
        protocol::append_query(out, sql);
    });
    moved_.clear();
}

/// True while nothing but the question about its settings is under way.
bool Relay::only_asking() const {
    return backend_ != nullptr && backend_->replies.size() == 1 && asking();
}

/// A row of the answer.
Take Relay::on_setting(const MessageInHand& message) {
    if (!message.complete()) {
        if (message.header.length <= limits::inspected_message_max) return Take::need_more;
        question_.overflow();
        return stream_from_backend(message);
    }
    const Due answered = due(protocol::BackendMessage::data_row);
    if (answered.head == nullptr) return poison("an answer out of turn");
    take(answered);
    switch (question_.on_row(message.body())) {
        case SettingsQuestion::Row::broken:
            return poison("an answer that nobody asked for");
        case SettingsQuestion::Row::taken:
        case SettingsQuestion::Row::too_much:
            break;
    }
    return Take::consumed;
}

/// The answer is complete.
void Relay::on_settings_told(bool failed) {
    if (question_.too_much()) {
        protocol::ErrorFields error =
            make_error(sqlstate::program_limit_exceeded,
                       "the session has more settings than can be kept", Severity::fatal);
        error.detail = "At most " + std::to_string(limits::client_settings_max) + " with " +
                       std::to_string(limits::client_setting_bytes_max) + " bytes are kept.";
        return lose_session(error, CloseReason::settings_lost);
    }
    if (failed) {
        // A cancel may have hit it; or what was asked for by name must not be told.
        moved_.add(question_.about());
        moved_.add_all();
        question_.end();
        if (++unanswered_questions_ < limits::settings_questions_max) return;
        return lose_session(
            make_error(sqlstate::connection_failure,
                       "PostgreSQL did not tell the settings of the session", Severity::fatal),
            CloseReason::settings_lost);
    }
    const bool all = question_.about().all();
    Label now = question_.answer(label_);
    if (all) now = with_startup(now, startup_);
    if (!(now == label_)) ++label_version_;
    label_ = std::move(now);
    backend_->label = question_.answer(backend_->label);
    backend_->taint.settings = moved_.any();
    unanswered_questions_ = 0;
    question_.end();
}

/// A client that would go on with another session than it has made had better not go on.
void Relay::lose_session(const protocol::ErrorFields& error, CloseReason reason) {
    question_.end();
    moved_.clear();
    suspected_ = {};
    if (phase_ != RelayPhase::leased || said_fatal_) return;
    emit_error(error);
    count_error(error.sqlstate);
    said_fatal_ = true;
    step_ = {Next::close, reason};
}

/// Named statements are known by the settings that they were analysed under: under others the same
/// text is another statement, as PostgreSQL, too, analyses it anew for another search_path.
StatementRef Relay::identified_now(const StatementRef& statement) {
    const bool by_settings =
        statement->id != unnamed_statement && statement->origin == Origin::parse;
    if (!by_settings || statement->identified_under == label_version_) return statement;
    const StatementRef fresh = copy_of(*statement);
    identify(*fresh);
    statements_.replace(statement, fresh);
    return fresh;
}

Take Relay::on_parameter_status(const MessageInHand& message) {
    const auto status = protocol::read_parameter_status(message.body());
    const auto known = [&status](const auto& other) { return other.first == status->name; };
    const bool withheld = label_lost_ || restoring_ > 0;
    if (status && withheld && std::none_of(withheld_.begin(), withheld_.end(), known)) {
        withheld_.emplace_back(status->name, backend_->parameter(status->name));
    }
    if (!status || !backend_->note_parameter(status->name, status->value)) {
        return poison("a broken ParameterStatus, or too many");
    }
    settle_head();  // PostgreSQL tells it with the ReadyForQuery, behind the answers that we make
    adopt_parameter(status->name, status->value);
    if (!settings_foreseen_) {
        // A setting changed that the text did not show (a trigger's set_config, say).
        backend_->taint.full_reset = true;
        suspect_settings({});
    }
    if (!leaves_meaning_alone(status->name)) backend_->saw_set = true;
    parameters_moved_ = true;
    if (withheld) return Take::consumed;
    note_told(status->name, status->value);
    return pass(message, Answer::forward);
}

void Relay::note_told(std::string_view name, std::string_view value) {
    const auto told = std::find_if(told_parameters_.begin(), told_parameters_.end(),
                                   [name](const auto& known) { return known.first == name; });
    if (told != told_parameters_.end()) {
        told->second = value;
    } else if (told_parameters_.size() < limits::told_parameters_max) {
        told_parameters_.emplace_back(name, value);
    }
}

}  // namespace schemux::core
