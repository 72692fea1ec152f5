// `schemux dev`: a throwaway PostgreSQL, two demo services on one pool, and the lines to try. With
// --check it tries them itself, over libpq like any client.

#include "core/template_rewriter.h"
#include "daemon/commands.h"
#include "daemon/log.h"
#include "daemon/server.h"
#include "daemon/throwaway_postgres.h"

#include <sys/socket.h>

#include <libpq-fe.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

constexpr std::string_view demo_schema_sql = R"sql(
CREATE SCHEMA users;
CREATE TABLE users.items (id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO users.items (name) VALUES ('Ada'), ('Grace');
CREATE SCHEMA orders;
CREATE TABLE orders.items (id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO orders.items (name) VALUES ('book'), ('lamp'), ('pencil');
)sql";

constexpr const char* simple_text =
    "SELECT count(*), min(name), pg_backend_pid() FROM {{tables.items}}";
constexpr const char* extended_text =
    "SELECT name, pg_backend_pid() FROM {{tables.items}} WHERE id = $1";

struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
    void operator()(PGresult* result) const { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using Result = std::unique_ptr<PGresult, Finish>;

/// Creates the demo tables; what went wrong, if anything.
std::optional<std::string> make_demo_tables(const std::string& dsn) {
    const Connection connection(PQconnectdb(dsn.c_str()));
    const Result result(PQexec(connection.get(), std::string(demo_schema_sql).c_str()));
    if (PQresultStatus(result.get()) == PGRES_COMMAND_OK) return {};
    return std::string(PQerrorMessage(connection.get()));
}

std::string rewritten_for(std::string_view text, std::string_view schema) {
    core::TemplateContext context;
    context.schema = schema;
    std::string out;
    core::rewrite_templates(text, context, out, nullptr);
    return out;
}

config::Settings demo_settings(const DevOptions& options, const std::string& dsn) {
    config::Settings settings;
    settings.listen = {config::Listener{"127.0.0.1", "", options.port}};
    settings.http = config::Http{"127.0.0.1", options.http_port};
    settings.backend.dsn = dsn;
    settings.pool.max_connections = options.check ? 1 : 5;
    for (const char* name : {"users", "orders"}) {
        config::Service service;
        service.name = name;
        service.schema = name;
        settings.services.push_back(std::move(service));
    }
    settings.log.level = options.check ? config::LogLevel::warning : config::LogLevel::info;
    return settings;
}

/// One row as text, its last column apart: the pid of the backend that answered.
struct DemoAnswer {
    std::string row;
    std::string pid;
};

std::optional<DemoAnswer> read_answer(const Result& result) {
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK || PQntuples(result.get()) != 1) return {};
    DemoAnswer answer;
    const int last = PQnfields(result.get()) - 1;
    for (int column = 0; column < last; ++column) {
        if (column > 0) answer.row += " | ";
        answer.row += PQgetvalue(result.get(), 0, column);
    }
    answer.pid = PQgetvalue(result.get(), 0, last);
    return answer;
}

/// Runs both demo queries as one service; the pid that served them, or nothing on a failure.
std::optional<std::string> demonstrate(const std::string& service, std::uint16_t port) {
    const std::string dsn = "host=127.0.0.1 port=" + std::to_string(port) +
                            " user=dev dbname=" + service + " sslmode=disable connect_timeout=20";
    const Connection connection(PQconnectdb(dsn.c_str()));
    if (PQstatus(connection.get()) != CONNECTION_OK) {
        std::fprintf(stderr, "%s", PQerrorMessage(connection.get()));
        return {};
    }
    const char* const parameter = "2";
    const Result simple(PQexec(connection.get(), simple_text));
    const Result extended(
        PQexecParams(connection.get(), extended_text, 1, nullptr, &parameter, nullptr, nullptr, 0));
    const std::optional<DemoAnswer> first = read_answer(simple);
    const std::optional<DemoAnswer> second = read_answer(extended);
    if (!first || !second) {
        std::fprintf(stderr, "%s", PQerrorMessage(connection.get()));
        return {};
    }
    std::printf("service %s\n", service.c_str());
    const auto show = [&](const char* protocol, const char* text, const DemoAnswer& answer) {
        std::printf("  %-9s %s\n  becomes   %s\n  result    %s   (backend %s)\n", protocol, text,
                    rewritten_for(text, service).c_str(), answer.row.c_str(), answer.pid.c_str());
    };
    show("simple", simple_text, *first);
    show("extended", extended_text, *second);
    if (first->pid != second->pid) return {};
    return first->pid;
}

bool run_checks(std::uint16_t port) {
    const std::optional<std::string> users = demonstrate("users", port);
    const std::optional<std::string> orders = demonstrate("orders", port);
    if (!users || !orders) return false;
    std::printf("pool: 1 connection to PostgreSQL (backend %s) served %s\n", users->c_str(),
                *users == *orders ? "both services" : "only one service");
    return *users == *orders;
}

void print_lines_to_try(const DevOptions& options) {
    std::printf(
        "\nschemux is ready. Two services share one pool of 5 connections. Try, in another "
        "terminal:\n\n");
    for (const char* service : {"users", "orders"}) {
        std::printf("  psql -h 127.0.0.1 -p %u -U dev %s -c 'SELECT * FROM {{tables.items}}'\n",
                    unsigned{options.port}, service);
    }
    std::printf(
        "\nStatus:  http://127.0.0.1:%u/\n"
        "Metrics: http://127.0.0.1:%u/metrics    Ctrl-C ends it and removes everything.\n\n",
        unsigned{options.http_port}, unsigned{options.http_port});
    std::fflush(stdout);
}

}  // namespace

int dev_command(const DevOptions& options) {
    ThrowawayOptions throwaway;
    throwaway.progress = [](std::string_view line) {
        std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
    };
    auto started = ThrowawayPostgres::start(throwaway);
    if (const auto* error = std::get_if<ThrowawayError>(&started)) {
        std::fprintf(stderr, "schemux dev: %s\n", error->message.c_str());
        return exit_failure;
    }
    auto& postgres = std::get<ThrowawayPostgres>(started);
    if (const auto error = make_demo_tables(postgres.dsn())) {
        std::fprintf(stderr, "schemux dev: %s", error->c_str());
        return exit_failure;
    }
    auto resolved = resolve_dsn(postgres.dsn());
    if (const auto* error = std::get_if<DsnError>(&resolved)) {
        std::fprintf(stderr, "schemux dev: %s\n", error->message.c_str());
        return exit_failure;
    }
    DevOptions chosen = options;
    if (options.check) chosen.port = chosen.http_port = 0;  // any free ones
    config::Settings settings = demo_settings(chosen, postgres.dsn());
    start_logging(make_log_options(settings.log));
    int status = exit_ok;
    {
        Loaded loaded{std::move(settings)};
        loaded.backends.push_back({std::get<BackendTarget>(std::move(resolved))});
        Server server(std::move(loaded), {});
        if (const auto error = server.start()) {
            std::fprintf(stderr, "schemux dev: %s\n", error->c_str());
            status = exit_failure;
        } else if (options.check) {
            std::thread demo([&] {
                if (!run_checks(server.port())) status = exit_failure;
                server.request_stop();
            });
            server.run();
            demo.join();
        } else {
            print_lines_to_try(chosen);
            server.run();
        }
    }
    stop_logging();
    return status;
}

}  // namespace schemux::daemon
