// What a worker tells of each of its clients, backends and leases when somebody asks: copies, made
// on its thread. It must not know who asks, nor how they are shown.
#pragma once

#include "core/label.h"
#include "core/sub_pool.h"
#include "daemon/lease_history.h"
#include "daemon/worker.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace schemux::daemon {

/// The two ends of a connection, as people read them; a unix socket's is "unix".
struct SocketEnds {
    std::string address;
    std::uint16_t port = 0;
    std::string local_address;
    std::uint16_t local_port = 0;
};

struct ClientLine {
    std::uint32_t id = 0;  ///< that of its cancel key, too
    std::string service;
    std::string user;
    std::string application_name;
    std::string tls;
    SocketEnds ends;
    core::Label label;
    bool waits = false;
    std::uint32_t backend_pid = 0;  ///< 0: it has none
    core::TimePoint opened{};
    core::TimePoint heard{};
    core::TimePoint waits_since{};
    std::size_t statements = 0;  ///< named ones
    std::size_t unread = 0;      ///< bytes that it has not taken
};

struct BackendLine {
    std::uint32_t pid = 0;
    std::string service;  ///< whose client has it; empty: nobody's
    core::BackendIdentity identity;
    std::string application_name;
    std::string tls;
    SocketEnds ends;
    core::Label label;
    BackendPhase phase = BackendPhase::idle;
    std::uint32_t client_id = 0;  ///< 0: nobody has it
    core::TimePoint opened{};
    core::TimePoint used{};
    std::size_t statements = 0;
    std::size_t unsent = 0;
    bool to_close = false;  ///< as soon as it comes free
};

/// Of one worker, filled in steps.
struct WorkerLines {
    std::size_t cluster = 0;
    core::TimePoint now{};
    std::vector<ClientLine> clients;
    std::vector<BackendLine> backends;
    std::size_t next_slot = 0;  ///< of the clients that were not looked at yet
};

/// False: that was all. WorkerQuestion's shape.
bool tell_lines(Worker& worker, WorkerLines& lines);

/// As it will be remembered when it has gone.
PastClient past_client(const Session& session);

struct LeaseLine {
    std::uint32_t backend_pid = 0;
    PastClient client;
    core::TimePoint began{};
    core::TimePoint ended{};
    bool lasts = false;
};

struct WorkerLeases {
    static constexpr std::size_t lines_max = 1'000;

    core::TimePoint now{};
    std::vector<LeaseLine> lines;  ///< those that last, then the newest ones
};

/// Of the backend with that process id; 0: of all.
WorkerLeases tell_leases(Worker& worker, std::uint32_t backend_pid);

}  // namespace schemux::daemon
