#include "daemon/epoll_engine.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <stdexcept>

namespace schemux::daemon {

struct EpollEngine::EpollStream : Stream {
    int fd = -1;
    StreamHandler* handler = nullptr;  ///< null: closed, perhaps still flushing
    std::string queued;                ///< bytes the kernel did not take
    std::size_t queued_at = 0;
    std::uint64_t sent = 0;  ///< bytes the kernel took
    std::size_t index = 0;   ///< in EpollEngine::streams_
    int reaps = 0;
    bool readable = false;
    bool peer_closed = false;  ///< the kernel said so; there may be bytes in front of the end
    bool paused = false;
    bool in_ready_list = false;
    bool shut_when_drained = false;
};

namespace {

constexpr std::size_t buffer_bytes = 64 * 1024;
constexpr int events_max = 256;
/// Reads of one stream before the others get their turn.
constexpr int reads_in_a_row = 4;
/// Batches and time after which Asio's timers and posted work get their turn.
constexpr int batches_before_errands = 16;
constexpr auto turn_length = std::chrono::milliseconds(20);
/// How long the next batch is waited for here before Asio waits for it. A timer that is due before
/// the scheduler's tick would cost each wait as much as a system call.
constexpr timespec linger_time{0, 10'000'000};
constexpr timespec no_time{0, 0};
/// `reap` calls that a closed stream may take to flush.
constexpr int reaps_max = 5;

}  // namespace

EpollEngine::EpollEngine(boost::asio::io_context& io,
                         std::function<Clock::time_point()> begin_batch,
                         std::function<bool()> may_linger)
    : descriptor_(io),
      begin_batch_(std::move(begin_batch)),
      may_linger_(std::move(may_linger)),
      buffer_(buffer_bytes, '\0') {
    const int fd = ::epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) throw std::runtime_error("epoll_create1 failed");
    descriptor_.assign(fd);
    doorbell_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;  // never read: each ring is an edge
    if (doorbell_ < 0 || ::epoll_ctl(fd, EPOLL_CTL_ADD, doorbell_, &event) != 0)
        throw std::runtime_error("eventfd failed");
}

EpollEngine::~EpollEngine() {
    for (const auto& stream : streams_)
        ::close(stream->fd);
    ::close(doorbell_);
}

void EpollEngine::start() {
    wait();
}

void EpollEngine::stop() {
    stopped_ = true;
    boost::system::error_code ignored;
    descriptor_.cancel(ignored);
}

void EpollEngine::wait() {
    descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this](const boost::system::error_code& error) {
                               if (error || stopped_) return;
                               on_ready();
                               wait();
                           });
}

void EpollEngine::wake() {
    const std::uint64_t one = 1;
    if (lingering_.load()) [[maybe_unused]]
        const ssize_t rung = ::write(doorbell_, &one, sizeof one);
}

void EpollEngine::on_ready() {
    std::array<epoll_event, events_max> events;
    Clock::time_point began{};
    for (int batches = 0;; ++batches) {
        const int count = next_events(events, batches > 0);
        if (count <= 0 && ready_.empty()) break;
        const Clock::time_point now = begin_batch_();
        if (batches == 0) began = now;
        handle_events(std::span(events).first(static_cast<std::size_t>(std::max(count, 0))));
        if (turn_is_over(began, now, batches)) break;
    }
    // Streams with bytes left must not wait for an event that never comes: edges were consumed.
    if (!ready_.empty()) {
        boost::asio::post(descriptor_.get_executor(), [this] {
            if (!stopped_ && !ready_.empty()) on_ready();
        });
    }
}

/// Asking the set again costs one system call, going back through Asio three: under load the next
/// events are there already, or will be in a moment.
int EpollEngine::next_events(std::span<epoll_event> events, bool may_wait) {
    const bool lingers = may_wait && ready_.empty() && !stopped_;
    // Published before looking: either we see who wants the thread, or it rings.
    if (lingers) lingering_.store(true);
    const timespec& patience = lingers && may_linger_() ? linger_time : no_time;
    const int count = ::epoll_pwait2(descriptor_.native_handle(), events.data(),
                                     static_cast<int>(events.size()), &patience, nullptr);
    if (lingers) lingering_.store(false, std::memory_order_relaxed);
    return count;
}

bool EpollEngine::turn_is_over(Clock::time_point began, Clock::time_point now, int batches) const {
    if (now - began >= turn_length) return true;
    return batches + 1 >= batches_before_errands && !may_linger_();
}

