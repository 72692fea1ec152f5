#include "daemon/io_engine.h"

#include "daemon/epoll_engine.h"
#include "daemon/log.h"
#include "daemon/uring_engine.h"

#include <string>
#include <utility>

namespace schemux::daemon {

std::string_view name_of(IoEngine engine) {
    switch (engine) {
        case IoEngine::epoll:
            return "epoll";
        case IoEngine::io_uring:
            return "io_uring";
    }
    return "";
}

IoEngine possible_engine(IoEngine wanted) {
    if (wanted == IoEngine::epoll) return wanted;
    const std::string why_not = UringEngine::why_not();
    if (why_not.empty()) return wanted;
    log_event(LogLevel::warning, "io_uring_unavailable",
              "io_uring cannot be used here; epoll takes its place", {{"error", why_not}});
    return IoEngine::epoll;
}

std::unique_ptr<StreamEngine> make_engine(
    IoEngine engine, boost::asio::io_context& io,
    std::function<std::chrono::steady_clock::time_point()> begin_batch,
    std::function<bool()> may_linger) {
    if (engine == IoEngine::io_uring)
        return std::make_unique<UringEngine>(io, std::move(begin_batch), std::move(may_linger));
    return std::make_unique<EpollEngine>(io, std::move(begin_batch), std::move(may_linger));
}

}  // namespace schemux::daemon
