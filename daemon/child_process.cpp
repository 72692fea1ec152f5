#include "daemon/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <thread>

namespace schemux::daemon {

namespace {

constexpr int exit_not_started = 127;

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> result;
    result.reserve(texts.size() + 1);
    for (std::string& text : texts)
        result.push_back(text.data());
    result.push_back(nullptr);
    return result;
}

// Between fork and exec: another thread may have held any lock, so only async-signal-safe calls.
[[noreturn]] void become(const ChildOptions& options, char* const* argv, char* const* environment,
                         int output, pid_t parent) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    // An own session: Ctrl-C at the terminal is for us alone, we then stop the child in order.
    setsid();
    const int input = open("/dev/null", O_RDONLY);
    if (input < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(output, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0U, 0) != 0) {
        _exit(exit_not_started);
    }
    if (options.run_as && (setgroups(0, nullptr) != 0 || setgid(options.run_as->gid) != 0 ||
                           setuid(options.run_as->uid) != 0)) {
        _exit(exit_not_started);
    }
    // After setuid, which clears it. The parent may have ended before it was set.
    if (options.parent_death_signal != 0 &&
        (prctl(PR_SET_PDEATHSIG, options.parent_death_signal) != 0 || getppid() != parent)) {
        _exit(exit_not_started);
    }
    if (chdir(options.working_folder.c_str()) != 0) _exit(exit_not_started);
    execve(argv[0], argv, environment);
    _exit(exit_not_started);
}

std::string error_text(const char* what) {
    return std::string(what) + ": " + strerror(errno);
}

}  // namespace

std::optional<UserIdentity> find_user(const std::string& name) {
    std::array<char, 4096> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    if (getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0) return {};
    if (found == nullptr) return std::nullopt;
    return UserIdentity{found->pw_uid, found->pw_gid};
}

std::variant<pid_t, SpawnError> spawn_child(const ChildOptions& options) {
    assert(!options.argv.empty());
    const int output = open(options.output_file.c_str(),
                            O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (output < 0) return SpawnError{error_text(options.output_file.c_str())};
    // Prepared before fork, because allocating after it is not safe.
    std::vector<std::string> arguments = options.argv;
    std::vector<std::string> variables = options.environment;
    const auto argv = pointers_to(arguments);
    const auto environment = pointers_to(variables);
    const pid_t parent = getpid();
    const pid_t pid = fork();
    if (pid == 0) become(options, argv.data(), environment.data(), output, parent);
    const int fork_error = errno;
    close(output);
    if (pid < 0) {
        errno = fork_error;
        return SpawnError{error_text("fork")};
    }
    return pid;
}

std::string ChildExit::to_string() const {
    if (WIFSIGNALED(status)) return "ended by signal " + std::to_string(WTERMSIG(status));
    return "exit status " + std::to_string(WEXITSTATUS(status));
}

std::optional<ChildExit> wait_child(pid_t pid, std::chrono::milliseconds limit) {
    using Clock = std::chrono::steady_clock;
    const auto deadline = Clock::now() + limit;
    for (;;) {
        ChildExit result;
        const pid_t ended = waitpid(pid, &result.status, WNOHANG);
        if (ended == pid) return result;
        // Somebody else's wait() took it: it has ended, how is not known.
        if (ended < 0 && errno == ECHILD) return ChildExit{};
        if (Clock::now() >= deadline) return std::nullopt;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

std::variant<ChildExit, SpawnError> run_child(const ChildOptions& options,
                                              std::chrono::milliseconds limit) {
    auto started = spawn_child(options);
    if (auto* error = std::get_if<SpawnError>(&started)) return std::move(*error);
    const pid_t pid = std::get<pid_t>(started);
    if (auto end = wait_child(pid, limit)) return *end;
    kill(pid, SIGKILL);
    constexpr std::chrono::seconds kill_bound{10};
    wait_child(pid, kill_bound);
    return SpawnError{options.argv[0] + " took longer than " +
                      std::to_string(limit.count() / 1000) + " s"};
}

}  // namespace schemux::daemon
