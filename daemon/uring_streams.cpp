// The io_uring engine's streams: what is sent, and how a socket comes and goes. The ring, its turns
// and what it tells: uring_engine.cpp.

#include "daemon/uring_stream.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

namespace schemux::daemon {

namespace {

/// What is at least this long is not copied but sent at once, as far as the kernel takes it.
constexpr std::size_t direct_bytes = 8 * 1024;
/// May be under way before the sender is told to wait.
constexpr std::size_t window_bytes = 64 * 1024;
constexpr std::size_t free_buffers_max = 256;
constexpr std::size_t free_buffer_bytes_max = 64 * 1024;
constexpr int reaps_max = 5;

ssize_t send_now(int fd, const core::Output& output) {
    std::array<iovec, core::Output::segments_max> parts{};
    for (std::size_t at = 0; at < output.count(); ++at) {
        const std::string_view bytes = output.segment(at);
        parts[at] = {const_cast<char*>(bytes.data()), bytes.size()};
    }
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = output.count();
    return ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void append_behind(std::string& to, const core::Output& output, std::size_t sent) {
    for (std::size_t at = 0; at < output.count(); ++at) {
        const std::string_view bytes = output.segment(at);
        const std::size_t skip = std::min(sent, bytes.size());
        to.append(bytes.substr(skip));
        sent -= skip;
    }
}

}  // namespace

bool UringEngine::send(Stream& of, const core::Output& output) {
    auto& stream = static_cast<UringStream&>(of);
    if (output.empty() || stream.fd < 0) return true;
    if (!stream.flight.empty()) {
        append_behind(stream.queued, output, 0);
        stream.owes_drained = queued_bytes(stream) > 0;
        return !stream.owes_drained;
    }
    std::size_t sent = 0;
    if (output.size() >= direct_bytes) {
        const ssize_t took = send_now(stream.fd, output);
        // A broken connection shows itself on the reading side.
        if (took < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return true;
        sent = took > 0 ? static_cast<std::size_t>(took) : 0;
        stream.sent += sent;
        if (sent == output.size()) return true;
    }
    stream.flight = take_buffer();
    append_behind(stream.flight, output, sent);
    submit_send(stream);
    stream.owes_drained = queued_bytes(stream) > 0;
    return !stream.owes_drained;
}

void UringEngine::submit_send(UringStream& stream) {
    io_uring_sqe* asked = entry();
    io_uring_prep_send(asked, stream.fd, stream.flight.data() + stream.flight_at,
                       stream.flight.size() - stream.flight_at, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(asked, data_of(&stream, Operation::send));
    ++stream.operations;
}

void UringEngine::on_sent(UringStream& stream, int result) {
    if (stream.fd < 0) return;
    if (result >= 0 || result == -EINTR || result == -EAGAIN) {
        const auto sent = static_cast<std::size_t>(std::max(result, 0));
        stream.flight_at += sent;
        stream.sent += sent;
        if (stream.flight_at < stream.flight.size()) return submit_send(stream);
    } else {
        stream.queued.clear();  // broken: what is queued reaches nobody
    }
    recycle(stream.flight);
    stream.flight_at = 0;
    if (!stream.queued.empty()) {
        stream.flight.swap(stream.queued);
        return submit_send(stream);
    }
    if (stream.handler == nullptr) return retire(stream);
    if (stream.shut_when_drained) ::shutdown(stream.fd, SHUT_WR);
    if (std::exchange(stream.owes_drained, false)) stream.handler->on_drained();
}

std::string UringEngine::take_buffer() {
    if (free_buffers_.empty()) return {};
    std::string buffer = std::move(free_buffers_.back());
    free_buffers_.pop_back();
    return buffer;
}

void UringEngine::recycle(std::string& buffer) {
    if (free_buffers_.size() < free_buffers_max && buffer.capacity() <= free_buffer_bytes_max) {
        buffer.clear();
        free_buffers_.push_back(std::move(buffer));
    }
    buffer = std::string{};
}

/// A socket that takes nothing shows itself only when the next send is due, too late to refuse it:
/// so much may always stand here, as if the kernel had it.
std::size_t UringEngine::queued_bytes(const Stream& of) const {
    const auto& stream = static_cast<const UringStream&>(of);
    const std::size_t bytes = stream.flight.size() - stream.flight_at + stream.queued.size();
    return bytes - std::min(bytes, window_bytes);
}

StreamFacts UringEngine::facts(const Stream& of) const {
    return {static_cast<const UringStream&>(of).fd};
}

bool UringEngine::has_unsent(const Stream& of) const {
    return !static_cast<const UringStream&>(of).flight.empty();
}

std::uint64_t UringEngine::progress(const Stream& of) const {
    const auto& stream = static_cast<const UringStream&>(of);
    int held = 0;
    if (::ioctl(stream.fd, SIOCOUTQ, &held) != 0) held = 0;
    return stream.sent - static_cast<std::uint64_t>(held);
}

// ---- streams ------------------------------------------------------------------------------------

Stream* UringEngine::add(Connection connection, StreamHandler& handler) {
    auto stream = std::make_unique<UringStream>();
    stream->fd = connection.fd;
    stream->handler = &handler;
    stream->index = streams_.size();
    streams_.push_back(std::move(stream));
    arm(*streams_.back());
    return streams_.back().get();
}

void UringEngine::pause(Stream& of) {
    static_cast<UringStream&>(of).paused = true;
}

void UringEngine::resume(Stream& of) {
    auto& stream = static_cast<UringStream&>(of);
    if (!stream.paused) return;
    stream.paused = false;
    if (!stream.held.empty() || stream.ended) {
        make_ready(stream);
    } else {
        arm(stream);
    }
}

void UringEngine::make_ready(UringStream& stream) {
    if (stream.in_ready_list) return;
    stream.in_ready_list = true;
    ready_.push_back(&stream);
    submit_soon();
}

void UringEngine::shut_down(Stream& of) {
    auto& stream = static_cast<UringStream&>(of);
    stream.shut_when_drained = true;
    if (stream.flight.empty()) ::shutdown(stream.fd, SHUT_WR);
}

void UringEngine::close(Stream* of) {
    auto& stream = static_cast<UringStream&>(*of);
    stream.handler = nullptr;
    if (stream.flight.empty()) retire(stream);
}

void UringEngine::drop(Stream* of) {
    auto& stream = static_cast<UringStream&>(*of);
    const linger at_once{1, 0};
    ::setsockopt(stream.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    retire(stream);
}

/// What is under way keeps the socket open: it is cancelled, and the descriptor closed behind that.
void UringEngine::retire(UringStream& stream) {
    if (stream.operations > 0) {
        io_uring_sqe* asked = entry();
        io_uring_prep_cancel_fd(asked, stream.fd, IORING_ASYNC_CANCEL_ALL);
        io_uring_sqe_set_data64(asked, data_of(nullptr, Operation::none));
        closing_.push_back(stream.fd);
    } else {
        ::close(stream.fd);
    }
    retired_.push_back(take_out(stream));
}

std::unique_ptr<UringEngine::UringStream> UringEngine::take_out(UringStream& stream) {
    stream.fd = -1;
    stream.handler = nullptr;
    if (stream.in_ready_list) {
        std::erase(ready_, &stream);
        stream.in_ready_list = false;
    }
    const std::size_t index = stream.index;
    std::unique_ptr<UringStream> owned = std::move(streams_[index]);
    if (index + 1 != streams_.size()) {
        streams_[index] = std::move(streams_.back());
        streams_[index]->index = index;
    }
    streams_.pop_back();
    return owned;
}

/// Where something came or did not go out meanwhile the connection is of no use any more: its new
/// owner is told so by its end.
Connection UringEngine::release(Stream* of) {
    auto& stream = static_cast<UringStream&>(*of);
    const int fd = stream.fd;
    io_uring_submit(&ring_);
    after_submit();
    if (stream.operations > 0) {
        io_uring_sync_cancel_reg all{};
        all.fd = fd;
        all.flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL;
        all.timeout = {-1, -1};
        io_uring_register_sync_cancel(&ring_, &all);
    }
    const bool clean = !stream.ended && stream.held.empty() && stream.flight.empty() &&
                       !anything_unhandled(stream);
    retired_.push_back(take_out(stream));
    if (!clean) ::shutdown(fd, SHUT_RDWR);
    return {fd};
}

/// Bytes or an end that the kernel has told of already.
bool UringEngine::anything_unhandled(const UringStream& stream) const {
    const auto is_news = [&](std::uint64_t data, int result) {
        return data == data_of(&stream, Operation::receive) && result != -ECANCELED &&
               result != -ENOBUFS;
    };
    io_uring_get_events(&ring_);
    for (std::size_t at = at_; at < batch_.size(); ++at) {
        if (is_news(batch_[at].data, batch_[at].result)) return true;
    }
    unsigned head = 0;
    io_uring_cqe* completion = nullptr;
    io_uring_for_each_cqe(&ring_, head, completion) {
        if (is_news(completion->user_data, completion->res)) return true;
    }
    return false;
}

bool UringEngine::has_news(const Stream& of) const {
    const auto& stream = static_cast<const UringStream&>(of);
    if (stream.ended || !stream.held.empty() || anything_unhandled(stream)) return true;
    char byte = 0;
    const ssize_t got = ::recv(stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

std::string UringEngine::unread_tail(Stream& of, std::size_t size) {
    const auto& stream = static_cast<UringStream&>(of);
    std::string bytes = stream.held.substr(stream.held.size() - std::min(stream.held.size(), size));
    constexpr std::size_t most = 64 * 1024;
    std::string more(most, '\0');
    const ssize_t got = ::recv(stream.fd, more.data(), more.size(), MSG_PEEK | MSG_DONTWAIT);
    const auto count = static_cast<std::size_t>(got > 0 ? got : 0);
    if (count == most) return {};
    bytes.append(more, 0, count);
    return bytes.substr(bytes.size() - std::min(bytes.size(), size));
}

void UringEngine::reap() {
    for (std::size_t at = streams_.size(); at > 0; --at) {
        UringStream& stream = *streams_[at - 1];
        if (stream.handler == nullptr && ++stream.reaps > reaps_max) retire(stream);
    }
    if (!in_turn_) bury();
}

}  // namespace schemux::daemon
