#include "daemon/services_query.h"

#include "core/label.h"
#include "daemon/log.h"

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t answer_bytes_max = 32UL * 1024 * 1024;
constexpr milliseconds first_pause{1'000};
constexpr milliseconds slice{100};

void log_failure(const std::string& why) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "services_query_failed", {{"error", why}});
}

}  // namespace

ServicesQuery::ServicesQuery(ServicesQueryOptions options, Take take)
    : options_(std::move(options)), take_(std::move(take)), connection_(options_.access, stopped_) {
    if (options_.channel.empty()) return;
    std::string listen = "LISTEN ";
    core::append_quoted_identifier(listen, options_.channel);
    connection_.begin_with(std::move(listen));
}

ServicesQuery::~ServicesQuery() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
}

void ServicesQuery::start() {
    thread_ = std::thread([this] { run(); });
}

void ServicesQuery::run() {
    milliseconds pause = first_pause;
    while (!stopped_) {
        if (ask()) {
            pause = first_pause;
            wait(options_.interval);
        } else {
            // A connection that broke while it waited is no failure: it is asked anew at once.
            pause = std::min(pause, options_.interval);
            wait(pause);
            pause *= 2;
        }
    }
}

bool ServicesQuery::ask() {
    // A storm of words that they have changed is answered no faster than that.
    std::this_thread::sleep_for(slice);
    const bool was_open = connection_.is_open();
    Table table = connection_.ask_table(options_.sql, {options_.rows_max, answer_bytes_max});
    if (!table.complete && was_open && !connection_.is_open() && !stopped_)
        table = connection_.ask_table(options_.sql, {options_.rows_max, answer_bytes_max});
    if (stopped_) return false;
    if (!table.complete) {
        failures_.fetch_add(1, std::memory_order_relaxed);
        log_failure(table.why);
        return false;
    }
    const bool first = answered_at() == 0;
    const bool changed = first || table.columns != last_.columns || table.rows != last_.rows;
    if (changed) {
        last_ = table;
        take_(std::move(table));
    }
    answered_at_ = std::chrono::duration_cast<std::chrono::seconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
    return true;
}

/// Until then, or a word that they have changed.
void ServicesQuery::wait(milliseconds time) {
    using Clock = std::chrono::steady_clock;
    const auto until = Clock::now() + time;
    while (!stopped_) {
        const auto left = std::chrono::duration_cast<milliseconds>(until - Clock::now());
        if (left.count() <= 0) return;
        if (!connection_.is_open()) {
            std::this_thread::sleep_for(std::min(left, slice));
            continue;
        }
        if (connection_.wait_for_notification(left)) return;
        // Who would have told it is gone.
        if (!connection_.is_open()) return;
    }
}

}  // namespace schemux::daemon
