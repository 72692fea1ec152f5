// Closes a socket when its time is up, for coroutines of the control plane: whatever they wait for
// on it then ends with an error. The socket is shared, since the timer's handler may be queued
// already when the coroutine ends.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <memory>

namespace schemux::daemon {

class Deadline {
  public:
    using Socket = boost::asio::generic::stream_protocol::socket;

    Deadline(const std::shared_ptr<Socket>& socket, std::chrono::milliseconds after)
        : passed_(std::make_shared<bool>(false)), timer_(socket->get_executor(), after) {
        timer_.async_wait([weak = std::weak_ptr<Socket>(socket),
                           passed = passed_](const boost::system::error_code& error) {
            const std::shared_ptr<Socket> alive = weak.lock();
            if (error || !alive) return;
            *passed = true;
            boost::system::error_code ignored;
            alive->close(ignored);
        });
    }

    bool passed() const { return *passed_; }

  private:
    std::shared_ptr<bool> passed_;
    boost::asio::steady_timer timer_;
};

}  // namespace schemux::daemon
