// One thread of the data plane: its io_context, its stream engine, its sessions and the backends
// that are with it now. Other threads reach it through the `post_…` functions only.
// worker.cpp: the thread, sessions, time. worker_backends.cpp: leases. worker_upkeep.cpp: what is
// done to backends between them. worker_endings.cpp: cancels, clients that went, backends that end.
#pragma once

#include "core/audit.h"
#include "core/counters.h"
#include "core/deadline_queue.h"
#include "core/listener.h"
#include "core/relay.h"
#include "daemon/backend_connection.h"
#include "daemon/client_counts.h"
#include "daemon/io_engine.h"
#include "daemon/lease_history.h"
#include "daemon/session.h"
#include "daemon/shared_state.h"
#include "daemon/slot_table.h"
#include "daemon/tls_streams.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace schemux::daemon {

/// How a CancelRequest to PostgreSQL ended.
enum class CancelEnd : std::uint8_t {
    acted,     ///< the server closed the connection: whatever it was to hit has been hit
    not_sent,  ///< it never reached the server
    unknown,   ///< sent, but the server did not close in time: it may still strike
};

/// What a worker asks of the control thread; both return at once.
class ControlPlane {
  public:
    virtual ~ControlPlane() = default;
    /// Somebody waits, or a slot came free: see whether a connect is due.
    virtual void wake_connector() = 0;
    /// It refused to write: it may be no primary any more.
    virtual void doubt_server(const SocketAddress& address) = 0;
    /// `who` listens on these channels from now on (core/listener.h).
    virtual void listen(const core::Subscriber& who, std::vector<std::string> channels,
                        std::uint64_t number) = 0;
    /// Sends a CancelRequest; `done` is called on the control thread when it has ended.
    virtual void send_cancel(const SocketAddress& address, std::uint32_t pid, std::string secret,
                             std::function<void(CancelEnd)> done) = 0;
};

/// Counters of the worker as a whole, for the metrics.
struct WorkerCounters {
    core::Counter backends_closed;
    core::Counter desyncs;
    core::Counter upkeep_failures;
    core::Counter audits;
    std::array<core::Counter, core::audit_kind_count> audit_findings;
    core::Counter migrations;
    core::Counter backends_outgrown;
    core::Counter clients_shed;
    core::Counter backends_leased;  ///< gauge
    core::Counter backends_upkeep;  ///< gauge
};

/// A frontend that has logged in, on its way to a worker.
struct NewSession {
    Connection connection;
    std::shared_ptr<const core::Service> service;
    core::Label label;
    std::string reply;        ///< to be sent first: AuthenticationOk and what goes before it
    std::string first_bytes;  ///< what the client sent behind its startup packet
    bool long_key = false;    ///< it speaks protocol 3.2
    ClientPlaces places;      ///< where it counts as a client
    std::string user;         ///< and `address`: for the log
    std::string address;
};

class Worker {
  public:
    Worker(std::uint32_t number, SharedState& shared, ControlPlane& control,
           IoEngine engine = IoEngine::epoll);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void start();
    void stop();

