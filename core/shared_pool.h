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

#include "core/fair_queue.h"
#include "core/limits.h"
#include "core/share.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace schemux::core {

class SharedPool {
  public:
    SharedPool(std::uint32_t max_connections, std::uint32_t workers);

    /// True while anybody waits anywhere who may have a backend: then a free one goes through
    /// `next_ticket`.
    bool contended() const { return ready_.load(std::memory_order_seq_cst) > 0; }

    /// Uses of backends: begun when one is given to a client's service, here or by `next_ticket`;
    /// ended when the backend is free again or is closed. False: its share may not have one now, or
    /// others wait.
    bool begin_use(std::uint32_t worker, Share& share);
    void end_use(std::uint32_t worker, Share& share);
    /// What the services are entitled to. All of them are told at each reload.
    void configure(const std::vector<std::pair<Share*, SharePolicy>>& shares, Nanoseconds now);

    /// Looks again whose tickets caps and reserves hold back; for now and then.
    void refresh();

    FairQueue::Pushed enqueue(const Ticket& ticket, Nanoseconds now);
    /// False: it was granted already, and the backend is on its way.
    bool withdraw(TicketHandle handle);
    /// Takes out whose turn it is (FairQueue): a use of its share has begun. `last` is the share of
    /// who had the backend before, or null.
    std::optional<Ticket> next_ticket(std::uint64_t label_hash, Share* last, Nanoseconds now);
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
        counts_[worker].idle.store(count, std::memory_order_seq_cst);
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
    struct alignas(64) WorkerCounts {
        std::atomic<std::uint32_t> idle{0};
        std::atomic<std::int32_t> uses{0};  ///< begun less ended here: only the sum means anything
    };

    std::uint32_t free_slots() const;
    void publish();

    mutable std::mutex mutex_;
    FairQueue queue_;
    std::uint32_t minimum_ = 0;
    std::uint32_t connecting_ = 0;
    bool outage_ = false;

    std::atomic<bool> limited_{false};
    std::atomic<std::uint32_t> ready_{0};
    std::atomic<std::uint32_t> waiting_{0};
    // Both are written under the mutex.
    std::atomic<std::uint32_t> open_{0};
    std::atomic<std::uint32_t> maximum_;
    std::unique_ptr<WorkerCounts[]> counts_;
    std::uint32_t workers_;
};

}  // namespace schemux::core
