// What the admin console shows of the configuration in use.
#pragma once

#include "config/settings.h"
#include "daemon/console_shows.h"
#include "daemon/loading.h"

#include <vector>

namespace schemux::daemon {

/// `backends`: in the order of config::all_backends. No secret is in it.
ConsoleView make_console_view(const config::Settings& settings,
                              const std::vector<LoadedBackend>& backends,
                              const std::vector<std::string>& users);

}  // namespace schemux::daemon
