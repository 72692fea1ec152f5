#include "core/shared_pool.h"

#include <cassert>

namespace schemux::core {

SharedPool::SharedPool(std::uint32_t max_connections, std::uint32_t workers)
    : maximum_(max_connections), idle_(std::make_unique<IdleCount[]>(workers)), workers_(workers) {}

TicketHandle SharedPool::enqueue(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    if (free_places_.empty()) {
        free_places_.push_back(static_cast<std::uint32_t>(places_.size()));
        places_.emplace_back();
    }
    const std::uint32_t index = free_places_.back();
    free_places_.pop_back();
    Place& place = places_[index];
    place.ticket = ticket;
    place.previous = tail_;
    place.next = none;
    place.bypassed = 0;
    place.queued = true;
    (tail_ == none ? head_ : places_[tail_].next) = index;
    tail_ = index;
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    return {index, place.generation};
}

Ticket SharedPool::take(std::uint32_t index) {
    Place& place = places_[index];
    assert(place.queued);
    (place.previous == none ? head_ : places_[place.previous].next) = place.next;
    (place.next == none ? tail_ : places_[place.next].previous) = place.previous;
    place.queued = false;
    if (++place.generation == 0) place.generation = 1;
    free_places_.push_back(index);
    waiting_.fetch_sub(1, std::memory_order_seq_cst);
    return place.ticket;
}

bool SharedPool::withdraw(TicketHandle handle) {
    const std::lock_guard lock(mutex_);
    if (handle.generation == 0 || handle.index >= places_.size()) return false;
    const Place& place = places_[handle.index];
    if (!place.queued || place.generation != handle.generation) return false;
    take(handle.index);
    return true;
}

std::optional<Ticket> SharedPool::next_ticket(std::uint64_t label_hash) {
    const std::lock_guard lock(mutex_);
    if (head_ == none) return {};
    std::uint32_t chosen = head_;
    std::uint32_t index = head_;
    for (std::size_t seen = 0; seen < limits::label_window && index != none; ++seen) {
        if (places_[index].ticket.label_hash == label_hash) {
            chosen = index;
            break;
        }
        // Nobody goes past one who was overtaken often enough.
        if (places_[index].bypassed == limits::bypass_max) break;
        index = places_[index].next;
    }
    for (index = head_; index != chosen; index = places_[index].next)
        ++places_[index].bypassed;
    return take(chosen);
}

std::vector<Ticket> SharedPool::drain_tickets() {
    const std::lock_guard lock(mutex_);
    std::vector<Ticket> tickets;
    while (head_ != none)
        tickets.push_back(take(head_));
    return tickets;
}

bool SharedPool::claim_connect() {
    const std::lock_guard lock(mutex_);
    const std::uint32_t open = open_.load(std::memory_order_relaxed);
    if (open >= maximum()) return false;
    const std::uint32_t parallel =
        outage_ ? 1 : static_cast<std::uint32_t>(limits::parallel_connects_max);
    if (connecting_ >= parallel) return false;
    const bool wanted = waiting_.load(std::memory_order_relaxed) > connecting_ || open < minimum_;
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
        all += idle_[worker].count.load(std::memory_order_relaxed);
    }
    return all;
}

std::optional<std::uint32_t> SharedPool::idle_elsewhere(std::uint32_t self) const {
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
        if (worker == self) continue;
        if (idle_[worker].count.load(std::memory_order_seq_cst) > 0) return worker;
    }
    return {};
}

}  // namespace schemux::core
