// The relay's part for what a client's session began with: its startup settings must outlive its
// own RESET, since they are not what the backend began with; and for session mode, in which a
// client keeps its first backend until it goes. How a lease ends otherwise: relay.cpp.

#include "core/label.h"
#include "core/relay.h"
#include "core/reset_commands.h"
#include "protocol/messages.h"

#include <algorithm>
#include <string_view>

namespace schemux::core {

using protocol::FrontendMessage;

namespace {

/// The order in which PostgreSQL lists settings: letter case does not count (guc_name_compare).
bool precedes_as_setting(std::string_view left, std::string_view right) {
    const auto lower = [](char byte) {
        const bool upper = byte >= 'A' && byte <= 'Z';
        return static_cast<unsigned char>(upper ? byte | 0x20 : byte);
    };
    return std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end(),
                                        [lower](char a, char b) { return lower(a) < lower(b); });
}

}  // namespace

/// Behind its transactions, too.
bool Relay::keeps_backend() const {
    return service_->keeps_backend() || pinned_.any();
}

/// It keeps its backend, but nothing of it is under way.
bool Relay::at_rest() const {
    return keeps_backend() && phase_ == RelayPhase::leased && backend_->at_rest() && at_batch_end();
}

/// RESET, DISCARD ALL and SET … TO DEFAULT give a setting the value that the backend began with,
/// which is not the client's. What begins something new is read when its settings are back.
bool Relay::must_wait_for_label(FrontendMessage type) const {
    if (!has_backend()) return false;
    if (ready_withheld_) return type != FrontendMessage::terminate;
    // And what comes behind LISTEN may be notified of.
    const bool lost =
        (label_lost_ || channels_foreseen_) && backend_->replies.owed() > 0 && at_batch_end();
    if (!lost && restoring_ == 0) return false;
    return type == FrontendMessage::query || type == FrontendMessage::parse ||
           type == FrontendMessage::bind || type == FrontendMessage::describe ||
           type == FrontendMessage::execute || type == FrontendMessage::function_call;
}

/// Behind a RESET the client is told that it is ready when its settings are back.
bool Relay::must_restore_label() const {
    const bool quiet = backend_->replies.owed() == 0 && at_batch_end();
    return label_lost_ && quiet && phase_ == RelayPhase::leased && !last_word_ &&
           backend_->transaction != protocol::TransactionStatus::failed;
}

/// What went comes back, in a batch of our own: a Query would take the client's unnamed portal.
/// False if nothing went.
bool Relay::restore_label() {
    if (!must_restore_label()) return false;
    label_lost_ = false;
    std::string sql;
    if (!append_restore_sql(sql, startup_, reset_)) return false;
    ++restoring_;
    run_helper(sql, {});
    backend_->replies.push(Request::sync, Answer::restore);
    send_sync();
    return true;
}

/// Without a backend a session has nothing but its settings and its statements: where its settings
/// are those that it began with, what a driver's pool sends between two users does nothing else.
bool Relay::answer_resets(std::string_view text) {
    if (encoding_ == EncodingClass::unsafe) return false;
    const ResetCommands commands = ResetCommands::of(text, standard_strings_);
    if (!commands.any() || !(label_ == startup_) || !told_parameters_.empty()) return false;
    // A role that the session began with is put back by PostgreSQL alone.
    const bool who = commands.has(ResetCommand::set_authorization) ||
                     commands.has(ResetCommand::reset_authorization);
    if (who && (startup_.find("role") || startup_.find("session_authorization"))) return false;
    const bool all =
        commands.has(ResetCommand::discard_all) || commands.has(ResetCommand::deallocate_all);
    if (all) statements_.remove_all_now();
    statements_.remove_now("");
    if (commands.has(ResetCommand::discard_all) || commands.has(ResetCommand::unlisten_all))
        channels_.clear();
    worker_.to_frontend.generate([&commands](std::string& out) {
        for (const ResetCommand command : commands.all())
            append_answer(out, command);
        protocol::append_ready_for_query(out, protocol::TransactionStatus::idle);
    });
    counters_.queries_simple.add();
    counters_.local_resets.add();
    return true;
}

/// The settings could not be put back, outside a transaction: none of the client's work is lost.
bool Relay::failed_unheard() const {
    return restoring_ > 0 && backend_->transaction == protocol::TransactionStatus::idle;
}

/// What a RESET and its undoing have changed, both together, as PostgreSQL would have told it.
void Relay::tell_withheld() {
    std::sort(withheld_.begin(), withheld_.end(), [](const auto& left, const auto& right) {
        return precedes_as_setting(left.first, right.first);
    });
    for (const auto& [name, known] : withheld_) {
        const std::string_view value = backend_->parameter(name);
        if (value == known) continue;
        note_told(name, value);
        worker_.to_frontend.generate([&name = name, value](std::string& out) {
            protocol::append_parameter_status(out, name, value);
        });
    }
    withheld_.clear();
}

}  // namespace schemux::core
