// Has the isolation of services audited while schemux runs, on a thread that does nothing else, and
// says in the log what was found. What is asked for takes the place of what was asked before.
// All may be called on any thread; none waits for PostgreSQL but `prove_now` and, for the time
// of a name's resolution at most, `stop`.
// It must not know the configuration, nor what is done about a hole.
#pragma once

#include "daemon/isolation_audit.h"
#include "daemon/password_source.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace schemux::daemon {

/// The audit of one cluster, with all that it is about.
struct AuditJob {
    std::string backend{};  ///< its name; empty: there is one only
    AuditOptions options;
    PasswordSource password{};  ///< asked each time, if it is not empty
    std::vector<IsolatedService> services;
};

/// Of the last audit that could be run.
struct AuditState {
    std::size_t holes = 0;
    std::chrono::system_clock::time_point when;
};

class IsolationWatch {
  public:
    /// What keeps the services from being proved to be kept apart; nothing: they are.
    using Verdict = std::optional<std::string>;

    IsolationWatch() = default;
    ~IsolationWatch() { stop(); }
    IsolationWatch(const IsolationWatch&) = delete;
    IsolationWatch& operator=(const IsolationWatch&) = delete;

    /// Audits, and tries again until it could.
    void watch(std::vector<AuditJob> jobs);
    /// Audits once, and calls back on a thread of its own; never if something else is asked first.
    void prove(std::vector<AuditJob> jobs, std::function<void(const Verdict&)> done);
    /// Audits once, at once.
    Verdict prove_now(std::vector<AuditJob> jobs);
    /// There is nothing to audit any more.
    void forget();
    /// An audit under way is given up.
    void stop();

    /// Nothing: none has run.
    std::optional<AuditState> state() const;

  private:
    struct Asked {
        std::vector<AuditJob> jobs;
        std::function<void(const Verdict&)> done{};  ///< empty: try again
    };

    void ask(std::optional<Asked> asked);
    void run();
    void serve(const Asked& asked);
    bool pause(std::chrono::milliseconds length);
    AuditOutcome audit(const std::vector<AuditJob>& jobs);
    AuditOutcome audit(const AuditJob& job);
    Verdict judge(const AuditOutcome& outcome, const std::vector<AuditJob>& jobs);
    void keep(std::size_t holes);

    mutable std::mutex mutex_;  ///< guards what follows, and when `given_up_` changes
    std::condition_variable changed_;
    std::optional<Asked> asked_;
    std::optional<AuditState> state_;
    bool stopping_ = false;
    std::atomic<bool> given_up_{false};  ///< what the thread is at
    std::thread thread_;
};

}  // namespace schemux::daemon
