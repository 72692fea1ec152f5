#include "daemon/login_stream.h"

#include "daemon/hop.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;

/// 0: the end, however it came.
asio::awaitable<std::size_t> LoginStream::read_raw() {
    const std::size_t got = co_await socket_->async_read_some(
        asio::buffer(buffer_), redirect_error(use_awaitable, error_));
    co_return error_ ? 0 : got;
}

asio::awaitable<bool> LoginStream::write_raw(std::string_view bytes) {
    boost::system::error_code error;
    co_await asio::async_write(*socket_, asio::buffer(bytes.data(), bytes.size()),
                               redirect_error(use_awaitable, error));
    co_return !error;
}

asio::awaitable<std::optional<std::string_view>> LoginStream::read() {
    if (!tls_) {
        const std::size_t got = co_await read_raw();
        if (got == 0) co_return std::nullopt;
        co_return std::string_view(buffer_.data(), got);
    }
    while (plain_size_ == 0) {
        if (ended_) co_return std::nullopt;
        const std::size_t got = co_await read_raw();
        if (got == 0) co_return std::nullopt;
        ended_ = !decrypt({buffer_.data(), got});
    }
    co_return std::string_view(plain_.data(), std::exchange(plain_size_, 0));
}

/// False: nothing more will come.
bool LoginStream::decrypt(std::string_view bytes) {
    plain_.resize(TlsSession::plain_bytes_max(bytes.size()));
    const TlsSession::Plain plain = tls_->decrypt(bytes, plain_, out_);
    plain_size_ = plain.size;
    return plain.state == TlsSession::State::open;
}

asio::awaitable<bool> LoginStream::write(std::string_view bytes) {
    if (!tls_) co_return co_await write_raw(bytes);
    if (!tls_->encrypt(bytes, out_)) co_return false;
    const std::string cipher = std::exchange(out_, {});
    co_return co_await write_raw(cipher);
}

asio::awaitable<LoginStream::Secured> LoginStream::secure(std::unique_ptr<TlsSession> tls,
                                                          std::string received, bool slow,
                                                          asio::thread_pool& helper,
                                                          asio::io_context& home) {
    std::size_t bytes = received.size();
    while (true) {
        std::string_view rest = received;
        std::string answer;
        if (slow) co_await hop_to(helper);
        const TlsSession::Progress progress = tls->handshake(rest, answer);
        if (slow) co_await hop_to(home);
        // The signature is in the first answer.
        if (!answer.empty()) slow = false;
        if (!answer.empty() && !co_await write_raw(answer)) co_return Secured::gone;
        if (progress == TlsSession::Progress::failed) {
            why_ = tls->why();
            co_return Secured::no;
        }
        if (progress == TlsSession::Progress::done) {
            tls_ = std::move(tls);
            ended_ = !decrypt(rest);
            co_return Secured::yes;
        }
        const std::size_t got = co_await read_raw();
        if (got == 0) co_return Secured::gone;
        bytes += got;
        if (bytes > handshake_bytes_max) {
            why_ = "the handshake is too long";
            co_return Secured::no;
        }
        received.assign(buffer_.data(), got);
    }
}

Connection LoginStream::release() {
    return {socket_->release(), std::move(tls_)};
}

asio::awaitable<void> LoginStream::say_goodbye() {
    boost::system::error_code ignored;
    socket_->shutdown(Socket::shutdown_send, ignored);
    for (std::size_t bytes = 0; bytes < goodbye_bytes_max;) {
        const std::size_t got = co_await read_raw();
        if (got == 0) co_return;
        bytes += got;
    }
}

void LoginStream::close() {
    boost::system::error_code ignored;
    socket_->close(ignored);
}

}  // namespace schemux::daemon
