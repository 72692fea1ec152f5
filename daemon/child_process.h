// Starting, awaiting and ending one child process, by its id. For the throwaway PostgreSQL of
// `schemux dev`; the serving daemon starts no processes. Knows nothing of PostgreSQL.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace schemux::daemon {

struct UserIdentity {
    uid_t uid = 0;
    gid_t gid = 0;
};

/// The ids of a user of this machine; nullopt if there is none of that name.
std::optional<UserIdentity> find_user(const std::string& name);

struct ChildOptions {
    std::vector<std::string> argv;         ///< argv[0] is the program's path
    std::vector<std::string> environment;  ///< the whole of it, as NAME=value
    std::string working_folder = "/";
    std::string output_file;             ///< stdout and stderr are appended here; must be given
    std::optional<UserIdentity> run_as;  ///< needs root; groups are dropped too
    /// Sent to the child by the kernel when the thread that started it ends, 0 for none. So start
    /// children that shall live as long as the process on the main thread.
    int parent_death_signal = 0;
};

struct SpawnError {
    std::string message;
};

/// Exit status 127 of the child means that it could not become what it should.
std::variant<pid_t, SpawnError> spawn_child(const ChildOptions& options);

/// How a child ended: as waitpid(2) tells it.
struct ChildExit {
    int status = 0;
    bool succeeded() const { return status == 0; }
    std::string to_string() const;
};

/// Waits for the child's end, `limit` at most; nullopt when it still runs. After a value the id is
/// free again and must not be signalled any more.
std::optional<ChildExit> wait_child(pid_t pid, std::chrono::milliseconds limit);

/// Program and arguments run to their end; killed after `limit`.
std::variant<ChildExit, SpawnError> run_child(const ChildOptions& options,
                                              std::chrono::milliseconds limit);

}  // namespace schemux::daemon
