#include "daemon/password_source.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

namespace schemux::daemon {

namespace {

using Clock = std::chrono::steady_clock;
using Outcome = std::variant<protocol::Secret, NoPassword>;

Outcome first_line(std::string text, const std::string& where) {
    std::string_view line = text;
    line = line.substr(0, std::min(line.find('\n'), line.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    Outcome outcome = NoPassword{where + " has no password in its first line"};
    if (line.find('\0') != std::string_view::npos) {
        outcome = NoPassword{where + " has a zero byte in its first line"};
    } else if (!line.empty()) {
        outcome = protocol::Secret(line);
    }
    protocol::wipe(text);
    return outcome;
}

Outcome read_file(const std::string& name) {
    std::ifstream in(name);
    std::string text(password_output_max, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!in.is_open() || in.bad()) return NoPassword{"cannot read " + name};
    text.resize(static_cast<std::size_t>(in.gcount()));
    return first_line(std::move(text), name);
}

/// A program of its own process group, whose standard output we read.
class Child {
  public:
    explicit Child(const std::atomic<bool>* stopped) : stopped_(stopped) {}
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    ~Child() {
        if (output_ >= 0) ::close(output_);
        if (pid_ <= 0) return;
        ::kill(-pid_, SIGKILL);
        int status = 0;
        while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
    }

    /// What went wrong, if anything.
    std::optional<std::string> start(const std::vector<std::string>& command) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::strerror(errno);
        output_ = ends[0];
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
        posix_spawnattr_t attributes;
        posix_spawnattr_init(&attributes);
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_setsigmask(&attributes, &none);
        sigset_t all;
        sigfillset(&all);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawnattr_setpgroup(&attributes, 0);
        posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
        std::vector<std::string> words = command;
        std::vector<char*> argv;
        argv.reserve(words.size() + 1);
        for (std::string& word : words)
            argv.push_back(word.data());
        argv.push_back(nullptr);
        const int error =
            ::posix_spawnp(&pid_, argv[0], &actions, &attributes, argv.data(), environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        ::close(ends[1]);
        if (error == 0) return {};
        pid_ = 0;
        return std::strerror(error);
    }

    /// All that it prints; nullopt: too much, or not in time.
    std::optional<std::string> read(Clock::time_point until) const {
        constexpr std::chrono::milliseconds slice{100};
        std::string text;
        std::array<char, 4096> room{};
        while (text.size() < password_output_max) {
            const auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
            if (left.count() <= 0 || stopped()) return {};
            pollfd one{output_, POLLIN, 0};
            const int ready = ::poll(&one, 1, static_cast<int>(std::min(left, slice).count()));
            if (ready < 0 && errno != EINTR) return {};
            if (ready <= 0) continue;
            const ssize_t got = ::read(output_, room.data(), room.size());
            if (got == 0) return text;
            if (got < 0 && errno != EINTR) return {};
            if (got > 0) text.append(room.data(), static_cast<std::size_t>(got));
        }
        return {};
    }

    /// nullopt: it does not end.
    std::optional<int> wait(Clock::time_point until) {
        constexpr std::chrono::milliseconds look{5};
        while (true) {
            int status = 0;
            const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
            if (ended == pid_) {
                pid_ = 0;
                return status;
            }
            if (Clock::now() >= until || stopped()) return {};
            std::this_thread::sleep_for(look);
        }
    }

  private:
    bool stopped() const { return stopped_ != nullptr && *stopped_; }

    const std::atomic<bool>* stopped_;
    pid_t pid_ = 0;
    int output_ = -1;
};

Outcome run(const std::vector<std::string>& command, const std::atomic<bool>* stopped) {
    const std::string& name = command.front();
    Child child(stopped);
    if (const auto error = child.start(command)) return NoPassword{name + ": " + *error};
    const auto until = Clock::now() + password_command_timeout;
    auto text = child.read(until);
    if (!text) return NoPassword{name + " took too long, or printed too much"};
    const auto status = child.wait(until);
    std::string why;
    if (!status) {
        why = " does not end";
    } else if (WIFSIGNALED(*status)) {
        why = " was ended by signal " + std::to_string(WTERMSIG(*status));
    } else if (WEXITSTATUS(*status) != 0) {
        why = " ended with status " + std::to_string(WEXITSTATUS(*status));
    }
    if (why.empty()) return first_line(std::move(*text), name);
    protocol::wipe(*text);
    return NoPassword{name + why};
}

}  // namespace

std::variant<protocol::Secret, NoPassword> read_password(const PasswordSource& source,
                                                         const std::atomic<bool>* stopped) {
    return source.command.empty() ? read_file(source.file) : run(source.command, stopped);
}

}  // namespace schemux::daemon
