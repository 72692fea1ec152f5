#include "daemon/log_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace schemux::daemon {

namespace {

// Others than the owner's group have no business with who logs in.
constexpr mode_t file_mode = 0640;

/// How much of it was written.
std::size_t write_all(int fd, std::string_view bytes) {
    std::size_t written = 0;
    while (written < bytes.size()) {
        const ssize_t count = ::write(fd, bytes.data() + written, bytes.size() - written);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) break;
        written += static_cast<std::size_t>(count);
    }
    return written;
}

}  // namespace

LogFile::~LogFile() {
    close();
}

std::optional<std::string> LogFile::open(const std::string& path) {
    constexpr int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
    const int fresh = ::open(path.c_str(), flags, file_mode);
    if (fresh < 0) return path + ": " + std::strerror(errno);
    const std::lock_guard lock(mutex_);
    const int old = std::exchange(fd_, fresh);
    torn_ = false;
    if (old >= 0) ::close(old);
    return {};
}

void LogFile::close() {
    const std::lock_guard lock(mutex_);
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

bool LogFile::write(std::string_view line) {
    const std::lock_guard lock(mutex_);
    if (fd_ < 0) return false;
    // The rest of a full disk's last line never came: this one must not become its end.
    if (torn_ && write_all(fd_, "\n") == 0) return false;
    const std::size_t written = write_all(fd_, line);
    torn_ = written > 0 && written < line.size();
    return written == line.size();
}

}  // namespace schemux::daemon
