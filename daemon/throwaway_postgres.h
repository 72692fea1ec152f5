// A PostgreSQL of its own for `schemux dev` and for tests: made in a temporary folder, reachable
// only through a unix socket in it, gone with the process that started it. Fast, not durable.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace schemux::daemon {

struct ThrowawayOptions {
    std::string bin_folder;   ///< with initdb and postgres; empty: find_postgres_bin_folder()
    std::string base_folder;  ///< where the folder is made; empty: TMPDIR, and /tmp for root
    std::uint32_t max_connections = 50;
    std::vector<std::string> settings;  ///< more for the server, as name=value
    /// One short line for people at each step; may be empty.
    std::function<void(std::string_view)> progress;
};

struct ThrowawayError {
    std::string message;  ///< with the end of the server's own log where that says why
};

/// Newest server found: pg_config --bindir, then /usr/lib/postgresql/*/bin, then PATH.
std::optional<std::string> find_postgres_bin_folder();

class ThrowawayPostgres {
  public:
    /// Blocks: initdb takes 1-3 s (60 s at most), the start below 1 s (30 s at most). The server is
    /// interrupted by the kernel when the calling thread ends, so call it on the main thread.
    /// As root it runs as the user `postgres`, else `nobody`; PostgreSQL refuses to be root.
    /// On an error nothing is left behind, neither process nor folder.
    static std::variant<ThrowawayPostgres, ThrowawayError> start(const ThrowawayOptions& options);

    ThrowawayPostgres(ThrowawayPostgres&& other) noexcept;
    ThrowawayPostgres& operator=(ThrowawayPostgres&& other) noexcept;
    ~ThrowawayPostgres();

    /// Conninfo of the database `app` as its owner `schemux`, which is not a superuser.
    std::string dsn() const;
    /// The same database as the superuser `postgres`.
    std::string admin_dsn() const;

    const std::string& folder() const;
    pid_t pid() const;
    /// False once the server has ended, whoever ended it.
    bool is_running();
    /// The last lines of the server's log, at most 4 KiB.
    std::string log_tail() const;

    /// Stops the server (fast shutdown 5 s, immediate 5 s, then SIGKILL) and removes the folder.
    /// Does nothing the second time.
    void stop();

  private:
    struct State;
    explicit ThrowawayPostgres(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace schemux::daemon
