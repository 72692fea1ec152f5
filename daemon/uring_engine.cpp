#include "daemon/uring_engine.h"

#include "daemon/uring_stream.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace schemux::daemon {

namespace {

constexpr unsigned entries = 1'024;
constexpr unsigned completions = 8'192;
constexpr unsigned buffer_count = 128;  // a power of two
constexpr std::size_t buffer_bytes = 16 * 1024;
constexpr std::size_t page_bytes = 4'096;
constexpr int buffer_group = 0;
constexpr int batches_before_errands = 16;
constexpr auto turn_length = std::chrono::milliseconds(20);
constexpr long linger_nanoseconds = 10'000'000;
constexpr std::uint64_t operation_mask = 3;

[[noreturn]] void fail(const char* what, int error) {
    throw std::runtime_error(std::string(what) + ": " + std::strerror(error));
}

}  // namespace

// ---- the ring -----------------------------------------------------------------------------------

std::string UringEngine::why_not() {
    try {
        boost::asio::io_context io;
        const UringEngine tried(io, [] { return Clock::time_point{}; });
        return {};
    } catch (const std::runtime_error& error) {
        return error.what();
    }
}

UringEngine::UringEngine(boost::asio::io_context& io,
                         std::function<Clock::time_point()> begin_batch,
                         std::function<bool()> may_linger)
    : alarm_(io), begin_batch_(std::move(begin_batch)), may_linger_(std::move(may_linger)) {
    io_uring_params parameters{};
    // The ring is made by one thread and used by another: it is enabled there.
    parameters.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                       IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE;
    parameters.cq_entries = completions;
    const int made = io_uring_queue_init_params(entries, &ring_, &parameters);
    if (made < 0) fail("io_uring_setup", -made);
    try {
        set_up();
    } catch (...) {
        io_uring_queue_exit(&ring_);
        close_doorbell();
        throw;
    }
}

void UringEngine::set_up() {
    // The ring of buffers has a page of its own in front of them.
    static_assert(buffer_count * sizeof(io_uring_buf) <= page_bytes);
    memory_ = std::make_unique_for_overwrite<char[]>(2 * page_bytes + buffer_count * buffer_bytes);
    auto begin = reinterpret_cast<std::uintptr_t>(memory_.get());
    begin = (begin + page_bytes - 1) / page_bytes * page_bytes;
    shared_buffers_ = reinterpret_cast<io_uring_buf_ring*>(begin);
    std::memset(shared_buffers_, 0, page_bytes);
    io_uring_buf_reg wanted{};
    wanted.ring_addr = begin;
    wanted.ring_entries = buffer_count;
    wanted.bgid = buffer_group;
    const int registered = io_uring_register_buf_ring(&ring_, &wanted, 0);
    if (registered < 0) fail("io_uring_register (buffers)", -registered);
    io_uring_buf_ring_init(shared_buffers_);
    for (unsigned buffer = 0; buffer < buffer_count; ++buffer)
        give_back(buffer);
    const int alarm = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (alarm < 0) fail("eventfd", errno);
    alarm_.assign(alarm);
    const int alarmed = io_uring_register_eventfd(&ring_, alarm);
    if (alarmed < 0) fail("io_uring_register (eventfd)", -alarmed);
    if (::pipe2(doorbell_.data(), O_CLOEXEC | O_NONBLOCK) != 0) fail("pipe2", errno);
    batch_.reserve(completions);
}

UringEngine::~UringEngine() {
    for (const auto& stream : streams_)
        ::close(stream->fd);
    for (const int fd : closing_)
        ::close(fd);
    io_uring_queue_exit(&ring_);
    close_doorbell();
}

