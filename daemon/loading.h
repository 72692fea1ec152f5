// From a configuration file to all that the daemon runs on: settings, what the dsn means, the
// secrets in the files it names. Everything wrong is reported at its place in the file.
// It must not know what any of it is for.
#pragma once

#include "config/diagnostic.h"
#include "config/settings.h"
#include "daemon/credentials.h"
#include "daemon/dsn.h"
#include "daemon/tls_policy.h"

#include <optional>
#include <string>
#include <vector>

namespace schemux::daemon {

/// Where a cluster is.
struct LoadedBackend {
    BackendTarget target{};
    std::optional<protocol::Secret> password{};  ///< of its password_file
};

/// A configuration and what it refers to.
struct Loaded {
    config::Settings settings{};
    std::vector<LoadedBackend> backends{};  ///< in the order of config::all_backends
    std::vector<UserSecret> secrets{};
    /// auth.users and those of auth.users_file; empty: any name, where nothing is to be proved.
    std::vector<std::string> users{};
    std::vector<TlsPolicy> tls{};  ///< of each listener
};

struct LoadOutcome {
    std::optional<Loaded> loaded;  ///< there exactly if `errors` is empty
    std::vector<config::Diagnostic> errors;
    std::vector<config::Diagnostic> warnings;
};

/// Appends the services of `settings.services_file`; what is wrong with it, if anything.
std::vector<config::Diagnostic> add_services_file(config::Settings& settings,
                                                  std::vector<config::Diagnostic>& warnings);

/// Reads the file, the environment and the files that it names. No secret is in a message.
LoadOutcome load_everything(const std::string& file);

}  // namespace schemux::daemon
