// The relay's part for LISTEN where one session listens for all (listener.h). The client's own
// LISTEN and UNLISTEN run on the backend that it has: PostgreSQL judges them, with everything that
// a transaction may undo, and is asked behind it what the session listens on; that is told to the
// shared listener. What the backend itself is notified of meanwhile, nobody is told.
// What it must not know: where the listener is.

#include "core/label.h"
#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"
#include "protocol/wire_reader.h"
#include "protocol/wire_writer.h"

#include <algorithm>
#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::make_error;
using protocol::Severity;

namespace {

// A NotificationResponse: pid, channel, payload.
constexpr std::size_t pid_at = protocol::header_bytes;
constexpr std::size_t channel_at = pid_at + sizeof(std::uint32_t);

std::uint32_t pid_in(std::string_view notification) {
    return protocol::read_u32(notification.data() + pid_at);
}

std::string_view channel_in(std::string_view notification) {
    const std::string_view names = notification.substr(channel_at);
    return names.substr(0, names.find('\0'));
}

/// As the client knows it: with that pid, and the channel without what its service puts ahead.
void append_for_client(std::string& out, std::string_view notification, std::uint32_t pid,
                       std::string_view channel_prefix) {
    std::string_view names = notification.substr(channel_at);
    if (names.starts_with(channel_prefix)) names.remove_prefix(channel_prefix.size());
    protocol::WireWriter(out)
        .begin_message(notification.front())
        .u32(pid)
        .bytes(names)
        .end_message();
}

}  // namespace

/// Notifications come in UTF-8, and nobody can tell them in another encoding.
bool Relay::shares_listen() const {
    return service_->session_features.policy(SessionFeature::listen) == FeaturePolicy::share &&
           !service_->keeps_backend() && encoding_ == EncodingClass::utf8;
}

FeatureSet Relay::pinning() const {
    FeatureSet pinning = service_->session_features.pinning();
    const bool shared =
        service_->session_features.policy(SessionFeature::listen) == FeaturePolicy::share;
    if (shared && !shares_listen()) pinning.add(FeatureSet::of(SessionFeature::listen));
    return pinning;
}

/// A text is to be sent that may end what the client listens on: its backend must listen on that
/// first. A Query of ours, since nothing of a batch is open.
void Relay::load_channels(const StatementEffects& effects) {
    const bool may_end = effects.has(Effect::release) || effects.has(Effect::opaque);
    if (!may_end || !shares_listen() || channels_.none() || channels_.loaded()) return;
    using protocol::TransactionStatus;
    if (!at_batch_end() || copy_in_ || backend_->transaction == TransactionStatus::failed) return;
    const bool idle = backend_->transaction == TransactionStatus::idle;
    channels_.load(!idle || backend_->replies.owed() > 0);
    const ExpectedReply& reply = backend_->replies.push(Request::query, Answer::discard);
    backend_->statements.remove(reply.number, When::attempted, unnamed_statement);
    backend_->taint.full_reset = true;
    worker_.to_backend.generate([this](std::string& out) {
        std::string sql;
        for (const std::string& name : channels_.names()) {
            sql += "LISTEN ";
            append_quoted_identifier(sql, name);
            sql += ';';
        }
        protocol::append_query(out, sql);
    });
}

/// A text is sent that may change what the client listens on.
void Relay::note_channels(const StatementEffects& effects) {
    if (!shares_listen()) return;
    const bool explicitly =
        effects.has(Effect::listen) || (effects.has(Effect::release) && !channels_.none());
    channels_foreseen_ = channels_foreseen_ || explicitly;
    hears_itself_ = hears_itself_ || (effects.notifies && !channels_.none());
    if (explicitly || effects.has(Effect::opaque))
        suspected_.add(FeatureSet::of(SessionFeature::listen));
}

/// Behind LISTEN the client is told that it is ready when the shared listener listens, too: what is
/// notified from then on must not be missed. Behind NOTIFY it has heard itself by then.
bool Relay::withhold_ready() {
    if (!channels_foreseen_ && !hears_itself_) return false;
    const bool quiet = backend_->replies.empty() && at_batch_end() &&
                       backend_->transaction == protocol::TransactionStatus::idle;
    if (!quiet || phase_ != RelayPhase::leased || last_word_ || terminated_) return false;
    const bool asks = channels_foreseen_ && suspected_.has(SessionFeature::listen);
    if (!asks) hear_itself();
    ready_withheld_ = asks || channels_.awaited();
    return ready_withheld_;
}

void Relay::hear_itself() {
    if (std::exchange(hears_itself_, false) && !channels_.none()) channels_.await();
}

/// What PostgreSQL says that the backend listens on; nothing if it is too much to be shared: then
/// the client keeps its backend.
void Relay::take_channels(std::optional<std::vector<std::string>> there) {
    if (there) {
        channels_.take_over(std::move(*there));
    } else {
        channels_.clear();
    }
    channels_foreseen_ = false;
    if (ready_withheld_) hear_itself();
    if (!channels_.awaited()) tell_ready();
}

void Relay::tell_ready() {
    if (!std::exchange(ready_withheld_, false)) return;
    worker_.to_frontend.generate([](std::string& out) {
        protocol::append_ready_for_query(out, protocol::TransactionStatus::idle);
    });
}

