// The relay's part for time: what a client or its backend must not take too long for, and what
// becomes of it then. The times are told from outside, and when to look again is the caller's
// business. PostgreSQL's own words and SQLSTATEs where it has such a limit.

#include "core/relay.h"
#include "protocol/sqlstate.h"

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::ErrorFields;
using protocol::make_error;
using protocol::Severity;
using protocol::TransactionStatus;

namespace {

constexpr auto cancel_interval = std::chrono::seconds(1);
/// How long a query may go on that is cancelled.
constexpr auto cancels_unheeded = std::chrono::seconds(10);

/// The earlier one of some.
class Earliest {
  public:
    void add(Overdue what, TimePoint since, std::chrono::milliseconds limit) {
        if (limit.count() == 0 || since + limit >= first_.when) return;
        first_ = {since + limit, what};
    }
    void add(const Deadline& other) {
        if (other.when < first_.when) first_ = other;
    }
    Deadline value() const { return first_; }

  private:
    Deadline first_;
};

std::string limit_hint(std::string_view key, const Service& service,
                       std::chrono::milliseconds limit) {
    return std::string(key) + " of service \"" + service.name + "\" is " +
           std::to_string(limit.count()) + " ms.";
}

}  // namespace

Deadline Relay::deadline() const {
    Earliest earliest;
    switch (phase_) {
        case RelayPhase::waiting:
            if (!wait_noticed_ && !was_starting_)
                earliest.add(Overdue::notice, waiting_since_, service_->time_limits.wait_notice);
            earliest.add(Overdue::backend, patient_since_, service_->acquire_timeout);
            break;
        case RelayPhase::idle:
            earliest.add(Overdue::client, quiet_since(), service_->time_limits.client_idle);
            break;
        case RelayPhase::leased:
            return deadline_of_lease();
        case RelayPhase::starting:
        case RelayPhase::lingering:
        case RelayPhase::closed:
            break;
    }
    return earliest.value();
}

Deadline Relay::deadline_of_lease() const {
    Earliest earliest;
    const TimeLimits& limits = service_->time_limits;
    const bool runs = !backend_->replies.empty();
    const bool open = backend_->transaction != TransactionStatus::idle;
    const bool rests = at_rest() && held_.empty() && stream_.body_left == 0;
    if (terminated_) return {};
    if (pinned_.any() && rests) earliest.add(Overdue::pin, pinned_since_, service_->pin_timeout);
    if (runs && limits.query.count() > 0) earliest.add(query_deadline());
    if (runs || open) {
        earliest.add(Overdue::transaction, open ? transaction_began_ : query_began_,
                     limits.transaction);
    }
    const bool idle = !runs && at_batch_end() && held_.empty() && stream_.body_left == 0;
    if (open && idle)
        earliest.add(Overdue::idle_in_transaction, quiet_since(), limits.idle_in_transaction);
    if (rests) earliest.add(Overdue::client, quiet_since(), limits.client_idle);
    return earliest.value();
}

/// It is cancelled each second. Where that has no effect PostgreSQL cannot be reached, or its
/// client does not read what it tells.
Deadline Relay::query_deadline() const {
    const TimePoint late = query_began_ + service_->time_limits.query;
    const TimePoint unheeded = late + cancels_unheeded;
    if (worker_.now >= unheeded) return {unheeded, Overdue::unheeded};
    const bool cancelled = late_query_ == query_began_;
    return {cancelled ? std::min(cancel_again_, unheeded) : late, Overdue::query};
}

Step Relay::on_overdue(Overdue what) {
    const TimeLimits& limits = service_->time_limits;
    switch (what) {
        case Overdue::nothing:
        case Overdue::backend:
            return {};
        case Overdue::query:
            late_query_ = query_began_;
            cancel_again_ = worker_.now + cancel_interval;
            return {};
        case Overdue::unheeded: {
            ErrorFields error =
                make_error(sqlstate::query_canceled, "terminating connection due to query timeout",
                           Severity::fatal);
            error.detail = "The query was cancelled, and did not end.";
            error.hint = limit_hint("pool.query_timeout", *service_, limits.query);
            return end_late(error, CloseReason::query_timeout);
        }
        case Overdue::notice: {
            wait_noticed_ = true;
            ErrorFields notice =
                make_error(sqlstate::too_many_connections, "waiting for a connection to PostgreSQL",
                           Severity::notice);
            notice.hint = limit_hint("pool.wait_notice", *service_, limits.wait_notice);
            emit_error(notice);
            return {};
        }
        case Overdue::pin: {
            ErrorFields error = make_error(
                sqlstate::configuration_limit_exceeded,
                "terminating connection because it kept a backend for too long", Severity::fatal);
            error.detail = "It has " + std::string(words_for(pinned_.first())) + ".";
            error.hint = limit_hint("pin_timeout", *service_, service_->pin_timeout);
            return end_late(error, CloseReason::pin_expired);
        }
        case Overdue::transaction: {
            ErrorFields error =
                make_error(sqlstate::transaction_timeout,
                           "terminating connection due to transaction timeout", Severity::fatal);
            error.hint = limit_hint("pool.transaction_timeout", *service_, limits.transaction);
            return end_late(error, CloseReason::transaction_timeout);
        }
        case Overdue::idle_in_transaction: {
            ErrorFields error = make_error(
                sqlstate::idle_in_transaction_session_timeout,
                "terminating connection due to idle-in-transaction timeout", Severity::fatal);
            error.hint = limit_hint("pool.idle_in_transaction_timeout", *service_,
                                    limits.idle_in_transaction);
            return end_late(error, CloseReason::idle_in_transaction);
        }
        case Overdue::client: {
            ErrorFields error =
                make_error(sqlstate::idle_session_timeout,
                           "terminating connection due to idle-session timeout", Severity::fatal);
            error.hint = limit_hint("pool.client_idle_timeout", *service_, limits.client_idle);
            return end_late(error, CloseReason::client_idle);
        }
    }
    return {};
}

/// In the middle of a message nothing can be told.
Step Relay::end_late(const ErrorFields& error, CloseReason reason) {
    if (!amid_answer()) emit_error(error);
    count_error(error.sqlstate);
    counters_.clients_timed_out.add();
    said_fatal_ = true;
    return {Next::close, reason};
}

Step Relay::end_killed() {
    const ErrorFields error =
        make_error(sqlstate::admin_shutdown, "terminating connection due to administrator command",
                   Severity::fatal);
    if (!amid_answer()) emit_error(error);
    count_error(error.sqlstate);
    said_fatal_ = true;
    return {Next::close, CloseReason::killed};
}

}  // namespace schemux::core
