// The default stream engine: an edge-triggered epoll set of its own, nested in the worker's
// io_context through one descriptor, so that timers, logins and posted work share the thread.
// Each socket is registered once; a transaction costs no epoll_ctl, no timer and no speculative
// read.
#pragma once

#include "daemon/stream_engine.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

class EpollEngine final : public StreamEngine {
  public:
    /// `before_batch` runs once before the events of a wake-up are handled (the worker reads its
    /// clock there).
    EpollEngine(boost::asio::io_context& io, std::function<void()> before_batch);
    ~EpollEngine() override;
    EpollEngine(const EpollEngine&) = delete;
    EpollEngine& operator=(const EpollEngine&) = delete;

    void start();
    void stop();

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
    void handle(Stream& stream, unsigned events);
    void read(Stream& stream);
    void flush(Stream& stream);
    void end(Stream& stream, int error);
    void make_ready(Stream& stream);
    void retire(Stream& stream);

    boost::asio::posix::stream_descriptor descriptor_;
    std::function<void()> before_batch_;
    std::string buffer_;
    std::vector<Stream*> ready_;    ///< have bytes, but were paused or had their share
    std::vector<Stream*> running_;  ///< ready_ of the round under way
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<std::unique_ptr<Stream>> retired_;  ///< freed when no event can refer to them
    bool stopped_ = false;
};

}  // namespace schemux::daemon
