#include "daemon/user_lookup.h"

#include "daemon/log.h"

#include <poll.h>

#include <libpq-fe.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

namespace schemux::daemon {

namespace {

using Clock = std::chrono::steady_clock;

/// PostgreSQL itself ends what takes longer; who hears nothing at all for the second time is cut.
constexpr const char* bound_statement = "SET statement_timeout = '4s'";
constexpr auto answer_timeout = std::chrono::seconds(6);
constexpr auto connect_timeout = std::chrono::seconds(5);
constexpr std::chrono::milliseconds slice{100};
/// For everybody, when the server cannot be reached: one attempt in so long.
constexpr auto unreachable_pause = std::chrono::seconds(1);
/// A wrong password makes us ask again, but not more often for one user.
constexpr auto doubt_after = std::chrono::seconds(1);
constexpr std::size_t known_max = 10'000;
constexpr std::size_t unknown_max = 1'000;

struct Clear {
    void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, Clear>;

void log_failure(const std::string& why) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "auth_query_failed", {{"error", why}});
}

std::string without_newline(std::string text) {
    while (text.ends_with('\n'))
        text.pop_back();
    return text;
}

enum class Wait : std::uint8_t { there, broken, too_long };

/// Until the server says something, or takes something. In slices: a process that ends does not
/// wait for a server that is silent.
Wait wait_for(PGconn* connection, short events, Clock::time_point until,
              const std::atomic<bool>& stopped) {
    while (true) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
        if (left.count() <= 0 || stopped) return Wait::too_long;
        pollfd one{PQsocket(connection), events, 0};
        const int ready = ::poll(&one, 1, static_cast<int>(std::min(left, slice).count()));
        if (ready > 0) return Wait::there;
        if (ready < 0 && errno != EINTR) return Wait::broken;
    }
}

struct OneResult {
    Result result;  ///< null: none came
    bool too_long = false;
};

/// The one result of what was sent.
OneResult read_one(PGconn* connection, const std::atomic<bool>& stopped) {
    const auto until = Clock::now() + answer_timeout;
    OneResult one;
    while (true) {
        while (PQisBusy(connection) == 1) {
            const Wait wait = wait_for(connection, POLLIN, until, stopped);
            if (wait != Wait::there) return {nullptr, wait == Wait::too_long};
            if (PQconsumeInput(connection) == 0) return {};
        }
        Result next(PQgetResult(connection));
        if (!next) break;
        one.result = std::move(next);
    }
    if (PQstatus(connection) != CONNECTION_OK) one.result.reset();
    return one;
}

/// False: there is no connection; why may stand in it.
bool finish_connecting(PGconn* connection, const std::atomic<bool>& stopped) {
    const auto until = Clock::now() + connect_timeout;
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
    while (PQstatus(connection) != CONNECTION_BAD) {
        const short events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (wait_for(connection, events, until, stopped) != Wait::there) return false;
        wanted = PQconnectPoll(connection);
        if (wanted == PGRES_POLLING_OK) return true;
        if (wanted == PGRES_POLLING_FAILED) return false;
    }
    return false;
}

/// Seconds since 1970, perhaps with a fraction, or Infinity.
std::optional<double> read_seconds(const std::string& text) {
    double seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc() || end != text.data() + text.size() || std::isnan(seconds)) return {};
    return seconds;
}

}  // namespace

void UserLookup::Disconnect::operator()(pg_conn* connection) const {
    PQfinish(connection);
}

UserLookup::UserLookup(LookupOptions options) : options_(std::move(options)) {}

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

/// What went wrong, if anything.
std::optional<std::string> UserLookup::connect() {
    std::vector<const char*> keys{"dbname", "application_name"};
    std::vector<const char*> values{options_.dsn.c_str(), "schemux auth_query"};
    const std::string password(options_.password ? options_.password->view() : "");
    if (options_.password) {
        keys.push_back("password");
        values.push_back(password.c_str());
    }
    keys.push_back(nullptr);
    values.push_back(nullptr);
    connection_.reset(PQconnectStartParams(keys.data(), values.data(), 1));
    if (connection_ && finish_connecting(connection_.get(), stopped_)) {
        const bool sent = PQsendQuery(connection_.get(), bound_statement) == 1;
        if (sent && read_one(connection_.get(), stopped_).result) return {};
    }
    std::string why = without_newline(PQerrorMessage(connection_.get()));
    connection_.reset();
    return why.empty() ? "auth.query got no connection in time" : why;
}

/// A connection that broke while nobody used it costs no login.
UserLookup::Answer UserLookup::run(const std::string& user) {
    const bool was_there = connection_ != nullptr;
    Answer answer = run_once(user);
    const auto* unreachable = std::get_if<Unreachable>(&answer);
    if (was_there && unreachable != nullptr && !unreachable->silent) return run_once(user);
    return answer;
}

UserLookup::Answer UserLookup::run_once(const std::string& user) {
    if (!connection_) {
        if (auto why = connect()) return Unreachable{*why};
    }
    const auto broken = [this](std::string why, bool silent = false) {
        connection_.reset();
        return Unreachable{std::move(why), silent};
    };
    const std::array<const char*, 1> values{user.c_str()};
    if (PQsendQueryParams(connection_.get(), options_.query.c_str(), 1, nullptr, values.data(),
                          nullptr, nullptr, 0) == 0)
        return broken(without_newline(PQerrorMessage(connection_.get())));
    const OneResult one = read_one(connection_.get(), stopped_);
    if (one.too_long) return broken("no answer to auth.query in time", true);
    if (!one.result) return broken("the connection of auth.query broke");
    return read_answer(user, *one.result);
}

UserLookup::Answer UserLookup::read_answer(const std::string& user, const pg_result& answer) {
    const PGresult* rows = &answer;
    if (PQresultStatus(rows) != PGRES_TUPLES_OK)
        return Refused{without_newline(PQresultErrorMessage(rows)) + " (auth.query)"};
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
