// A worker without sockets: clients, backends and the relay between them. It performs the steps
// that the relay decides on as daemon/session.cpp and daemon/worker_backends.cpp do, and remembers
// who got which bytes. It must not know what is right: that is said by scripts and tests.
#pragma once

#include "core/relay.h"
#include "core/upkeep.h"
#include "tests/support/fake_postgres.h"
#include "tests/support/relay_messages.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core::relay_script {

/// Stands for the text of a full reset in `released_after`.
inline constexpr std::string_view full_reset = "<full reset>";

struct Scene {
    Service service;
    Label label;  ///< of the first client; the others have the base label
    bool known_welcome = true;
    std::size_t backends = 1;
};

Scene with_schema(std::string schema);
Scene two_backends();

/// One client as the daemon sees it.
struct Client {
    std::unique_ptr<Relay> relay;
    int backend = -1;
    std::string inbox;  ///< in the socket, not read yet
    std::string received;
    std::size_t checked = 0;
    bool closed = false;
    bool waiting = false;
    CloseReason reason = CloseReason::none;
};

enum class ServerPhase : std::uint8_t { idle, leased, closed };

/// One backend as the daemon sees it.
struct Server {
    Backend state;
    ServerPhase phase = ServerPhase::idle;
    int client = -1;
    std::string received;
    std::size_t checked = 0;
    std::vector<std::string> upkeep;  ///< texts of our own queries
    std::string stray;                ///< bytes that came while nobody had it
    std::string question;             ///< the relay's, after the settings of its session
    fake::FakePostgres session;       ///< answers that
};

/// Clients, backends and what is between them: a worker without sockets.
class World {
  public:
    explicit World(const Scene& scene);

    Client& client(std::size_t at);
    Server& server(std::size_t at) { return *servers_[at]; }
    std::size_t server_count() const { return servers_.size(); }
    std::size_t client_count() const { return clients_.size(); }
    WorkerContext& context() { return context_; }
    ServiceCounters& counters() { return counters_; }

    void from_frontend(std::size_t client, std::string_view bytes);
    void from_backend(std::size_t server, std::string_view bytes);
    void lose_backend(std::size_t server);
    void close_frontend(std::size_t client);
    CancelOutcome cancel(std::size_t client);
    /// The CancelRequest for its backend is on its way, and has been acted upon.
    void begin_cancel(std::size_t client);
    void end_cancel(std::size_t client);
    /// As `end_cancel`, but the next one is on its way at once.
    void hear_until_cancel(std::size_t client);
    void drain(std::size_t client);
    /// What else a worker asks of a relay.
    void perform_on(std::size_t client, const std::function<Step(Relay&)>& act);
    void grant_waiting();
    void refuse_waiting(const protocol::ErrorFields& error);

    bool hold_grants = false;
    bool hold_questions = false;  ///< questions after settings come as the client's own bytes
    int next_server = -1;         ///< the one to grant next; -1: the first that is free
    /// The answer to our next upkeep Query, in place of a plain success.
    std::optional<std::string> upkeep_answer;

    /// Messages one a line, names of statements as "@n".
    std::string describe(std::string_view bytes);

  private:
    std::string named(std::string_view body);
    void perform(Client& client, Step step);
    void flush(Client& client);
    std::optional<Step> acquire(Client& client);
    void release(std::size_t server);
    void close(Client& client, CloseReason reason);
    void drop(std::size_t server) { server_closed(*servers_[server]); }
    static void server_closed(Server& server);
    void pump(Client& client);
    UpkeepState run_upkeep(Server& server, Upkeep upkeep, const std::string& sql);
    void make_client(const Label& label, bool known_welcome);

    Scene scene_;
    WorkerContext context_;
    StatementNamer namer_;
    ServiceCounters counters_;
    std::shared_ptr<const Service> service_;
    std::deque<std::unique_ptr<Server>> servers_;
    std::deque<Client> clients_;
    std::map<std::string, std::string, std::less<>> names_;
    bool pumping_ = false;
};

/// The complete messages at the front of `bytes`, and what is left behind them.
std::vector<std::string_view> messages_of(std::string_view bytes, std::string_view& rest);

}  // namespace schemux::core::relay_script
