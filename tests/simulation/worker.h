// The daemon's worker, session and backend connection without sockets and threads: it performs what
// core decides as daemon/session.cpp and daemon/worker_backends.cpp do, line by line where it
// matters. It decides nothing itself, and checks what only it can see: that a backend is clean when
// it is given out.
#pragma once

#include "core/relay.h"
#include "core/shared_pool.h"
#include "core/upkeep.h"
#include "tests/simulation/client.h"
#include "tests/simulation/server.h"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace schemux::simulation {

class Worker;

enum class Phase : std::uint8_t { upkeep, idle, leased, parked, closing };

/// daemon::BackendConnection.
struct Backend {
    explicit Backend(Server& from) : server(&from) {}

    Server* server;
    core::Backend state;
    std::optional<core::Upkeep> upkeep;
    Phase phase = Phase::idle;
    core::SessionId session;
    bool has_session = false;
    bool cancel_again = false;
    int phase_ticks = 0;
    std::uint64_t epoch = 0;
    core::Use use;
    core::Share* last_share = nullptr;
};

/// daemon::Session.
class Session {
  public:
    Session(Worker& worker, core::SessionId id, Client& client, std::unique_ptr<core::Relay> relay);

    void start();
    void read(std::size_t count);  ///< the engine's turn: bytes, the end, or nothing
    void on_drained();
    void on_hang_up();
    void on_backend_bytes(std::string_view bytes);
    void on_granted(Backend& backend);
    void on_acquire_failed(protocol::ErrorFields error);
    void on_backend_lost();
    void on_cancel();
    void on_cancel_end(bool again);
    void on_drain();
    void on_overdue(core::Overdue what) { perform(relay_->on_overdue(what)); }
    void on_backend_drained();

    core::Relay& relay() { return *relay_; }
    const core::Relay& relay() const { return *relay_; }
    Client& client() { return client_; }
    const Client& client() const { return client_; }
    core::SessionId id() const { return id_; }
    bool waiting() const { return relay_->phase() == core::RelayPhase::waiting; }
    bool closed() const { return client_.stream.closed; }
    const Backend* backend() const { return backend_; }
    Worker& worker() { return worker_; }

    core::TicketHandle ticket;
    bool queued = false;  ///< its ticket is in the pool's queue, as far as we know
    bool listed_for_pin = false;
    bool forgotten = false;
    int broken_promises = 0;

  private:
    void perform(core::Step step);
    core::Step begin_lease(Backend& backend);
    void flush();
    void apply_backpressure();
    void close(core::CloseReason reason);
    void note_consumed();
    void refused_with(const protocol::ErrorFields& error);

    Worker& worker_;
    core::SessionId id_;
    Client& client_;
    std::unique_ptr<core::Relay> relay_;
    Backend* backend_ = nullptr;
    std::size_t delivered_ = 0;
};

/// What workers and the control plane share: daemon::SharedState and a little of the daemon.
struct Shared {
    Shared(std::uint32_t max_connections, std::uint32_t workers) : pool(max_connections, workers) {}

    core::SharedPool pool;
    core::StatementNamer namer;
    core::ServiceCounters counters;
    core::TimePoint now{std::chrono::hours(1)};
    std::map<std::uint64_t, core::Settings> welcomes;
    std::string last_failure;
    std::uint64_t epoch = 0;
    std::chrono::milliseconds idle_timeout{600'000};
    bool connector_woken = false;

    struct Cancel {
        std::uint32_t server = 0;
        std::uint32_t client = 0;
        bool arrived = false;
        std::function<void()> done;
    };
    std::deque<Cancel> cancels;

    struct Counts {
        std::size_t leases = 0, upkeeps = 0, migrations = 0, refusals = 0, cancels = 0, killed = 0;
    } counts;
    /// Told of each ticket that is taken out of the queue.
    std::function<void(const core::Ticket&)> note_taken;
    std::optional<core::Ticket> next_ticket(std::uint64_t label_hash, core::Share* last = nullptr) {
        auto ticket = pool.next_ticket(label_hash, last, now.time_since_epoch());
        if (ticket) note_taken(*ticket);
        return ticket;
    }
};

/// daemon::Worker.
class Worker {
  public:
    Worker(std::uint32_t number, Shared& shared);

