#include "daemon/commands.h"

#include "config/describe.h"
#include "config/load.h"
#include "config/reference.h"
#include "daemon/dsn.h"
#include "daemon/healthcheck.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/version.h"

#include <sys/resource.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

constexpr std::size_t password_file_max = 64 * 1024;

/// Prints what is wrong; the settings if nothing is.
std::optional<config::Settings> load_or_explain(const std::string& file) {
    config::LoadResult result = config::load_file(file, config::process_environment());
    for (const config::Diagnostic& warning : result.warnings) {
        std::fprintf(stderr, "%s (warning)\n", to_string(warning).c_str());
    }
    for (const config::Diagnostic& error : result.errors) {
        std::fprintf(stderr, "%s\n", to_string(error).c_str());
    }
    if (!result.errors.empty()) {
        std::fprintf(stderr, "%zu error%s in the configuration\n", result.errors.size(),
                     result.errors.size() == 1 ? "" : "s");
    }
    return std::move(result.settings);
}

/// The first line of a password file; nullopt when it cannot be used.
std::optional<std::string> read_password(const std::string& file) {
    std::ifstream in(file);
    std::string line;
    if (!std::getline(in, line) || line.empty() || line.size() > password_file_max) return {};
    if (line.back() == '\r') line.pop_back();
    return line;
}

/// What the dsn means, or why it means nothing.
std::variant<BackendTarget, std::string> resolve(const config::Backend& backend) {
    std::optional<std::string> password;
    if (!backend.password_file.empty()) {
        password = read_password(backend.password_file);
        if (!password) return "backend.password_file: no password in " + backend.password_file;
    }
    auto resolved = resolve_dsn(backend.dsn, password);
    if (const auto* error = std::get_if<DsnError>(&resolved)) {
        return "backend.dsn: " + error->message;
    }
    return std::get<BackendTarget>(std::move(resolved));
}

std::optional<Loaded> load_all_or_explain(const std::string& file) {
    std::optional<config::Settings> settings = load_or_explain(file);
    if (!settings) return {};
    auto target = resolve(settings->backend);
    if (const auto* why = std::get_if<std::string>(&target)) {
        std::fprintf(stderr, "%s: %s\n", file.c_str(), why->c_str());
        return {};
    }
    return Loaded{std::move(*settings), std::get<BackendTarget>(std::move(target))};
}

/// As load_all_or_explain, with the errors in the log: for a reload.
std::optional<Loaded> load_again(const std::string& file) {
    config::LoadResult result = config::load_file(file, config::process_environment());
    for (const config::Diagnostic& error : result.errors) {
        log_event(LogLevel::error, "config_error", to_string(error), {});
    }
    if (!result.settings) return {};
    auto target = resolve(result.settings->backend);
    if (const auto* why = std::get_if<std::string>(&target)) {
        log_event(LogLevel::error, "config_error", *why, {});
        return {};
    }
    return Loaded{std::move(*result.settings), std::get<BackendTarget>(std::move(target))};
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
    std::optional<Loaded> loaded = load_all_or_explain(config_file);
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
    const std::optional<Loaded> loaded = load_all_or_explain(config_file);
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
