#include "daemon/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace schemux::daemon {

namespace {

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// Close enough to the process's start: set when the program is loaded.
const auto started = std::chrono::system_clock::now();

}  // namespace

std::uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t pages = 0;
    std::uint64_t resident_pages = 0;
    if (!(statm >> pages >> resident_pages)) return 0;
    return resident_pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

ProcessStats read_process_stats() {
    ProcessStats stats;
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    stats.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    stats.resident_bytes = static_cast<double>(resident_bytes());
    std::error_code ignored;
    const std::filesystem::directory_iterator fds("/proc/self/fd", ignored);
    if (!ignored) {
        stats.open_fds = static_cast<double>(std::distance(begin(fds), end(fds)));
    }
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    stats.max_fds = static_cast<double>(limit.rlim_cur);
    stats.start_seconds = std::chrono::duration<double>(started.time_since_epoch()).count();
    return stats;
}

}  // namespace schemux::daemon
