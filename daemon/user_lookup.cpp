#include "daemon/user_lookup.h"

#include "daemon/log.h"

#include <libpq-fe.h>

#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace schemux::daemon {

namespace {

using Clock = std::chrono::steady_clock;

/// For everybody, when the server cannot be reached: one attempt in so long.
constexpr auto unreachable_pause = std::chrono::seconds(1);
/// A wrong password makes us ask again, but not more often for one user.
constexpr auto doubt_after = std::chrono::seconds(1);
constexpr std::size_t known_max = 10'000;
constexpr std::size_t unknown_max = 1'000;

void log_failure(const std::string& why) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "auth_query_failed", {{"error", why}});
}

/// Seconds since 1970, perhaps with a fraction, or Infinity.
std::optional<double> read_seconds(const std::string& text) {
    double seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || std::isnan(seconds)) return {};
    return seconds;
}

}  // namespace

UserLookup::UserLookup(LookupOptions options)
    : options_(std::move(options)), connection_(options_.access, stopped_) {}

UserLookup::~UserLookup() = default;

std::shared_ptr<Credentials> UserLookup::find_in(Entries& entries, const std::string& user) {
    const auto found = entries.find(user);
    if (found == entries.end()) return nullptr;
    if (Clock::now() - found->second.since >= options_.keep) {
        entries.erase(found);
        return nullptr;
    }
    const auto& until = found->second.until;
    if (until && *until <= std::chrono::system_clock::now())
        return found->second.credentials->nobody();
    return found->second.credentials;
}

std::shared_ptr<Credentials> UserLookup::remembered(const std::string& user) {
    const std::lock_guard lock(mutex_);
    auto found = find_in(known_, user);
    return found ? found : find_in(unknown_, user);
}

void UserLookup::doubt(const std::string& user) {
    const std::lock_guard lock(mutex_);
    for (Entries* entries : {&known_, &unknown_}) {
        const auto found = entries->find(user);
        if (found != entries->end() && Clock::now() - found->second.since >= doubt_after)
            entries->erase(found);
    }
}

void UserLookup::remember(const std::string& user, Entry entry) {
    const std::lock_guard lock(mutex_);
    const bool known = entry.credentials->knows(user);
    Entries& entries = known ? known_ : unknown_;
    if (entries.size() >= (known ? known_max : unknown_max)) entries.clear();
    entries.insert_or_assign(user, std::move(entry));
}

/// Whom there is, the others look like.
void UserLookup::take_after(const std::string& user, Entry& entry) {
    const std::lock_guard lock(mutex_);
    if (!entry.credentials->knows(user)) {
        if (nobody_) entry.credentials = nobody_;
    } else if (!nobody_) {
        nobody_ = entry.credentials->nobody();
    }
}

std::shared_ptr<Credentials> UserLookup::ask(const std::string& user) {
    // Whoever stood in the line in front may have asked the same.
    if (auto found = remembered(user)) return found;
    if (stopped_ || Clock::now() < unreachable_until_) return nullptr;
    Answer answer = run(user);
    if (const auto* refused = std::get_if<Refused>(&answer)) {
        log_failure(refused->why);
        return nullptr;
    }
    if (const auto* unreachable = std::get_if<Unreachable>(&answer)) {
        log_failure(unreachable->why);
        unreachable_until_ = Clock::now() + unreachable_pause;
        return nullptr;
    }
    auto& entry = std::get<Entry>(answer);
    const bool ended = entry.until && *entry.until <= std::chrono::system_clock::now();
    take_after(user, entry);
    auto credentials = ended ? entry.credentials->nobody() : entry.credentials;
    if (options_.keep.count() > 0) remember(user, std::move(entry));
    return credentials;
}

/// A connection that broke while nobody used it costs no login.
UserLookup::Answer UserLookup::run(const std::string& user) {
    const bool was_there = connection_.is_open();
    Answer answer = run_once(user);
    const auto* unreachable = std::get_if<Unreachable>(&answer);
    if (was_there && unreachable != nullptr && !unreachable->silent) return run_once(user);
    return answer;
}

UserLookup::Answer UserLookup::run_once(const std::string& user) {
    const ControlConnection::Answer answer = connection_.ask(options_.query, {user});
    if (!answer.result) return Unreachable{answer.why, answer.silent};
    return read_answer(user, *answer.result);
}

UserLookup::Answer UserLookup::read_answer(const std::string& user, const pg_result& answer) {
    const PGresult* rows = &answer;
    if (PQresultStatus(rows) != PGRES_TUPLES_OK) return Refused{error_of(*rows) + " (auth.query)"};
    const int columns = PQnfields(rows);
    if (columns < 2 || columns > 3)
        return Refused{"auth.query has " + std::to_string(columns) + " columns; 2 or 3 are wanted"};
    Entry entry{std::make_shared<Credentials>(), Clock::now(), {}};
    if (PQntuples(rows) == 0) return entry;
    if (PQntuples(rows) > 1) return Refused{"auth.query found more than one user of a name"};
    if (PQgetisnull(rows, 0, 0) == 1 || PQgetvalue(rows, 0, 0) != user)
        return Refused{"auth.query answered with another name than it was asked for"};
    if (PQgetisnull(rows, 0, 1) == 1) return entry;  // a user without a password
    if (columns == 3 && PQgetisnull(rows, 0, 2) == 0) {
        const auto seconds = read_seconds(PQgetvalue(rows, 0, 2));
        if (!seconds) return Refused{"the third column of auth.query is not a number of seconds"};
        constexpr double far = 1e10;  // the year 2286: as good as never
        if (*seconds < far)
            entry.until = std::chrono::system_clock::from_time_t(
                static_cast<std::time_t>(std::max(std::floor(*seconds), 0.0)));
    }
    const std::string_view text(PQgetvalue(rows, 0, 1),
                                static_cast<std::size_t>(PQgetlength(rows, 0, 1)));
    auto known = read_known_secret(text);
    if (const auto* wrong = std::get_if<NoSecret>(&known))
        return Refused{"auth.query's secret: " + wrong->why};
    entry.credentials = std::make_shared<Credentials>(
        std::vector<UserSecret>{{user, std::get<KnownSecret>(std::move(known))}});
    return entry;
}

}  // namespace schemux::daemon
