// The bound over all services and workers, and whose turn it is, for all worker threads. The one
// part of the pool that they share; the only lock of core: an uncontended lease never takes its
// lock.
// It must not know connections or sessions, only numbers: slots, tickets, workers, identities.
//
// A slot is taken before a connect begins and given back when the server's EOF was read: what
// connects, serves, or closes counts, at every instant.
//
// Lost wake-ups: a worker that leaves a backend idle publishes it (`set_idle`) and then asks
// `contended()`; a worker that must wait publishes its ticket and then looks for idle backends
// elsewhere (`idle_elsewhere`). Both are sequentially consistent, so one of them sees the other.
//
// Backends serve their own sub-pool only. When the bound is reached and another one is wanted, a
// backend has to be closed for it (`yields`). Connects are dear, so this is sticky: a sub-pool
// that has any waits for its own first (limits::eviction_patience), and gets another one only from
// a sub-pool that needs it less.
#pragma once

#include "core/fair_queue.h"
#include "core/limits.h"
#include "core/share.h"
#include "core/sub_pool.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace schemux::core {

class SharedPool {
  public:
    SharedPool(std::uint32_t max_connections, std::uint32_t workers);

    /// The one of this identity, for as long as somebody keeps it. Where a sub-pool is asked for
    /// below, null is that of the default identity.
    std::shared_ptr<SubPool> sub_pool(const BackendIdentity& identity);
    const std::shared_ptr<SubPool>& default_sub_pool() const { return default_; }
    std::vector<std::shared_ptr<SubPool>> sub_pools() const;
    /// Whose backends serve it.
    SubPool* of(const Share& share) const { return &at(share.sub_pool()); }
    /// A share for one of many services that come and go; where one is given back, another may
    /// have it later, when nothing of it is in use. `group` counts for all of them, and outlives
    /// them.
    std::shared_ptr<Share> lend_share(const std::shared_ptr<SubPool>& of, const SharePolicy& policy,
                                      Share* group = nullptr);

    /// True while anybody waits anywhere who may have a backend: then a free one goes through
    /// `next_ticket`.
    bool contended() const { return ready_.load(std::memory_order_seq_cst) > 0; }
    bool contended(const SubPool* of) const { return at(of).contended(); }
    /// True when somebody waits who no backend of this one would do for.
    bool others_wait(const SubPool* than) const {
        return ready_.load(std::memory_order_relaxed) >
               at(than).ready_.load(std::memory_order_relaxed);
    }

    /// Uses of backends: begun when one is given to a client's service, here or by `next_ticket`;
    /// ended when the backend is free again or is closed. False: its share may not have one now, or
    /// others wait.
    bool begin_use(std::uint32_t worker, Share& share);
    void end_use(std::uint32_t worker, Share& share);
    /// What the services are entitled to. All of them are told at each reload.
    void configure(const std::vector<std::pair<Share*, SharePolicy>>& shares, Nanoseconds now,
                   bool paused = false);

    /// Looks again whose tickets caps and reserves hold back; for now and then.
    void refresh();

    FairQueue::Pushed enqueue(const Ticket& ticket, Nanoseconds now);
    /// False: it was granted already, and the backend is on its way.
    bool withdraw(TicketHandle handle);
    /// Takes out whose turn it is (FairQueue): a use of its share has begun. `last` is the share of
    /// who had the backend before, or null.
    std::optional<Ticket> next_ticket(std::uint64_t label_hash, Share* last, Nanoseconds now,
                                      SubPool* of = nullptr);
    /// Takes out everybody: nobody can be served.
    std::vector<Ticket> drain_tickets();
    /// The same in one sub-pool.
    std::vector<Ticket> drain_tickets(SubPool& of);

    /// A slot for a connect that somebody waits for (or that `minimum` wants), if the bound, the
    /// number of connects under way and an outage allow it. Null: none. In an outage one is wanted
    /// while there is none: that it is over must be found out though nobody asks.
    std::shared_ptr<SubPool> claim_connect(Nanoseconds now = Nanoseconds(0));
    /// The connect ended: with a backend (the slot stays taken), or without (it is free again).
    void connect_succeeded(SubPool* of = nullptr);
    void connect_failed(SubPool* of = nullptr);
    /// Nobody gets in there now: no connect for it until then, and later each time.
    Nanoseconds rest(SubPool& of, Nanoseconds now);
    /// What kept it out is no more, perhaps.
    void end_rest(SubPool& of);
    /// A connection's end was read: its slot is free. `evicted`: `yields` said so.
    void return_slot(SubPool* of = nullptr, bool evicted = false);

