// One connection to PostgreSQL on a worker: its socket, its core::Backend, and whose it is now.
//
//   phase    bytes go to          ends with
//   upkeep   core::Upkeep         done -> its lease begins, or it becomes idle
//   idle     nobody (looked at)   granted -> leased or upkeep
//   leased   the session's relay  release
//   parked   nobody               a cancel that was under way has ended -> release goes on
//   closing  nobody               the server's end of stream -> its slot is free
#pragma once

#include "core/backend.h"
#include "core/services_seen.h"
#include "core/share.h"
#include "core/shared_pool.h"
#include "core/upkeep.h"
#include "daemon/dsn.h"
#include "daemon/stream_engine.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace schemux::daemon {

class Worker;
class Session;

enum class BackendPhase : std::uint8_t { upkeep, idle, leased, parked, closing };

/// A backend that has logged in, on its way to the worker that will own it.
struct NewBackend {
    Connection connection;
    SocketAddress address;  ///< where a CancelRequest for it must go
    std::string host;       ///< the same for people
    core::Settings parameters;
    std::uint32_t pid = 0;
    std::string secret;
    std::uint64_t epoch = 0;  ///< SharedState::backend_epoch when its connect began
    std::shared_ptr<core::SubPool> sub_pool{};  ///< whom it may serve; null: the default one
};

class BackendConnection final : public StreamHandler {
  public:
    BackendConnection(Worker& worker, NewBackend&& from);
    /// For a connection that moves here from another worker.
    BackendConnection(Worker& worker, BackendConnection&& other, Connection moved);

    void on_bytes(std::string_view bytes) override;
    void on_drained() override;
    void on_end(int error) override;

    Streams* streams = nullptr;  ///< the worker's, with TLS or without
    Stream* stream = nullptr;
    core::Backend state;
    std::optional<core::Upkeep> upkeep;
    BackendPhase phase = BackendPhase::idle;
    /// Who has it, or (in upkeep before a lease) gets it.
    core::SessionId session;
    bool has_session = false;
    core::SessionId self;  ///< its place in the worker's table
    SocketAddress address;
    bool cancel_again = false;  ///< one more, behind the one in flight
    Connection pending;         ///< before it is in an engine
    int phase_ticks = 0;        ///< seconds in upkeep or in closing
    std::uint32_t lifetime_jitter_percent = 0;
    std::uint64_t epoch = 0;
    std::shared_ptr<core::SubPool> sub_pool;
    bool evicted = false;               ///< closed for another identity's sake
    bool verified = false;              ///< its last service has an audit behind each lease
    core::Use use;                      ///< whose service has it, or was promised it
    core::Share* last_share = nullptr;  ///< whose service had it last
    core::TimePoint measured_at{};      ///< when its memory was asked for
    core::ServicesSeen services;        ///< whose tables it may have in its caches
    std::uint32_t client_id = 0;        ///< who has it, or had it last
    core::TimePoint leased_at{};        ///< when that began
    std::string last_service;           ///< the name of the one that had it before its upkeep

  private:
    void on_idle_bytes(std::string_view bytes);

    Worker* worker_;
};

}  // namespace schemux::daemon
