// Sessions of the admin console: each a coroutine on the control thread, beside the data plane,
// that reads, asks core::ConsoleSession, and has its commands run. It must not know what commands
// do, nor who may come in.
#pragma once

#include "core/console_session.h"
#include "daemon/acceptor.h"
#include "daemon/login_stream.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

class ConsoleHost final : public ConsoleDoor {
  public:
    /// On the control thread; `columns` are what the table of a SHOW has.
    using Execute = std::function<boost::asio::awaitable<core::ConsoleOutcome>(
        core::ConsoleCommand command, core::ConsoleColumns columns)>;

    /// More are refused.
    static constexpr std::uint32_t sessions_max = 32;
    /// For the other side to take an answer, or to hang up.
    static constexpr std::chrono::seconds patience{30};

    ConsoleHost(boost::asio::io_context& io, Execute execute)
        : io_(io), execute_(std::move(execute)) {}

    void enter(Connection connection, core::ConsoleSession::Start start, std::string reply,
               std::string first_bytes) override;
    /// Ends all of them; on the control thread.
    void stop();
    std::uint32_t sessions() const { return sessions_->load(std::memory_order_relaxed); }

  private:
    struct Visit {
        std::shared_ptr<LoginStream> stream;
        core::ConsoleSession::Start start;
        std::string reply;
        std::string first_bytes;
    };
    boost::asio::awaitable<void> serve(Visit visit);
    boost::asio::awaitable<void> converse(const std::shared_ptr<LoginStream>& stream,
                                          core::ConsoleSession& session);
    boost::asio::awaitable<bool> write(const std::shared_ptr<LoginStream>& stream,
                                       std::string bytes);
    boost::asio::awaitable<void> say_goodbye(const std::shared_ptr<LoginStream>& stream);

    boost::asio::io_context& io_;
    Execute execute_;
    std::vector<std::weak_ptr<LoginStream>> streams_;
    /// The coroutines may outlive this.
    std::shared_ptr<std::atomic<std::uint32_t>> sessions_ =
        std::make_shared<std::atomic<std::uint32_t>>(0);
};

}  // namespace schemux::daemon
