// The connection on which one session listens for all clients: kept open while anybody listens,
// on the control thread. What is to be said on it and who is told what decides core/listener.h.
#pragma once

#include "core/listener.h"
#include "daemon/connector.h"
#include "daemon/login_stream.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace schemux::daemon {

class SharedListener final : public core::ListenerAudience {
  public:
    SharedListener(boost::asio::io_context& io, Connector& connector,
                   const std::vector<std::unique_ptr<Worker>>& workers);

    // On the control thread.
    void subscribe(const core::Subscriber& who, std::vector<std::string> channels,
                   std::uint64_t number);
    /// The database is another one from now on; `to`: where, if that is known.
    void move(const std::optional<SocketAddress>& to = {});
    void stop();

    void on_subscribed(const core::Subscriber& who, std::uint64_t number, bool late) override;
    void on_notification(std::span<const core::Subscriber> whom,
                         std::shared_ptr<const std::string> message) override;
    void on_missed(const core::Subscriber& who) override;

    /// 1 while it is connected, for the metrics.
    const core::Counter& connections() const { return connections_; }
    const core::Counter& channels() const { return channels_; }
    const core::Counter& losses() const { return losses_; }

  private:
    boost::asio::awaitable<void> run();
    boost::asio::awaitable<void> serve(NewBackend backend);
    boost::asio::awaitable<void> write();
    void look_at_waiting();
    void note_channels();

    boost::asio::io_context& io_;
    Connector& connector_;
    const std::vector<std::unique_ptr<Worker>>& workers_;
    core::Listener listener_;
    std::shared_ptr<LoginStream> stream_;
    SocketAddress address_;  ///< of the server at its other end
    boost::asio::steady_timer retry_;
    boost::asio::steady_timer look_;
    bool running_ = false;
    bool writing_ = false;
    bool looking_ = false;
    bool stopped_ = false;
    core::Counter connections_;
    core::Counter channels_;
    core::Counter losses_;
};

}  // namespace schemux::daemon