std::optional<std::uint64_t> Relay::take_channels_moved() {
    if (!channels_.moved()) return {};
    return channels_.tell();
}

Step Relay::on_subscribed(std::uint64_t told, bool late) {
    channels_.confirm(told);
    if (channels_.awaited() || phase_ == RelayPhase::closed) return {};
    if (late) warn_of_missed("LISTEN is not in effect yet");
    if (phase_ != RelayPhase::leased) return {};
    // Of what an earlier lease asked for, the answer tells nothing of this backend.
    if (heard_before_ == Heard::asked) heard_before_ = late ? Heard::late : Heard::yes;
    if (ready_withheld_) {
        tell_notifications();
        tell_ready();
    } else if (!stalled_) {
        return {};
    }
    step_ = {};
    return held_.empty() ? finish_batch() : process_frontend({});
}

/// What the backend itself is notified of, the client is told by the shared listener.
bool Relay::notified_elsewhere() const {
    return shares_listen() && !pinned_.has(SessionFeature::listen);
}

/// Told by the backend. Where another session listens, too, only what the very transaction notifies
/// of that begins to listen. It comes behind the answers that we make, however the bytes are cut.
Take Relay::on_notified(const MessageInHand& message) {
    settle_head();
    const bool own = pid_in(message.bytes) == backend_->pid;
    const bool begun = own && !channels_.has(channel_in(message.bytes));
    if (notified_elsewhere() && !begun) return Take::consumed;
    const std::uint32_t pid = own ? identity_.pid : pid_in(message.bytes);
    worker_.to_frontend.generate([&](std::string& out) {
        append_for_client(out, message.bytes, pid, service_->channel_prefix);
    });
    return Take::consumed;
}

/// A text is to be sent that notifies: what an earlier client of this backend notified of must have
/// been heard before, since nothing else tells it from the client's own.
bool Relay::must_hear_before(const StatementEffects& effects) {
    if (heard_before_ == Heard::asked) return true;
    const bool heard = heard_before_ != Heard::no || channels_.none();
    if (!effects.notifies || heard || !notified_elsewhere()) return false;
    channels_.await();
    heard_before_ = Heard::asked;
    return true;
}

/// Between two answers, and never in a transaction.
bool Relay::may_be_notified() const {
    switch (phase_) {
        case RelayPhase::idle:
        case RelayPhase::waiting:
            return true;
        case RelayPhase::leased:
            return work_is_over() && !ready_withheld_;
        case RelayPhase::starting:
        case RelayPhase::lingering:
        case RelayPhase::closed:
            return false;
    }
    return false;
}

Step Relay::on_notification(std::string_view message, std::size_t unread) {
    if (phase_ == RelayPhase::closed || phase_ == RelayPhase::lingering) return {};
    // It was on its way when the client said UNLISTEN.
    if (!channels_.has(channel_in(message))) return {};
    const bool ascii = std::all_of(message.begin() + channel_at, message.end(), [](char byte) {
        return static_cast<unsigned char>(byte) < 0x80;
    });
    if (!ascii && encoding_ != EncodingClass::utf8) {
        return end_unnotified(make_error(sqlstate::feature_not_supported,
                                         "a notification cannot be told in this client_encoding",
                                         Severity::fatal));
    }
    if (notifications_.size() + message.size() + unread > limits::waiting_notifications_max) {
        protocol::ErrorFields error = make_error(
            sqlstate::configuration_limit_exceeded,
            "terminating connection because too many notifications wait for it", Severity::fatal);
        error.detail = "At most " + std::to_string(limits::waiting_notifications_max) +
                       " bytes may wait, for the end of a transaction or to be read.";
        return end_unnotified(error);
    }
    counters_.notifications.add();
    const bool own = heard_before_ == Heard::yes && phase_ == RelayPhase::leased &&
                     pid_in(message) == backend_->pid;
    append_for_client(notifications_, message, own ? identity_.pid : pid_in(message),
                      service_->channel_prefix);
    if (may_be_notified()) tell_notifications();
    return {};
}

Step Relay::end_unnotified(const protocol::ErrorFields& error) {
    if (!amid_answer()) emit_error(error);
    count_error(error.sqlstate);
    said_fatal_ = true;
    return {Next::close, CloseReason::notifications_lost};
}

void Relay::on_missed() {
    if (phase_ == RelayPhase::closed || channels_.none()) return;
    warn_of_missed("the shared listener lost its connection to PostgreSQL");
}

void Relay::warn_of_missed(std::string why) {
    protocol::ErrorFields warning =
        make_error(sqlstate::warning, "notifications may have been missed", Severity::warning);
    warning.detail = std::move(why);
    std::string said;
    protocol::append_error(said, warning);
    // Once is enough, however often it happens while it waits.
    if (!notifications_.ends_with(said)) notifications_ += said;
    if (may_be_notified()) tell_notifications();
}

void Relay::tell_notifications() {
    if (notifications_.empty()) return;
    worker_.to_frontend.generate([this](std::string& out) { out.append(notifications_); });
    std::string().swap(notifications_);
}

}  // namespace schemux::core
