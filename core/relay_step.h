// What a relay decides: the words between it and who performs it.
#pragma once

#include "core/backend.h"

#include <cstdint>
#include <string_view>

namespace schemux::core {

enum class CloseReason : std::uint8_t {
    none,
    client_terminated,    ///< it sent Terminate
    client_disconnected,  ///< it went without a word
    protocol_violation,   ///< it sent what is not PostgreSQL's protocol
    backend_lost,         ///< its backend went in the middle of its work
    backend_desync,       ///< its backend answered what nobody asked
    startup_failed,       ///< the settings of its startup packet were refused, or no backend came
    shutdown,             ///< schemux is stopping
    settings_lost,        ///< nobody could tell what settings its session has, or what else
    pin_refused,          ///< too many clients keep a backend
    transaction_refused,  ///< it began one in statement mode, unseen
    pin_expired,          ///< it kept a backend for too long
    notifications_lost,   ///< they could not be kept for it any longer, or not be told
    query_timeout,        ///< its query took too long, and could not be cancelled
    transaction_timeout,  ///< its transaction took too long
    idle_in_transaction,  ///< it left a transaction open for too long
    out_of_memory,        ///< the process was, and it took the most
    client_idle,          ///< it wanted nothing for too long
    killed,               ///< an operator ended it
};

std::string_view name_of(CloseReason reason);

enum class Next : std::uint8_t {
    proceed,  ///< nothing to do but flush
    acquire,  ///< get a backend with this relay's label, then call on_granted
    release,  ///< take the backend back, then call resume
    close,    ///< flush, then close the frontend
    poison,   ///< close the backend, flush, close the frontend
};

struct Step {
    Next next = Next::proceed;
    CloseReason reason = CloseReason::none;
    friend bool operator==(const Step&, const Step&) = default;
};

enum class CancelOutcome : std::uint8_t {
    nothing,   ///< no query of this client's is under way
    answered,  ///< it was waiting: it has its error, its ticket is to be withdrawn
    forward,   ///< send a CancelRequest to the backend it has
};

/// What becomes of the backend of a client that went away.
enum class Disposal : std::uint8_t {
    none,     ///< there was none
    release,  ///< at rest: an ordinary release
    reset,    ///< it owes nothing, but a transaction is open: roll back, then release
    abort,    ///< it is in the middle of what cannot be ended: cancel and close
    linger,   ///< let it finish; when the relay is `abandoned`, what runs is to be cancelled
};

/// What a client is late with, or its backend.
enum class Overdue : std::uint8_t {
    nothing,
    backend,              ///< it waits for one: refuse it
    notice,               ///< the same, and it is to be told that it waits
    pin,                  ///< it keeps a backend for too long
    query,                ///< cancel it; asked for again each second
    unheeded,             ///< it does not end in spite of that: end the client
    transaction,          ///< end the client
    idle_in_transaction,  ///< end the client
    client,               ///< end the client
};

struct Deadline {
    TimePoint when = TimePoint::max();
    Overdue what = Overdue::nothing;
};

}  // namespace schemux::core
