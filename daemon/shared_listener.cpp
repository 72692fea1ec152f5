#include "daemon/shared_listener.h"

#include "daemon/log.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;

namespace {

constexpr auto retry_first = std::chrono::milliseconds(100);
constexpr auto retry_longest = std::chrono::milliseconds(2'000);
/// Between two looks at those who wait for their LISTEN: they wait for at most twice as long.
constexpr auto patience = std::chrono::milliseconds(2'500);

}  // namespace

SharedListener::SharedListener(asio::io_context& io, Connector& connector,
                               const std::vector<std::unique_ptr<Worker>>& workers)
    : io_(io), connector_(connector), workers_(workers), listener_(*this), retry_(io), look_(io) {}

void SharedListener::subscribe(const core::Subscriber& who, std::vector<std::string> channels,
                               std::uint64_t number) {
    listener_.subscribe(who, std::move(channels), number);
    note_channels();
    if (!listener_.wanted() && !running_) return;
    look_at_waiting();
    if (!std::exchange(running_, true)) asio::co_spawn(io_, run(), asio::detached);
    if (listener_.connected()) asio::co_spawn(io_, write(), asio::detached);
}

void SharedListener::move(const std::optional<SocketAddress>& to) {
    if (!stream_ || (to && *to == address_)) return;
    stream_->close();
}

void SharedListener::stop() {
    stopped_ = true;
    retry_.cancel();
    look_.cancel();
    move();
}

/// Connects as long as anybody listens, until it is stopped.
asio::awaitable<void> SharedListener::run() {
    auto wait = retry_first;
    while (!stopped_ && listener_.wanted()) {
        const core::BackendIdentity as_the_dsn_says;
        Connector::Attempt attempt = co_await connector_.try_candidates(as_the_dsn_says);
        if (auto* backend = std::get_if<NewBackend>(&attempt)) {
            const auto began = std::chrono::steady_clock::now();
            // While it logged in the server was left.
            if (connector_.is_outdated(*backend)) {
                ::close(backend->connection.fd);
                continue;
            }
            co_await serve(std::move(*backend));
            // One that is ended at once (a standby refuses LISTEN, say) is no better than none.
            if (std::chrono::steady_clock::now() - began > retry_longest) wait = retry_first;
        } else {
            static LogLimiter limiter;
            const auto& error = std::get<Connector::Failure>(attempt).error;
            log_event_limited(limiter, LogLevel::warning, "listener_connect_failed",
                              {{"sqlstate", error.sqlstate}, {"error", error.message}});
        }
        if (stopped_ || !listener_.wanted()) break;
        boost::system::error_code error;
        retry_.expires_after(std::exchange(wait, std::min(wait * 2, retry_longest)));
        co_await retry_.async_wait(redirect_error(use_awaitable, error));
    }
    running_ = false;
}

asio::awaitable<void> SharedListener::serve(NewBackend backend) {
    Connection connection = std::move(backend.connection);
    boost::system::error_code error;
    auto socket = std::make_shared<Connector::Socket>(io_);
    socket->assign(asio::generic::stream_protocol(AF_UNSPEC, SOCK_STREAM), connection.fd, error);
    if (error || stopped_) {
        if (error) ::close(connection.fd);
        co_return;
    }
    stream_ = std::make_shared<LoginStream>(std::move(socket), std::move(connection.tls));
    address_ = backend.address;
    const std::shared_ptr<LoginStream> stream = stream_;
    listener_.on_connected();
    connections_.add();
    log_event(LogLevel::info, "listener_connected", {{"channels", listener_.channels()}});
    co_await write();
    bool useful = true;
    while (useful && !stopped_) {
        const auto received = co_await stream->read();
        if (!received) break;
        useful = listener_.on_bytes(*received);
        note_channels();
        if (useful) co_await write();
    }
    if (!stopped_) {
        losses_.add();
        log_event(
            LogLevel::warning, "listener_lost",
            {{"error", listener_.why().empty() ? stream->error().message() : listener_.why()}});
    }
    connections_.subtract();
    stream->close();
    listener_.on_lost();
}

/// What another one is writing goes with its bytes.
asio::awaitable<void> SharedListener::write() {
    if (std::exchange(writing_, true)) co_return;
    const std::shared_ptr<LoginStream> stream = stream_;
    bool sound = true;
    while (sound && !listener_.output().empty()) {
        const std::string bytes = std::exchange(listener_.output(), {});
        sound = co_await stream->write(bytes);
    }
    writing_ = false;
    if (!sound) stream->close();
}

void SharedListener::look_at_waiting() {
    if (std::exchange(looking_, true)) return;
    look_.expires_after(patience);
    look_.async_wait([this](const boost::system::error_code& error) {
        looking_ = false;
        if (error) return;
        if (!listener_.look_at_waiting() && stream_) stream_->close();
        if (listener_.wanted()) look_at_waiting();
    });
}

void SharedListener::note_channels() {
    const std::uint64_t now = listener_.channels();
    channels_.add(now - channels_.value());
}

void SharedListener::on_subscribed(const core::Subscriber& who, std::uint64_t number, bool late) {
    workers_[who.worker]->post_subscribed(who.session, number, late);
}

void SharedListener::on_notification(std::span<const core::Subscriber> whom,
                                     std::shared_ptr<const std::string> message) {
    std::vector<std::vector<core::SessionId>> by_worker(workers_.size());
    for (const core::Subscriber& who : whom)
        by_worker[who.worker].push_back(who.session);
    for (std::size_t number = 0; number < by_worker.size(); ++number) {
        if (by_worker[number].empty()) continue;
        workers_[number]->post_notification(std::move(by_worker[number]), message);
    }
}

void SharedListener::on_missed(const core::Subscriber& who) {
    workers_[who.worker]->post_missed(who.session);
}

}  // namespace schemux::daemon
