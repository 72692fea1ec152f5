// How many clients there are of each service, user and address, for the limits that an operator
// sets on them. Who is let in holds its places until it goes. It must not know what the limits are
// for, or why one is refused.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::daemon {

enum class CountedBy : std::uint8_t { address, user, service };
inline constexpr std::size_t counted_by_count = 3;

/// Thread-safe; entries are bounded by the number of clients.
class ClientCounts {
  public:
    /// One client among those of its key, until it is destroyed.
    class Place {
      public:
        Place(ClientCounts& counts, CountedBy by, std::string key)
            : counts_(&counts), by_(by), key_(std::move(key)) {}
        Place(Place&& other) noexcept
            : counts_(std::exchange(other.counts_, nullptr)),
              by_(other.by_),
              key_(std::move(other.key_)) {}
        Place& operator=(Place&& other) noexcept {
            std::swap(counts_, other.counts_);
            std::swap(by_, other.by_);
            std::swap(key_, other.key_);
            return *this;
        }
        CountedBy by() const { return by_; }
        const std::string& key() const { return key_; }
        ~Place() {
            if (counts_ != nullptr) counts_->leave(by_, key_);
        }

      private:
        ClientCounts* counts_;
        CountedBy by_;
        std::string key_;
    };

    /// Nothing when `limit` clients (0: any number) are there already.
    std::optional<Place> enter(CountedBy by, std::string_view key, std::uint32_t limit) {
        const std::lock_guard lock(mutex_);
        auto& counts = counts_[static_cast<std::size_t>(by)];
        const auto found = counts.find(key);
        const std::uint32_t now = found == counts.end() ? 0 : found->second;
        if (limit > 0 && now >= limit) return {};
        if (found == counts.end()) {
            counts.emplace(key, 1);
        } else {
            ++found->second;
        }
        return Place(*this, by, std::string(key));
    }

  private:
    void leave(CountedBy by, const std::string& key) {
        const std::lock_guard lock(mutex_);
        auto& counts = counts_[static_cast<std::size_t>(by)];
        const auto found = counts.find(key);
        if (--found->second == 0) counts.erase(found);
    }

    std::mutex mutex_;
    std::array<std::map<std::string, std::uint32_t, std::less<>>, counted_by_count> counts_;
};

/// All places of one client.
using ClientPlaces = std::vector<ClientCounts::Place>;

}  // namespace schemux::daemon
