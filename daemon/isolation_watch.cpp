#include "daemon/isolation_watch.h"

#include "daemon/log.h"

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace {

/// Whoever waits for a verdict does not wait for longer.
constexpr std::chrono::milliseconds prove_timeout = std::chrono::minutes(1);
constexpr std::chrono::milliseconds first_pause = std::chrono::seconds(1);
constexpr std::chrono::milliseconds longest_pause = std::chrono::minutes(1);
constexpr std::size_t logged_holes_max = 20;
constexpr const char* hint =
    "`schemux isolation audit` shows all of them, with the SQL that closes each";

/// How many there are.
std::size_t log_holes(const std::vector<Finding>& findings) {
    std::size_t holes = 0;
    for (const Finding& finding : findings) {
        if (finding.severity != Severity::hole || ++holes > logged_holes_max) continue;
        log_event(LogLevel::warning, "isolation_hole", finding.message,
                  {{"database", finding.database},
                   {"kind", finding.kind},
                   {"object", finding.object},
                   {"fix", finding.fix}});
    }
    if (holes > 0)
        log_event(LogLevel::warning, "isolation_holes", "services are not kept apart",
                  {{"holes", holes}, {"hint", hint}});
    return holes;
}

}  // namespace

void IsolationWatch::watch(std::vector<AuditJob> jobs) {
    ask(Asked{std::move(jobs)});
}

void IsolationWatch::prove(std::vector<AuditJob> jobs, std::function<void(const Verdict&)> done) {
    for (AuditJob& job : jobs)
        job.options.within = prove_timeout;
    ask(Asked{std::move(jobs), std::move(done)});
}

IsolationWatch::Verdict IsolationWatch::prove_now(std::vector<AuditJob> jobs) {
    for (AuditJob& job : jobs)
        job.options.within = prove_timeout;
    return judge(audit(jobs), jobs);
}

void IsolationWatch::forget() {
    ask({});
}

void IsolationWatch::ask(std::optional<Asked> asked) {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    given_up_ = true;
    if (!asked) state_.reset();
    asked_ = std::move(asked);
    if (asked_ && !thread_.joinable()) thread_ = std::thread([this] { run(); });
    changed_.notify_all();
}

void IsolationWatch::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        given_up_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

std::optional<AuditState> IsolationWatch::state() const {
    const std::lock_guard lock(mutex_);
    return state_;
}

void IsolationWatch::run() {
    while (true) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || asked_; });
        if (stopping_) return;
        const Asked asked = std::move(*asked_);
        asked_.reset();
        given_up_ = false;
        lock.unlock();
        serve(asked);
    }
}

void IsolationWatch::serve(const Asked& asked) {
    for (auto length = first_pause;; length = std::min(2 * length, longest_pause)) {
        const AuditOutcome outcome = audit(asked.jobs);
        if (given_up_) return;
        const auto* failure = std::get_if<AuditFailure>(&outcome);
        if (asked.done) {
            const Verdict verdict = judge(outcome, asked.jobs);
            asked.done(verdict);
            return;
        }
        if (failure == nullptr) {
            judge(outcome, asked.jobs);
            return;
        }
        // Once is enough: it is tried until it could be run, and that is said, too.
        log_event(length == first_pause ? LogLevel::warning : LogLevel::debug,
                  "isolation_audit_failed", "it is tried again until it could be run",
                  {{"error", failure->why}});
        if (!pause(length)) return;
    }
}

/// False: something else was asked for.
bool IsolationWatch::pause(std::chrono::milliseconds length) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, length, [this] { return given_up_.load(); });
}

/// What is found anywhere; a cluster that cannot be audited leaves all unproved.
AuditOutcome IsolationWatch::audit(const std::vector<AuditJob>& jobs) {
    std::vector<Finding> all;
    for (const AuditJob& job : jobs) {
        AuditOutcome outcome = audit(job);
        const std::string where = job.backend.empty() ? "" : "backend " + job.backend + ": ";
        if (auto* failure = std::get_if<AuditFailure>(&outcome)) {
            failure->why.insert(0, where);
            return outcome;
        }
        for (Finding& finding : std::get<std::vector<Finding>>(outcome)) {
            finding.message.insert(0, where);
            all.push_back(std::move(finding));
        }
    }
    return all;
}

AuditOutcome IsolationWatch::audit(const AuditJob& job) {
    AuditOptions options = job.options;
    options.stopped = &given_up_;
    if (!job.password.empty()) {
        auto read = read_password(job.password, &given_up_);
        if (const auto* wrong = std::get_if<NoPassword>(&read))
            return AuditFailure{"the backend's password: " + wrong->why, ""};
        options.password = std::get<protocol::Secret>(std::move(read));
    }
    return audit_isolation(options, job.services);
}

IsolationWatch::Verdict IsolationWatch::judge(const AuditOutcome& outcome,
                                              const std::vector<AuditJob>& jobs) {
    if (const auto* failure = std::get_if<AuditFailure>(&outcome))
        return "the services cannot be audited: " + failure->why +
               "; `schemux isolation audit` can look with another login (--dsn)";
    const std::size_t holes = log_holes(std::get<std::vector<Finding>>(outcome));
    keep(holes);
    if (holes == 0) {
        std::size_t services = 0;
        for (const AuditJob& job : jobs)
            services += job.services.size();
        log_event(LogLevel::info, "isolation_audit_passed", "no service gets at another one's data",
                  {{"services", services}});
        return {};
    }
    return "services are not kept apart: " + std::to_string(holes) +
           (holes == 1 ? " hole; " : " holes; ") + hint;
}

void IsolationWatch::keep(std::size_t holes) {
    const std::lock_guard lock(mutex_);
    if (given_up_) return;  // it is of no configuration in use
    state_ = AuditState{holes, std::chrono::system_clock::now()};
}

}  // namespace schemux::daemon
