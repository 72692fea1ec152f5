// Whether the schema of a service is there: asked of PostgreSQL when a client of the service logs
// in, by a connection of its own that no client's byte but the schema's name ever gets to, and
// remembered for a while. Makes it where the service says so. `remembered` may be called on any
// thread; `ask` blocks, and is for one thread only. It must not know services or logins.
#pragma once

#include "daemon/control_connection.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>

namespace schemux::daemon {

struct WantedSchema {
    std::string database{};  ///< empty: the dsn's
    std::string schema;
    std::string owner{};  ///< of one that is made; empty: who makes it
    bool create = false;

    friend auto operator<=>(const WantedSchema&, const WantedSchema&) = default;
};

struct SchemaState {
    enum class Is : std::uint8_t {
        there,
        missing,
        refused,  ///< PostgreSQL does not let it be made
        unknown,  ///< PostgreSQL cannot be asked now
    };
    Is is = Is::unknown;
    std::string sqlstate{};  ///< of the refusal
    std::string why{};
};

class SchemaKeeper {
  public:
    explicit SchemaKeeper(ControlOptions access) : access_(std::move(access)) {}

    std::optional<SchemaState> remembered(const WantedSchema& wanted);
    SchemaState ask(const WantedSchema& wanted);
    /// `ask` comes back soon, from now on with nothing.
    void stop() { stopped_ = true; }

    std::uint64_t created() const { return created_.load(std::memory_order_relaxed); }

  private:
    using Clock = std::chrono::steady_clock;
    struct Entry {
        SchemaState state;
        Clock::time_point until;
    };

    SchemaState look(const WantedSchema& wanted);
    SchemaState create(const WantedSchema& wanted);
    void remember(const WantedSchema& wanted, const SchemaState& state);
    ControlConnection& connection_to(const std::string& database);

    const ControlOptions access_;
    std::atomic<bool> stopped_{false};
    std::mutex mutex_;  ///< guards what is remembered
    std::map<WantedSchema, Entry> known_;
    std::optional<ControlConnection> connection_;
    std::string connected_to_;
    Clock::time_point unreachable_until_{};
    std::atomic<std::uint64_t> created_{0};
};

}  // namespace schemux::daemon
