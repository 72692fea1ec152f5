// One logged-in frontend on a worker: its socket and its relay. It performs what the relay decides
// and decides nothing itself.
#pragma once

#include "core/deadline_queue.h"
#include "core/relay.h"
#include "core/shared_pool.h"
#include "daemon/client_counts.h"
#include "daemon/stream_engine.h"

#include <memory>
#include <string>
#include <string_view>

namespace schemux::daemon {

class Worker;
class BackendConnection;

class Session final : public StreamHandler {
  public:
    Session(Worker& worker, core::SessionId id, std::unique_ptr<core::Relay> relay);

    void start(Connection connection, std::string_view first_bytes);

    void on_bytes(std::string_view bytes) override;
    void on_drained() override;
    void on_hang_up() override;
    void on_end(int error) override;

    // From the worker, in its own turn.
    void on_backend_bytes(std::string_view bytes);
    void on_granted(BackendConnection& backend);
    void on_acquire_failed(protocol::ErrorFields error);
    void on_backend_lost();
    /// True: its backend gets a CancelRequest.
    bool on_cancel();
    /// The cancel of its backend is over; `again`: another was asked for meanwhile.
    void on_cancel_end(bool again);
    void on_drain();
    // From the shared listener.
    void on_subscribed(std::uint64_t number, bool late);
    void on_notification(std::string_view message);
    void on_missed();
    /// Its time has come, if it was not put off meanwhile.
    void on_deadline();
    const std::string& service_name() const { return relay_->service().name; }
    /// Names it in the log, to people: the pid of its cancel key, which its driver knows, too.
    std::uint32_t conn_id() const { return relay_->identity().pid; }
    /// Its client went and its backend is still busy: that is ended now.
    void abandon();
    /// … and if it does not end, the backend is closed.
    void give_up();
    bool lingers() const { return relay_->phase() == core::RelayPhase::lingering; }
    /// Whether it has read nothing of what waits for it for `limit` (0: however long).
    enum class Reading : std::uint8_t { all, some, nothing };
    Reading reading(core::TimePoint now, std::chrono::milliseconds limit);
    /// Its time to read begins.
    void begin_reading(core::TimePoint now);
    /// It does not read: as one that has gone.
    void end_stalled();
    /// About what is kept for it here, and what waits for it to read.
    std::size_t kept_bytes() const;
    void end_out_of_memory();
    /// The backend's socket has taken everything.
    void on_backend_drained();

    core::Relay& relay() { return *relay_; }
    const core::Relay& relay() const { return *relay_; }
    core::SessionId id() const { return id_; }
    bool waiting() const { return relay_->phase() == core::RelayPhase::waiting; }
    bool closed() const { return stream_ == nullptr; }

    // For who asks what clients there are.
    const std::string& user() const { return counted_as(CountedBy::user); }
    /// 4 or 16 bytes; empty: a unix socket's.
    const std::string& address() const { return counted_as(CountedBy::address); }
    /// While it is not closed.
    StreamFacts stream_facts() const { return streams_->facts(*stream_); }
    std::size_t unread_bytes() const { return streams_->queued_bytes(*stream_); }
    /// An operator ends it.
    void kill();

    core::TicketHandle ticket;
    ClientPlaces places;
    core::DeadlineQueue::Entry deadline;
    bool listed_for_pin = false;    ///< the worker's list of those that wait for their pin has it
    bool listed_as_behind = false;  ///< the worker's list of those with unread answers has it
    int broken_promises = 0;        ///< backends that ended before this wait's lease began
    std::uint32_t last_backend_pid = 0;
    core::TimePoint opened{};

  private:
    void perform(core::Step step);
    core::Step begin_lease(BackendConnection& backend);
    void flush();
    void tell_pins();
    void apply_backpressure();
    void close(core::CloseReason reason);
    void leave(std::string_view why);
    void remember_tail(std::string_view bytes);
    bool said_terminate() const;
    const std::string& counted_as(CountedBy what) const;

    Worker& worker_;
    Streams* streams_ = nullptr;  ///< the worker's, with TLS or without
    core::SessionId id_;
    std::unique_ptr<core::Relay> relay_;
    Stream* stream_ = nullptr;
    BackendConnection* backend_ = nullptr;
    core::FeatureSet told_pins_;  ///< reasons that the log has
    std::string tail_;            ///< the last bytes it was heard to send, as many as Terminate has
    core::TimePoint last_progress_{};  ///< of a client with unread answers, as far as looked at
    std::uint64_t progress_ = 0;
};

}  // namespace schemux::daemon
