// One service's part of the pool: what it is entitled to, and what it has had. Lives as long as the
// process, since a reload must not forget who holds backends.
// It must not know services, sessions or connections; who is next is FairQueue's business.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace schemux::core {

using Nanoseconds = std::chrono::nanoseconds;

/// What the configuration says of a service's part.
struct SharePolicy {
    static constexpr std::uint32_t unlimited = ~std::uint32_t{0};

    std::uint32_t weight = 1;         ///< backend-seconds relative to the other services'
    std::uint32_t guarantee = 0;      ///< below so many backends it is served first
    std::uint32_t cap = unlimited;    ///< never more than so many
    std::uint32_t queue = unlimited;  ///< tickets that may wait
    bool reserve = false;             ///< the guarantee is kept free for it, and not lent
    bool paused = false;              ///< nobody of it is served: its clients wait
};

class SubPool;

class Share {
  public:
    Share() = default;
    /// Backends of `sub_pool` serve it, which outlives it; null: those of the default identity.
    explicit Share(SubPool* sub_pool) : sub_pool_(sub_pool) {}

    SubPool* sub_pool() const { return sub_pool_; }
    /// Backends that its clients hold, or were promised.
    std::uint32_t uses() const { return uses_.load(std::memory_order_relaxed); }
    /// Its clients that wait; under the pool's lock.
    std::uint32_t waiting() const { return waiting_; }
    bool paused() const { return paused_.load(std::memory_order_relaxed); }
    /// When it was last paused no more.
    Nanoseconds resumed() const { return Nanoseconds(resumed_.load(std::memory_order_relaxed)); }
    /// About how long one of its leases takes.
    Nanoseconds estimate() const { return Nanoseconds(estimate_.load(std::memory_order_relaxed)); }

    /// All backend time that its clients had, up to the last charge.
    Nanoseconds had() const { return Nanoseconds(had_.load(std::memory_order_relaxed)); }
    /// Backend time that it had. `prepaid` of it was charged when the lease was granted.
    void charge(Nanoseconds had, Nanoseconds prepaid = Nanoseconds(0)) {
        charged_.fetch_add((had - prepaid).count(), std::memory_order_relaxed);
        had_.fetch_add(had.count(), std::memory_order_relaxed);
        if (group_ != nullptr) group_->had_.fetch_add(had.count(), std::memory_order_relaxed);
    }
    /// A lease is over that took so long. Two workers at once may lose one of them: an estimate.
    void note_lease(Nanoseconds took) {
        const std::int64_t last = estimate_.load(std::memory_order_relaxed);
        const std::int64_t next = last + (took.count() - last) / estimate_smoothing;
        estimate_.store(next < estimate_min ? estimate_min : next, std::memory_order_relaxed);
    }

  private:
    friend class FairQueue;
    friend class SharedPool;

    void begin_use() {
        uses_.fetch_add(1, std::memory_order_relaxed);
        if (group_ != nullptr) group_->uses_.fetch_add(1, std::memory_order_relaxed);
    }
    void end_use() {
        uses_.fetch_sub(1, std::memory_order_relaxed);
        if (group_ != nullptr) group_->uses_.fetch_sub(1, std::memory_order_relaxed);
    }

    static constexpr std::int64_t estimate_smoothing = 8;
    static constexpr std::int64_t estimate_min = 20'000;
    static constexpr std::int64_t estimate_first = 1'000'000;
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    alignas(64) std::atomic<std::uint32_t> uses_{0};
    std::atomic<std::int64_t> charged_{0};  ///< ns that `finish_` does not have yet
    std::atomic<std::int64_t> estimate_{estimate_first};
    std::atomic<std::int64_t> had_{0};
    std::atomic<std::int64_t> resumed_{0};
    std::atomic<bool> paused_{false};
    std::atomic<bool> lent_{false};  ///< to a service that comes and goes

    SubPool* sub_pool_ = nullptr;
    Share* group_ = nullptr;  ///< counts for all of its kind; outlives it

    // Under the pool's lock.
    SharePolicy policy_;
    double finish_ = 0;         ///< virtual time up to which it has been served
    double floor_ = 0;          ///< virtual time when its first ticket came to the front
    double start_ = 0;          ///< the later of both: who has the smallest is next
    std::uint64_t period_ = 0;  ///< the busy period that these belong to
    std::uint64_t order_ = 0;   ///< of those with one start tag: who came first
    std::uint32_t head_ = none;
    std::uint32_t tail_ = none;
    std::uint32_t waiting_ = 0;
    std::uint32_t heap_at_ = none;  ///< its place among those who may be served
    std::uint8_t bypassed_ = 0;
    bool known_ = false;  ///< the pool lists it
    // For the prediction of waits.
    Nanoseconds last_pop_{0};
    Nanoseconds interval_{0};
    std::uint32_t pops_in_a_row_ = 0;
};

/// What one backend is held for: begun when it is given to a client, or promised.
class Use {
  public:
    using Time = std::chrono::steady_clock::time_point;

    Use() = default;
    /// `prepaid`: what its share was charged already.
    Use(Share& share, Time now, Nanoseconds prepaid)
        : share_(&share), begun_(now), charged_until_(now), prepaid_(prepaid) {}

    Share* share() const { return share_; }
    /// It goes on: its share is charged up to now.
    void charge(Time now) {
        if (share_ == nullptr) return;
        const Nanoseconds had = now - charged_until_;
        const Nanoseconds paid = std::min(had, prepaid_);
        share_->charge(had, paid);
        prepaid_ -= paid;
        charged_until_ = now;
    }
    /// It is over: what was prepaid in excess goes back.
    void finish(Time now) {
        charge(now);
        share_->charge(Nanoseconds(0), prepaid_);
        share_->note_lease(now - begun_);
    }

  private:
    Share* share_ = nullptr;
    Time begun_{};
    Time charged_until_{};
    Nanoseconds prepaid_{0};
};

}  // namespace schemux::core
