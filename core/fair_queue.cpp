#include "core/fair_queue.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace schemux::core {

namespace {

/// How far behind the first one another service may be to get a backend that suits it: some times
/// what it takes to give a backend another label. Long leases are not worth a wait of others.
constexpr Nanoseconds affinity{1'000'000};
/// Waits are foretold from the pace of so many tickets in a row, at least.
constexpr std::uint32_t pops_to_foretell = 32;
constexpr std::int64_t interval_smoothing = 16;

double per_weight(Nanoseconds time, const SharePolicy& policy) {
    return static_cast<double>(time.count()) / policy.weight;
}

}  // namespace

// ---- shares ------------------------------------------------------------------------------------

void FairQueue::know(Share& share) {
    if (std::exchange(share.known_, true)) return;
    shares_.push_back(&share);
}

void FairQueue::configure(const std::vector<std::pair<Share*, SharePolicy>>& shares,
                          Nanoseconds now) {
    for (const auto& [share, policy] : shares) {
        know(*share);
        set_paused(*share, policy.paused, now);
        share->policy_ = policy;
        if (policy.weight == 0) share->policy_.weight = 1;
    }
    guaranteed_.clear();
    limited_ = reserving_ = false;
    for (Share* one : shares_) {
        if (one->policy_.guarantee > 0) guaranteed_.push_back(one);
        reserving_ = reserving_ || (one->policy_.reserve && one->policy_.guarantee > 0);
        limited_ = limited_ || one->policy_.cap != SharePolicy::unlimited || one->policy_.paused;
    }
    limited_ = limited_ || reserving_;
    reconsider();
}

void FairQueue::set_paused(Share& share, bool paused, Nanoseconds now) {
    if (share.paused() == paused) return;
    if (!paused) share.resumed_.store(now.count(), std::memory_order_relaxed);
    share.paused_.store(paused, std::memory_order_relaxed);
    share.pops_in_a_row_ = 0;  // the pause says nothing of its pace
}

bool FairQueue::admits(const Share& share) const {
    if (!limited_ && kept_elsewhere_ == 0) return true;
    if (share.policy_.paused) return false;
    const std::uint32_t uses = share.uses();
    if (uses >= share.policy_.cap) return false;
    const bool reserved = share.policy_.reserve && uses < share.policy_.guarantee;
    if (reserved) return true;
    const std::uint32_t all_kept = kept() + kept_elsewhere_;
    return all_kept == 0 || free_slots_ > all_kept;
}

std::uint32_t FairQueue::kept() const {
    std::uint32_t kept = 0;
    for (const Share* share : guaranteed_) {
        const std::uint32_t used = share->uses();
        if (share->policy_.reserve && used < share->policy_.guarantee)
            kept += share->policy_.guarantee - used;
    }
    return kept;
}

bool FairQueue::owes_guarantee() const {
    return std::any_of(guaranteed_.begin(), guaranteed_.end(), [this](const Share* share) {
        return is_ready(*share) && share->uses() < share->policy_.guarantee;
    });
}

std::optional<Nanoseconds> FairQueue::waits_since() const {
    if (heap_.empty()) return {};
    return places_[heap_.front()->head_].ticket.since;
}

std::uint64_t FairQueue::ready_weight() const {
    std::uint64_t weight = 0;
    for (const Share* share : heap_)
        weight += share->policy_.weight;
    return std::max<std::uint64_t>(weight, 1);
}

void FairQueue::renew(Share& share, const SharePolicy& policy) {
    assert(share.waiting_ == 0 && share.uses() == 0);
    know(share);
    share.policy_ = policy;
    share.paused_.store(policy.paused, std::memory_order_relaxed);
    share.charged_.store(0, std::memory_order_relaxed);
    share.had_.store(0, std::memory_order_relaxed);
    share.estimate_.store(Share::estimate_first, std::memory_order_relaxed);
    share.finish_ = 0;
    share.pops_in_a_row_ = 0;
    limited_ = limited_ || policy.cap != SharePolicy::unlimited || policy.paused;
}

void FairQueue::reconsider() {
    looked_at_.assign(heap_.begin(), heap_.end());
    looked_at_.insert(looked_at_.end(), held_.begin(), held_.end());
    for (Share* share : looked_at_)
        reconsider(*share);
}

/// A cap concerns its own share, a reserve all others.
void FairQueue::reconsider_after_use(Share& share) {
    if (reserving_) return reconsider();
    if (limited_ || kept_elsewhere_ > 0) reconsider(share);
}

