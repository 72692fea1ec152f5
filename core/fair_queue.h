// Who is next for a backend that came free: services share the pool by the backend time that their
// clients have had, by weight (start-time fair queuing; Jin, Chase, Kaur: "Interposed proportional
// sharing for a storage service utility", 2004), those below their guarantee first. Inside a
// service it is first come, first served.
//   virtual time  the start tag of who is first; a service that begins to wait starts there
//   finish tag    moves on by backend time / weight: the estimate when a ticket is served, and what
//                 the lease really took, when it is over or goes on
// Nobody is in debt for what it had while nobody waited. Not work-conserving only for what caps,
// reserves and pauses keep back: then a service's tickets are held, and not ready.
// A backend rather goes to a waiter of the service that had it, if only that one has its label and
// is near the front; nobody is passed so more than limits::bypass_max times.
//
// It must not know threads or clocks: SharedPool locks it, and times are told.
#pragma once

#include "core/limits.h"
#include "core/share.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
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
    Share* share = nullptr;
    Nanoseconds patience{0};  ///< how long it can wait; 0: nobody knows
    Nanoseconds since{0};     ///< set when it is put in
    Nanoseconds prepaid{0};   ///< set when it is served: what its share was charged
};

/// A place in the queue; valid until it was granted or withdrawn.
struct TicketHandle {
    std::uint32_t index = 0;
    std::uint32_t generation = 0;  ///< 0: none
    SubPool* sub_pool = nullptr;   ///< in whose queue it is
};

enum class Refusal : std::uint8_t {
    none,
    queue_full,  ///< SharePolicy::queue tickets wait already
    too_late,    ///< at the pace of the last ones it would wait for longer than it can
};

class FairQueue {
  public:
    struct Pushed {
        TicketHandle handle;
        Refusal refusal = Refusal::none;
    };

    /// `free_slots`: of the bound that are in nobody's use, for reserves; `kept`: of these for the
    /// reserves of other queues.
    void set_free_slots(std::uint32_t free_slots, std::uint32_t kept = 0) {
        free_slots_ = free_slots;
        kept_elsewhere_ = kept;
    }

    Pushed push(const Ticket& ticket, Nanoseconds now);
    bool remove(TicketHandle handle);
    /// Whose turn it is; counts as a use of its share from now on. `last`: the share of who had the
    /// backend, or null.
    std::optional<Ticket> pop(std::uint64_t label_hash, Share* last, Nanoseconds now);
    std::vector<Ticket> drain();

    /// Whether another backend may be used by this share now.
    bool admits(const Share& share) const;
    void configure(const std::vector<std::pair<Share*, SharePolicy>>& shares, Nanoseconds now);
    /// Caps or reserves have changed, or the uses of a share: looks whose tickets are ready.
    void reconsider();
    void reconsider_after_use(Share& share);

    std::uint32_t waiting() const { return waiting_; }
    /// Those who may be given a backend as soon as there is one.
    std::uint32_t ready() const { return ready_; }
    /// Whether any share has a cap or a reserve, or is paused.
    bool limited() const { return limited_; }
    bool reserving() const { return reserving_; }
    /// Backends that are kept free here for those who reserve them.
    std::uint32_t kept() const;
    /// A backend for one of those that are ready would be within what its share is guaranteed.
    bool owes_guarantee() const;
    /// Since when the one who is next has waited; nobody is ready: none.
    std::optional<Nanoseconds> waits_since() const;
    /// Of those that are ready, together; at least 1.
    std::uint64_t ready_weight() const;
    /// It is somebody else's from now on, with nothing of what it was.
    void renew(Share& share, const SharePolicy& policy);

  private:
    struct Place {
        Ticket ticket;
        std::uint32_t generation = 1;
        std::uint32_t previous = none;
        std::uint32_t next = none;
        std::uint8_t bypassed = 0;
        bool queued = false;
    };
    static constexpr std::uint32_t none = Share::none;

    static void set_paused(Share& share, bool paused, Nanoseconds now);
    void reconsider(Share& share);
    void know(Share& share);
    void settle(Share& share);
    void restart(Share& share);
    bool is_ready(const Share& share) const { return share.heap_at_ != none; }
    void admit(Share& share);
    void hold(Share& share);
    Share* choose(std::uint64_t label_hash, Share* last);
    Share* first_below_guarantee();
    Share* first();
    std::uint32_t choose_place(Share& share, std::uint64_t label_hash);
    Ticket take(std::uint32_t index);
    void note_pop(Share& share, Nanoseconds now);
    bool would_be_late(const Share& share, const Ticket& ticket, Nanoseconds now) const;

    static bool before(const Share* left, const Share* right);
    void heap_insert(Share& share);
    void heap_erase(Share& share);
    void sift(std::uint32_t at);
    void put(std::uint32_t at, Share* share);

    std::vector<Place> places_;
    std::vector<std::uint32_t> free_places_;
    std::vector<Share*> shares_;      ///< all that were ever seen
    std::vector<Share*> guaranteed_;  ///< those of them with a guarantee
    std::vector<Share*> heap_;        ///< those with tickets that are ready, by start tag
    std::vector<Share*> held_;        ///< those with tickets that are not
    std::vector<Share*> looked_at_;
    double virtual_now_ = 0;
    std::uint64_t period_ = 0;
    std::uint64_t last_order_ = 0;
    std::uint32_t waiting_ = 0;
    std::uint32_t ready_ = 0;
    std::uint32_t free_slots_ = 0;
    std::uint32_t kept_elsewhere_ = 0;
    bool limited_ = false;
    bool reserving_ = false;
};

}  // namespace schemux::core
