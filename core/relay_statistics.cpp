// The relay's part that watches statements: how often each is called, how long it takes, and what
// of that is slow. A call is a Query with all its statements, or an Execute.
//
// Time counts from when the first message of a call, or of what it needs (Parse, Bind), was sent,
// or from the end of the call before it in the pipeline, whichever is later; to its
// CommandComplete, of a Query to its ReadyForQuery. So a call behind another is not charged with
// that one's time. The wait for a backend is the first call's of a lease, and comes on top of it.

#include "core/relay.h"
#include "core/trace_parent.h"

#include <algorithm>
#include <utility>

namespace schemux::core {

namespace {

/// The number at the end of a command's tag: "INSERT 0 5", "SELECT 2"; none in "BEGIN".
std::uint64_t rows_in(std::string_view tag) {
    std::uint64_t rows = 0;
    const std::size_t space = tag.rfind(' ');
    if (space == tag.npos) return 0;
    for (const char byte : tag.substr(space + 1)) {
        if (byte < '0' || byte > '9') return 0;
        rows = rows * 10 + static_cast<std::uint64_t>(byte - '0');
    }
    return rows;
}

}  // namespace

bool Relay::watches_calls() const {
    return worker_.statistics.wanted() || service_->slow_query.count() > 0;
}

std::chrono::milliseconds Relay::slow_from() const {
    const auto own = service_->slow_query;
    return own.count() > 0 ? own : worker_.statistics.policy().slow_query;
}

/// Once for each text that is kept, and once each time for the others.
void Relay::find_fingerprint(const TextCache::Reading& reading, std::string_view text) {
    if (reading.fingerprint || !watches_calls()) return;
    StatementStats::Reading found =
        is_readable(text) ? worker_.statistics.read(counted_.table(), text, standard_strings_)
                          : worker_.statistics.unread(counted_.table(), unreadable_text);
    reading.fingerprint = std::move(found.fingerprint);
    reading.traced = found.traced;
}

/// Whether the text of a Query must outlive its message.
bool Relay::keeps_text(const TextCache::Reading& reading) const {
    if (slow_from().count() == 0) return false;
    const SlowText wanted = worker_.statistics.policy().slow_text;
    return reading.traced || wanted == SlowText::client || wanted == SlowText::rewritten;
}

void Relay::note_text(Statement& statement, const TextCache::Reading& reading,
                      std::string_view text) const {
    statement.fingerprint = reading.fingerprint;
    const bool client = worker_.statistics.policy().slow_text == SlowText::client;
    if (reading.rewritten && client && keeps_text(reading))
        statement.client_text = text.substr(0, limits::slow_text_bytes_max);
}

/// The message that was sent last is to run it.
void Relay::begin_call(const FingerprintRef& fingerprint) {
    if (!fingerprint) return;
    backend_->replies.back().fingerprint = fingerprint;
    calls_.last = fingerprint;
}

/// Of an Execute; `statement`: of the unnamed portal, or of one that names statements.
void Relay::begin_execute(const StatementRef& statement, std::string_view portal) {
    if (!watches_calls()) return;
    if (statement) return begin_call(statement->fingerprint);
    for (const Calls::Portal& known : calls_.portals) {
        if (known.name == portal) return begin_call(known.fingerprint);
    }
}

void Relay::note_counted_portal(std::string_view portal, const StatementRef& statement) {
    if (portal.empty() || !statement->fingerprint) return;
    std::vector<Calls::Portal>& portals = calls_.portals;
    std::erase_if(portals, [portal](const auto& known) { return known.name == portal; });
    if (portals.size() == limits::counted_portals_max) portals.erase(portals.begin());
    portals.push_back({std::string(portal), statement->fingerprint});
}

void Relay::note_rows(const ExpectedReply& head, std::string_view tag) {
    if (head.fingerprint) calls_.rows += rows_in(tag);
}

/// What follows an error in the answer, if anything, is not the call's.
void Relay::note_call_error(const ExpectedReply& head, std::string_view code, bool last_word) {
    if (!is_told(head.answer)) return;
    const FingerprintRef& fingerprint =
        head.fingerprint || !head.statement ? head.fingerprint : head.statement->fingerprint;
    if (!fingerprint) return;
    calls_.failed = true;
    calls_.sqlstate = {};
    std::copy_n(code.begin(), std::min(code.size(), calls_.sqlstate.size()),
                calls_.sqlstate.begin());
    if (head.is_extended() || last_word) end_call(fingerprint, head.statement);
}

void Relay::end_call(const FingerprintRef& fingerprint, const StatementRef& statement) {
    if (!fingerprint) return;
    StatementFigures figures;
    figures.calls = 1;
    const bool failed = std::exchange(calls_.failed, false);
    if (failed) figures.errors = 1;
    figures.rows = std::exchange(calls_.rows, 0);
    const TimePoint began = std::max(query_began_, calls_.last_end);
    figures.total = figures.longest = worker_.now - began;
    figures.wait = std::exchange(calls_.wait, std::chrono::nanoseconds(0));
    calls_.last_end = worker_.now;
    worker_.statistics.count(counted_.table(), fingerprint, figures);
    const std::chrono::milliseconds slow = slow_from();
    if (slow.count() > 0 && figures.total >= slow) note_slow(fingerprint, statement, figures);
}

void Relay::note_slow(const FingerprintRef& fingerprint, const StatementRef& statement,
                      const StatementFigures& figures) {
    if (calls_.slow.size() == limits::slow_calls_told_max) return;
    SlowCall& slow = calls_.slow.emplace_back();
    slow.fingerprint = fingerprint;
    slow.duration = figures.total;
    slow.wait = figures.wait;
    slow.rows = figures.rows;
    if (figures.errors > 0) slow.sqlstate.assign(calls_.sqlstate.begin(), calls_.sqlstate.end());
    if (statement) {
        slow.traceparent =
            find_trace_parent(statement->text, standard_strings_).value_or(std::string{});
    }
    slow.text = slow_text(fingerprint, statement);
}

std::string Relay::slow_text(const FingerprintRef& fingerprint,
                             const StatementRef& statement) const {
    const auto start_of = [](std::string_view text) {
        return std::string(text.substr(0, limits::slow_text_bytes_max));
    };
    switch (worker_.statistics.policy().slow_text) {
        case SlowText::none:
            return {};
        case SlowText::fingerprint:
            break;
        case SlowText::rewritten:
            if (statement) return start_of(statement->text);
            break;
        case SlowText::client: {
            if (!statement) break;
            if (!statement->client_text.empty()) return statement->client_text;
            // Of a statement that was prepared when nobody wanted its text.
            if (!statement->positions.empty()) break;
            const bool spelled = !statement->names.empty();
            return start_of(spelled ? statement->unspelled : statement->text);
        }
    }
    return fingerprint->text;
}

std::vector<SlowCall> Relay::take_slow_calls() {
    return std::exchange(calls_.slow, {});
}

/// The backend went in the middle of it.
void Relay::end_call_lost(std::string_view code) {
    if (!backend_->replies.empty()) note_call_error(backend_->replies.front(), code, true);
}

/// Once for each lease.
std::optional<LongLease> Relay::long_lease() {
    const std::chrono::milliseconds limit = worker_.statistics.policy().long_lease;
    if (limit.count() == 0 || calls_.lease_told || phase_ != RelayPhase::leased) return {};
    const bool open = backend_->transaction != protocol::TransactionStatus::idle;
    TimePoint since = lease_began_;
    // In session mode it has one for as long as it is there, and that is no news.
    if (service_->keeps_backend()) since = open ? transaction_began_ : query_began_;
    LongLease lease;
    lease.held = worker_.now - since;
    if (lease.held < limit) return {};
    if (!backend_->replies.empty() || copy_in_) {
        lease.use = LeaseUse::active;
    } else if (open) {
        lease.use = LeaseUse::idle_in_transaction;
    } else if (pinned_.any()) {
        lease.use = LeaseUse::pinned;
    } else if (service_->keeps_backend()) {
        return {};
    } else {
        lease.use = LeaseUse::open_batch;
    }
    lease.pinned = pinned_;
    lease.last = calls_.last;
    calls_.lease_told = true;
    return lease;
}

std::string_view name_of(LeaseUse use) {
    switch (use) {
        case LeaseUse::active:
            return "active";
        case LeaseUse::idle_in_transaction:
            return "idle_in_transaction";
        case LeaseUse::open_batch:
            return "open_batch";
        case LeaseUse::pinned:
            return "pinned";
    }
    return {};
}

}  // namespace schemux::core
