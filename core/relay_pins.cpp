// The relay's part for what cannot travel from backend to backend: a client that has such a thing
// keeps its backend until PostgreSQL says that it is gone. What a text may leave behind is noted
// when it is sent; at the end of the transaction PostgreSQL is asked what is there.
// What it must not know: how PostgreSQL is asked (session_features.h).

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::make_error;
using protocol::Severity;

namespace {

protocol::ErrorFields not_allowed(SessionFeature feature, const std::string& service) {
    protocol::ErrorFields error =
        make_error(sqlstate::feature_not_supported,
                   "the service does not allow " + std::string(words_for(feature)));
    error.hint = "services[].session_features." + std::string(name_of(feature)) + " of \"" +
                 service + "\" is reject; pin and allow let it pass.";
    return error;
}

protocol::ErrorFields too_many_pinned(SessionFeature feature, const Service& service,
                                      Severity severity) {
    protocol::ErrorFields error =
        make_error(sqlstate::too_many_connections,
                   "too many clients of the service keep a backend for themselves", severity);
    error.detail = "At most " + std::to_string(service.pin_budget) + " may" +
                   (service.pool_pin_budget < service.pin_budget
                        ? ", and of all services " + std::to_string(service.pool_pin_budget)
                        : std::string()) +
                   "; this one would for " + std::string(words_for(feature)) + ".";
    error.hint = "services[].pin_budget of \"" + service.name +
                 "\" sets how many, and pool.pin_budget for all services.";
    return error;
}

protocol::ErrorFields no_transactions(const Service& service, Severity severity) {
    protocol::ErrorFields error =
        make_error(sqlstate::feature_not_supported,
                   "transactions are not allowed in statement mode", severity);
    error.hint =
        "pool.mode of \"" + service.name + "\" is statement; transaction lets it begin one.";
    return error;
}

}  // namespace

/// Why a text must not be sent; or nothing. What it shows that it needs is reserved.
std::optional<protocol::ErrorFields> Relay::forbidden(const StatementEffects& effects) {
    if (service_->mode == PoolMode::statement && effects.begins_transaction)
        return no_transactions(*service_, Severity::error);
    if (effects.none() && !effects.names_statements) return {};
    FeatureSet used = features_of(effects);
    if (effects.names_statements) used.add(FeatureSet::of(SessionFeature::prepare));
    const FeatureSet rejected = used.common(service_->session_features.rejected());
    if (rejected.any()) return not_allowed(rejected.first(), service_->name);
    const FeatureSet pinning = used.common(this->pinning());
    if (!pinning.any() || service_->keeps_backend() || reserve_pin()) return {};
    return too_many_pinned(pinning.first(), *service_, Severity::error);
}

/// True over budget, where nothing of the client's is under way: its backend goes back, and it
/// waits without one. In a transaction nobody waits: those who keep backends may need its locks.
bool Relay::waits_for_pin(const StatementEffects& effects) {
    const FeatureSet pinning = features_of(effects).common(this->pinning());
    pin_wanted_ = false;
    if (!pinning.any() || service_->keeps_backend() || reserve_pin()) return false;
    if (service_->over_pin_budget == OverPinBudget::error || !work_is_over()) return false;
    pin_wanted_ = true;
    wanted_for_ = pinning.first();
    return true;
}

bool Relay::may_acquire() {
    if (pin_wanted_ && reserve_pin()) pin_wanted_ = false;
    return !pin_wanted_;
}

protocol::ErrorFields Relay::pin_refusal() const {
    return too_many_pinned(wanted_for_, *service_, Severity::error);
}

/// One was begun by what no text showed.
void Relay::end_transaction_refused() {
    lose_session(no_transactions(*service_, Severity::fatal), CloseReason::transaction_refused);
}

bool Relay::reserve_pin() {
    if (pin_reserved_) return true;
    if (!service_->pins->take(service_->pin_budget)) return false;
    pin_reserved_ = service_->pool_pins->take(service_->pool_pin_budget);
    if (!pin_reserved_) service_->pins->give();
    return pin_reserved_;
}

/// A text is sent that may leave something behind, or take away what pins.
void Relay::note_features(const StatementEffects& effects) {
    const FeatureSet pinning = this->pinning();
    note_channels(effects);
    if (service_->keeps_backend() || !pinning.any()) return;
    if (effects.has(Effect::opaque)) suspect_features();
    suspected_.add(features_of(effects).common(pinning));
    if (!effects.drops && !effects.has(Effect::release)) return;
    suspected_.add(pinned_.common(askable_features()));
    // What is sent during a question may take away what its answer will tell.
    suspected_.add(asked_);
}

