// Services that exist because a pattern fits the name that a client asked for, or PostgreSQL has it
// in a list, and those that a user has of a service whose role is its clients' own: made when the
// first client of it has logged in, kept while it has clients, and the last ones a while longer.
// Their number has the bound of the clients' number and `kept_max`. It must not know patterns,
// lists or the configuration: `make` does.
#pragma once

#include "core/service.h"

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace schemux::daemon {

class Tenants {
  public:
    using ServicePointer = std::shared_ptr<const core::Service>;
    /// Null: no pattern fits, or what would come of it is no valid name, and it is in no list.
    /// `key`: a name, or what `key_of` says. Called by any thread.
    using Make = std::function<ServicePointer(const std::string& key)>;

    /// Nobody's name has it in it: no text of a startup packet can.
    static constexpr char user_mark = '\0';
    static std::string key_of(const std::string& name, const std::string& user) {
        return name + user_mark + user;
    }

    /// Without clients: what a service has had is not forgotten between two of its connections.
    static constexpr std::size_t kept_max = 1'024;

    /// `complete`: false while the list is still to come.
    explicit Tenants(Make make, bool complete = true)
        : make_(std::move(make)), complete_(complete) {}

    bool complete() const { return complete_; }
    void set_complete() { complete_ = true; }

    /// Whoever asks for one of them from now on has it made anew, whatever the user.
    template <class Names>
    void forget(const Names& names) {
        const std::lock_guard lock(mutex_);
        for (const std::string& name : names) {
            known_.erase(name);
            const auto begin = known_.lower_bound(name + user_mark);
            known_.erase(begin, known_.lower_bound(name + static_cast<char>(user_mark + 1)));
        }
    }

    /// All that anybody has now, or had lately.
    std::vector<ServicePointer> known() {
        std::vector<ServicePointer> all;
        const std::lock_guard lock(mutex_);
        all.reserve(known_.size());
        for (const auto& [name, service] : known_) {
            if (ServicePointer held = service.lock()) all.push_back(std::move(held));
        }
        return all;
    }

    ServicePointer find(const std::string& key) {
        const std::lock_guard lock(mutex_);
        if (const auto known = known_.find(key); known != known_.end()) {
            if (ServicePointer service = known->second.lock()) return service;
        }
        ServicePointer made = make_(key);
        if (!made) return nullptr;
        if (known_.size() >= forget_at_) {
            std::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
            forget_at_ = 2 * known_.size() + kept_max;
        }
        known_.insert_or_assign(key, made);
        if (kept_.size() < kept_max) {
            kept_.push_back(made);
        } else {
            kept_[next_kept_++ % kept_max] = made;
        }
        return made;
    }

  private:
    std::mutex mutex_;
    const Make make_;
    std::atomic<bool> complete_;
    std::map<std::string, std::weak_ptr<const core::Service>, std::less<>> known_;
    std::vector<ServicePointer> kept_;  ///< a ring
    std::size_t next_kept_ = 0;
    std::size_t forget_at_ = 2 * kept_max;
};

}  // namespace schemux::daemon
