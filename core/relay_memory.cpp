// The relay's part for memory: how long a text may be that is held, and what is refused while the
// process nears its bound. How near that is, it is told; who has to go is the caller's choice.

#include "core/limits.h"
#include "core/relay.h"
#include "protocol/sqlstate.h"

#include <algorithm>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::ErrorFields;
using protocol::make_error;
using protocol::Severity;

ErrorFields out_of_memory(Severity severity) {
    ErrorFields error = make_error(sqlstate::out_of_memory, "out of memory", severity);
    error.detail = "schemux nears limits.memory.";
    error.hint = "Try again later; raise limits.memory, or bound what clients take.";
    return error;
}

std::size_t Relay::longest_text() const {
    return worker_.memory_short ? std::min(service_->max_query_bytes, limits::short_text_max)
                                : service_->max_query_bytes;
}

ErrorFields Relay::too_long(std::size_t bytes) const {
    if (bytes <= service_->max_query_bytes) return out_of_memory();
    ErrorFields error = make_error(sqlstate::program_limit_exceeded, "query is too long");
    error.detail = "The message has " + std::to_string(bytes) +
                   " bytes; limits.max_query_bytes is " +
                   std::to_string(service_->max_query_bytes) + ".";
    error.hint = "Raise limits.max_query_bytes, or send the data with COPY or parameters.";
    return error;
}

std::size_t Relay::kept_bytes() const {
    return held_.capacity() + statements_.named_bytes() + notifications_.capacity();
}

Step Relay::end_out_of_memory() {
    const ErrorFields error = out_of_memory(Severity::fatal);
    if (!amid_answer()) emit_error(error);
    count_error(error.sqlstate);
    said_fatal_ = true;
    return {Next::close, CloseReason::out_of_memory};
}

}  // namespace schemux::core
