// libpq without calls that wait for ever: each wait has a bound and ends soon when somebody says
// so. Only names in a dsn are still resolved while the caller waits (PQconnectStart).
// It must not know what is asked. Blocks: for a helper thread.
#pragma once

#include <libpq-fe.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

namespace schemux::daemon {

struct WaitBound {
    std::chrono::steady_clock::time_point until;
    const std::atomic<bool>* stopped = nullptr;  ///< null: nobody says so
};

struct FreeResult {
    void operator()(PGresult* result) const { PQclear(result); }
};
using PgResult = std::unique_ptr<PGresult, FreeResult>;

enum class Wait : std::uint8_t { there, broken, too_long };

/// Until the server says something (POLLIN), or takes something (POLLOUT). In slices: a process
/// that ends does not wait for a server that is silent.
Wait wait_for(PGconn* connection, short events, const WaitBound& bound);

struct NextResult {
    Wait state = Wait::there;
    PgResult result{};  ///< null: that was all
};
/// Of what was sent.
NextResult next_result(PGconn* connection, const WaitBound& bound);

struct OneResult {
    PgResult result;  ///< null: none came
    bool too_long = false;
};

/// Of a connection that PQconnectStart has begun. False: there is none; why may stand in it.
bool finish_connecting(PGconn* connection, const WaitBound& bound);
/// The one result of what was sent, or the last one.
OneResult read_one(PGconn* connection, const WaitBound& bound);

}  // namespace schemux::daemon
