#include "daemon/worker.h"

#include "daemon/log.h"
#include "daemon/statement_log.h"
#include "daemon/worker_lines.h"
#include "protocol/sqlstate.h"

#include <unistd.h>

#include <boost/asio/post.hpp>

#include <utility>

namespace schemux::daemon {

namespace {

constexpr auto tick_length = std::chrono::milliseconds(100);
constexpr std::uint32_t ticks_per_second = 10;
/// Until who is late in spite of what was done is looked at again.
constexpr auto retry_length = std::chrono::milliseconds(1'000);
/// Nothing is won by ending who takes less.
constexpr std::size_t worth_shedding_bytes = 65'536;
constexpr auto paused_wait_max = std::chrono::hours(core::limits::paused_wait_hours_max);
constexpr std::uint64_t version_bits = 48;  ///< of unnamed statements; the rest names the worker

}  // namespace

Worker::Worker(std::uint32_t number, SharedState& shared, ControlPlane& control, IoEngine engine)
    : number_(number),
      shared_(shared),
      control_(control),
      work_(boost::asio::make_work_guard(io_)),
      timer_(io_),
      engine_(make_engine(
          engine, io_, [this] { return context_.now = std::chrono::steady_clock::now(); },
          [this] { return errands_.load() == 0; })),
      tls_streams_(*engine_),
      policy_(shared.process.policy.get()) {
    context_.namer = &shared.namer;
    context_.version = SCHEMUX_VERSION;
    context_.statistics.configure(policy_->statements);
    context_.last_version = std::uint64_t{number} << version_bits;
    context_.now = std::chrono::steady_clock::now();
}

Worker::~Worker() {
    stop();
}

void Worker::start() {
    engine_->start();
    schedule_tick();
    thread_ = std::thread([this] { io_.run(); });
}

void Worker::stop() {
    if (!thread_.joinable()) return;
    begin_errand();
    io_.stop();
    thread_.join();
}

void Worker::begin_errand() {
    errands_.fetch_add(1);
    engine_->wake();
}

/// Runs work that another thread asked for, as one turn of the data plane.
void Worker::run(std::function<void()> work) {
    begin_errand();
    boost::asio::post(io_, [this, work = std::move(work)] {
        end_errand();
        context_.now = std::chrono::steady_clock::now();
        work();
        settle();
    });
}

void Worker::post_failure(const core::Ticket& ticket, protocol::ErrorFields error) {
    run([this, ticket, error = std::move(error)]() mutable {
        Session* waiter = session(ticket.session);
        if (waiter == nullptr || !waiter->waiting()) return;
        // It may wait for something else by now, with a ticket of its own.
        stop_waiting(*waiter);
        waiter->on_acquire_failed(std::move(error));
    });
}

void Worker::post_cancel(core::SessionId id, std::function<void()> acted) {
    run([this, id, acted = std::move(acted)] {
        if (Session* target = session(id)) {
            target->relay().counters().cancels.add();
            target->on_cancel();
        }
        acted();
    });
}

void Worker::post_drain() {
    run([this] {
        draining_ = true;
        sessions_.for_each([](Session& session) { session.on_drain(); });
    });
}

void Worker::post_subscribed(core::SessionId id, std::uint64_t number, bool late) {
    run([this, id, number, late] {
        if (Session* subscriber = session(id)) subscriber->on_subscribed(number, late);
    });
}

void Worker::post_notification(std::vector<core::SessionId> whom,
                               std::shared_ptr<const std::string> message) {
    run([this, whom = std::move(whom), message = std::move(message)] {
        for (const core::SessionId id : whom) {
            if (Session* subscriber = session(id)) subscriber->on_notification(*message);
        }
    });
}

void Worker::post_missed(core::SessionId id) {
    run([this, id] {
        if (Session* subscriber = session(id)) subscriber->on_missed();
    });
}

void Worker::tell_channels(Session& session) {
    if (const auto number = session.relay().take_channels_moved())
        control_.listen({number_, session.id()}, session.relay().channels(), *number);
}

void Worker::post_give_up_idle() {
    run([this] { seek_idle(); });
}

void Worker::post_question(std::function<void(Worker&)> ask) {
    run([this, ask = std::move(ask)] { ask(*this); });
}

void Worker::post_shed() {
    run([this] { shed(); });
}

/// One at a time: the next look tells whether that was enough.
void Worker::shed() {
    Session* largest = nullptr;
    std::size_t most = worth_shedding_bytes;
    sessions_.for_each([&](Session& session) {
        const std::size_t bytes = session.kept_bytes();
        if (bytes <= most) return;
        largest = &session;
        most = bytes;
    });
    if (largest == nullptr) return;
    counters_.clients_shed.add();
    log_event(LogLevel::warning, "client_shed",
              {{"service", largest->service_name()},
               {"conn_id", largest->conn_id()},
               {"kept_bytes", most}});
    largest->end_out_of_memory();
}

core::ServiceCounters& Worker::counters_for(std::size_t service_index) {
    if (service_index >= service_counters_.size() || !service_counters_[service_index]) {
        const std::lock_guard lock(service_counters_mutex_);
        if (service_index >= service_counters_.size()) {
            service_counters_.resize(service_index + 1);
        }
        service_counters_[service_index] = std::make_unique<core::ServiceCounters>();
    }
    return *service_counters_[service_index];
}

void Worker::visit_counters(
    const std::function<void(std::size_t, const core::ServiceCounters&)>& visit) const {
    const std::lock_guard lock(service_counters_mutex_);
    for (std::size_t index = 0; index < service_counters_.size(); ++index) {
        if (service_counters_[index]) visit(index, *service_counters_[index]);
    }
}

Streams& Worker::streams_for(const Connection& connection) {
    if (connection.tls) return tls_streams_;
    return *engine_;
}

void Worker::post_session(NewSession&& from) {
    run([this, fresh = std::make_shared<NewSession>(std::move(from))] {
        open_session(std::move(*fresh));
    });
}

void Worker::open_session(NewSession&& from) {
    context_.now = std::chrono::steady_clock::now();
    const core::SessionId id = sessions_.reserve();
    const CancelRegistry::Key key =
        shared_.process.cancels.add({shared_.place.first_worker + number_, id}, from.long_key);
    core::ServiceCounters& counters = counters_for(from.service->index);
    core::Relay::Identity identity;
    identity.pid = key.pid;
    identity.secret = key.secret;
    identity.private_key = std::to_string(key.pid) + ":" + key.secret;
    auto relay = std::make_unique<core::Relay>(context_, std::move(from.service), counters,
                                               std::move(from.label), std::move(identity));
    counters.clients.add();
    counters.logins.add();
    session_count_.fetch_add(1, std::memory_order_relaxed);
    auto session = std::make_unique<Session>(*this, id, std::move(relay));
    session->places = std::move(from.places);
    session->opened = context_.now;
    Session& opened = *session;
    sessions_.set(id, std::move(session));
    log_event(LogLevel::debug, "client_opened",
              {{"service", opened.service_name()},
               {"conn_id", opened.conn_id()},
               {"user", from.user},
               {"address", from.address}});
    context_.to_frontend.generate([&](std::string& out) { out.append(from.reply); });
    opened.start(std::move(from.connection), from.first_bytes);
    if (draining_ && !opened.closed()) opened.on_drain();
    settle();
}

void Worker::stop_waiting(Session& session) {
    if (session.ticket.generation == 0) return;
    shared_.pool.withdraw(session.ticket);
    session.ticket = {};
}

void Worker::note_closed(Session& session, std::string_view why) {
    const bool usual = why == core::name_of(core::CloseReason::client_terminated);
    session.relay().counters().clients.subtract();
    log_event(usual ? LogLevel::debug : LogLevel::info, "client_closed",
              {{"service", session.service_name()},
               {"conn_id", session.conn_id()},
               {"reason", why},
               {"age_s", seconds_of(context_.now - session.opened)}});
}

/// Its memory goes when this turn is over: calls of its own may be on the stack.
void Worker::forget(Session& session) {
    if (sessions_.find(session.id()) != &session) return;
    shared_.process.cancels.remove(session.relay().identity().pid);
    deadlines_.disarm(session.deadline);
    // Or it has ended them and gone in one turn.
    const bool ended = session.relay().take_channels_moved().has_value();
    if (ended || !session.relay().channels().empty())
        control_.listen({number_, session.id()}, {}, 0);
    // Who never had a backend will not be asked for.
    if (session.last_backend_pid != 0) history_.add(past_client(session));
    session_count_.fetch_sub(1, std::memory_order_relaxed);
    shared_.process.connections.fetch_sub(1);
    dead_sessions_.push_back(sessions_.remove(session.id()));
}

/// The end of a turn: leases that came free in it begin now, and what has died is buried.
void Worker::settle() {
    if (settling_) return;
    settling_ = true;
    // Each may lead to the other.
    while (!grants_.empty() || !refusals_.empty() || seeks_idle_) {
        run_grants();
        run_refusals();
        if (std::exchange(seeks_idle_, false)) seek_idle();
    }
    if (context_.changes_databases != nullptr) leave_databases();
    dead_sessions_.clear();
    dead_backends_.clear();
    settling_ = false;
}

void Worker::schedule_tick() {
    timer_.expires_after(tick_length);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (error) return;
        tick();
        schedule_tick();
    });
}

