// What is known of services by their names for as long as the process lives: a reload that removes
// a service and another that brings it back must not make it forget.
#pragma once

#include "core/service.h"
#include "core/session_features.h"
#include "core/share.h"
#include "core/sub_pool.h"

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace schemux::daemon {

/// Names of the services by the index of their counters. Indices are never used again, so that a
/// service that a reload removes and another brings back goes on counting.
class ServiceIndex {
  public:
    std::size_t index_of(const std::string& name);
    std::vector<std::string> names() const;
    /// How many clients of the service keep a backend; the same through every reload.
    std::shared_ptr<core::PinBudget> pins_of(const std::string& name);
    /// Its part of the pool; the same through every reload.
    /// `sub_pool`: whose backends serve it; with another one it begins anew.
    std::shared_ptr<core::Share> share_of(const std::string& name,
                                          const std::shared_ptr<core::SubPool>& sub_pool);
    /// For people: what keeps its clients from other services' data.
    void set_isolation(const std::string& name, core::Isolation isolation);
    std::map<std::string, core::Isolation> isolations() const;
    /// The one that it had last; or null.
    std::shared_ptr<core::Share> known_share_of(const std::string& name) const;
    /// Null for a name that was never there.
    std::shared_ptr<const core::Share> find_share(const std::string& name) const;

  private:
    mutable std::mutex mutex_;
    std::map<std::string, std::size_t> indices_;
    std::map<std::string, std::shared_ptr<core::PinBudget>> pins_;
    struct Part {
        std::shared_ptr<core::SubPool> sub_pool;
        std::shared_ptr<core::Share> share;
    };
    std::map<std::string, core::Isolation> isolations_;
    std::map<std::string, Part> parts_;
    std::vector<Part> former_;  ///< of other identities: who has something of it still counts there
};

}  // namespace schemux::daemon
