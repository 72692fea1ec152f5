// Keeps the process below limits.memory: looks at what the kernel says it has, and tells the data
// plane when that nears the bound. What is done without then is core's business; when that is not
// enough the workers end the clients that take the most.
#pragma once

#include "daemon/shared_state.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <vector>

namespace schemux::daemon {

class Worker;

/// What `resident` bytes mean under `limit` (0: none), if it was `before`. It is short from 85 % on
/// until it is below 80 %, so that it does not flap; out from 95 % on.
MemoryState memory_state(std::uint64_t resident, std::uint64_t limit, MemoryState before);

/// On the control thread.
class MemoryGuard {
  public:
    MemoryGuard(boost::asio::io_context& io, ProcessState& process, std::vector<Worker*> workers);

    /// Bytes; 0: none. Begins to look, or ends it.
    void set_limit(std::uint64_t limit);
    void stop() { timer_.cancel(); }

  private:
    void look();
    void schedule();

    ProcessState& process_;
    std::vector<Worker*> workers_;
    boost::asio::steady_timer timer_;
    std::uint64_t limit_ = 0;
    unsigned looks_ = 0;
    bool looking_ = false;
};

}  // namespace schemux::daemon
