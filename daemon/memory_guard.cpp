#include "daemon/memory_guard.h"

#include "daemon/log.h"
#include "daemon/process_stats.h"
#include "daemon/worker.h"

#include <malloc.h>

#include <utility>

namespace schemux::daemon {

namespace {

constexpr auto look_interval = std::chrono::milliseconds(100);
/// The allocator is asked to give back what is free once in so many looks: it takes milliseconds.
constexpr unsigned looks_per_trim = 10;
constexpr std::uint64_t percent_recovered = 80;
constexpr std::uint64_t percent_short = 85;
constexpr std::uint64_t percent_out = 95;

void log_change(MemoryState state, std::uint64_t resident, std::uint64_t limit) {
    switch (state) {
        case MemoryState::enough:
            return log_event(LogLevel::info, "memory_recovered",
                             {{"resident_bytes", resident}, {"limit_bytes", limit}});
        case MemoryState::scarce:
            return log_event(LogLevel::warning, "memory_short",
                             "new clients and large texts are refused (53200)",
                             {{"resident_bytes", resident}, {"limit_bytes", limit}});
        case MemoryState::out:
            return log_event(LogLevel::error, "memory_out",
                             "the clients that take the most are ended (53200)",
                             {{"resident_bytes", resident}, {"limit_bytes", limit}});
    }
}

}  // namespace

MemoryState memory_state(std::uint64_t resident, std::uint64_t limit, MemoryState before) {
    if (limit == 0) return MemoryState::enough;
    const std::uint64_t percent = resident / (limit / 100 + 1);
    if (percent >= percent_out) return MemoryState::out;
    if (percent >= percent_short) return MemoryState::scarce;
    const bool was_scarce = before != MemoryState::enough;
    return was_scarce && percent >= percent_recovered ? MemoryState::scarce : MemoryState::enough;
}

MemoryGuard::MemoryGuard(boost::asio::io_context& io, ProcessState& process,
                         std::vector<Worker*> workers)
    : process_(process), workers_(std::move(workers)), timer_(io) {}

void MemoryGuard::set_limit(std::uint64_t limit) {
    limit_ = limit;
    look();
    if (limit_ > 0 && !std::exchange(looking_, true)) schedule();
}

void MemoryGuard::schedule() {
    timer_.expires_after(look_interval);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (error || limit_ == 0) {
            looking_ = false;
            return;
        }
        look();
        schedule();
    });
}

void MemoryGuard::look() {
    const MemoryState before = process_.memory.load(std::memory_order_relaxed);
    if (before != MemoryState::enough && looks_++ % looks_per_trim == 0) ::malloc_trim(0);
    const std::uint64_t resident = limit_ == 0 ? 0 : resident_bytes();
    const MemoryState now = memory_state(resident, limit_, before);
    process_.memory.store(now, std::memory_order_relaxed);
    if (now != before) log_change(now, resident, limit_);
    if (now != MemoryState::out) return;
    for (Worker* worker : workers_)
        worker->post_shed();
}

}  // namespace schemux::daemon
