// Tells the service manager about our state: sd_notify(3), one datagram each, without libsystemd.
// Without NOTIFY_SOCKET everything here does nothing.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::daemon {

class Notifier {
  public:
    /// For NOTIFY_SOCKET of the environment; removes the variable, so that no child talks for us.
    static Notifier from_environment();

    /// `socket_path`: absolute, or "@name" for an abstract socket; empty: nobody is told.
    explicit Notifier(std::string socket_path) : socket_path_(std::move(socket_path)) {}

    // Each returns false when the message could not be sent; that is no reason to stop serving.
    bool ready() const { return send("READY=1"); }
    bool stopping() const { return send("STOPPING=1"); }
    bool watchdog() const { return send("WATCHDOG=1"); }
    /// One line for `systemctl status`; control characters become spaces.
    bool status(std::string_view text) const;
    /// Before a reload; ready() ends it. Carries the time, as Type=notify-reload asks for.
    bool reloading() const;

  private:
    bool send(std::string_view message) const;

    std::string socket_path_;
};

/// How often systemd wants watchdog() (WATCHDOG_USEC), if it wants it from this process; ping at
/// half of it.
std::optional<std::chrono::microseconds> watchdog_interval();

}  // namespace schemux::daemon