    /// Work that another thread asked for; done when the schedule says so.
    struct Mail {
        std::function<void()> work;
        std::optional<core::Ticket> ticket;  ///< whose backend is in it
        bool carries_backend = false;
    };
    void post(std::function<void()> work) { mail.push_back({std::move(work), {}, false}); }
    void post_backend(Server& server, core::Settings parameters,
                      std::optional<core::Ticket> ticket);
    void run_mail();

    void set_peers(std::vector<Worker*> peers) { peers_ = std::move(peers); }
    Session& open_session(Client& client);
    Session* session(core::SessionId id);
    void settle();
    void stop_waiting(Session& session);
    void forget(Session& session);
    void tick();
    void post_drain();
    void post_give_up_idle();
    void post_failure(const core::Ticket& ticket, protocol::ErrorFields error);

    Backend* acquire(Session& session);
    void release(Backend& backend);
    void abort(Backend& backend);
    void cancel_backend(Backend& backend);
    void close_backend(Backend& backend);
    void on_backend_bytes(Backend& backend, std::string_view bytes);
    void on_backend_drained(Backend& backend);
    void on_backend_end(Backend& backend);

    core::WorkerContext& context() { return context_; }
    Shared& shared() { return shared_; }
    std::uint32_t number() const { return number_; }
    const std::vector<std::unique_ptr<Session>>& sessions() const { return sessions_; }
    const std::vector<std::unique_ptr<Backend>>& backends() const { return backends_; }
    std::size_t idle_count() const { return idle_.size(); }
    bool has_grant_for(core::SessionId id) const;
    bool has_grants() const { return !grants_.empty(); }

    std::deque<Mail> mail;
    core::TimePoint next_tick;

  private:
    void adopt(std::unique_ptr<Backend> owned, std::optional<core::Ticket> ticket);
    Backend* take_idle(const core::Label& label);
    bool begin_lease(Backend& backend, Session& session);
    void make_available(Backend& backend);
    void end_use(Backend& backend);
    void run_refusals();
    void deliver(Backend& backend, const core::Ticket& ticket);
    void hand_over(Backend& backend, const core::Ticket& ticket);
    void dispatch_idle();
    void seek_idle();
    void start_upkeep(Backend& backend, core::Upkeep upkeep, std::string_view sql);
    void on_upkeep_bytes(Backend& backend, std::string_view bytes);
    void finish_upkeep(Backend& backend);
    void run_grants();
    void free_slot(Backend& backend);
    void requeue(core::SessionId id);
    void refuse_promised(core::SessionId id);
    bool enqueue(Session& session);
    void publish_idle();
    void look_at_deadlines();
    bool waits_on(Session& waiter);
    void refuse_waiter(Session& waiter);
    void look_at_pins();
    void recycle_idle();
    bool worn_out(const Backend& backend) const { return backend.epoch != shared_.epoch; }
    Backend* find(const Server* server);

    const std::uint32_t number_;
    Shared& shared_;
    std::vector<Worker*> peers_;
    core::WorkerContext context_;
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<std::unique_ptr<Backend>> backends_;
    std::vector<std::unique_ptr<Backend>> dead_backends_;
    std::vector<Backend*> idle_;
    std::vector<std::pair<core::SessionId, Backend*>> grants_;
    std::vector<std::pair<core::SessionId, Backend*>> granting_;
    std::vector<std::pair<core::SessionId, core::Refusal>> refusals_;
    std::vector<core::SessionId> waiting_for_pins_;
    bool settling_ = false;
    bool seeks_idle_ = false;
    bool draining_ = false;
    std::uint32_t ticks_ = 0;
};

/// What must hold of a backend at the moment it is given out.
void demand_clean(const Backend& backend, const core::Label& label);

}  // namespace schemux::simulation
