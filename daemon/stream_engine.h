// The data plane's I/O, completion-shaped: received bytes come to a handler, bytes to send are
// handed over, the engine owns the buffers. One engine per worker thread; nothing here but `wake`
// is thread-safe. epoll_engine is the default, uring_engine the other; tls_streams go over either.
// It must not know the protocol.
#pragma once

#include "core/output.h"
#include "daemon/tls_session.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace schemux::daemon {

class StreamHandler {
  public:
    virtual ~StreamHandler() = default;
    /// The bytes are valid during the call only.
    virtual void on_bytes(std::string_view bytes) = 0;
    /// Everything that `send` had to queue has gone out.
    virtual void on_drained() = 0;
    /// The peer closed or reset while reading is paused; bytes of it may be unread. Not the end
    /// yet: `on_end` comes when reading goes on.
    virtual void on_hang_up() {}
    /// The peer closed (error 0) or the connection broke (errno). Nothing comes after this.
    virtual void on_end(int error) = 0;
};

/// A connected socket in an engine, which knows what else there is to it.
struct Stream {};

/// What there is to be told of it.
struct StreamFacts {
    int fd = -1;
    std::string tls{};  ///< version and cipher; empty: none
};

/// A connected, non-blocking socket that is in no engine, and its TLS where there is one.
struct Connection {
    int fd = -1;
    std::unique_ptr<TlsSession> tls{};
};

class Streams {
  public:
    virtual ~Streams() = default;

    /// Takes over a connection; nullptr: the kernel refuses, and it is closed.
    virtual Stream* add(Connection connection, StreamHandler& handler) = 0;
    /// One send for the whole output. False: some of it is queued, `on_drained` will tell.
    virtual bool send(Stream& stream, const core::Output& output) = 0;
    /// Of what was sent, the bytes beyond those that the kernel, or the engine for it, takes
    /// without a word.
    virtual std::size_t queued_bytes(const Stream& stream) const = 0;
    /// The kernel does not have all of it yet.
    virtual bool has_unsent(const Stream& stream) const = 0;
    /// Changes when the peer takes something of what was sent, even where that does not yet make
    /// room for more: to be compared with an earlier one, no number of bytes.
    virtual std::uint64_t progress(const Stream& stream) const = 0;
    /// No `on_bytes` until `resume`; the kernel keeps what arrives, and slows the peer down.
    virtual void pause(Stream& stream) = 0;
    virtual void resume(Stream& stream) = 0;
    /// No more will be sent; the peer sees the end of the stream behind what is queued.
    virtual void shut_down(Stream& stream) = 0;
    /// Closes behind what is queued (for a bounded time). The handler hears nothing more.
    virtual void close(Stream* stream) = 0;
    /// Closes at once, by a reset where there is one: nobody reads what is queued.
    virtual void drop(Stream* stream) = 0;
    /// Gives the connection back, to be added to another engine. Nothing may be queued.
    virtual Connection release(Stream* stream) = 0;
    /// True when the peer has closed or sent something that has not been delivered yet.
    virtual bool has_news(const Stream& stream) const = 0;
    virtual StreamFacts facts(const Stream& stream) const = 0;
    /// The last bytes that the peer has sent, at most `size`, of those that were not delivered yet.
    virtual std::string unread_tail(Stream& stream, std::size_t size) = 0;
};

class StreamEngine : public Streams {
  public:
    /// From here on the io_context's thread is the engine's, too.
    virtual void start() = 0;
    virtual void stop() = 0;
    /// Thread-safe: somebody wants the thread now (EpollEngine's `may_linger`).
    virtual void wake() = 0;
    /// Once a second or so: gives up on closed streams whose peer does not read.
    virtual void reap() = 0;
};

}  // namespace schemux::daemon