void UringEngine::start() {
    boost::asio::post(alarm_.get_executor(), [this] {
        if (stopped_) return;
        // liburing 2.3 declares a function for this and does not have it.
        const long enabled = ::syscall(__NR_io_uring_register, ring_.ring_fd,
                                       IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
        if (enabled < 0) fail("io_uring_register (enable)", errno);
        enabled_ = true;
        watch_doorbell();
        turn();
        wait();
    });
}

void UringEngine::stop() {
    stopped_ = true;
    boost::system::error_code ignored;
    alarm_.cancel(ignored);
}

void UringEngine::wake() {
    if (lingering_.load()) [[maybe_unused]]
        const ssize_t rung = ::write(doorbell_[1], "", 1);
}

void UringEngine::watch_doorbell() {
    io_uring_sqe* asked = entry();
    io_uring_prep_poll_multishot(asked, doorbell_[0], POLLIN);
    io_uring_sqe_set_data64(asked, data_of(nullptr, Operation::poll));
}

void UringEngine::hear_doorbell() {
    std::array<char, 64> rings{};
    while (::read(doorbell_[0], rings.data(), rings.size()) > 0) {
    }
}

void UringEngine::close_doorbell() {
    for (const int end : doorbell_) {
        if (end >= 0) ::close(end);
    }
}

void UringEngine::wait() {
    alarm_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [this](const boost::system::error_code& error) {
                          if (error || stopped_) return;
                          std::uint64_t rings = 0;
                          [[maybe_unused]] const ssize_t got =
                              ::read(alarm_.native_handle(), &rings, sizeof rings);
                          turn();
                          wait();
                      });
}

void UringEngine::turn() {
    if (!enabled_ || in_turn_ || stopped_) return;
    in_turn_ = true;
    io_uring_cq_eventfd_toggle(&ring_, false);
    Clock::time_point began{};
    bool unfinished = false;
    for (int batches = 0;; ++batches) {
        const std::size_t count = next_completions(batches > 0);
        if (count == 0 && ready_.empty()) break;
        const Clock::time_point now = begin_batch_();
        if (batches == 0) began = now;
        handle_batch();
        unfinished = turn_is_over(began, now, batches);
        if (unfinished) break;
    }
    io_uring_cq_eventfd_toggle(&ring_, true);
    // What came while the alarm was off rings no bell, nor does what comes behind it.
    io_uring_submit_and_get_events(&ring_);
    after_submit();
    in_turn_ = false;
    if (unfinished || io_uring_cq_ready(&ring_) > 0 || !ready_.empty()) submit_soon();
}

bool UringEngine::turn_is_over(Clock::time_point began, Clock::time_point now, int batches) const {
    if (now - began >= turn_length) return true;
    return batches + 1 >= batches_before_errands && !may_linger_();
}

/// Submits what there is, and moves what has completed into `batch_`.
std::size_t UringEngine::next_completions(bool may_wait) {
    const bool lingers = may_wait && ready_.empty();
    // Published before looking: either we see who wants the thread, or it rings.
    if (lingers) lingering_.store(true);
    if (lingers && may_linger_()) {
        io_uring_cqe* first = nullptr;
        __kernel_timespec patience{0, linger_nanoseconds};
        io_uring_submit_and_wait_timeout(&ring_, &first, 1, &patience, nullptr);
    } else {
        io_uring_submit_and_get_events(&ring_);
    }
    if (lingers) lingering_.store(false, std::memory_order_relaxed);
    after_submit();
    batch_.clear();
    at_ = 0;
    unsigned head = 0;
    unsigned count = 0;
    io_uring_cqe* completion = nullptr;
    io_uring_for_each_cqe(&ring_, head, completion) {
        ++count;
        batch_.push_back({completion->user_data, completion->res, completion->flags});
        if (batch_.size() == batch_.capacity()) break;
    }
    io_uring_cq_advance(&ring_, count);
    return count;
}

void UringEngine::handle_batch() {
    while (at_ < batch_.size())
        handle(batch_[at_++]);
    run_ready();
    bury();
}

void UringEngine::bury() {
    std::erase_if(retired_, [](const auto& stream) { return stream->operations == 0; });
}

/// Entries were made outside of a turn.
void UringEngine::submit_soon() {
    if (in_turn_ || turn_posted_ || stopped_) return;
    turn_posted_ = true;
    boost::asio::post(alarm_.get_executor(), [this] {
        turn_posted_ = false;
        turn();
    });
}

void UringEngine::after_submit() {
    if (closing_.empty() || io_uring_sq_ready(&ring_) != 0) return;
    for (const int fd : closing_)
        ::close(fd);
    closing_.clear();
}

io_uring_sqe* UringEngine::entry() {
    io_uring_sqe* free = io_uring_get_sqe(&ring_);
    while (free == nullptr) {
        io_uring_submit(&ring_);
        free = io_uring_get_sqe(&ring_);
    }
    submit_soon();
    return free;
}

char* UringEngine::bytes_of(unsigned buffer) const {
    return reinterpret_cast<char*>(shared_buffers_) + page_bytes +
           std::size_t{buffer} * buffer_bytes;
}

