// What uring_engine.cpp and uring_streams.cpp know of a connected socket. Nobody else includes it.
#pragma once

#include "daemon/uring_engine.h"

#include <cstddef>
#include <cstdint>
#include <string>

namespace schemux::daemon {

struct UringEngine::UringStream : Stream {
    int fd = -1;
    StreamHandler* handler = nullptr;  ///< null: closed, perhaps still flushing
    std::string held;                  ///< came while reading was paused
    std::string flight;                ///< what the kernel is sending
    std::size_t flight_at = 0;
    std::string queued;  ///< goes behind it
    std::uint64_t sent = 0;
    std::size_t index = 0;         ///< in UringEngine::streams_
    std::uint32_t operations = 0;  ///< that have a completion to come
    int reaps = 0;
    int error = 0;
    bool receiving = false;
    bool cancelling = false;
    bool polling = false;
    bool paused = false;
    bool ended = false;
    bool owes_drained = false;
    bool in_ready_list = false;
    bool shut_when_drained = false;
};

}  // namespace schemux::daemon
