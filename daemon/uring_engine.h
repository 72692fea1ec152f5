// The stream engine on io_uring (liburing 2.3, Linux 6.1): for each socket one receive that stays
// under way, into buffers that all share, and sends that go out with the call that waits for what
// comes next. One ring for each worker, hosted in its io_context by an eventfd as the epoll set is
// by its descriptor. It must not know the protocol.
#pragma once

#include "daemon/stream_engine.h"

#include <liburing.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

class UringEngine final : public StreamEngine {
  public:
    using Clock = std::chrono::steady_clock;
    /// Why there can be none here, as the kernel says; empty: there can.
    static std::string why_not();

    /// As EpollEngine's. Throws std::runtime_error where `why_not` would tell something.
    UringEngine(
        boost::asio::io_context& io, std::function<Clock::time_point()> begin_batch,
        std::function<bool()> may_linger = [] { return false; });
    ~UringEngine() override;
    UringEngine(const UringEngine&) = delete;
    UringEngine& operator=(const UringEngine&) = delete;

    void start() override;
    void stop() override;
    void wake() override;
    void reap() override;

    Stream* add(Connection connection, StreamHandler& handler) override;
    bool send(Stream& of, const core::Output& output) override;
    std::size_t queued_bytes(const Stream& of) const override;
    StreamFacts facts(const Stream& of) const override;
    bool has_unsent(const Stream& of) const override;
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
    struct UringStream;
    struct Completion {
        std::uint64_t data;
        int result;
        unsigned flags;
    };
    enum class Operation : std::uint8_t { receive, send, poll, none };

    // The ring and its turns.
    void set_up();
    void wait();
    void turn();
    std::size_t next_completions(bool may_wait);
    bool turn_is_over(Clock::time_point began, Clock::time_point now, int batches) const;
    void handle_batch();
    void run_ready();
    void bury();
    void submit_soon();
    void after_submit();
    io_uring_sqe* entry();
    void watch_doorbell();
    void hear_doorbell();
    void close_doorbell();

    // One stream.
    static std::uint64_t data_of(const UringStream* stream, Operation operation);
    void handle(const Completion& completion);
    void on_received(UringStream& stream, int result, unsigned flags);
    void deliver(UringStream& stream, std::string_view bytes);
    void on_ended(UringStream& stream, int error);
    void on_sent(UringStream& stream, int result);
    void arm(UringStream& stream);
    void cancel_receive(UringStream& stream);
    void submit_send(UringStream& stream);
    void make_ready(UringStream& stream);
    void retire(UringStream& stream);
    std::unique_ptr<UringStream> take_out(UringStream& stream);
    char* bytes_of(unsigned buffer) const;
    void give_back(unsigned buffer);
    bool anything_unhandled(const UringStream& stream) const;
    std::string take_buffer();
    void recycle(std::string& buffer);

    mutable io_uring ring_{};
    io_uring_buf_ring* shared_buffers_ = nullptr;
    std::unique_ptr<char[]> memory_;
    boost::asio::posix::stream_descriptor alarm_;  ///< an eventfd: completions while Asio waits
    std::function<Clock::time_point()> begin_batch_;
    std::function<bool()> may_linger_;
    std::vector<Completion> batch_;
    std::size_t at_ = 0;  ///< in batch_: what is handled next
    std::vector<UringStream*> ready_;
    std::vector<UringStream*> running_;
    std::vector<std::unique_ptr<UringStream>> streams_;
    std::vector<std::unique_ptr<UringStream>> retired_;  ///< until nothing of them is under way
    std::vector<int> closing_;  ///< closed behind the next submission, which may speak of them
    std::vector<std::string> free_buffers_;
    /// A pipe, and no eventfd: of a completion that an eventfd's write leads to the kernel raises
    /// the alarm but once in a ring's life (eventfd_signal_allowed).
    std::array<int, 2> doorbell_{-1, -1};
    std::atomic<bool> lingering_{false};
    bool enabled_ = false;
    bool in_turn_ = false;
    bool turn_posted_ = false;
    bool stopped_ = false;
};

}  // namespace schemux::daemon
