// SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 as callbacks on the control thread; SIGPIPE ignored,
// since a closed socket is an error value of send(). Knows nothing of what stopping or reloading
// means.
#pragma once

#include <functional>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace schemux::daemon {

struct SignalCallbacks {
    /// SIGTERM or SIGINT; `times` counts them from 1: the second asks to stop at once.
    std::function<void(int signal_number, unsigned times)> on_stop;
    std::function<void()> on_reload;           ///< SIGHUP
    std::function<void(bool pause)> on_pause;  ///< SIGUSR1, and false with SIGUSR2
};

class SignalHandler {
  public:
    /// Installs the handlers, process-wide; the callbacks run on the context's thread. Throws
    /// boost::system::system_error when the kernel refuses a handler.
    SignalHandler(boost::asio::io_context& context, SignalCallbacks callbacks);
    SignalHandler(const SignalHandler&) = delete;
    SignalHandler& operator=(const SignalHandler&) = delete;
    ~SignalHandler();

    /// Stops listening, so that io_context::run() can return. The default actions come back.
    void cancel();

  private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace schemux::daemon
