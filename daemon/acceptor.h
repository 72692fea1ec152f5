// Listens, accepts, and sees new connections through their login; who got in goes to a worker's
// data plane, who asks for a cancel is answered by the registry. Coroutines, since none of this is
// per message. It must not know what happens after login.
#pragma once

#include "core/console_session.h"
#include "core/frontend_login.h"
#include "daemon/login_stream.h"
#include "daemon/shared_state.h"
#include "daemon/tls_policy.h"
#include "daemon/worker.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

/// Why somebody was refused who wanted to log in.
enum class LoginFailure : std::uint8_t { credentials, service, limit, other };
inline constexpr std::size_t login_failure_count = 4;
std::string_view name_of(LoginFailure failure);

/// Where a client goes that may use the admin console. Thread-safe.
class ConsoleDoor {
  public:
    virtual ~ConsoleDoor() = default;
    /// `reply`: what goes before AuthenticationOk; `first_bytes`: what the client sent since.
    virtual void enter(Connection connection, core::ConsoleSession::Start start, std::string reply,
                       std::string first_bytes) = 0;
};

class Acceptor {
  public:
    Acceptor(boost::asio::io_context& io, ProcessState& process, std::vector<Worker*> workers);
    ~Acceptor();

    /// Each returns what went wrong, if anything.
    /// `proxies`: that say for whom they come; empty: clients come themselves.
    std::optional<std::string> listen_tcp(const std::string& address, std::uint16_t port,
                                          TlsPolicy tls,
                                          std::vector<core::AddressRange> proxies = {});
    std::optional<std::string> listen_unix(const std::string& folder, std::uint16_t port);
    /// Of the listener that was made as number `index`: for those who come from now on.
    void set_tls(std::size_t index, TlsPolicy tls);
    /// The port of the first TCP listener: for tests, which bind port 0.
    std::uint16_t first_port() const { return first_port_; }

    /// Before `start`. `door` outlives the workers' threads.
    void set_console(ConsoleDoor* door) { console_ = door; }
    void start();
    /// Accepts no more; on the control thread.
    void stop();
    /// Derives the keys of all passwords, so that hardly a login has to wait for its own.
    void derive_keys_ahead(std::weak_ptr<Credentials> credentials);

    std::uint64_t accepted() const { return accepted_.load(std::memory_order_relaxed); }
    std::uint64_t refused() const { return refused_.load(std::memory_order_relaxed); }
    /// Handshakes that led to an encrypted connection, and those that did not.
    std::uint64_t encrypted() const { return encrypted_.load(std::memory_order_relaxed); }
    std::uint64_t not_encrypted() const { return not_encrypted_.load(std::memory_order_relaxed); }
    /// Logins for which auth.query was asked, with an answer and without.
    std::uint64_t lookups_answered() const {
        return lookups_answered_.load(std::memory_order_relaxed);
    }
    std::uint64_t lookups_failed() const { return lookups_failed_.load(std::memory_order_relaxed); }
    /// When the first of the listeners' certificates ends, in seconds since 1970; 0: there is none.
    std::int64_t certificates_end() const;
    std::uint64_t login_failures(LoginFailure why) const {
        return login_failures_[static_cast<std::size_t>(why)].load(std::memory_order_relaxed);
    }
    std::uint32_t logging_in() const { return logging_in_.load(std::memory_order_relaxed); }

  private:
    using Protocol = boost::asio::generic::stream_protocol;
    struct Listening;
    /// Which way somebody came in.
    struct Door {
        bool is_unix = false;
        bool proxied = false;   ///< a PROXY header comes first
        std::string address{};  ///< of the client, or of its proxy; empty: a unix socket's
        TlsPolicy tls{};
    };
    /// Where there is none, it may only ask for a cancel.
    enum class Room : std::uint8_t { enough, none, none_for_address, no_memory };
    enum class LoginState : std::uint8_t { needs_bytes, goes_on, admitted, in_console, over };
    /// What one step of a login sends, and where the login stands then.
    struct Answer {
        std::string bytes;
        LoginState state;
    };

    boost::asio::awaitable<void> accept_loop(std::shared_ptr<Listening> listening);
    boost::asio::awaitable<void> log_in(Protocol::socket accepted, Worker& worker, Door door,
                                        Room room, ClientPlaces places);
    boost::asio::awaitable<bool> take_proxy_header(LoginStream& stream, Door& door,
                                                   std::string& behind, const Policy& policy,
                                                   ClientPlaces& places);
    /// For the log.
    static std::string address_of(const Door& door);
    static core::LoginRules rules_for(const Door& door, const Policy& policy, int fd);
    /// Where the user's secret is. Null: it cannot be had now.
    boost::asio::awaitable<std::shared_ptr<Credentials>> credentials_of(const std::string& user,
                                                                        const Policy& policy,
                                                                        Worker& worker);
    boost::asio::awaitable<bool> start_tls(core::FrontendLogin::StartTls start,
                                           std::string received, LoginStream& stream,
                                           const Door& door, core::FrontendLogin& login,
                                           const Policy& policy, Worker& worker);
    boost::asio::awaitable<core::FrontendLogin::Action> settle(core::FrontendLogin::Action action,
                                                               core::FrontendLogin& login,
                                                               const Policy& policy,
                                                               Worker& worker);
    boost::asio::awaitable<core::FrontendLogin::Action> check_password(
        core::FrontendLogin& login, core::FrontendLogin::CheckPassword asked, const Policy& policy,
        Worker& worker);
    boost::asio::awaitable<core::FrontendLogin::Action> keep_schema(
        core::FrontendLogin::Accepted accepted, const Policy& policy, Worker& worker);
    boost::asio::awaitable<void> cancel(core::FrontendLogin::Cancel request, Worker& worker);
    boost::asio::awaitable<core::FrontendLogin::Action> prove(
        core::FrontendLogin& login, core::FrontendLogin::NeedVerifier asked, const Policy& policy,
        Worker& worker);
    Answer act(const core::FrontendLogin::Action& action, const Policy& policy, LoginStream& stream,
               std::string_view rest, Worker& worker, ClientPlaces& places,
               const std::string& from);
    bool open_console(const core::FrontendLogin::Accepted& accepted, const Policy& policy,
                      LoginStream& stream, std::string_view rest);
    void note_refusal(const protocol::ErrorFields& error);
    static core::FrontendLogin::Refuse refusal(Room room);
    Worker& server_of(const core::Service& service, Worker& worker) const;
    Room enter(const std::string& host, ClientPlaces& places);
    void hand_to_worker(int fd, const Listening& listening, const std::string& host);

    boost::asio::io_context& io_;
    ProcessState& process_;
    ConsoleDoor* console_ = nullptr;
    std::vector<Worker*> workers_;
    std::vector<std::shared_ptr<Listening>> listening_;
    std::uint16_t first_port_ = 0;
    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::atomic<std::uint64_t> encrypted_{0};
    std::atomic<std::uint64_t> not_encrypted_{0};
    std::atomic<std::uint32_t> logging_in_{0};
    std::atomic<std::uint32_t> beyond_{0};  ///< connections let in only to ask for a cancel
    std::array<std::atomic<std::uint64_t>, login_failure_count> login_failures_{};
    std::atomic<std::uint32_t> lookups_waiting_{0};
    std::atomic<std::uint64_t> lookups_answered_{0};
    std::atomic<std::uint64_t> lookups_failed_{0};
    // Both end before all that their work uses.
    boost::asio::thread_pool helper_{1};         ///< derives keys
    boost::asio::thread_pool lookup_helper_{1};  ///< waits for what PostgreSQL is asked
};

}  // namespace schemux::daemon
