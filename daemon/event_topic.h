// What is published to those who watch it as server-sent events (WHATWG HTML, 9.2). A watcher is
// told of the last message only: who reads slowly misses some, and nobody holds more than one.
// It must not know sockets or HTTP, nor what is said. On one io_context's thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>

namespace schemux::daemon {

class EventWatch;

class EventTopic {
  public:
    using Message = std::shared_ptr<const std::string>;

    /// `data`: of one line.
    void publish(std::string_view data);
    /// Ends those that watch; nobody can watch from then on.
    void close();
    bool is_closed() const { return closed_; }
    std::size_t watchers() const { return watches_.size(); }

  private:
    friend class EventWatch;

    Message last_;
    std::uint64_t number_ = 0;
    bool closed_ = false;
    std::unordered_set<EventWatch*> watches_;
};

/// Somebody who watches, for as long as it lives.
class EventWatch {
  public:
    EventWatch(boost::asio::io_context& context, std::shared_ptr<EventTopic> topic);
    EventWatch(const EventWatch&) = delete;
    EventWatch& operator=(const EventWatch&) = delete;
    ~EventWatch();

    /// As it is to be sent, if it was published since the last call; or null.
    EventTopic::Message take();
    bool is_over() const { return topic_->is_closed(); }
    /// Ends when something was published; for `async_wait`.
    boost::asio::steady_timer& timer() { return timer_; }
    void wake() { timer_.cancel(); }

  private:
    boost::asio::steady_timer timer_;
    std::shared_ptr<EventTopic> topic_;
    std::uint64_t taken_;
};

}  // namespace schemux::daemon
