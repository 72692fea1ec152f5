// A connection before it is in an engine, for coroutines: reads and writes, over TLS from some
// moment on. It must not know what is said.
#pragma once

#include "daemon/stream_engine.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

class LoginStream {
  public:
    using Socket = boost::asio::generic::stream_protocol::socket;
    enum class Secured : std::uint8_t { yes, no, gone };

    explicit LoginStream(std::shared_ptr<Socket> socket, std::unique_ptr<TlsSession> tls = {})
        : socket_(std::move(socket)), tls_(std::move(tls)) {}

    /// The next bytes, valid until the next call; nullopt: the end, or a broken connection. Another
    /// coroutine may write meanwhile.
    boost::asio::awaitable<std::optional<std::string_view>> read();
    /// False: the connection is broken.
    boost::asio::awaitable<bool> write(std::string_view bytes);
    /// The handshake, the first bytes of which may have been read. `helper`: for what takes long;
    /// the coroutine is on `home` before and after. `no`: `why` tells; the other side was told.
    boost::asio::awaitable<Secured> secure(std::unique_ptr<TlsSession> tls, std::string received,
                                           bool slow, boost::asio::thread_pool& helper,
                                           boost::asio::io_context& home);
    const TlsSession* tls() const { return tls_.get(); }
    const std::string& why() const { return why_; }
    /// The last `read` found the other side's end, and not a broken connection.
    bool ended_well() const { return ended_ || error_ == boost::asio::error::eof; }
    const boost::system::error_code& error() const { return error_; }
    /// For an engine; nothing may be done here from then on.
    Connection release();
    /// Says that nothing more will come, and reads to the other side's end: closed with bytes
    /// unread, the connection would be reset, and what was said last could be lost.
    boost::asio::awaitable<void> say_goodbye();
    /// Ends whatever a coroutine waits for here.
    void close();

  private:
    static constexpr std::size_t buffer_bytes = 1024;
    /// Read behind a goodbye, from who goes on talking.
    static constexpr std::size_t goodbye_bytes_max = 64 * 1024;
    /// Of the other side, until the handshake is over: a chain of certificates has a few thousand.
    static constexpr std::size_t handshake_bytes_max = 64 * 1024;

    boost::asio::awaitable<bool> write_raw(std::string_view bytes);
    boost::asio::awaitable<std::size_t> read_raw();
    bool decrypt(std::string_view bytes);

    std::shared_ptr<Socket> socket_;
    std::unique_ptr<TlsSession> tls_;
    std::string why_;
    boost::system::error_code error_;  ///< of the last read
    std::array<char, buffer_bytes> buffer_{};
    std::vector<char> plain_;
    std::size_t plain_size_ = 0;  ///< decrypted and not given out yet
    bool ended_ = false;
    std::string out_;
};

}  // namespace schemux::daemon