    // Thread-safe.
    boost::asio::io_context& io() { return io_; }
    /// Something on the io_context wants the thread, until `end_errand`: the engine does not
    /// linger over its streams meanwhile.
    void begin_errand();
    void end_errand() { errands_.fetch_sub(1, std::memory_order_relaxed); }
    void set_peers(std::vector<Worker*> peers) { peers_ = std::move(peers); }
    void post_session(NewSession&& from);
    void post_backend(NewBackend&& backend, std::optional<core::Ticket> ticket);
    void post_failure(const core::Ticket& ticket, protocol::ErrorFields error);
    /// `acted`: called on this worker's thread when nothing that the client sends from then on can
    /// be hit.
    void post_cancel(core::SessionId id, std::function<void()> acted);
    void post_drain();
    void post_subscribed(core::SessionId id, std::uint64_t number, bool late);
    void post_notification(std::vector<core::SessionId> whom,
                           std::shared_ptr<const std::string> message);
    void post_missed(core::SessionId id);
    void post_give_up_idle();
    /// Closes idle backends whose slots other identities need more (SharedPool::yields).
    void post_yield_idle();
    /// Closes idle backends of other databases than this one.
    void post_leave_databases(const std::string& but);
    /// Ends the client that takes the most memory.
    void post_shed();
    /// Something is to be known of this worker; on its thread, as one turn.
    void post_question(std::function<void(Worker&)> ask);
    /// Of any identity.
    bool has_idle() const { return idle_count_.load(std::memory_order_relaxed) > 0; }
    std::uint32_t session_count() const { return session_count_.load(std::memory_order_relaxed); }
    const WorkerCounters& counters() const { return counters_; }
    /// Calls `visit(service index, counters)` for every service this worker has served.
    void visit_counters(
        const std::function<void(std::size_t, const core::ServiceCounters&)>& visit) const;
    std::uint32_t number() const { return number_; }
    /// Its place among all (ClusterPlace).
    std::size_t cluster() const { return shared_.place.index; }

    // On the worker's own thread.
    void open_session(NewSession&& from);
    StreamEngine& engine() { return *engine_; }
    Streams& streams_for(const Connection& connection);
    core::WorkerContext& context() { return context_; }
    /// What the statements of its clients have cost.
    const core::StatementStats& statements() const { return context_.statistics; }
    WelcomeCache& welcomes() { return shared_.welcomes; }
    const core::SubPool& sub_pool_of(const core::Service& service) const {
        return *shared_.pool.of(*service.share);
    }
    Session* session(core::SessionId id) { return sessions_.find(id); }
    const SlotTable<Session>& sessions() const { return sessions_; }
    const SlotTable<BackendConnection>& backends() const { return backends_; }
    const LeaseHistory& history() const { return history_; }
    /// It goes as soon as it comes free.
    bool outdated(const BackendConnection& backend) const;
    void settle();
    /// What it listens on has changed: the shared listener is told.
    void tell_channels(Session& session);
    /// An operator ends those clients; how many there were.
    std::size_t kill_if(const std::function<bool(const Session&)>& wanted);
    void stop_waiting(Session& session);
    void refuse_waiter(Session& waiter);
    /// To be called whenever a session may have come under a new deadline.
    void watch_deadline(Session& session);
    void forget(Session& session);
    /// `why`: for the log, empty where there is nothing to tell.
    void note_closed(Session& session, std::string_view why);
    /// A client with answers that it has not read yet.
    void watch_reading(Session& session);

    // worker_backends.cpp, worker_endings.cpp
    /// A backend for this session, ready now; or nullptr, and it is granted or refused later.
    BackendConnection* acquire(Session& session);
    void release(BackendConnection& backend);
    void abort(BackendConnection& backend);
    /// `why`: what it sent, as a fixed text.
    void poison(BackendConnection& backend, std::string_view why);
    void cancel_backend(BackendConnection& backend);
    void begin_linger(BackendConnection& backend, bool abandoned);
    void on_cancel_end(core::SessionId id, CancelEnd end);
    void close_backend(BackendConnection& backend, std::string_view reason);
    void on_upkeep_bytes(BackendConnection& backend, std::string_view bytes);
    void on_backend_end(BackendConnection& backend);

  private:
    void tick();
    void schedule_tick();
    void look_at_deadlines();
    void watch_pin(Session& session);
    void look_at_pins();
    void look_at_unread();
    void look_at_leases();
    void shed();
    core::ServiceCounters& counters_for(std::size_t service_index);
    void run(std::function<void()> work);