void EpollEngine::handle_events(std::span<const epoll_event> events) {
    for (const epoll_event& event : events) {
        if (event.data.ptr != nullptr)
            handle(*static_cast<EpollStream*>(event.data.ptr), event.events);
    }
    running_.swap(ready_);
    for (EpollStream* stream : running_) {
        stream->in_ready_list = false;
        if (stream->handler != nullptr && !stream->paused) read(*stream);
    }
    running_.clear();
    retired_.clear();
}

void EpollEngine::handle(EpollStream& stream, unsigned events) {
    if (stream.fd < 0) return;  // retired by an earlier event of this batch
    if ((events & EPOLLOUT) != 0 && !stream.queued.empty()) flush(stream);
    constexpr unsigned gone = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    if ((events & gone) != 0) stream.peer_closed = true;
    if ((events & (EPOLLIN | gone)) == 0 || stream.fd < 0) return;
    stream.readable = true;
    if (stream.handler == nullptr) return;
    if (!stream.paused) {
        read(stream);
    } else if (stream.peer_closed) {
        stream.handler->on_hang_up();
    }
}

void EpollEngine::read(EpollStream& stream) {
    for (int turn = 0; turn < reads_in_a_row; ++turn) {
        if (stream.handler == nullptr || stream.paused || !stream.readable) return;
        const ssize_t got = ::recv(stream.fd, buffer_.data(), buffer_.size(), 0);
        if (got > 0) {
            // A short read has emptied the socket: the next byte makes a new edge. Not so when the
            // peer has closed: the end is still to be read, and its edge has come.
            const bool emptied = static_cast<std::size_t>(got) < buffer_.size();
            if (emptied && !stream.peer_closed) stream.readable = false;
            stream.handler->on_bytes({buffer_.data(), static_cast<std::size_t>(got)});
            const bool unheard = stream.handler != nullptr && stream.paused && stream.peer_closed;
            if (unheard) stream.handler->on_hang_up();
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            stream.readable = false;
            return;
        }
        end(stream, got == 0 ? 0 : errno);
        return;
    }
    if (stream.handler != nullptr && stream.readable) make_ready(stream);
}

void EpollEngine::make_ready(EpollStream& stream) {
    if (stream.in_ready_list) return;
    stream.in_ready_list = true;
    ready_.push_back(&stream);
    if (ready_.size() == 1) {
        boost::asio::post(descriptor_.get_executor(), [this] {
            if (!stopped_ && !ready_.empty()) on_ready();
        });
    }
}

void EpollEngine::end(EpollStream& stream, int error) {
    stream.readable = false;
    StreamHandler* handler = stream.handler;
    if (handler != nullptr) handler->on_end(error);
}

Stream* EpollEngine::add(Connection connection, StreamHandler& handler) {
    const int fd = connection.fd;
    auto stream = std::make_unique<EpollStream>();
    stream->fd = fd;
    stream->handler = &handler;
    stream->index = streams_.size();
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = stream.get();
    if (::epoll_ctl(descriptor_.native_handle(), EPOLL_CTL_ADD, fd, &event) != 0) {
        ::close(fd);
        return nullptr;
    }
    streams_.push_back(std::move(stream));
    return streams_.back().get();
}

