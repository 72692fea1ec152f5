// What the kernel says about this process, for the process_* metrics.
#pragma once

#include <cstdint>

namespace schemux::daemon {

struct ProcessStats {
    double cpu_seconds = 0;
    double resident_bytes = 0;
    double open_fds = 0;
    double max_fds = 0;
    double start_seconds = 0;  ///< since the epoch
};

ProcessStats read_process_stats();
/// Of the above the one that is asked for often.
std::uint64_t resident_bytes();

}  // namespace schemux::daemon
