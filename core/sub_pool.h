// The part of the pool that has one backend identity: connections to the same database as the same
// login role, and the services that use them. What a backend of it may serve is decided here, by
// identity: a ticket never meets a backend of another sub-pool. How many each may have is
// SharedPool's business, under the one bound.
// It must not know connections or sessions, only numbers.
#pragma once

#include "core/fair_queue.h"
#include "core/share.h"

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace schemux::core {

/// Who a backend is for PostgreSQL. Empty: as the configuration of the backend says.
struct BackendIdentity {
    std::string database;
    std::string role;  ///< that logs in

    bool is_default() const { return database.empty() && role.empty(); }
    friend auto operator<=>(const BackendIdentity&, const BackendIdentity&) = default;
};

class SubPool : public std::enable_shared_from_this<SubPool> {
  public:
    SubPool(BackendIdentity identity, std::uint64_t id, std::uint32_t workers)
        : identity_(std::move(identity)), id_(id), idle_(std::make_unique<IdleCount[]>(workers)) {}

    const BackendIdentity& identity() const { return identity_; }
    /// Never that of another one, even when this one is gone.
    std::uint64_t id() const { return id_; }

    /// True while anybody waits anywhere who may have a backend of it.
    bool contended() const { return ready_.load(std::memory_order_seq_cst) > 0; }
    std::uint32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }
    std::uint32_t open() const { return open_.load(std::memory_order_relaxed); }

  private:
    friend class SharedPool;

    /// A connect for it failed as no other one would: none is made before.
    struct Rest {
        Nanoseconds until{0};
        std::uint32_t failures = 0;  ///< in a row
    };
    struct alignas(64) IdleCount {
        std::atomic<std::uint32_t> count{0};
    };

    const BackendIdentity identity_;
    const std::uint64_t id_;
    std::unique_ptr<IdleCount[]> idle_;  ///< by worker

    std::atomic<std::uint32_t> ready_{0};
    std::atomic<std::uint32_t> waiting_{0};
    std::atomic<std::uint32_t> open_{0};  ///< written under the pool's lock

    // Under the pool's lock.
    FairQueue queue_;
    std::uint32_t connecting_ = 0;
    std::uint32_t promised_ = 0;  ///< slots that others gave up for it
    Rest rest_;
    std::vector<std::unique_ptr<Share>> shares_;  ///< those that are lent, or were
    std::size_t next_share_ = 0;                  ///< where to look for one that came back
};

}  // namespace schemux::core
