// With what clients have proved to be roles that schemux then is for them (services[].role:
// client), and what PostgreSQL said of it: filled by logins, asked by the connector. Thread-safe.
// Secrets of an old login go as many new ones come. It must not know services or connections.
#pragma once

#include "core/frontend_login.h"
#include "core/sub_pool.h"
#include "protocol/error_response.h"
#include "protocol/scram_secret.h"
#include "protocol/secret.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace schemux::daemon {

struct ClientSecret {
    protocol::Secret password{};                          ///< empty: not known
    std::shared_ptr<const protocol::ScramSecret> keys{};  ///< null: there are none
    std::uint64_t version = 0;                            ///< another one with each change
};

class ClientSecrets {
  public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::size_t roles_max = 100'000;
    static constexpr std::size_t refusals_max = 10'000;

    /// What is newer takes the place of its kind; what was not shown again stays.
    void learn(const std::string& role, core::FrontendLogin::Proved proved);
    /// Nothing: no client was this role.
    std::optional<ClientSecret> find(const std::string& role) const;

    /// Until then PostgreSQL is not asked again with the secret that there is.
    void refuse(const core::BackendIdentity& who, protocol::ErrorFields error, Time until);
    struct Refusal {
        protocol::ErrorFields error;
        bool outdated = false;  ///< there is another secret now
    };
    std::optional<Refusal> refusal(const core::BackendIdentity& who, Time now) const;

  private:
    struct Entry {
        ClientSecret secret;
        std::uint64_t learned = 0;  ///< by its last login
    };
    struct Refused {
        protocol::ErrorFields error;
        Time until;
        std::uint64_t version = 0;
    };

    mutable std::mutex mutex_;
    std::uint64_t counter_ = 0;
    std::map<std::string, Entry> roles_;
    std::map<std::uint64_t, std::string> by_age_;  ///< `learned`: whose
    std::map<core::BackendIdentity, Refused> refusals_;
};

/// What a refusal does not say by itself: what schemux had of the role, and what would help.
std::string hint_for(const ClientSecret& secret, const std::string& role);

}  // namespace schemux::daemon
