// The one bound that all workers share: how many connections to PostgreSQL there may be, and who
// waits for one. The one thread-safe class of core: an uncontended lease never takes its lock.
// It must not know connections or sessions, only numbers: slots, tickets, workers.
//
// A slot is taken before a connect begins and given back when the server's EOF was read: what
// connects, serves, or closes counts, at every instant.
//
// Lost wake-ups: a worker that leaves a backend idle publishes it (`set_idle`) and then asks
// `contended()`; a worker that must wait publishes its ticket and then looks for idle backends
// elsewhere (`idle_elsewhere`). Both are sequentially consistent, so one of them sees the other.
#pragma once

#include "core/limits.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace schemux::core {

/// Whom a free backend goes to: a session of a worker.
struct SessionId {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(const SessionId&, const SessionId&) = default;
};

struct Ticket {
    std::uint32_t worker = 0;
    SessionId session;
    std::uint64_t label_hash = 0;
};

/// A place in the queue; valid until it was granted or withdrawn.
struct TicketHandle {
    std::uint32_t index = 0;
    std::uint32_t generation = 0;  ///< 0: none
};

class SharedPool {
  public:
    SharedPool(std::uint32_t max_connections, std::uint32_t workers);

    /// True while anybody waits anywhere: then a free backend goes through `next_ticket`.
    bool contended() const { return waiting_.load(std::memory_order_seq_cst) > 0; }

    TicketHandle enqueue(const Ticket& ticket);
    /// False: it was granted already, and the backend is on its way.
    bool withdraw(TicketHandle handle);
    /// Takes out whose turn it is. A waiter whose label fits goes first within a small window, but
    /// nobody is overtaken more than limits::bypass_max times.
    std::optional<Ticket> next_ticket(std::uint64_t label_hash);
    /// Takes out everybody: nobody can be served.
    std::vector<Ticket> drain_tickets();

    /// A slot for a connect that somebody waits for (or that `minimum` wants), if the bound, the
    /// number of connects under way and an outage allow it.
    bool claim_connect();
    /// The connect ended: with a backend (the slot stays taken), or without (it is free again).
    void connect_succeeded();
    void connect_failed();
    /// A connection's end was read: its slot is free.
    void return_slot();

    void set_minimum(std::uint32_t connections);
    void set_maximum(std::uint32_t connections);
    /// While PostgreSQL is away: at most one connect at a time, when the caller says so.
    void set_outage(bool away);
    /// True when more connections are open than the bound (it was lowered) allows.
    bool over_bound() const;

    void set_idle(std::uint32_t worker, std::uint32_t count) {
        idle_[worker].count.store(count, std::memory_order_seq_cst);
    }
    /// A worker other than `self` that has idle backends.
    std::optional<std::uint32_t> idle_elsewhere(std::uint32_t self) const;

    /// False when a connect is out of the question: asked before anybody is woken for one.
    bool may_grow() const {
        return open_.load(std::memory_order_relaxed) < maximum_.load(std::memory_order_relaxed);
    }
    std::uint32_t open() const { return open_.load(std::memory_order_relaxed); }
    std::uint32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
    std::uint32_t connecting() const;
    std::uint32_t maximum() const { return maximum_.load(std::memory_order_relaxed); }
    std::uint32_t idle() const;

  private:
    struct Place {
        Ticket ticket;
        std::uint32_t generation = 1;
        std::uint32_t previous = none;
        std::uint32_t next = none;
        std::uint8_t bypassed = 0;
        bool queued = false;
    };
    static constexpr std::uint32_t none = ~std::uint32_t{0};
    struct alignas(64) IdleCount {
        std::atomic<std::uint32_t> count{0};
    };

    Ticket take(std::uint32_t index);

    mutable std::mutex mutex_;
    std::vector<Place> places_;
    std::vector<std::uint32_t> free_places_;
    std::uint32_t head_ = none;
    std::uint32_t tail_ = none;
    std::uint32_t minimum_ = 0;
    std::uint32_t connecting_ = 0;
    bool outage_ = false;

    std::atomic<std::uint32_t> waiting_{0};
    // Both are written under the mutex.
    std::atomic<std::uint32_t> open_{0};
    std::atomic<std::uint32_t> maximum_;
    std::unique_ptr<IdleCount[]> idle_;
    std::uint32_t workers_;
};

}  // namespace schemux::core
