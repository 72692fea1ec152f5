// The relay's part for session mode: a client keeps its first backend until it goes. What that
// needs beyond not releasing it: the client's start-up settings must outlive its own RESET, since
// they are not what the backend began with. How a lease ends otherwise: relay.cpp.

#include "core/label.h"
#include "core/relay.h"
#include "protocol/messages.h"

#include <algorithm>
#include <array>

namespace schemux::core {

using protocol::FrontendMessage;

/// It keeps its backend, but nothing of it is under way.
bool Relay::at_rest() const {
    return service_->keeps_backend && phase_ == RelayPhase::leased && backend_->at_rest() &&
           at_batch_end();
}

/// RESET, DISCARD ALL and SET … TO DEFAULT give a setting the value that the backend began with,
/// which is not the client's. A client that keeps its backend gets its own back: restore_label.
void Relay::note_lost_settings(const StatementEffects& effects, std::string_view text) {
    if (!service_->keeps_backend || effects.none()) return;
    constexpr std::array<std::string_view, 3> words{"reset", "discard", "default"};
    const auto same = [](char a, char b) { return (a | ' ') == b; };
    for (const std::string_view word : words) {
        const auto found = std::search(text.begin(), text.end(), word.begin(), word.end(), same);
        if (found != text.end()) label_lost_ = true;
    }
}

/// What begins something new is read when the settings are back.
bool Relay::must_wait_for_label(FrontendMessage type) const {
    if (!has_backend() || backend_->replies.empty() || !at_batch_end()) return false;
    return type == FrontendMessage::query || type == FrontendMessage::parse ||
           type == FrontendMessage::bind || type == FrontendMessage::describe ||
           type == FrontendMessage::execute || type == FrontendMessage::function_call;
}

/// Behind a RESET of a client that keeps its backend: what went comes back, in a Query of our own.
void Relay::restore_label() {
    const bool quiet = backend_->replies.empty() && at_batch_end();
    if (!quiet || backend_->transaction == protocol::TransactionStatus::failed) return;
    label_lost_ = false;
    if (label_.is_base() || phase_ != RelayPhase::leased || last_word_) return;
    const ExpectedReply& reply = backend_->replies.push(Request::query, Answer::discard);
    backend_->statements.remove(reply.number, When::attempted, unnamed_statement);
    worker_.to_backend.generate([this](std::string& out) {
        std::string sql;
        append_restore_sql(sql, label_);
        protocol::append_query(out, sql);
    });
}

}  // namespace schemux::core