void UringEngine::give_back(unsigned buffer) {
    io_uring_buf_ring_add(shared_buffers_, bytes_of(buffer), buffer_bytes,
                          static_cast<unsigned short>(buffer), io_uring_buf_ring_mask(buffer_count),
                          0);
    io_uring_buf_ring_advance(shared_buffers_, 1);
}

// ---- completions --------------------------------------------------------------------------------

std::uint64_t UringEngine::data_of(const UringStream* stream, Operation operation) {
    return reinterpret_cast<std::uint64_t>(stream) | static_cast<std::uint64_t>(operation);
}

void UringEngine::handle(const Completion& completion) {
    auto* stream = reinterpret_cast<UringStream*>(completion.data & ~operation_mask);
    const auto operation = static_cast<Operation>(completion.data & operation_mask);
    const bool last = (completion.flags & IORING_CQE_F_MORE) == 0;
    if (stream == nullptr) {
        if (operation != Operation::poll) return;
        hear_doorbell();
        if (last) watch_doorbell();
        return;
    }
    if (last) --stream->operations;
    switch (operation) {
        case Operation::receive:
            if (last) stream->receiving = stream->cancelling = false;
            return on_received(*stream, completion.result, completion.flags);
        case Operation::send:
            return on_sent(*stream, completion.result);
        case Operation::poll:
            if (last) stream->polling = false;
            if (stream->handler != nullptr && stream->paused && completion.result > 0)
                stream->handler->on_hang_up();
            return;
        case Operation::none:
            return;
    }
}

void UringEngine::on_received(UringStream& stream, int result, unsigned flags) {
    if (result > 0) {
        const unsigned buffer = flags >> IORING_CQE_BUFFER_SHIFT;
        deliver(stream, {bytes_of(buffer), static_cast<std::size_t>(result)});
        give_back(buffer);
    } else if (result != -ENOBUFS && result != -ECANCELED && result != -EINTR) {
        on_ended(stream, -result);
    }
    if (stream.handler != nullptr) arm(stream);
}

void UringEngine::deliver(UringStream& stream, std::string_view bytes) {
    if (stream.handler == nullptr) return;
    if (!stream.paused && stream.held.empty()) {
        stream.handler->on_bytes(bytes);
        return;
    }
    stream.held.append(bytes);
    // The kernel is to keep what comes, and to slow the peer down.
    if (stream.paused && stream.receiving && !stream.cancelling) cancel_receive(stream);
}

void UringEngine::on_ended(UringStream& stream, int error) {
    stream.ended = true;
    stream.error = error;
    if (stream.handler == nullptr) return;
    if (stream.paused) {
        stream.handler->on_hang_up();
    } else if (stream.held.empty()) {
        stream.handler->on_end(error);
    }
}

/// Streams whose reading goes on, with what was held meanwhile.
void UringEngine::run_ready() {
    running_.swap(ready_);
    for (UringStream* stream : running_) {
        stream->in_ready_list = false;
        if (stream->handler == nullptr || stream->paused) continue;
        if (!stream->held.empty()) {
            const std::string bytes = std::exchange(stream->held, {});
            stream->handler->on_bytes(bytes);
        }
        if (stream->handler != nullptr && stream->ended) on_ended(*stream, stream->error);
        if (stream->handler != nullptr) arm(*stream);
    }
    running_.clear();
}

/// Receives, or where that would only fill our memory watches for the peer's end.
void UringEngine::arm(UringStream& stream) {
    if (stream.ended || stream.receiving) return;
    io_uring_sqe* asked = nullptr;
    if (!stream.paused) {
        asked = entry();
        io_uring_prep_recv_multishot(asked, stream.fd, nullptr, 0, 0);
        asked->flags |= IOSQE_BUFFER_SELECT;
        asked->buf_group = buffer_group;
        io_uring_sqe_set_data64(asked, data_of(&stream, Operation::receive));
        stream.receiving = true;
    } else {
        if (stream.polling) return;
        asked = entry();
        io_uring_prep_poll_add(asked, stream.fd, POLLRDHUP);
        io_uring_sqe_set_data64(asked, data_of(&stream, Operation::poll));
        stream.polling = true;
    }
    ++stream.operations;
}

void UringEngine::cancel_receive(UringStream& stream) {
    stream.cancelling = true;
    io_uring_sqe* asked = entry();
    io_uring_prep_cancel64(asked, data_of(&stream, Operation::receive), 0);
    io_uring_sqe_set_data64(asked, data_of(nullptr, Operation::none));
}

}  // namespace schemux::daemon
