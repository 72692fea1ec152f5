#include "daemon/commands.h"

#include "config/describe.h"
#include "config/reference.h"
#include "daemon/healthcheck.h"
#include "daemon/isolation_audit.h"
#include "daemon/isolation_report.h"
#include "daemon/isolation_sql.h"
#include "daemon/isolation_wiring.h"
#include "daemon/loading.h"
#include "daemon/log.h"
#include "daemon/password_source.h"
#include "daemon/server.h"
#include "daemon/service_wiring.h"
#include "daemon/version.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <utility>
#include <variant>

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

/// Which cluster the command is about. Nothing: there is none of the name, which has been said.
std::optional<std::size_t> find_place(const Loaded& loaded, const IsolationCommand& command) {
    const auto place = config::find_backend(loaded.settings, command.backend);
    if (!place)
        std::fprintf(stderr, "no backend of %s is named %s\n", command.config_file.c_str(),
                     command.backend.c_str());
    return place;
}

/// The services that the command is about: the named ones, or beside them all that are listed.
/// Nothing: there is none of a name, which has been said.
std::optional<IsolationPlan> make_plan(const Loaded& loaded, std::size_t place,
                                       const IsolationCommand& command, bool with_listed) {
    const BackendTarget& target = loaded.backends[place].target;
    IsolationPlan plan = isolation_plan(loaded.settings, place, target);
    if (!with_listed) {
        std::swap(plan.services, plan.neighbours);
        plan.of_clients.clear();
    }
    for (const std::string& name : command.services) {
        const auto found = find_service(loaded.settings, name);
        if (!found || config::find_backend(loaded.settings, found->backend) != place) {
            std::fprintf(stderr, "no service of %s%s is named %s, and no pattern matches it\n",
                         command.config_file.c_str(), found ? " on this backend" : "",
                         name.c_str());
            return {};
        }
        if (config::has_client_role(*found)) {
            plan.of_clients.push_back(name);
            continue;
        }
        const auto known = [&](const IsolatedService& one) { return one.name == name; };
        if (std::none_of(plan.services.begin(), plan.services.end(), known))
            plan.services.push_back(isolated_service(*found, target));
    }
    if (!command.services.empty()) plan.patterns.clear();
    return plan;
}

/// The dsn of --dsn says it all by itself. Nothing: the password cannot be had, which was said.
std::optional<AuditOptions> make_audit_options(const Loaded& loaded, std::size_t place,
                                               const IsolationCommand& command) {
    const LoadedBackend& its = loaded.backends[place];
    if (!command.dsn.empty()) return AuditOptions{.dsn = command.dsn, .login = its.target.user};
    const config::Backend& backend = *config::all_backends(loaded.settings)[place];
    AuditOptions options = audit_options(backend, its.target, its.password);
    if (backend.password_command.empty()) return options;
    auto read = read_password({backend.password_command, ""});
    if (const auto* wrong = std::get_if<NoPassword>(&read)) {
        std::fprintf(stderr, "%s.password_command: %s\n", backend.path.c_str(), wrong->why.c_str());
        return {};
    }
    options.password = std::get<protocol::Secret>(std::move(read));
    return options;
}

/// The others are easily forgotten.
void mention_other_backends(const Loaded& loaded, const IsolationCommand& command) {
    if (!command.backend.empty() || loaded.settings.backends.empty()) return;
    std::string names;
    for (const config::Backend& backend : loaded.settings.backends)
        names += (names.empty() ? "" : ", ") + backend.name;
    std::fprintf(stderr, "this is about the default backend; --backend is for the others: %s\n",
                 names.c_str());
}

}  // namespace

int serve_command(const std::string& config_file) {
    std::optional<Loaded> loaded = load_or_explain(config_file);
    if (!loaded) return exit_bad_config;
    raise_descriptor_limit();
    if (const auto error = start_logging(make_log_options(loaded->settings.log))) {
        std::fprintf(stderr, "log.file: %s\n", error->c_str());
        return exit_failure;
    }
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

int isolation_sql_command(const IsolationCommand& command) {
    const std::optional<Loaded> loaded = load_or_explain(command.config_file);
    if (!loaded) return exit_bad_config;
    const auto place = find_place(*loaded, command);
    if (!place) return exit_failure;
    const auto plan = make_plan(*loaded, *place, command, command.services.empty());
    if (!plan) return exit_failure;
    mention_other_backends(*loaded, command);
    std::cout << isolation_sql(*plan);
    return exit_ok;
}

int isolation_audit_command(const IsolationCommand& command) {
    const std::optional<Loaded> loaded = load_or_explain(command.config_file);
    if (!loaded) return exit_bad_config;
    const auto place = find_place(*loaded, command);
    if (!place) return exit_failure;
    auto plan = make_plan(*loaded, *place, command, true);
    if (!plan) return exit_failure;
    mention_other_backends(*loaded, command);
    const auto options = make_audit_options(*loaded, *place, command);
    if (!options) return exit_failure;
    auto found = audit_isolation(*options, plan->services);
    if (const auto* failure = std::get_if<AuditFailure>(&found)) {
        std::fprintf(stderr, "%s\n", failure->why.c_str());
        if (!failure->hint.empty()) std::fprintf(stderr, "HINT: %s\n", failure->hint.c_str());
        if (command.json) std::cout << to_json(*failure);
        return exit_failure;
    }
    const IsolationReport report{std::move(plan->services), std::move(plan->patterns),
                                 std::move(plan->of_clients), plan->login,
                                 std::get<std::vector<Finding>>(std::move(found))};
    std::cout << (command.json ? to_json(report) : to_text(report));
    return report.count(Severity::hole) == 0 ? exit_ok : exit_failure;
}

int version_command() {
    std::printf("schemux %s\n", version);
    return exit_ok;
}

}  // namespace schemux::daemon
