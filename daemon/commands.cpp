#include "daemon/commands.h"

#include "config/describe.h"
#include "config/reference.h"
#include "daemon/healthcheck.h"
#include "daemon/loading.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/version.h"

#include <sys/resource.h>

#include <cstdio>
#include <iostream>
#include <optional>
#include <utility>

namespace schemux::daemon {

namespace {

/// Prints what is wrong; the configuration if nothing is.
std::optional<Loaded> load_or_explain(const std::string& file) {
    LoadOutcome outcome = load_everything(file);
    for (const config::Diagnostic& warning : outcome.warnings) {
        std::fprintf(stderr, "%s (warning)\n", to_string(warning).c_str());
    }
    for (const config::Diagnostic& error : outcome.errors) {
        std::fprintf(stderr, "%s\n", to_string(error).c_str());
    }
    if (!outcome.errors.empty()) {
        std::fprintf(stderr, "%zu error%s in the configuration\n", outcome.errors.size(),
                     outcome.errors.size() == 1 ? "" : "s");
    }
    return std::move(outcome.loaded);
}

/// As load_or_explain, into the log: for a reload.
std::optional<Loaded> load_again(const std::string& file) {
    LoadOutcome outcome = load_everything(file);
    for (const config::Diagnostic& warning : outcome.warnings) {
        log_event(LogLevel::warning, "config_warning", to_string(warning), {});
    }
    for (const config::Diagnostic& error : outcome.errors) {
        log_event(LogLevel::error, "config_error", to_string(error), {});
    }
    return std::move(outcome.loaded);
}

/// Every client costs a descriptor: as many as the system lets us have.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    // A sandbox may forbid it; the soft limit serves too, with fewer clients.
    [[maybe_unused]] const int refused = ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

int serve_command(const std::string& config_file) {
    std::optional<Loaded> loaded = load_or_explain(config_file);
    if (!loaded) return exit_bad_config;
    raise_descriptor_limit();
    start_logging(make_log_options(loaded->settings.log));
    int status = exit_ok;
    {
        Server server(std::move(*loaded), [config_file] { return load_again(config_file); });
        if (const auto error = server.start()) {
            log_event(LogLevel::error, "start_failed", *error, {});
            status = exit_failure;
        } else {
            server.run();
        }
    }
    stop_logging();
    return status;
}

int check_config_command(const std::string& config_file) {
    const std::optional<Loaded> loaded = load_or_explain(config_file);
    if (!loaded) return exit_bad_config;
    std::cout << config::describe(loaded->settings) << config_file
              << ": the configuration is fine\n";
    return exit_ok;
}

int print_default_config_command() {
    std::cout << config::default_config_yaml();
    return exit_ok;
}

int healthcheck_command(const std::string& url) {
    const HealthcheckResult result = run_healthcheck(url);
    std::fprintf(result.healthy ? stdout : stderr, "%s\n", result.message.c_str());
    return result.healthy ? exit_ok : exit_failure;
}

int version_command() {
    std::printf("schemux %s\n", version);
    return exit_ok;
}

}  // namespace schemux::daemon
