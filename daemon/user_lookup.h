// auth.query: users whose secrets PostgreSQL itself keeps, asked for by a connection of its own
// that no client's byte but the name ever gets to, and remembered for a while.
// `remembered` and `doubt` may be called on any thread; `ask` blocks, and is for one thread only.
// It must not know logins or what the secrets prove.
#pragma once

#include "daemon/control_connection.h"
#include "daemon/credentials.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

namespace schemux::daemon {

struct LookupOptions {
    ControlOptions access;
    std::string query;
    std::chrono::milliseconds keep{};  ///< 0: nothing is remembered
};

class UserLookup {
  public:
    explicit UserLookup(LookupOptions options);
    ~UserLookup();
    UserLookup(const UserLookup&) = delete;
    UserLookup& operator=(const UserLookup&) = delete;

    /// Nobody is in it if there is no such user, or none with a secret that holds still. Null: ask.
    std::shared_ptr<Credentials> remembered(const std::string& user);
    /// Null: it cannot be had now; why is in the log.
    std::shared_ptr<Credentials> ask(const std::string& user);
    /// A proof failed: perhaps the secret is another one by now.
    void doubt(const std::string& user);
    /// `ask` comes back soon, from now on with nothing.
    void stop() { stopped_ = true; }

  private:
    using Clock = std::chrono::steady_clock;
    struct Entry {
        std::shared_ptr<Credentials> credentials;
        Clock::time_point since;
        /// The secret's end.
        std::optional<std::chrono::system_clock::time_point> until;
    };
    using Entries = std::map<std::string, Entry, std::less<>>;
    struct Unreachable {
        std::string why;
        bool silent = false;  ///< it is connected, but says nothing
    };
    struct Refused {
        std::string why;
    };
    using Answer = std::variant<Entry, Refused, Unreachable>;

    std::shared_ptr<Credentials> find_in(Entries& entries, const std::string& user);
    void remember(const std::string& user, Entry entry);
    void take_after(const std::string& user, Entry& entry);
    Answer run(const std::string& user);
    Answer run_once(const std::string& user);
    static Answer read_answer(const std::string& user, const pg_result& answer);

    const LookupOptions options_;
    std::mutex mutex_;  ///< guards what is remembered
    Entries known_;
    Entries unknown_;  ///< apart, so that made-up names drive no real user out
    /// Like the first user that was found: those that do not exist must not stick out.
    std::shared_ptr<Credentials> nobody_;
    std::atomic<bool> stopped_{false};
    ControlConnection connection_;
    Clock::time_point unreachable_until_{};
};

}  // namespace schemux::daemon
