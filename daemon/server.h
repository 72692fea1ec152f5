// The running daemon: everything started in the right order, reloaded, drained, and stopped in the
// opposite one. `schemux serve` and `schemux dev` are thin shells around it.
#pragma once

#include "config/settings.h"
#include "daemon/acceptor.h"
#include "daemon/cluster.h"
#include "daemon/console_host.h"
#include "daemon/console_shows.h"
#include "daemon/file_watch.h"
#include "daemon/http_server.h"
#include "daemon/isolation_watch.h"
#include "daemon/loading.h"
#include "daemon/memory_guard.h"
#include "daemon/metrics.h"
#include "daemon/notify.h"
#include "daemon/services_query.h"
#include "daemon/signals.h"
#include "daemon/status_feed.h"
#include "daemon/wiring.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace schemux::daemon {

/// Whether both say the same of where PostgreSQL is and how to get in.
bool is_same_login(const config::Backend& left, const config::Backend& right);
bool requires_proof(const config::Settings& settings);

class Server {
  public:
    /// `reload`: reads the configuration again; nullopt (and its reasons logged) keeps the old one.
    Server(Loaded loaded, std::function<std::optional<Loaded>()> reload);
    ~Server();

    /// Binds the listeners and starts the workers; what went wrong, if anything.
    std::optional<std::string> start();
    /// Serves until a signal or `request_stop`; then drains. Returns when all has ended.
    void run();
    /// Thread-safe: as a SIGTERM.
    void request_stop();

    std::uint16_t port() const { return acceptor_->first_port(); }
    std::uint16_t http_port() const { return http_ ? http_->local_port() : 0; }

  private:
    void on_stop(unsigned times);
    void on_reload();
    void on_proved(std::uint64_t reload, const IsolationWatch::Verdict& verdict);
    bool put_in_order(Loaded& loaded) const;
    void make_clusters(std::vector<LoadedBackend>&& backends);
    void renew_clusters(const config::Settings& fresh, std::vector<LoadedBackend>&& backends);
    void apply_reload(Loaded&& loaded);
    void refuse_reload();
    void watch_isolation();
    void on_pause(bool pause);
    bool paused() const;
    // server_console.cpp
    boost::asio::awaitable<core::ConsoleOutcome> run_console(core::ConsoleCommand command,
                                                             core::ConsoleColumns columns);
    boost::asio::awaitable<core::ConsoleOutcome> console_pause(std::string service);
    boost::asio::awaitable<core::ConsoleOutcome> console_reload();
    core::ConsoleOutcome console_resume(const std::string& service);
    core::ConsoleOutcome console_reconnect(const std::string& service);
    core::ConsoleOutcome console_shutdown(core::ShutdownMode mode);
    core::ConsoleOutcome console_disable(const std::string& service);
    core::ConsoleOutcome console_enable(const std::string& service);
    core::ConsoleOutcome explain_rewrite(const core::ConsoleCommand& command) const;
    // server_lists.cpp
    boost::asio::awaitable<core::ConsoleOutcome> console_list(core::ConsoleCommand command,
                                                              core::ConsoleColumns columns);
    boost::asio::awaitable<core::ConsoleOutcome> console_kill(std::string service);
    boost::asio::awaitable<core::ConsoleOutcome> console_kill_client(std::uint32_t id);
    boost::asio::awaitable<core::ConsoleOutcome> console_wait_close(std::string service);
    boost::asio::awaitable<std::vector<core::StatementLine>> top_statements(std::size_t most,
                                                                            std::string service);
    boost::asio::awaitable<void> feed_statements();
    ConsoleView console_view() const;
    std::optional<protocol::ErrorFields> check_target(const std::string& name) const;
    std::optional<protocol::ErrorFields> check_holdable(const std::string& name) const;
    /// Null: it has none of its own.
    std::shared_ptr<const core::Share> share_of(const std::string& name) const;
    bool is_held(const std::string& service) const;
    bool holds_backends(const std::string& service) const;
    void drain();
    void stop_behind_clients();

    void apply_pool();
    void check_drained();
    void finish();
    std::optional<std::string> listen();
    std::optional<std::string> serve_http();
    HttpHandlers http_handlers();
    void renew_http();
    void renew_tls(const config::Settings& fresh, std::vector<TlsPolicy>&& tls);
    void watch_certificates(std::size_t index, const config::ListenerTls& tls);
    void renew_certificate(std::size_t index, const config::ListenerTls& tls);
    HttpReply ready() const;
    void watch_services();
    void on_services_file();
    void ask_for_services(const config::Settings& settings);
    void on_services(const ServicesQuery::Table& table);
    std::optional<ServicesAnswer> services_answer() const;
    void take_settings(config::Settings fresh);

    std::vector<LoadedBackend> backends_;  ///< of the settings, in the order of the clusters
    std::vector<AuditJob> audits_;         ///< of the settings
    config::Settings settings_;
    std::function<std::optional<Loaded>()> reload_;
    std::uint64_t reloads_ = 0;
    std::optional<Loaded> unproved_;  ///< what the last of them read, until it was audited
    boost::asio::io_context io_{1};
    ServiceIndex services_;
    ProcessState process_;
    Clusters clusters_;  ///< the default one first
    KnownUsers users_;
    std::shared_ptr<ServiceRoster> roster_;  ///< null without services_query
    std::vector<TlsPolicy> tls_;             ///< of each listener, until they are there
    std::vector<std::string> listening_at_;  ///< the acceptor's listeners, in their order
    std::unique_ptr<Acceptor> acceptor_;
    std::unique_ptr<ConsoleShows> shows_;
    std::unique_ptr<ConsoleHost> console_;
    FileWatch files_;
    std::unique_ptr<HttpServer> http_;
    std::unique_ptr<StatusFeed> status_;  ///< null: there is no status page
    bool feeds_statements_ = false;       ///< workers are being asked
    std::unique_ptr<SignalHandler> signals_;
    IsolationWatch isolation_;
    std::unique_ptr<Metrics> metrics_;
    ReloadState reload_state_;
    IoEngine engine_ = IoEngine::epoll;
    Notifier notifier_;
    boost::asio::steady_timer timer_;
    std::chrono::steady_clock::time_point drain_deadline_{};
    std::unique_ptr<MemoryGuard> memory_guard_;
    std::uint64_t services_queries_ = 0;
    std::unique_ptr<ServicesQuery> services_query_;       ///< ends first: it posts to what is above
    bool paused_ = false;                                 ///< by SIGUSR1, or PAUSE
    std::set<std::string, std::less<>> paused_services_;  ///< by PAUSE
    unsigned stops_ = 0;
};

}  // namespace schemux::daemon
