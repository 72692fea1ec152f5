// The control plane: connects with their logins, back-off, cancels under way. What
// daemon/connector.cpp does, one step at a time. It must not know sessions.
#pragma once

#include "core/backend_startup.h"
#include "tests/simulation/server.h"
#include "tests/simulation/worker.h"

#include <deque>
#include <memory>
#include <vector>

namespace schemux::simulation {

/// What the servers of a seed are like.
struct Weather {
    unsigned bad_logins = 0;  ///< per cent
    std::size_t backend_room = 65'536;
};

class Control {
  public:
    Control(Shared& shared, std::vector<std::unique_ptr<Worker>>& workers, Choice& choice,
            Weather weather)
        : shared_(shared), workers_(workers), choice_(choice), weather_(weather) {}

    // ---- what happens; false: there was nothing to do ----
    bool start_connects();
    bool connect_reads(std::size_t at, std::size_t count);
    bool expire_connects();
    bool cancel_goes_on(std::size_t at);

    /// One that will look for work by itself.
    bool resting() const { return !shared_.connector_woken && !backing_off(); }
    bool backing_off() const { return backing_off_; }
    std::size_t connects() const { return connects_.size(); }
    const std::deque<std::unique_ptr<Server>>& servers() const { return servers_; }
    void clear_weather() { weather_.bad_logins = 0; }
    std::size_t login_failures() const { return login_failures_; }

  private:
    struct Connect {
        Server* server = nullptr;
        core::BackendStartup startup;
        core::TimePoint began{};
    };

    void act(std::size_t at, core::BackendStartup::Action action);
    void succeed(std::size_t at);
    void fail(std::size_t at, const protocol::ErrorFields& error, bool transient);
    Welcome next_welcome();
    void remove(std::size_t at);

    Shared& shared_;
    std::vector<std::unique_ptr<Worker>>& workers_;
    Choice& choice_;
    Weather weather_;
    std::deque<std::unique_ptr<Server>> servers_;  ///< all that there ever were
    std::vector<std::unique_ptr<Connect>> connects_;
    core::TimePoint backoff_until_{};
    bool backing_off_ = false;
    unsigned failures_in_a_row_ = 0;
    std::size_t login_failures_ = 0;
    std::size_t next_worker_ = 0;
};

}  // namespace schemux::simulation
