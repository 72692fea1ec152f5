#include "daemon/console_host.h"

#include "daemon/log.h"
#include "daemon/version.h"
#include "protocol/keyed_digest.h"
#include "protocol/sqlstate.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <utility>
#include <variant>

namespace schemux::daemon {

namespace asio = boost::asio;

namespace {

using Protocol = asio::generic::stream_protocol;

/// Closes the stream unless it goes before.
class Patience {
  public:
    Patience(asio::io_context& io, const std::shared_ptr<LoginStream>& stream)
        : timer_(io, ConsoleHost::patience) {
        timer_.async_wait([weak = std::weak_ptr(stream)](const boost::system::error_code& error) {
            const auto alive = weak.lock();
            if (!error && alive) alive->close();
        });
    }

  private:
    asio::steady_timer timer_;
};

int family_of(int fd) {
    int family = AF_INET;
    socklen_t size = sizeof family;
    ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
    return family;
}

}  // namespace

void ConsoleHost::enter(Connection connection, core::ConsoleSession::Start start, std::string reply,
                        std::string first_bytes) {
    // A handler has to be copyable, and a connection is not.
    auto moved = std::make_shared<Connection>(std::move(connection));
    asio::post(io_, [this, moved, start = std::move(start), reply = std::move(reply),
                     first = std::move(first_bytes)]() mutable {
        const int family = family_of(moved->fd);
        const Protocol protocol(family, family == AF_UNIX ? 0 : IPPROTO_TCP);
        auto socket = std::make_shared<Protocol::socket>(io_, protocol, moved->fd);
        auto stream = std::make_shared<LoginStream>(std::move(socket), std::move(moved->tls));
        std::erase_if(streams_, [](const auto& weak) { return weak.expired(); });
        streams_.push_back(stream);
        Visit visit{std::move(stream), std::move(start), std::move(reply), std::move(first)};
        asio::co_spawn(io_, serve(std::move(visit)), asio::detached);
    });
}

asio::awaitable<void> ConsoleHost::serve(Visit visit) {
    struct Counted {
        std::shared_ptr<std::atomic<std::uint32_t>> count;
        ~Counted() { count->fetch_sub(1, std::memory_order_relaxed); }
    };
    const bool full = sessions_->fetch_add(1, std::memory_order_relaxed) >= sessions_max;
    const Counted counted{sessions_};
    std::string first = std::move(visit.reply);
    if (full) {
        protocol::append_authentication_ok(first);
        protocol::append_error(first, protocol::make_error(protocol::sqlstate::too_many_connections,
                                                           "too many sessions of the admin console",
                                                           protocol::Severity::fatal));
        const bool sent = co_await write(visit.stream, std::move(first));
        if (sent) co_await say_goodbye(visit.stream);
        co_return;
    }
    visit.start.version = version;
    protocol::random_bytes(&visit.start.pid, sizeof visit.start.pid);
    visit.start.pid &= 0x7fffffffU;
    visit.start.secret.resize(protocol::cancel_secret_min);
    protocol::random_bytes(visit.start.secret.data(), visit.start.secret.size());
    core::ConsoleSession session(std::move(visit.start));
    session.welcome();
    session.on_bytes(visit.first_bytes);
    first += session.take_output();
    const bool sent = co_await write(visit.stream, std::move(first));
    if (sent) co_await converse(visit.stream, session);
}

/// Ends the connection when it is not done in time.
asio::awaitable<bool> ConsoleHost::write(const std::shared_ptr<LoginStream>& stream,
                                         std::string bytes) {
    const Patience patient(io_, stream);
    co_return co_await stream->write(bytes);
}

asio::awaitable<void> ConsoleHost::say_goodbye(const std::shared_ptr<LoginStream>& stream) {
    const Patience patient(io_, stream);
    co_await stream->say_goodbye();
}

/// Until either side has had enough.
asio::awaitable<void> ConsoleHost::converse(const std::shared_ptr<LoginStream>& stream,
                                            core::ConsoleSession& session) {
    using Console = core::ConsoleSession;
    while (true) {
        const Console::Step step = session.next();
        std::string output = session.take_output();
        if (!output.empty()) {
            const bool sent = co_await write(stream, std::move(output));
            if (!sent) co_return;
        }
        if (const auto* run = std::get_if<Console::Run>(&step)) {
            if (run->command.verb != core::ConsoleVerb::show)
                log_event(LogLevel::warning, "console_command",
                          {{"user", session.user()},
                           {"command", run->command.tag},
                           {"service", run->command.target}});
            core::ConsoleColumns columns = session.columns_of(run->command);
            const core::ConsoleOutcome outcome =
                co_await execute_(run->command, std::move(columns));
            session.on_outcome(outcome);
            continue;
        }
        if (std::holds_alternative<Console::Close>(step)) {
            co_await say_goodbye(stream);
            co_return;
        }
        const auto bytes = co_await stream->read();
        if (!bytes) co_return;
        session.on_bytes(*bytes);
    }
}

void ConsoleHost::stop() {
    for (const auto& weak : streams_) {
        if (const auto stream = weak.lock()) stream->close();
    }
}

}  // namespace schemux::daemon