void Worker::tick() {
    context_.now = std::chrono::steady_clock::now();
    context_.memory_short =
        shared_.process.memory.load(std::memory_order_relaxed) != MemoryState::enough;
    look_at_deadlines();
    look_at_pins();
    charge_uses();
    if (++ticks_ % ticks_per_second == 0) {
        policy_ = shared_.process.policy.get();
        context_.statistics.configure(policy_->statements);
        engine_->reap();
        recycle_idle();
        look_at_lingering();
        look_at_unread();
        look_at_leases();
    }
    // A ticket that arrived while a backend was on its way elsewhere finds it here at the latest.
    dispatch_idle();
    settle();
}

/// An entry that is early costs a look in vain; one that is late would cost the client its time.
void Worker::watch_deadline(Session& session) {
    const core::TimePoint when = session.relay().deadline().when;
    if (when < session.deadline.when()) deadlines_.arm(session.deadline, session.id(), when);
}

/// First all of them, then what becomes of them: a session that was refused may wait again at once.
void Worker::look_at_deadlines() {
    due_.clear();
    deadlines_.take_due(context_.now, due_);
    for (const core::SessionId id : due_) {
        Session* late = session(id);
        if (late == nullptr) continue;
        late->on_deadline();
        late = session(id);
        if (late == nullptr) continue;
        // What goes on in spite of it is looked at again, but not at once.
        if (late->relay().deadline().when <= context_.now) {
            deadlines_.arm(late->deadline, id, context_.now + retry_length);
        } else {
            watch_deadline(*late);
        }
    }
}

