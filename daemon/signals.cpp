#include "daemon/signals.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <csignal>
#include <utility>

namespace schemux::daemon {

struct SignalHandler::State {
    State(boost::asio::io_context& context, SignalCallbacks functions)
        : signals(context, SIGTERM, SIGINT, SIGHUP), callbacks(std::move(functions)) {
        signals.add(SIGUSR1);
        signals.add(SIGUSR2);
    }

    boost::asio::signal_set signals;
    SignalCallbacks callbacks;
    unsigned stops = 0;

    void call(int number) {
        if (number == SIGHUP) {
            if (callbacks.on_reload) callbacks.on_reload();
        } else if (number == SIGUSR1 || number == SIGUSR2) {
            if (callbacks.on_pause) callbacks.on_pause(number == SIGUSR1);
        } else {
            ++stops;
            if (callbacks.on_stop) callbacks.on_stop(number, stops);
        }
    }

    static void wait(const std::shared_ptr<State>& self) {
        self->signals.async_wait([self](const boost::system::error_code& error, int number) {
            if (error) return;
            wait(self);
            self->call(number);
        });
    }
};

SignalHandler::SignalHandler(boost::asio::io_context& context, SignalCallbacks callbacks)
    : state_(std::make_shared<State>(context, std::move(callbacks))) {
    std::signal(SIGPIPE, SIG_IGN);
    State::wait(state_);
}

SignalHandler::~SignalHandler() {
    cancel();
}

void SignalHandler::cancel() {
    boost::system::error_code ignored;
    state_->signals.cancel(ignored);
    state_->signals.clear(ignored);
}

}  // namespace schemux::daemon
