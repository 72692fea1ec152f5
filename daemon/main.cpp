// The command line: which subcommand, with which options.

#include "daemon/commands.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <string>

namespace {

struct IsolationOptions {
    CLI::App* all = nullptr;
    CLI::App* sql = nullptr;
    CLI::App* audit = nullptr;
    schemux::daemon::IsolationCommand command{};
};

void add_isolation(CLI::App& app, IsolationOptions& options) {
    options.all =
        app.add_subcommand("isolation", "Keep services apart by PostgreSQL's permissions");
    options.all->require_subcommand(1);
    options.sql = options.all->add_subcommand(
        "sql",
        "Print the SQL that makes the services' roles and gives each what is its own alone.\n"
        "For psql, run by a superuser or the databases' owner; safe to run again:\n"
        "  schemux isolation sql --config F | psql -d postgres");
    options.audit = options.all->add_subcommand(
        "audit",
        "Prove from PostgreSQL's catalogs that no service with a role gets at another one's data.\n"
        "Prints a matrix of services and each finding with the SQL that would close it.\n"
        "Exit status: 0 no holes, 1 holes or no connection, 78 bad configuration.");
    for (CLI::App* command : {options.sql, options.audit}) {
        command
            ->add_option("--config,-c", options.command.config_file,
                         "The configuration file (YAML)")
            ->required();
        command->add_option("--backend", options.command.backend,
                            "Which of backends it is about, by name; without it the default one");
    }
    options.sql->add_option(
        "--service", options.command.services,
        "Only for this service, listed or matched by a pattern; may be repeated");
    options.audit->add_option("--service", options.command.services,
                              "Also for this service of a pattern; may be repeated");
    options.audit->add_option("--dsn", options.command.dsn,
                              "Look with this login (libpq conninfo or URI), not the backend's");
    options.audit->add_flag("--json", options.command.json, "Print JSON");
}

int run(int argc, char** argv) {
    using namespace schemux::daemon;
    CLI::App app{"schemux: one PostgreSQL connection pool, many schemas, any language"};
    app.require_subcommand(1);
    app.footer("Exit status: 0 fine, 78 bad configuration, 1 any other failure.");
    std::string config_file;
    const auto with_config = [&config_file](CLI::App* command) {
        command->add_option("--config,-c", config_file, "The configuration file (YAML)")
            ->required();
        return command;
    };
    CLI::App* serve = with_config(app.add_subcommand("serve", "Run the proxy"));
    bool print_defaults = false;
    CLI::App* check =
        app.add_subcommand("check-config", "Check a configuration file and explain it");
    check->add_option("--config,-c", config_file, "The configuration file (YAML)");
    check->add_flag("--print-default-config", print_defaults,
                    "Print a file with every key at its default, and end");
    DevOptions dev_options;
    CLI::App* dev = app.add_subcommand(
        "dev", "Run on a throwaway PostgreSQL of its own, with two demo services");
    dev->add_flag("--check", dev_options.check, "Run the demo queries, print them, and end");
    dev->add_option("--port", dev_options.port, "Port for clients")->capture_default_str();
    dev->add_option("--http-port", dev_options.http_port, "Port for /metrics")
        ->capture_default_str();
    std::string url = "http://127.0.0.1:9632/readyz";
    CLI::App* health =
        app.add_subcommand("healthcheck", "Ask a running schemux whether it is ready");
    health->add_option("--url", url, "What to ask")->capture_default_str();
    IsolationOptions isolation;
    add_isolation(app, isolation);
    CLI::App* show_version = app.add_subcommand("version", "Print the version");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        // --help ends well; a wrong option is a failure like any other.
        return app.exit(error) == 0 ? exit_ok : exit_failure;
    }
    if (*serve) return serve_command(config_file);
    if (*check && print_defaults) return print_default_config_command();
    if (*check && config_file.empty()) {
        std::fputs("--config is required\nRun with --help for more information.\n", stderr);
        return exit_failure;
    }
    if (*check) return check_config_command(config_file);
    if (*dev) return dev_command(dev_options);
    if (*health) return healthcheck_command(url);
    if (*isolation.sql) return isolation_sql_command(isolation.command);
    if (*isolation.audit) return isolation_audit_command(isolation.command);
    if (*show_version) return version_command();
    return exit_failure;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "schemux: %s\n", error.what());
        return schemux::daemon::exit_failure;
    }
}
