// The default stream engine: an edge-triggered epoll set of its own, nested in the worker's
// io_context through one descriptor, so that timers, logins and posted work share the thread.
// Each socket is registered once; a transaction costs no epoll_ctl, no timer and no speculative
// read.
#pragma once

#include "daemon/stream_engine.h"

#include <sys/epoll.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace schemux::daemon {

class EpollEngine final : public StreamEngine {
  public:
    using Clock = std::chrono::steady_clock;
    /// `begin_batch` runs once before the events of a wake-up are handled and tells the time.
    /// `may_linger`: nobody else is known to want the thread soon; who does calls `wake`.
    EpollEngine(
        boost::asio::io_context& io, std::function<Clock::time_point()> begin_batch,
        std::function<bool()> may_linger = [] { return false; });
    ~EpollEngine() override;
    EpollEngine(const EpollEngine&) = delete;
    EpollEngine& operator=(const EpollEngine&) = delete;

    void start();
    void stop();
    /// Thread-safe: `may_linger` would be false now.
    void wake();

    Stream* add(int fd, StreamHandler& handler) override;
    bool send(Stream& stream, const core::Output& output) override;
    std::size_t queued_bytes(const Stream& stream) const override;
    std::uint64_t progress(const Stream& stream) const override;
    void pause(Stream& stream) override;
    void resume(Stream& stream) override;
    void shut_down(Stream& stream) override;
    void close(Stream* stream) override;
    void drop(Stream* stream) override;
    int release(Stream* stream) override;
    bool has_news(const Stream& stream) const override;
    std::string unread_tail(const Stream& stream, std::size_t size) const override;

    /// Once a second or so: gives up on closed streams whose peer does not read.
    void reap();

  private:
    void wait();
    void on_ready();
    int next_events(std::span<epoll_event> events, bool may_wait);
    bool turn_is_over(Clock::time_point began, Clock::time_point now, int batches) const;
    void handle_events(std::span<const epoll_event> events);
    void handle(Stream& stream, unsigned events);
    void read(Stream& stream);
    void flush(Stream& stream);
    void end(Stream& stream, int error);
    void make_ready(Stream& stream);
    void retire(Stream& stream);

    boost::asio::posix::stream_descriptor descriptor_;
    std::function<Clock::time_point()> begin_batch_;
    std::function<bool()> may_linger_;
    std::string buffer_;
    std::vector<Stream*> ready_;    ///< have bytes, but were paused or had their share
    std::vector<Stream*> running_;  ///< ready_ of the round under way
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<std::unique_ptr<Stream>> retired_;  ///< freed when no event can refer to them
    int doorbell_ = -1;                             ///< an eventfd in the set
    std::atomic<bool> lingering_{false};
    bool stopped_ = false;
};

}  // namespace schemux::daemon
