// What threads share: the process as a whole, and the workers and the connector of one cluster of
// PostgreSQL. Everything in here is thread-safe by itself; none of it is touched per message.
#pragma once

#include "core/backend_statements.h"
#include "core/console_columns.h"
#include "core/frontend_login.h"
#include "core/label.h"
#include "core/limits.h"
#include "core/prepared_statements.h"
#include "core/service.h"
#include "core/shared_pool.h"
#include "core/statement_stats.h"
#include "daemon/client_counts.h"
#include "daemon/client_secrets.h"
#include "daemon/credentials.h"
#include "daemon/role_secrets.h"
#include "daemon/schema_keeper.h"
#include "daemon/server_names.h"
#include "daemon/tenants.h"
#include "daemon/user_lookup.h"
#include "protocol/keyed_digest.h"
#include "protocol/startup_packet.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace schemux::daemon {

struct SharedState;

/// Who may use the admin console.
struct ConsolePolicy {
    std::set<std::string, std::less<>> admins;
    std::set<std::string, std::less<>> stats_users;  ///< may look
    core::ConsoleProfile profile = core::ConsoleProfile::v1_26;

    /// False: there is none, and its names are like any other.
    bool is_on() const { return !admins.empty() || !stats_users.empty(); }
};

/// What a reload may change; published as a whole.
struct Policy {
    core::ServiceCatalog services;
    std::shared_ptr<Tenants> tenants{};    ///< services of patterns; null: there are none
    std::vector<SharedState*> clusters{};  ///< by their places; they outlive it
    core::ClientAuthentication authentication = core::ClientAuthentication::trust;
    std::shared_ptr<const core::LoginRuleList> rules{};  ///< in front of it; null: none
    /// None: any name, where nothing is to be proved.
    std::optional<std::set<std::string, std::less<>>> users;
    std::shared_ptr<Credentials> credentials = std::make_shared<Credentials>();
    std::shared_ptr<UserLookup> lookup{};  ///< of users that are not in there; null: none
    /// By the clusters' places; none: nobody's schema is asked about.
    std::vector<std::shared_ptr<SchemaKeeper>> schemas{};
    ServerNames server_names;
    ConsolePolicy console;
    std::uint32_t top_tenants = 0;  ///< of tenants, those that metrics tell of
    std::chrono::milliseconds login_timeout{10'000};
    std::chrono::milliseconds idle_timeout{600'000};       ///< 0: never
    std::chrono::milliseconds lifetime{3'600'000};         ///< 0: never
    std::chrono::milliseconds client_stall_timeout{0};     ///< 0: never
    std::chrono::milliseconds health_check_after{30'000};  ///< 0: never
    std::uint64_t max_backend_memory = 0;                  ///< bytes; 0: any
    bool service_affinity = true;
    std::uint32_t audit_sample = 0;  ///< one release of so many is followed by an audit; 0: none
    std::uint32_t max_clients = 10'000;
    std::uint32_t max_clients_per_user = 0;                                 ///< 0: any number
    std::uint32_t max_clients_per_address = 0;                              ///< 0: any number
    std::map<std::string, std::uint32_t, std::less<>> max_clients_of_user;  ///< where it differs
    core::BackendStatements::Bounds statements_per_backend;
    core::StatementPolicy statements{};
    bool rotate_backends = false;  ///< for tests: no session has a backend twice in a row
};

class PolicyHolder {
  public:
    std::shared_ptr<const Policy> get() const {
        const std::lock_guard lock(mutex_);
        return policy_;
    }
    void set(std::shared_ptr<const Policy> policy) {
        const std::lock_guard lock(mutex_);
        policy_ = std::move(policy);
    }

  private:
    mutable std::mutex mutex_;
    std::shared_ptr<const Policy> policy_ = std::make_shared<const Policy>();
};

/// What a backend reports under a label, so that most logins need no backend.
class WelcomeCache {
  public:
    /// `sub_pool`: its id; another role and another database report other things.
    std::shared_ptr<const core::Settings> find(std::uint64_t sub_pool,
                                               const core::Label& label) const {
        const std::lock_guard lock(mutex_);
        for (const Entry& entry : entries_[slot(label)]) {
            if (entry.sub_pool == sub_pool && entry.label == label) return entry.parameters;
        }
        return nullptr;
    }
    void add(std::uint64_t sub_pool, const core::Label& label, const core::Settings& parameters) {
        const std::lock_guard lock(mutex_);
        auto& bucket = entries_[slot(label)];
        for (const Entry& entry : bucket) {
            if (entry.sub_pool == sub_pool && entry.label == label) return;
        }
        // Labels are chosen by clients: a full bucket forgets its oldest one.
        if (bucket.size() >= bucket_max) bucket.erase(bucket.begin());
        bucket.push_back({sub_pool, label, std::make_shared<const core::Settings>(parameters)});
    }
    void clear() {
        const std::lock_guard lock(mutex_);
        for (auto& bucket : entries_)
            bucket.clear();
    }

  private:
    struct Entry {
        std::uint64_t sub_pool = 0;
        core::Label label;
        std::shared_ptr<const core::Settings> parameters;
    };
    static constexpr std::size_t buckets = 128;
    static constexpr std::size_t bucket_max = core::limits::welcome_cache_max / buckets;
    static std::size_t slot(const core::Label& label) { return label.hash() % buckets; }

    mutable std::mutex mutex_;
    std::array<std::vector<Entry>, buckets> entries_;
};

/// Which session a CancelRequest means. Both numbers are random; a wrong secret finds nothing.
class CancelRegistry {
  public:
    struct Where {
        std::uint32_t worker = 0;  ///< its place among those of all clusters
        core::SessionId session;
    };
    struct Key {
        std::uint32_t pid = 0;
        std::string secret;
    };

    Key add(const Where& where, bool long_key) {
        Key key;
        key.secret.resize(long_key ? protocol::long_key_bytes : protocol::cancel_secret_min);
        protocol::random_bytes(key.secret.data(), key.secret.size());
        const std::lock_guard lock(mutex_);
        do {
            protocol::random_bytes(&key.pid, sizeof key.pid);
            key.pid &= 0x7fffffffU;  // drivers read it as a signed number
        } while (key.pid == 0 || entries_.contains(key.pid));
        entries_.emplace(key.pid, std::make_pair(key.secret, where));
        return key;
    }
    void remove(std::uint32_t pid) {
        const std::lock_guard lock(mutex_);
        entries_.erase(pid);
    }
    std::optional<Where> find(std::uint32_t pid, std::string_view secret) const {
        const std::lock_guard lock(mutex_);
        const auto found = entries_.find(pid);
        if (found == entries_.end()) return {};
        // The whole key, never a part of it: its length is no secret.
        if (!protocol::equal_in_constant_time(found->second.first, secret)) return {};
        return found->second.second;
    }

  private:
    mutable std::mutex mutex_;
    std::unordered_map<std::uint32_t, std::pair<std::string, Where>> entries_;
};

/// Why the last connect to PostgreSQL failed, for those who waited in vain.
class LastFailure {
  public:
    void set(std::string text) {
        const std::lock_guard lock(mutex_);
        text_ = std::move(text);
    }
    std::string get() const {
        const std::lock_guard lock(mutex_);
        return text_;
    }

  private:
    mutable std::mutex mutex_;
    std::string text_;
};

/// How near the process is to limits.memory.
enum class MemoryState : std::uint8_t {
    enough,
    scarce,  ///< nobody new comes in, and nothing large is kept
    out,     ///< clients are ended
};

/// What there is once, however many clusters there are.
/// Services that take no new clients, by an operator's word.
class DisabledServices {
  public:
    bool contains(std::string_view name) const {
        const std::lock_guard lock(mutex_);
        return names_.contains(name);
    }
    /// False: it was so already.
    bool add(const std::string& name) {
        const std::lock_guard lock(mutex_);
        return names_.insert(name).second;
    }
    bool remove(const std::string& name) {
        const std::lock_guard lock(mutex_);
        return names_.erase(name) > 0;
    }

  private:
    mutable std::mutex mutex_;
    std::set<std::string, std::less<>> names_;
};

struct ProcessState {
    PolicyHolder policy;
    CancelRegistry cancels;
    ClientCounts client_counts;
    DisabledServices disabled;
    const MockSecret mock_secret;
    /// Client connections from accept to their end, for limits.max_clients.
    std::atomic<std::uint32_t> connections{0};
    std::atomic<MemoryState> memory{MemoryState::enough};
};

/// Which of the clusters it is, and which threads are its own.
struct ClusterPlace {
    std::string name{};              ///< empty: the configuration has `backend` alone
    std::size_t index = 0;           ///< of the default one: 0
    std::uint32_t workers = 1;       ///< each with a number from 0 on, within the cluster
    std::uint32_t first_worker = 0;  ///< its place among the workers of all clusters
};

/// What the workers and the connector of one cluster share. `process` outlives it.
struct SharedState {
    SharedState(ProcessState& process_state, ClusterPlace its_place, std::uint32_t max_connections)
        : process(process_state),
          place(std::move(its_place)),
          pool(max_connections, place.workers) {}

    ProcessState& process;
    const ClusterPlace place;
    core::SharedPool pool;
    core::StatementNamer namer;
    WelcomeCache welcomes;
    LastFailure last_failure;
    const std::shared_ptr<RoleSecrets> role_secrets = std::make_shared<RoleSecrets>();
    const std::shared_ptr<ClientSecrets> client_secrets = std::make_shared<ClientSecrets>();
    /// Clients that keep a backend of it.
    const std::shared_ptr<core::PinBudget> pins = std::make_shared<core::PinBudget>();
    /// Counts what makes all backends unfit that there are: another dsn, another primary, a pause.
    /// Those of an older one are closed at their release.
    std::atomic<std::uint64_t> backend_epoch{0};
};

}  // namespace schemux::daemon
