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

    void start() override;
    void stop() override;
    void wake() override;
    void reap() override;

    Stream* add(Connection connection, StreamHandler& handler) override;
    bool send(Stream& of, const core::Output& output) override;
    std::size_t queued_bytes(const Stream& of) const override;
    StreamFacts facts(const Stream& of) const override;
    bool has_unsent(const Stream& of) const override { return queued_bytes(of) > 0; }
    std::uint64_t progress(const Stream& of) const override;
    void pause(Stream& of) override;
    void resume(Stream& of) override;
    void shut_down(Stream& of) override;
    void close(Stream* of) override;
    void drop(Stream* of) override;
    Connection release(Stream* of) override;
    bool has_news(const Stream& of) const override;
    std::string unread_tail(Stream& of, std::size_t size) override;

  private:
    struct EpollStream;
    void wait();
    void on_ready();
    int next_events(std::span<epoll_event> events, bool may_wait);
    bool turn_is_over(Clock::time_point began, Clock::time_point now, int batches) const;
    void handle_events(std::span<const epoll_event> events);
    void handle(EpollStream& stream, unsigned events);
    void read(EpollStream& stream);
    void flush(EpollStream& stream);
    void end(EpollStream& stream, int error);
    void make_ready(EpollStream& stream);
    void retire(EpollStream& stream);

    boost::asio::posix::stream_descriptor descriptor_;
    std::function<Clock::time_point()> begin_batch_;
    std::function<bool()> may_linger_;
    std::string buffer_;
    std::vector<EpollStream*> ready_;    ///< have bytes, but were paused or had their share
    std::vector<EpollStream*> running_;  ///< ready_ of the round under way
    std::vector<std::unique_ptr<EpollStream>> streams_;
    std::vector<std::unique_ptr<EpollStream>> retired_;  ///< freed when no event can refer to them
    int doorbell_ = -1;                                  ///< an eventfd in the set
    std::atomic<bool> lingering_{false};
    bool stopped_ = false;
};

}  // namespace schemux::daemon