bool EpollEngine::send(Stream& of, const core::Output& output) {
    auto& stream = static_cast<EpollStream&>(of);
    if (output.empty() || stream.fd < 0) return true;
    std::size_t sent = 0;
    if (stream.queued.empty()) {
        ssize_t took = 0;
        if (output.count() == 1) {
            const std::string_view bytes = output.segment(0);
            took = ::send(stream.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        } else {
            std::array<iovec, core::Output::segments_max> parts{};
            for (std::size_t at = 0; at < output.count(); ++at) {
                const std::string_view bytes = output.segment(at);
                parts[at] = {const_cast<char*>(bytes.data()), bytes.size()};
            }
            msghdr message{};
            message.msg_iov = parts.data();
            message.msg_iovlen = output.count();
            took = ::sendmsg(stream.fd, &message, MSG_NOSIGNAL);
        }
        // A broken connection shows itself on the reading side, with everything still to be read.
        if (took < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return true;
        sent = took > 0 ? static_cast<std::size_t>(took) : 0;
        stream.sent += sent;
        if (sent == output.size()) return true;
    }
    for (std::size_t at = 0; at < output.count(); ++at) {
        const std::string_view bytes = output.segment(at);
        const std::size_t skip = std::min(sent, bytes.size());
        stream.queued.append(bytes.substr(skip));
        sent -= skip;
    }
    return false;
}

void EpollEngine::flush(EpollStream& stream) {
    while (stream.queued_at < stream.queued.size()) {
        const ssize_t took = ::send(stream.fd, stream.queued.data() + stream.queued_at,
                                    stream.queued.size() - stream.queued_at, MSG_NOSIGNAL);
        if (took < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return;
            break;  // broken: what is queued reaches nobody
        }
        stream.queued_at += static_cast<std::size_t>(took);
        stream.sent += static_cast<std::size_t>(took);
    }
    stream.queued = std::string{};
    stream.queued_at = 0;
    if (stream.handler == nullptr) {
        retire(stream);
        return;
    }
    if (stream.shut_when_drained) ::shutdown(stream.fd, SHUT_WR);
    stream.handler->on_drained();
}

StreamFacts EpollEngine::facts(const Stream& of) const {
    return {static_cast<const EpollStream&>(of).fd};
}

std::size_t EpollEngine::queued_bytes(const Stream& of) const {
    const auto& stream = static_cast<const EpollStream&>(of);
    return stream.queued.size() - stream.queued_at;
}

/// A socket counts as writable only when a third of its buffer is free, which may be megabytes: a
/// slow reader shows itself in what the kernel still holds.
std::uint64_t EpollEngine::progress(const Stream& of) const {
    const auto& stream = static_cast<const EpollStream&>(of);
    int held = 0;
    if (::ioctl(stream.fd, SIOCOUTQ, &held) != 0) held = 0;
    return stream.sent - static_cast<std::uint64_t>(held);
}

void EpollEngine::pause(Stream& of) {
    static_cast<EpollStream&>(of).paused = true;
}

void EpollEngine::resume(Stream& of) {
    auto& stream = static_cast<EpollStream&>(of);
    if (!stream.paused) return;
    stream.paused = false;
    if (stream.readable) make_ready(stream);
}

void EpollEngine::shut_down(Stream& of) {
    auto& stream = static_cast<EpollStream&>(of);
    stream.shut_when_drained = true;
    if (stream.queued.empty()) ::shutdown(stream.fd, SHUT_WR);
}

void EpollEngine::close(Stream* of) {
    auto* stream = static_cast<EpollStream*>(of);
    stream->handler = nullptr;
    if (stream->queued.empty()) retire(*stream);
}

void EpollEngine::drop(Stream* of) {
    auto* stream = static_cast<EpollStream*>(of);
    const linger at_once{1, 0};
    ::setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    retire(*stream);
}

Connection EpollEngine::release(Stream* of) {
    auto* stream = static_cast<EpollStream*>(of);
    assert(stream->queued.empty());
    const int fd = stream->fd;
    ::epoll_ctl(descriptor_.native_handle(), EPOLL_CTL_DEL, fd, nullptr);
    stream->handler = nullptr;
    stream->fd = -1;
    retire(*stream);
    return {fd};
}

bool EpollEngine::has_news(const Stream& of) const {
    const auto& stream = static_cast<const EpollStream&>(of);
    if (stream.readable || stream.peer_closed) return true;
    char byte = 0;
    const ssize_t got = ::recv(stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/// Of a peer that has sent more than one buffer nothing is told.
std::string EpollEngine::unread_tail(Stream& of, std::size_t size) {
    const auto& stream = static_cast<EpollStream&>(of);
    std::string bytes(buffer_bytes, '\0');
    const ssize_t got = ::recv(stream.fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    const auto count = static_cast<std::size_t>(got > 0 ? got : 0);
    if (count == buffer_bytes) return {};
    bytes.resize(count);
    return bytes.substr(count - std::min(count, size));
}

/// Out of the set at once; freed after the batch, since events of it may be still to come.
void EpollEngine::retire(EpollStream& stream) {
    if (stream.fd >= 0) ::close(stream.fd);
    stream.fd = -1;
    stream.handler = nullptr;
    stream.readable = false;
    if (stream.in_ready_list) {
        std::erase(ready_, &stream);
        stream.in_ready_list = false;
    }
    const std::size_t index = stream.index;
    retired_.push_back(std::move(streams_[index]));
    if (index + 1 != streams_.size()) {
        streams_[index] = std::move(streams_.back());
        streams_[index]->index = index;
    }
    streams_.pop_back();
}

void EpollEngine::reap() {
    for (std::size_t at = streams_.size(); at > 0; --at) {
        EpollStream& stream = *streams_[at - 1];
        if (stream.handler == nullptr && ++stream.reaps > reaps_max) retire(stream);
    }
    if (running_.empty()) retired_.clear();
}

}  // namespace schemux::daemon