/// Something ran that may have done anything.
void Relay::suspect_features() {
    if (service_->keeps_backend()) return;
    suspected_.add(pinning().common(askable_features()));
    if (shares_listen()) suspected_.add(FeatureSet::of(SessionFeature::listen));
}

bool Relay::must_ask_for_features() const {
    return suspected_.any() && phase_ == RelayPhase::leased && !terminated_ && !last_word_ &&
           work_is_over();
}

/// False when there is nothing to ask.
bool Relay::ask_for_features() {
    asked_ = suspected_.common(askable_features());
    FeatureSet lasting = std::exchange(suspected_, {});
    lasting.remove(asked_);
    lasting.add(pinned_);
    if (!asked_.any()) {
        pin(lasting);
        return false;
    }
    count_pins(pinned_, lasting);
    pinned_ = lasting;
    const ExpectedReply& reply = backend_->replies.push(Request::query, Answer::probe);
    backend_->statements.remove(reply.number, When::attempted, unnamed_statement);
    worker_.to_backend.generate([this](std::string& out) {
        std::string sql;
        append_feature_question(sql, asked_, shares_listen());
        protocol::append_query(out, sql);
    });
    return true;
}

/// The one row of the answer.
Take Relay::on_features(const MessageInHand& message) {
    if (message.header.length > limits::inspected_message_max) {
        return poison("an answer that nobody asked for");
    }
    if (!message.complete()) return Take::need_more;
    const Due answered = due(protocol::BackendMessage::data_row);
    if (answered.head == nullptr) return poison("an answer out of turn");
    take(answered);
    if (told_features_) return poison("an answer that nobody asked for");
    told_features_ = read_features(message.body());
    if (!told_features_) return poison("an answer that nobody asked for");
    return Take::consumed;
}

/// The answer is complete.
void Relay::on_features_told(bool failed) {
    std::optional<ToldFeatures> told = std::exchange(told_features_, {});
    const FeatureSet asked = std::exchange(asked_, {});
    if (failed || !told) {
        // A cancel may have hit it.
        suspected_.add(asked);
        if (++unanswered_questions_ < limits::settings_questions_max) return;
        return lose_session(
            make_error(sqlstate::connection_failure, "PostgreSQL did not tell what the session has",
                       Severity::fatal),
            CloseReason::settings_lost);
    }
    unanswered_questions_ = 0;
    FeatureSet now = pinned_;
    now.remove(asked);
    now.add(told->features.common(asked));
    const bool shared = shares_listen() && asked.has(SessionFeature::listen);
    if (shared) take_channels(std::move(told->channels));
    pin(now);
}

/// `now`: why the client keeps its backend from here on, if anything.
void Relay::pin(FeatureSet now) {
    count_pins(pinned_, now);
    pinned_ = now;
    if (!now.any()) {
        if (!suspected_.any()) give_pin();
        return;
    }
    if (reserve_pin()) return;
    // What a function has done, say: to take it away without a word would be worse.
    lose_session(too_many_pinned(now.first(), *service_, Severity::fatal),
                 CloseReason::pin_refused);
}

void Relay::unpin() {
    count_pins(pinned_, {});
    pinned_ = suspected_ = asked_ = {};
    told_features_.reset();
    give_pin();
}

void Relay::give_pin() {
    if (!std::exchange(pin_reserved_, false)) return;
    service_->pins->give();
    service_->pool_pins->give();
}

void Relay::count_pins(FeatureSet before, FeatureSet now) {
    const auto gauge = [this](SessionFeature feature) -> Counter& {
        return counters_.pinned[static_cast<std::size_t>(feature)];
    };
    before.each([&](SessionFeature feature) { gauge(feature).subtract(); });
    now.each([&](SessionFeature feature) { gauge(feature).add(); });
    if (!before.any() && now.any()) {
        pinned_since_ = worker_.now;
        counters_.pins.add();
    }
    if (before.any() && !now.any()) {
        const auto time =
            std::chrono::duration_cast<std::chrono::microseconds>(worker_.now - pinned_since_);
        counters_.pinned_us.add(time.count() > 0 ? static_cast<std::uint64_t>(time.count()) : 0);
    }
}

}  // namespace schemux::core