void Worker::watch_pin(Session& session) {
    if (std::exchange(session.listed_for_pin, true)) return;
    waiting_for_pins_.push_back(session.id());
}

/// Those who wait for their pin, and for a backend only behind that.
void Worker::look_at_pins() {
    const auto waiting = std::exchange(waiting_for_pins_, {});
    for (const core::SessionId id : waiting) {
        Session* waiter = session(id);
        if (waiter == nullptr) continue;
        waiter->listed_for_pin = false;
        if (!waiter->waiting() || !waiter->relay().awaits_pin()) continue;
        if (BackendConnection* backend = acquire(*waiter)) waiter->on_granted(*backend);
    }
}

void Worker::watch_reading(Session& session) {
    if (std::exchange(session.listed_as_behind, true)) return;
    behind_.push_back(session.id());
    session.begin_reading(context_.now);
}

/// Ends the clients that do not read.
void Worker::look_at_unread() {
    std::vector<core::SessionId> stalled;
    std::erase_if(behind_, [&](core::SessionId id) {
        Session* reader = session(id);
        if (reader == nullptr) return true;
        switch (reader->reading(context_.now, policy_->client_stall_timeout)) {
            case Session::Reading::some:
                return false;
            case Session::Reading::nothing:
                stalled.push_back(id);
                return true;
            case Session::Reading::all:
                break;
        }
        reader->listed_as_behind = false;
        return true;
    });
    for (const core::SessionId id : stalled) {
        if (Session* reader = session(id)) reader->end_stalled();
    }
}

