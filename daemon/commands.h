// The subcommands of the command line, each a function that gives the process's exit status:
// 0 fine, 78 bad configuration (EX_CONFIG), 1 any other failure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace schemux::daemon {

inline constexpr int exit_ok = 0;
inline constexpr int exit_failure = 1;
inline constexpr int exit_bad_config = 78;

int serve_command(const std::string& config_file);
int check_config_command(const std::string& config_file);
int print_default_config_command();
int healthcheck_command(const std::string& url);
int version_command();

struct IsolationCommand {
    std::string config_file;
    std::vector<std::string> services{};  ///< by name; also those of patterns
    std::string dsn{};                    ///< for the audit; empty: the backend's
    std::string backend{};                ///< which of several, by name; empty: the default one
    bool json = false;
};
int isolation_sql_command(const IsolationCommand& command);
int isolation_audit_command(const IsolationCommand& command);

struct DevOptions {
    bool check = false;  ///< run the demo queries, print them, and end
    std::uint16_t port = 6432;
    std::uint16_t http_port = 9632;
};
int dev_command(const DevOptions& options);

}  // namespace schemux::daemon
