// One seed: clients, workers, servers, the control plane, and the schedule that lets one thing
// happen after the other. After each event everything that must hold is looked at (checks.cpp).
#pragma once

#include "tests/simulation/choice.h"
#include "tests/simulation/client.h"
#include "tests/simulation/control.h"
#include "tests/simulation/worker.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace schemux::simulation {

/// What all seeds together have seen, so that nobody believes a simulation in which nothing
/// happens.
struct Tally {
    std::uint64_t events = 0;
    std::uint64_t virtual_ms = 0;
    std::uint64_t compared_bytes = 0;
    std::uint64_t statements = 0;
    std::uint64_t leases = 0;
    std::uint64_t upkeeps = 0;
    std::uint64_t migrations = 0;
    std::uint64_t refusals = 0;
    std::uint64_t cancels_hit = 0;
    std::uint64_t servers = 0;
    std::uint64_t servers_killed = 0;
    std::uint64_t logins_failed = 0;
    std::uint64_t clients = 0;
    std::uint64_t clients_vanished = 0;
    std::uint64_t clients_served = 0;     ///< to the end, every answer compared
    std::uint64_t clients_violating = 0;  ///< not compared to the end
    std::uint64_t held_max = 0;
    std::uint64_t queued_max = 0;

    void add(const Tally& other);
    std::string text() const;
};

class World {
  public:
    explicit World(std::uint64_t seed);

    /// `events` of them, then everything settles.
    void run(std::size_t events);

    std::uint64_t trace_hash() const;
    void print_trace() const;
    void dump() const;  ///< where everybody stands
    Tally tally() const;

  private:
    struct Line {
        const char* what;
        std::size_t a;
        std::size_t b;
    };
    struct Event {
        const char* name;
        unsigned weight;
        bool (World::*run)();
    };
    static const std::array<Event, 24> events_;

    void build();
    bool step();
    bool note(const char* what, std::size_t a = 0, std::size_t b = 0);
    std::size_t some_bytes();
    Client* talking_client();

    // ---- events; false: there was nothing like that to happen ----
    bool client_joins();
    bool client_speaks();
    bool client_reads();
    bool client_vanishes();
    bool client_terminates();
    bool client_cancels();
    bool frontend_arrives();
    bool frontend_drained();
    bool frontend_trickles();
    bool backend_arrives();
    bool backend_drained();
    bool server_works();
    bool server_dies();
    bool mail_arrives();
    bool connector_turns();
    bool connect_arrives();
    bool cancel_goes_on();
    bool time_passes();
    bool much_time_passes();
    bool tick_comes();
    bool bound_moves();
    bool service_pauses();
    void pause(std::size_t service, bool paused);
    bool reload();
    bool drain();

    bool deliver_frontend(std::size_t client, std::size_t count);
    bool deliver_backend(Worker& worker, Backend& backend, std::size_t count);
    bool tick(Worker& worker);

    // ---- the end ----
    void settle();
    bool settle_once();
    bool everybody_finishes();

    // ---- checks.cpp: what must hold ----
    void check();
    void check_clients();
    void check_bound();
    void check_tickets();
    void check_shares();
    void check_memory();
    void check_end();
    bool provided_for(const Worker& worker, const Session& session) const;

    std::uint64_t seed_;
    Choice choice_;
    std::vector<std::shared_ptr<const core::Service>> services_;
    /// What each is entitled to, and how many backends it had when it was paused.
    struct Entitled {
        const core::Service* service = nullptr;
        core::SharePolicy policy;
        std::uint32_t uses_at_pause = 0;
    };
    std::vector<Entitled> entitled_;
    std::unique_ptr<Shared> shared_;
    std::vector<std::unique_ptr<Client>> clients_;
    std::vector<Session*> sessions_;  ///< of the clients
    std::vector<std::unique_ptr<Worker>> workers_;
    std::unique_ptr<Control> control_;
    std::array<unsigned, 24> weights_{};
    std::vector<Line> trace_;
    std::size_t grain_ = 0;  ///< how bytes are split
    std::uint32_t open_before_ = 0;
    core::TimePoint began_{};
    std::size_t happened_ = 0;
    std::size_t drains_at_ = ~std::size_t{0};
    bool over_ = false;
    std::size_t killed_ = 0;
    std::size_t held_max_ = 0;
    std::size_t queued_max_ = 0;
};

inline constexpr std::size_t read_max = 4'096;  ///< bytes an end reads at once
inline constexpr std::size_t query_bytes_max = 4'000;

}  // namespace schemux::simulation
