#include "daemon/signals.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include <csignal>
#include <utility>

namespace schemux::daemon {

struct SignalHandler::State {
    State(boost::asio::io_context& context, SignalCallbacks functions)
        : signals(context, SIGTERM, SIGINT, SIGHUP), callbacks(std::move(functions)) {}

    boost::asio::signal_set signals;
    SignalCallbacks callbacks;
    unsigned stops = 0;

    static void wait(const std::shared_ptr<State>& self) {
        self->signals.async_wait([self](const boost::system::error_code& error, int number) {
            if (error) return;
            wait(self);
            if (number != SIGHUP) {
                ++self->stops;
                if (self->callbacks.on_stop) self->callbacks.on_stop(number, self->stops);
            } else if (self->callbacks.on_reload) {
                self->callbacks.on_reload();
            }
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