void FairQueue::reconsider(Share& share) {
    if (share.waiting_ == 0) return;
    const bool admitted = admits(share);
    if (admitted && !is_ready(share)) admit(share);
    if (!admitted && is_ready(share)) hold(share);
}

void FairQueue::admit(Share& share) {
    std::erase(held_, &share);
    ready_ += share.waiting_;
    heap_insert(share);
}

void FairQueue::hold(Share& share) {
    heap_erase(share);
    ready_ -= share.waiting_;
    held_.push_back(&share);
}

/// What it was charged since the last look moves its tags.
void FairQueue::settle(Share& share) {
    const std::int64_t charged = share.charged_.exchange(0, std::memory_order_relaxed);
    if (charged == 0) return;
    share.finish_ = std::max(0.0, share.finish_ + per_weight(Nanoseconds(charged), share.policy_));
    share.start_ = std::max(share.floor_, share.finish_);
    if (is_ready(share)) sift(share.heap_at_);
}

/// Its first ticket came to the front.
void FairQueue::restart(Share& share) {
    if (share.period_ != period_) {
        share.period_ = period_;
        share.charged_.store(0, std::memory_order_relaxed);
        share.finish_ = 0;
    }
    share.floor_ = virtual_now_;
    share.order_ = ++last_order_;
    share.start_ = std::max(share.floor_, share.finish_);
    settle(share);
}

// ---- tickets -----------------------------------------------------------------------------------

FairQueue::Pushed FairQueue::push(const Ticket& ticket, Nanoseconds now) {
    assert(ticket.share != nullptr);
    Share& share = *ticket.share;
    know(share);
    if (share.waiting_ >= share.policy_.queue) return {{}, Refusal::queue_full};
    if (would_be_late(share, ticket, now)) return {{}, Refusal::too_late};
    if (free_places_.empty()) {
        free_places_.push_back(static_cast<std::uint32_t>(places_.size()));
        places_.emplace_back();
    }
    const std::uint32_t index = free_places_.back();
    free_places_.pop_back();
    Place& place = places_[index];
    place.ticket = ticket;
    place.ticket.since = now;
    place.previous = share.tail_;
    place.next = none;
    place.bypassed = 0;
    place.queued = true;
    (share.tail_ == none ? share.head_ : places_[share.tail_].next) = index;
    share.tail_ = index;
    if (waiting_++ == 0) {
        ++period_;
        virtual_now_ = 0;
    }
    if (share.waiting_++ > 0) {
        if (is_ready(share)) ++ready_;
        return {{index, place.generation}};
    }
    restart(share);
    share.bypassed_ = 0;
    share.pops_in_a_row_ = 0;
    if (admits(share)) {
        ++ready_;
        heap_insert(share);
    } else {
        held_.push_back(&share);
    }
    return {{index, place.generation}};
}

Ticket FairQueue::take(std::uint32_t index) {
    Place& place = places_[index];
    assert(place.queued);
    Share& share = *place.ticket.share;
    (place.previous == none ? share.head_ : places_[place.previous].next) = place.next;
    (place.next == none ? share.tail_ : places_[place.next].previous) = place.previous;
    place.queued = false;
    if (++place.generation == 0) place.generation = 1;
    free_places_.push_back(index);
    --waiting_;
    if (is_ready(share)) --ready_;
    if (--share.waiting_ == 0) {
        if (is_ready(share)) {
            heap_erase(share);
        } else {
            std::erase(held_, &share);
        }
    }
    return place.ticket;
}

bool FairQueue::remove(TicketHandle handle) {
    if (handle.generation == 0 || handle.index >= places_.size()) return false;
    const Place& place = places_[handle.index];
    if (!place.queued || place.generation != handle.generation) return false;
    take(handle.index);
    return true;
}

std::vector<Ticket> FairQueue::drain() {
    std::vector<Ticket> tickets;
    for (const Share* share : shares_) {
        while (share->head_ != none)
            tickets.push_back(take(share->head_));
    }
    return tickets;
}

std::optional<Ticket> FairQueue::pop(std::uint64_t label_hash, Share* last, Nanoseconds now) {
    if (heap_.empty()) return {};
    if (last != nullptr && last->waiting_ > 0) settle(*last);
    Share& share = *choose(label_hash, last);
    // Of who is first, and not of who goes ahead of it.
    virtual_now_ = std::max(virtual_now_, heap_.front()->start_);
    note_pop(share, now);
    Ticket ticket = take(choose_place(share, label_hash));
    ticket.prepaid = share.estimate();
    share.begin_use();
    share.finish_ = share.start_ + per_weight(ticket.prepaid, share.policy_);
    share.bypassed_ = 0;
    if (free_slots_ > 0) --free_slots_;
    if (share.waiting_ > 0) {
        restart(share);
        sift(share.heap_at_);
    }
    reconsider_after_use(share);
    return ticket;
}

