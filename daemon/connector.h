// Opens connections to PostgreSQL and sends CancelRequests, on the control thread: resolving,
// connecting, logging in, backing off while the server is away. A finished connection goes to the
// worker of whoever waits longest. It must not know what a backend is used for.
#pragma once

#include "core/backend_startup.h"
#include "daemon/dsn.h"
#include "daemon/password_source.h"
#include "daemon/shared_state.h"
#include "daemon/worker.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace schemux::daemon {

/// Where PostgreSQL is and how to get in.
struct BackendAccess {
    BackendTarget target;
    std::chrono::milliseconds connect_timeout{};
    std::optional<core::AcceptedMethods> methods;  ///< none: as is safe on the way to the host
    std::string on_connect;                        ///< SQL that each new backend runs first
    PasswordSource password{};  ///< of all hosts; empty: `target` has what there is
    bool direct_tls = false;    ///< the handshake comes at once
};

struct ConnectorCounters {
    core::Counter opened;
    core::Counter failed;
    core::Counter cancels_sent;
    core::Counter servers_doubted;  ///< times that a server was asked whether it is still primary
    core::Counter servers_moved;
    core::DurationHistogram connect;
};

class LoginStream;
class SharedListener;

class Connector final : public ControlPlane {
  public:
    using Socket = boost::asio::generic::stream_protocol::socket;
    struct Failure {
        protocol::ErrorFields error;
        bool transient = true;
        bool version_refused = false;
        bool unsuitable = false;          ///< by target_session_attrs
        bool another_way_may_do = false;  ///< with TLS where it was without, or the other way round
    };
    using Attempt = std::variant<NewBackend, Failure>;

    Connector(boost::asio::io_context& io, SharedState& shared, BackendAccess access);

    void set_workers(std::vector<Worker*> workers) { workers_ = std::move(workers); }
    /// Where connections go from now on; on the control thread.
    void set_access(BackendAccess access);
    /// No backend that there is serves anybody once more; on the control thread.
    /// `to`: where they are to go from now on, if that is known.
    void renew(const std::optional<SocketAddress>& to = {});
    /// The server was left while this one was on its way from it.
    bool is_outdated(const NewBackend& backend) const;
    void set_listener(SharedListener& listener) { listener_ = &listener; }
    /// A session beyond the pool; on the control thread.
    /// (No default argument: GCC 12 destroys what a co_await makes of one twice.)
    boost::asio::awaitable<Attempt> try_candidates(core::BackendIdentity who);
    /// No new connects; on the control thread.
    void stop();

    void wake_connector() override;
    void doubt_server(const SocketAddress& address) override;
    void listen(const core::Subscriber& who, std::vector<std::string> channels,
                std::uint64_t number) override;
    void send_cancel(const SocketAddress& address, std::uint32_t pid, std::string secret,
                     std::function<void(CancelEnd)> done) override;

    const ConnectorCounters& counters() const { return counters_; }

  private:
    struct RoleProof {
        protocol::Secret password{};
        std::shared_ptr<const protocol::ScramSecret> keys{};
    };
    struct Candidate {
        SocketAddress address;
        HostPort host;
        core::BackendIdentity identity{};
        std::optional<RoleProof> proof{};  ///< in place of the host's password
    };

    enum class Way : std::uint8_t { plain, encrypted };

    boost::asio::awaitable<Attempt> try_all(core::BackendIdentity who,
                                            std::optional<RoleProof> proof);
    boost::asio::awaitable<Attempt> try_role(core::BackendIdentity who);
    boost::asio::awaitable<Attempt> try_listed(core::BackendIdentity who);
    boost::asio::awaitable<Attempt> try_client(core::BackendIdentity who, ClientSecret secret);
    boost::asio::awaitable<std::optional<Failure>> renew_role_password(std::string role);
    protocol::Secret password_of_role(const std::string& role) const;
    boost::asio::awaitable<std::optional<Failure>> renew_password();
    void start_connects();
    void make_room();
    void look_again(core::Nanoseconds at);
    boost::asio::awaitable<void> connect_one(std::shared_ptr<core::SubPool> sub_pool);
    boost::asio::awaitable<void> ask_server(SocketAddress address);
    void note_server(NewBackend& backend);
    bool wants_primary() const;
    boost::asio::awaitable<Attempt> try_candidate(Candidate candidate, bool must_be_standby);
    std::vector<Way> ways_to(const Candidate& candidate) const;
    boost::asio::awaitable<Attempt> try_way(Candidate candidate, bool must_be_standby, Way way);
    boost::asio::awaitable<Attempt> try_version(Candidate candidate, bool must_be_standby, Way way,
                                                std::uint16_t minor);
    boost::asio::awaitable<std::variant<bool, Failure>> ask_for_tls(LoginStream& stream,
                                                                    std::string where);
    boost::asio::awaitable<std::optional<Failure>> encrypt(LoginStream& stream,
                                                           Candidate candidate);
    boost::asio::awaitable<bool> encrypt_cancel(LoginStream& stream, SocketAddress address);
    void remember_name(const Candidate& candidate);
    boost::asio::awaitable<std::variant<core::BackendStartup, Failure>> log_in(
        LoginStream& stream, const Candidate& candidate, std::uint16_t minor);
    boost::asio::awaitable<std::vector<Candidate>> candidates(std::string& why_none);
    boost::asio::awaitable<void> cancel(SocketAddress address, std::uint32_t pid,
                                        std::string secret, std::function<void(CancelEnd)> done);
    boost::asio::awaitable<std::optional<protocol::ScramKeys>> keys_for(protocol::Secret password,
                                                                        std::string salt,
                                                                        std::uint32_t iterations);
    void deliver(NewBackend&& backend);
    void on_failure(core::SubPool& sub_pool, const Failure& failure);
    void rest(core::SubPool& sub_pool, const Failure& failure);

    boost::asio::io_context& io_;
    SharedState& shared_;
    BackendAccess access_;
    std::vector<Worker*> workers_;
    SharedListener* listener_ = nullptr;
    boost::asio::steady_timer backoff_;
    boost::asio::steady_timer later_;
    std::optional<core::Nanoseconds> looks_at_;  ///< when `later_` ends
    boost::asio::thread_pool helper_{1};         ///< asks DNS and derives keys
    std::atomic<bool> woken_{false};
    bool stopped_ = false;
    bool backing_off_ = false;
    unsigned failures_in_a_row_ = 0;
    std::size_t next_worker_ = 0;
    std::optional<SocketAddress>
        server_;  ///< that the last connect went to: the next tries it first
    std::chrono::steady_clock::time_point doubted_{};
    bool asking_ = false;
    std::map<std::uint64_t, core::Settings> last_parameters_;  ///< by sub-pool
    std::map<std::string, HostPort> hosts_;                    ///< by the bytes of their addresses
    std::optional<protocol::Secret> password_;                 ///< that access_.password gave last
    std::map<std::string, protocol::Secret> role_passwords_;   ///< that files gave last
    std::set<std::string> old_servers_;  ///< that said that protocol 3.0 is all they know
    std::map<protocol::ScramKey, protocol::ScramSecret> keys_;  ///< by a digest of the password
    ConnectorCounters counters_;
};

}  // namespace schemux::daemon
