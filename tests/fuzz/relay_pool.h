// A worker without sockets: clients, one bounded pool, servers that are FakePostgres, and the
// relays between them. It performs the relay's steps as daemon/session.cpp and
// daemon/worker_backends.cpp do, with every byte held back until somebody says that it arrives.
// Each client also talks to a server of its own: what it is told through the relay must be the
// same, unless something happened to it that a direct connection knows nothing of (`disturbed`).
#pragma once

#include "core/relay.h"
#include "core/upkeep.h"
#include "tests/support/fake_postgres.h"
#include "tests/support/message_walk.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::fuzz {

using fake::FakePostgres;
using fake::for_each_message;
using fake::SettingsMap;

struct PoolPlan {
    core::Service service;
    std::size_t servers_max = 1;
    bool known_welcome = true;
    bool lazy_grants = false;  ///< waiting clients get their server only when `grant` is called
};

class RelayPool {
  public:
    explicit RelayPool(PoolPlan plan);

    void add_client(const core::Label& label);
    std::size_t client_count() const { return clients_.size(); }
    std::size_t server_count() const { return servers_.size(); }
    bool pins() const { return service_->session_features.pinning().any(); }

    // ---- what happens ----
    void send(std::size_t client, std::string_view bytes);  ///< into its socket, not read yet
    void read_frontend(std::size_t client, std::size_t count);
    void work(std::size_t server, std::size_t count);  ///< the server reads so many bytes
    void read_backend(std::size_t server, std::size_t count);
    void grant();
    void cancel(std::size_t client);
    void cancel_arrives(std::size_t server);
    void drain(std::size_t client);
    void refuse_waiting();
    void close_frontend(std::size_t client);
    void lose_server(std::size_t server);
    void speak(std::size_t server, std::string_view bytes);  ///< a hostile server's own words
    /// Everything that is under way arrives, in order.
    void settle();

    // ---- what must hold ----
    /// Closes the clients one after the other, each when it has all its answers, and compares.
    void finish();
    const std::string& received(std::size_t client) const { return clients_[client]->received; }
    core::CloseReason reason(std::size_t client) const { return clients_[client]->reason; }
    std::size_t bytes_out() const { return bytes_out_; }
    bool has_statement(std::size_t client, std::string_view name) const {
        return clients_[client]->direct.has_statement(name);
    }
    void disturb(std::size_t client) { clients_[client]->disturbed = true; }

  private:
    static constexpr std::size_t nobody = ~std::size_t{0};

    struct Client {
        std::unique_ptr<core::Relay> relay;
        FakePostgres direct;
        std::string asked;  ///< all that it sent, to be shown when something is wrong
        std::string told_directly;
        std::string inbox;
        std::string received;
        std::size_t server = nobody;
        bool waiting = false;
        bool closed = false;
        bool gone = false;  ///< closed, and no linger keeps its relay
        bool disturbed = false;
        bool hostile = false;  ///< a hostile server spoke to it
        core::CloseReason reason = core::CloseReason::none;
    };
    enum class Phase : std::uint8_t { idle, leased, upkeep, parked, closed };
    struct Server {
        core::Backend state;
        FakePostgres fake;
        Phase phase = Phase::idle;
        std::size_t client = nobody;  ///< who has it or will have it after its upkeep
        std::string pending;          ///< on its way to the server
        std::string answers;          ///< on their way back
        std::optional<core::Upkeep> upkeep;
        std::size_t cancels = 0;
        bool hostile = false;
    };

    void perform(std::size_t client, core::Step step);
    void flush(Client& client);
    std::optional<core::Step> acquire(std::size_t client);
    bool begin_lease(std::size_t server, std::size_t client);
    core::Step granted(std::size_t server, std::size_t client);
    void grant_waiting();
    void release(std::size_t server);
    void make_available(std::size_t server);
    void start_upkeep(std::size_t server, core::Upkeep upkeep, std::string_view sql);
    void on_upkeep_bytes(std::size_t server, std::string_view bytes);
    void close(std::size_t client, core::CloseReason reason);
    void close_server(std::size_t server);
    void deliver(std::size_t server, std::string_view bytes);
    bool settle_once();
    void check_clean(const Server& server, const Client& client) const;
    void check_answers(std::size_t client) const;
    void check_tags(std::size_t client) const;
    bool done(const Client& client) const;
    void dump() const;  ///< where everybody stands, for whoever looks at a finding

    PoolPlan plan_;
    std::shared_ptr<const core::Service> service_;
    core::StatementNamer namer_;
    core::WorkerContext context_;
    core::ServiceCounters counters_;
    std::deque<std::unique_ptr<Client>> clients_;
    std::deque<std::unique_ptr<Server>> servers_;
    std::deque<std::size_t> queue_;
    std::size_t bytes_out_ = 0;
    std::size_t events_ = 0;
};

/// The mark by which a client's own rows are known: no other client may see it.
std::string tag_of(std::size_t client);

/// `service` as the template rewriter sees it.
core::TemplateContext template_context(const core::Service& service);

}  // namespace schemux::fuzz