// ---- the choice --------------------------------------------------------------------------------

Share* FairQueue::choose(std::uint64_t label_hash, Share* last) {
    if (Share* entitled = first_below_guarantee()) return entitled;
    Share* chosen = first();
    if (last == nullptr || last == chosen || !is_ready(*last)) return chosen;
    const auto suits = [&](const Share* share) {
        return places_[share->head_].ticket.label_hash == label_hash;
    };
    if (suits(chosen) || !suits(last) || chosen->bypassed_ >= limits::bypass_max) return chosen;
    if (last->start_ - chosen->start_ > per_weight(affinity, last->policy_)) return chosen;
    ++chosen->bypassed_;
    return last;
}

Share* FairQueue::first_below_guarantee() {
    Share* chosen = nullptr;
    for (Share* share : guaranteed_) {
        if (!is_ready(*share) || share->uses() >= share->policy_.guarantee) continue;
        settle(*share);
        if (chosen == nullptr || before(share, chosen)) chosen = share;
    }
    return chosen;
}

/// Charges only come to light here: whoever seems to be first may not be.
Share* FairQueue::first() {
    while (true) {
        Share* share = heap_.front();
        settle(*share);
        if (heap_.front() == share) return share;
    }
}

std::uint32_t FairQueue::choose_place(Share& share, std::uint64_t label_hash) {
    std::uint32_t chosen = share.head_;
    std::uint32_t index = share.head_;
    for (std::size_t seen = 0; seen < limits::label_window && index != none; ++seen) {
        if (places_[index].ticket.label_hash == label_hash) {
            chosen = index;
            break;
        }
        // Nobody goes past one who was overtaken often enough.
        if (places_[index].bypassed == limits::bypass_max) break;
        index = places_[index].next;
    }
    for (index = share.head_; index != chosen; index = places_[index].next)
        ++places_[index].bypassed;
    return chosen;
}

// ---- predictions -------------------------------------------------------------------------------

void FairQueue::note_pop(Share& share, Nanoseconds now) {
    if (share.pops_in_a_row_ > 0) {
        const Nanoseconds gap = now - share.last_pop_;
        share.interval_ = share.pops_in_a_row_ == 1
                              ? gap
                              : share.interval_ + (gap - share.interval_) / interval_smoothing;
    }
    ++share.pops_in_a_row_;
    share.last_pop_ = now;
}

bool FairQueue::would_be_late(const Share& share, const Ticket& ticket, Nanoseconds now) const {
    if (ticket.patience.count() == 0 || share.pops_in_a_row_ < pops_to_foretell) return false;
    // Nothing was served for a while: it is not the queue that they wait for.
    if (now - share.last_pop_ > ticket.patience) return false;
    return share.interval_ * (share.waiting_ + 1) > ticket.patience;
}

// ---- the heap ----------------------------------------------------------------------------------

bool FairQueue::before(const Share* left, const Share* right) {
    return left->start_ != right->start_ ? left->start_ < right->start_
                                         : left->order_ < right->order_;
}

void FairQueue::put(std::uint32_t at, Share* share) {
    heap_[at] = share;
    share->heap_at_ = at;
}

void FairQueue::heap_insert(Share& share) {
    heap_.push_back(&share);
    share.heap_at_ = static_cast<std::uint32_t>(heap_.size() - 1);
    sift(share.heap_at_);
}

void FairQueue::heap_erase(Share& share) {
    const std::uint32_t at = std::exchange(share.heap_at_, none);
    Share* moved = heap_.back();
    heap_.pop_back();
    if (moved == &share) return;
    put(at, moved);
    sift(at);
}

void FairQueue::sift(std::uint32_t at) {
    Share* share = heap_[at];
    while (at > 0 && before(share, heap_[(at - 1) / 2])) {
        put(at, heap_[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    while (true) {
        std::uint32_t child = 2 * at + 1;
        if (child >= heap_.size()) break;
        if (child + 1 < heap_.size() && before(heap_[child + 1], heap_[child])) ++child;
        if (!before(heap_[child], share)) break;
        put(at, heap_[child]);
        at = child;
    }
    put(at, share);
}

}  // namespace schemux::core
