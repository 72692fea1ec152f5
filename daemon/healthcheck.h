// `schemux healthcheck`: asks a running schemux over HTTP whether it is ready. For containers,
// which have no curl. Knows nothing of the rest of the daemon.
#pragma once

#include <chrono>
#include <string>

namespace schemux::daemon {

inline constexpr const char* default_healthcheck_url = "http://127.0.0.1:9632/readyz";

struct HealthcheckResult {
    bool healthy = false;
    std::string message;  ///< one line for people: the answer's first line, or what went wrong
};

/// GET of an http:// URL; healthy means a 2xx status within `limit`, for everything together.
HealthcheckResult run_healthcheck(const std::string& url,
                                  std::chrono::milliseconds limit = std::chrono::seconds(2));

}  // namespace schemux::daemon