    /// Whether a free backend of this sub-pool is to be closed for another one's sake. True: it
    /// counts as being evicted until `return_slot`.
    bool yields(SubPool* of, Nanoseconds now);
    /// When to look again who could have a connect or an eviction, while one wants it that cannot
    /// have it for now; not later than now: a backend is to be closed for it. None: nobody.
    std::optional<Nanoseconds> next_look(Nanoseconds now) const;

    void set_minimum(std::uint32_t connections);
    void set_maximum(std::uint32_t connections);
    /// While PostgreSQL is away: at most one connect at a time, when the caller says so.
    void set_outage(bool away);
    /// True when more connections are open than the bound (it was lowered) allows.
    bool over_bound() const;

    void set_idle(std::uint32_t worker, std::uint32_t count, const SubPool* of = nullptr) {
        at(of).idle_[worker].count.store(count, std::memory_order_seq_cst);
    }
    /// How many the worker has told.
    std::uint32_t idle_of(std::uint32_t worker, const SubPool* of = nullptr) const {
        return at(of).idle_[worker].count.load(std::memory_order_relaxed);
    }
    /// A worker other than `self` that has idle backends for somebody who waits, or any while
    /// nobody does.
    std::optional<std::uint32_t> idle_elsewhere(std::uint32_t self) const;

    /// False when a connect is out of the question: asked before anybody is woken for one.
    bool may_grow() const {
        return open_.load(std::memory_order_relaxed) < maximum_.load(std::memory_order_relaxed);
    }
    /// More identities than the default one are in use.
    bool is_divided() const { return divided_.load(std::memory_order_relaxed); }
    std::uint32_t open() const { return open_.load(std::memory_order_relaxed); }
    std::uint32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
    std::uint32_t connecting() const;
    std::uint32_t minimum() const { return minimum_.load(std::memory_order_relaxed); }
    std::uint32_t maximum() const { return maximum_.load(std::memory_order_relaxed); }
    std::uint32_t idle() const;
    /// Connections that were closed for another identity's sake.
    std::uint64_t evictions() const { return evictions_.load(std::memory_order_relaxed); }

  private:
    struct alignas(64) WorkerCounts {
        std::atomic<std::int32_t> uses{0};  ///< begun less ended here: only the sum means anything
    };
    SubPool& at(const SubPool* of) const {
        return of == nullptr ? *default_ : const_cast<SubPool&>(*of);
    }
    std::uint32_t free_slots() const;
    std::uint32_t idle_of_all(const SubPool& of) const;
    bool any_rests() const;
    template <class Visit>
    void for_each(Visit visit) const;
    void tell_free_slots();
    void reconsider(Share& share);
    void publish(SubPool& of);
    void forget_unused();
    bool wants_connect(const SubPool& of, Nanoseconds now) const;
    SubPool* neediest(const SubPool* but, Nanoseconds now) const;
    Nanoseconds patience_of(const SubPool& of, Nanoseconds now) const;
    static bool needs_more(const SubPool& left, const SubPool& right);
    static bool may_take(const SubPool& taker, const SubPool& giver);

    mutable std::mutex mutex_;
    const std::shared_ptr<SubPool> default_;
    // All others that are still in use; what is gone is taken out at the next look.
    std::map<BackendIdentity, std::weak_ptr<SubPool>> others_;
    std::uint64_t last_id_ = 0;
    std::uint32_t connecting_ = 0;
    std::uint32_t evicting_ = 0;
    std::optional<Nanoseconds> last_eviction_;
    bool outage_ = false;
    bool paused_ = false;
    bool reserving_ = false;  ///< somebody anywhere

    std::atomic<bool> limited_{false};
    std::atomic<bool> divided_{false};
    std::atomic<std::uint32_t> ready_{0};
    std::atomic<std::uint32_t> waiting_{0};
    std::atomic<std::uint64_t> evictions_{0};
    // These are written under the mutex.
    std::atomic<std::uint32_t> open_{0};
    std::atomic<std::uint32_t> minimum_{0};
    std::atomic<std::uint32_t> maximum_;
    std::unique_ptr<WorkerCounts[]> counts_;
    std::uint32_t workers_;
};

}  // namespace schemux::core
