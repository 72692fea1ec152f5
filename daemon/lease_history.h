// Which client had which backend, and when: for who finds a process id in PostgreSQL's log and
// wants to know whose it was. The last ones of one worker, in rings of fixed size; clients that
// have gone are remembered apart from their leases, so that a lease costs a few numbers. It must
// not know sessions, nor who asks. One thread uses it.
#pragma once

#include "core/backend.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace schemux::daemon {

struct PastLease {
    std::uint32_t backend_pid = 0;
    std::uint32_t client_id = 0;
    core::TimePoint began{};
    core::TimePoint ended{};
};

struct PastClient {
    std::uint32_t id = 0;
    std::string service{};
    std::string user{};
    std::string address{};  ///< as people read it
    std::string application_name{};
};

/// The last `count` values; memory is taken as they come.
template <class Value, std::size_t count>
class LastOnes {
  public:
    void add(Value value) {
        if (values_.size() < count) {
            values_.push_back(std::move(value));
        } else {
            values_[next_] = std::move(value);
        }
        next_ = (next_ + 1) % count;
    }
    /// Null: there is none.
    Value* newest() { return values_.empty() ? nullptr : &values_[(next_ + count - 1) % count]; }
    /// `visit(value)` from the newest one on.
    template <class Visit>
    void from_newest(Visit&& visit) const {
        for (std::size_t back = 1; back <= values_.size(); ++back)
            visit(values_[(next_ + count - back) % count]);
    }

  private:
    std::vector<Value> values_;
    std::size_t next_ = 0;
};

class LeaseHistory {
  public:
    static constexpr std::size_t leases_max = 16'384;
    static constexpr std::size_t clients_max = 4'096;

    /// One behind the other of the same client on the same backend are one.
    void add(const PastLease& lease) {
        PastLease* const last = leases_.newest();
        if (last != nullptr && last->backend_pid == lease.backend_pid &&
            last->client_id == lease.client_id) {
            last->ended = lease.ended;
        } else {
            leases_.add(lease);
        }
    }
    void add(PastClient client) { clients_.add(std::move(client)); }

    const LastOnes<PastLease, leases_max>& leases() const { return leases_; }
    const LastOnes<PastClient, clients_max>& clients() const { return clients_; }

  private:
    LastOnes<PastLease, leases_max> leases_;
    LastOnes<PastClient, clients_max> clients_;
};

}  // namespace schemux::daemon