/// Who has a backend for long is told of.
void Worker::look_at_leases() {
    backends_.for_each([this](BackendConnection& backend) {
        Session* holder = backend.has_session ? session(backend.session) : nullptr;
        if (holder != nullptr) log_long_lease(holder->relay());
    });
}

/// Long leases are charged while they last: nobody who waits has to wait for their end to be served
/// before their service is.
void Worker::charge_uses() {
    backends_.for_each([this](BackendConnection& backend) { backend.use.charge(context_.now); });
    shared_.pool.refresh();
    if (shared_.pool.contended() && shared_.pool.may_grow()) control_.wake_connector();
}

void Worker::run_refusals() {
    const auto refusals = std::exchange(refusals_, {});
    for (const auto& [id, why] : refusals) {
        Session* waiter = session(id);
        if (waiter != nullptr && waiter->waiting()) refuse_at_once(*waiter, why);
    }
}

/// It was not even queued.
void Worker::refuse_at_once(Session& waiter, core::Refusal why) {
    protocol::ErrorFields error = protocol::make_error(
        protocol::sqlstate::too_many_connections,
        why == core::Refusal::queue_full
            ? "too many clients of this service wait for a connection to PostgreSQL"
            : "no connection to PostgreSQL would become free in time");
    const std::string name = "service \"" + waiter.service_name() + '"';
    if (why == core::Refusal::queue_full) {
        error.detail = "The queue of " + name + " is full.";
        error.hint = "Raise pool.queue of the service, or shorten its transactions.";
    } else {
        error.detail = "At the pace of the last ones the wait of " + name +
                       " would be longer than its acquire_timeout.";
        error.hint =
            "Shorten its transactions, or raise pool.max_connections, or pool.weight or "
            "pool.guarantee of the service.";
    }
    waiter.relay().counters().queue_refusals.add();
    waiter.on_acquire_failed(std::move(error));
}

/// Whose service was paused has its whole time again from then on.
bool Worker::waits_on(Session& waiter) {
    const core::Share& share = *waiter.relay().service().share;
    const core::TimePoint resumed{
        std::chrono::duration_cast<core::TimePoint::duration>(share.resumed())};
    const auto limit = waiter.relay().service().acquire_timeout;
    if (context_.now - waiter.relay().waiting_since() > paused_wait_max) return false;
    const bool lately = share.resumed().count() > 0 && context_.now - resumed < limit;
    if (!share.paused() && !lately) return false;
    waiter.relay().wait_on(share.paused() ? context_.now : resumed);
    return true;
}

void Worker::refuse_waiter(Session& waiter) {
    if (!waiter.relay().awaits_pin() && waits_on(waiter)) return;
    const bool promised = waiter.ticket.generation == 0;
    stop_waiting(waiter);
    if (waiter.relay().awaits_pin()) return waiter.on_acquire_failed(waiter.relay().pin_refusal());
    protocol::ErrorFields error;
    const std::string failure = shared_.last_failure.get();
    if (promised) {
        error.sqlstate = protocol::sqlstate::connection_failure;
        error.message = "PostgreSQL does not answer";
        error.detail = "A connection to it was to be made ready for this client.";
        error.hint = "Nothing of the client's was sent; it may try again.";
    } else if (failure.empty()) {
        const auto waited = std::chrono::duration<double>(waiter.relay().service().acquire_timeout);
        error.sqlstate = protocol::sqlstate::too_many_connections;
        error.message = "no connection to PostgreSQL became free in time";
        error.detail = "Waited " + std::to_string(waited.count()).substr(0, 5) +
                       " s; the pool of " + std::to_string(shared_.pool.maximum()) +
                       " connections is in use.";
        error.hint = "Shorten transactions, or raise pool.max_connections or pool.acquire_timeout.";
    } else {
        error.sqlstate = protocol::sqlstate::connection_failure;
        error.message = "could not connect to PostgreSQL";
        error.detail = failure;
        error.hint =
            "schemux goes on trying; check that PostgreSQL runs and that backend.dsn is right.";
    }
    waiter.relay().counters().acquire_timeouts.add();
    waiter.on_acquire_failed(std::move(error));
}

}  // namespace schemux::daemon
