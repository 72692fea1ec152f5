#include "core/shared_pool.h"

#include <cassert>

namespace schemux::core {

SharedPool::SharedPool(std::uint32_t max_connections, std::uint32_t workers)
    : maximum_(max_connections),
      counts_(std::make_unique<WorkerCounts[]>(workers)),
      workers_(workers) {}

/// Under the lock: slots of the bound that nobody's client holds or was promised.
std::uint32_t SharedPool::free_slots() const {
    std::int64_t uses = 0;
    for (std::uint32_t worker = 0; worker < workers_; ++worker)
        uses += counts_[worker].uses.load(std::memory_order_relaxed);
    const std::int64_t free = static_cast<std::int64_t>(maximum()) - uses;
    return free > 0 ? static_cast<std::uint32_t>(free) : 0;
}

void SharedPool::publish() {
    waiting_.store(queue_.waiting(), std::memory_order_relaxed);
    ready_.store(queue_.ready(), std::memory_order_seq_cst);
}

bool SharedPool::begin_use(std::uint32_t worker, Share& share) {
    if (contended()) return false;
    if (limited_.load(std::memory_order_relaxed)) {
        const std::lock_guard lock(mutex_);
        queue_.set_free_slots(free_slots());
        if (!queue_.admits(share)) return false;
        share.uses_.fetch_add(1, std::memory_order_relaxed);
        counts_[worker].uses.fetch_add(1, std::memory_order_relaxed);
        return true;
    }
    share.uses_.fetch_add(1, std::memory_order_relaxed);
    counts_[worker].uses.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void SharedPool::end_use(std::uint32_t worker, Share& share) {
    share.uses_.fetch_sub(1, std::memory_order_relaxed);
    counts_[worker].uses.fetch_sub(1, std::memory_order_relaxed);
    if (!limited_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    queue_.set_free_slots(free_slots());
    queue_.reconsider_after_use(share);
    publish();
}

void SharedPool::refresh() {
    if (!limited_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    queue_.set_free_slots(free_slots());
    queue_.reconsider();
    publish();
}

void SharedPool::configure(const std::vector<std::pair<Share*, SharePolicy>>& shares,
                           Nanoseconds now) {
    const std::lock_guard lock(mutex_);
    queue_.set_free_slots(free_slots());
    queue_.configure(shares, now);
    limited_.store(queue_.limited(), std::memory_order_relaxed);
    publish();
}

FairQueue::Pushed SharedPool::enqueue(const Ticket& ticket, Nanoseconds now) {
    const std::lock_guard lock(mutex_);
    if (queue_.limited()) queue_.set_free_slots(free_slots());
    const FairQueue::Pushed pushed = queue_.push(ticket, now);
    publish();
    return pushed;
}

bool SharedPool::withdraw(TicketHandle handle) {
    const std::lock_guard lock(mutex_);
    const bool removed = queue_.remove(handle);
    publish();
    return removed;
}

std::optional<Ticket> SharedPool::next_ticket(std::uint64_t label_hash, Share* last,
                                              Nanoseconds now) {
    const std::lock_guard lock(mutex_);
    if (queue_.limited()) queue_.set_free_slots(free_slots());
    const std::optional<Ticket> ticket = queue_.pop(label_hash, last, now);
    if (ticket) counts_[ticket->worker].uses.fetch_add(1, std::memory_order_relaxed);
    publish();
    return ticket;
}

std::vector<Ticket> SharedPool::drain_tickets() {
    const std::lock_guard lock(mutex_);
    std::vector<Ticket> tickets = queue_.drain();
    publish();
    return tickets;
}

bool SharedPool::claim_connect() {
    const std::lock_guard lock(mutex_);
    const std::uint32_t open = open_.load(std::memory_order_relaxed);
    if (open >= maximum()) return false;
    const std::uint32_t parallel =
        outage_ ? 1 : static_cast<std::uint32_t>(limits::parallel_connects_max);
    if (connecting_ >= parallel) return false;
    const bool wanted = queue_.ready() > connecting_ || open < minimum_;
    if (!wanted) return false;
    ++connecting_;
    open_.store(open + 1, std::memory_order_relaxed);
    return true;
}

void SharedPool::connect_succeeded() {
    const std::lock_guard lock(mutex_);
    assert(connecting_ > 0);
    --connecting_;
}

void SharedPool::connect_failed() {
    const std::lock_guard lock(mutex_);
    assert(connecting_ > 0 && open_ > 0);
    --connecting_;
    open_.fetch_sub(1, std::memory_order_relaxed);
}

void SharedPool::return_slot() {
    const std::lock_guard lock(mutex_);
    assert(open_ > 0);
    open_.fetch_sub(1, std::memory_order_relaxed);
}

void SharedPool::set_minimum(std::uint32_t connections) {
    const std::lock_guard lock(mutex_);
    minimum_ = connections;
}

void SharedPool::set_maximum(std::uint32_t connections) {
    const std::lock_guard lock(mutex_);
    maximum_.store(connections, std::memory_order_relaxed);
    queue_.set_free_slots(free_slots());
    queue_.reconsider();
    publish();
}

void SharedPool::set_outage(bool away) {
    const std::lock_guard lock(mutex_);
    outage_ = away;
}

bool SharedPool::over_bound() const {
    const std::lock_guard lock(mutex_);
    return open_.load(std::memory_order_relaxed) > maximum();
}

std::uint32_t SharedPool::connecting() const {
    const std::lock_guard lock(mutex_);
    return connecting_;
}

std::uint32_t SharedPool::idle() const {
    std::uint32_t all = 0;
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
        all += counts_[worker].idle.load(std::memory_order_relaxed);
    }
    return all;
}

std::optional<std::uint32_t> SharedPool::idle_elsewhere(std::uint32_t self) const {
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
        if (worker == self) continue;
        if (counts_[worker].idle.load(std::memory_order_seq_cst) > 0) return worker;
    }
    return {};
}

}  // namespace schemux::core
