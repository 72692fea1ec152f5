// The passwords of the roles that services log in as, by role. Filled from the configuration and,
// for services of a pattern, when those are made; asked by the connector. Thread-safe.
#pragma once

#include "protocol/secret.h"

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace schemux::daemon {

/// How a role proves itself. Both empty: PostgreSQL asks for nothing.
struct RoleSecret {
    std::shared_ptr<const protocol::Secret> password{};
    std::string file{};  ///< whose first line it is
};

class RoleSecrets {
  public:
    /// Roles of patterns; with more all are forgotten, and come back with their next services.
    static constexpr std::size_t made_max = 100'000;

    /// What a reload says. Roles that it does not name any more may still have clients.
    void update(const std::map<std::string, RoleSecret>& listed) {
        const std::lock_guard lock(mutex_);
        for (const auto& [role, secret] : listed)
            listed_.insert_or_assign(role, secret);
    }
    void add(const std::string& role, RoleSecret secret) {
        const std::lock_guard lock(mutex_);
        if (made_.size() >= made_max) made_.clear();
        made_.insert_or_assign(role, std::move(secret));
    }
    RoleSecret find(const std::string& role) const {
        const std::lock_guard lock(mutex_);
        if (const auto found = listed_.find(role); found != listed_.end()) return found->second;
        const auto found = made_.find(role);
        return found == made_.end() ? RoleSecret{} : found->second;
    }

  private:
    mutable std::mutex mutex_;
    std::map<std::string, RoleSecret> listed_;
    std::map<std::string, RoleSecret> made_;
};

}  // namespace schemux::daemon