    void adopt(std::unique_ptr<BackendConnection> owned, std::optional<core::Ticket> ticket);
    BackendConnection* take_idle(const Session& session);
    std::optional<std::size_t> choose_idle(const Session& session) const;
    std::optional<std::size_t> choose_another(const Session& session,
                                              const core::SubPool* own) const;
    std::size_t choose_by_service(std::size_t service, std::span<const std::size_t> places) const;
    void put_in(BackendConnection& backend, std::optional<std::size_t> at = {});
    void take_out(std::size_t place);
    bool yield(BackendConnection& backend);
    void yield_idle();
    void leave_databases();
    bool is_to_leave(const BackendConnection& backend) const;
    void remove_idle(BackendConnection& backend);
    bool begin_lease(BackendConnection& backend, Session& session);
    void make_available(BackendConnection& backend);
    void end_use(BackendConnection& backend);
    void end_lease(const BackendConnection& backend);
    void charge_uses();
    bool enqueue(Session& session);
    std::optional<core::Ticket> next_ticket(const BackendConnection& backend);
    void refuse_at_once(Session& waiter, core::Refusal why);
    void run_refusals();
    bool audit_is_due(const BackendConnection& backend, bool fully_reset);
    void note_last_service(BackendConnection& backend);
    void audit(BackendConnection& backend);
    bool quarantine(BackendConnection& backend, const core::Upkeep& upkeep);
    void deliver(BackendConnection& backend, const core::Ticket& ticket);
    void hand_over(BackendConnection& backend, const core::Ticket& ticket);
    void dispatch_idle();
    void seek_idle();
    void start_upkeep(BackendConnection& backend, core::Upkeep upkeep);
    void finish_upkeep(BackendConnection& backend);
    void give_up_upkeep(BackendConnection& backend);
    void run_grants();
    void free_slot(BackendConnection& backend);
    void requeue(core::SessionId id);
    void refuse_promised(core::SessionId id);
    void recycle_idle();
    void look_at_lingering();
    bool worn_out(const BackendConnection& backend) const;
    bool is_doubtful(const BackendConnection& backend) const;
    bool measure_is_due(const BackendConnection& backend) const;
    void measure(BackendConnection& backend);
    void note_measured(const core::Upkeep& upkeep);
    static bool upkeep_is_late(BackendConnection& backend);
    void close_silent(core::TimePoint since);
    bool waits_on(Session& waiter);

    const std::uint32_t number_;
    SharedState& shared_;
    ControlPlane& control_;
    std::vector<Worker*> peers_;

    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
    boost::asio::steady_timer timer_;
    std::unique_ptr<StreamEngine> engine_;
    TlsStreams tls_streams_;
    std::thread thread_;

    core::WorkerContext context_;
    SlotTable<Session> sessions_;
    SlotTable<BackendConnection> backends_;
    std::vector<BackendConnection*> idle_;  ///< the last one in is the first one out
    std::vector<std::pair<core::SessionId, BackendConnection*>> grants_;
    std::vector<std::pair<core::SessionId, BackendConnection*>> granting_;
    std::vector<std::pair<core::SessionId, core::Refusal>> refusals_;
    core::DeadlineQueue deadlines_;
    LeaseHistory history_;
    std::vector<core::SessionId> due_;
    std::vector<core::SessionId> waiting_for_pins_;
    std::vector<core::SessionId> behind_;
    std::vector<std::unique_ptr<Session>> dead_sessions_;
    std::vector<std::unique_ptr<BackendConnection>> dead_backends_;
    std::shared_ptr<const Policy> policy_;
    bool settling_ = false;
    bool seeks_idle_ = false;  ///< what ended may let somebody in who was held back
    bool draining_ = false;
    std::uint32_t ticks_ = 0;
    std::uint64_t releases_ = 0;  ///< for the audit sampler
    core::TimePoint measure_after_{};
    core::TimePoint left_databases_{};  ///< when a client of ours made others leave
    /// Until then nobody rests in another database than this one.
    core::TimePoint leaves_until_{};
    std::string leaves_all_but_;

    std::atomic<std::uint32_t> session_count_{0};
    std::atomic<std::uint32_t> errands_{0};
    std::atomic<std::uint32_t> idle_count_{0};
    WorkerCounters counters_;
    mutable std::mutex service_counters_mutex_;  ///< for growth, not for counting
    std::vector<std::unique_ptr<core::ServiceCounters>> service_counters_;
};

}  // namespace schemux::daemon
