#include "daemon/libpq_waits.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace schemux::daemon {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds slice{100};

}  // namespace

Wait wait_for(PGconn* connection, short events, const WaitBound& bound) {
    while (true) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(bound.until - Clock::now());
        const bool stopped = bound.stopped != nullptr && *bound.stopped;
        if (left.count() <= 0 || stopped) return Wait::too_long;
        pollfd one{PQsocket(connection), events, 0};
        const int ready = ::poll(&one, 1, static_cast<int>(std::min(left, slice).count()));
        if (ready > 0) return Wait::there;
        if (ready < 0 && errno != EINTR) return Wait::broken;
    }
}

namespace {

/// What is still to be sent, for which a non-blocking connection does not wait.
Wait flush(PGconn* connection, const WaitBound& bound) {
    while (true) {
        const int unsent = PQflush(connection);
        if (unsent == 0) return Wait::there;
        if (unsent < 0) return Wait::broken;
        // A server that talks instead of reading is listened to, or nobody would go on.
        const Wait wait = wait_for(connection, POLLIN | POLLOUT, bound);
        if (wait != Wait::there) return wait;
        if (PQconsumeInput(connection) == 0) return Wait::broken;
    }
}

}  // namespace

NextResult next_result(PGconn* connection, const WaitBound& bound) {
    while (PQisBusy(connection) == 1) {
        const Wait wait = wait_for(connection, POLLIN, bound);
        if (wait != Wait::there) return {wait};
        if (PQconsumeInput(connection) == 0) return {Wait::broken};
    }
    return {Wait::there, PgResult(PQgetResult(connection))};
}

OneResult read_one(PGconn* connection, const WaitBound& bound) {
    OneResult one;
    const Wait sent = flush(connection, bound);
    if (sent != Wait::there) return {nullptr, sent == Wait::too_long};
    while (true) {
        NextResult next = next_result(connection, bound);
        if (next.state != Wait::there) return {nullptr, next.state == Wait::too_long};
        if (!next.result) break;
        one.result = std::move(next.result);
    }
    if (PQstatus(connection) != CONNECTION_OK) one.result.reset();
    return one;
}

bool finish_connecting(PGconn* connection, const WaitBound& bound) {
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
    while (PQstatus(connection) != CONNECTION_BAD) {
        const short events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (wait_for(connection, events, bound) != Wait::there) return false;
        wanted = PQconnectPoll(connection);
        if (wanted == PGRES_POLLING_OK) return true;
        if (wanted == PGRES_POLLING_FAILED) return false;
    }
    return false;
}

}  // namespace schemux::daemon
