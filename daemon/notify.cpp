#include "daemon/notify.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace schemux::daemon {

namespace {

constexpr std::size_t max_status_bytes = 512;

std::optional<std::uint64_t> number_in_environment(const char* name) {
    const char* value = getenv(name);
    if (value == nullptr) return std::nullopt;
    const std::string_view text(value);
    std::uint64_t number = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
    return number;
}

}  // namespace

Notifier Notifier::from_environment() {
    const char* value = getenv("NOTIFY_SOCKET");
    std::string path = value == nullptr ? "" : value;
    unsetenv("NOTIFY_SOCKET");
    return Notifier(std::move(path));
}

bool Notifier::status(std::string_view text) const {
    std::string message = "STATUS=";
    for (const char c : text.substr(0, max_status_bytes)) {
        message += static_cast<unsigned char>(c) < ' ' || c == '\x7F' ? ' ' : c;
    }
    return send(message);
}

bool Notifier::reloading() const {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto usec = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
    return send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(usec));
}

bool Notifier::send(std::string_view message) const {
    if (socket_path_.empty()) return true;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket_path_.size() >= sizeof(address.sun_path)) return false;
    std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
    if (socket_path_[0] == '@') address.sun_path[0] = '\0';
    // A path may go without its terminator, and an abstract name must.
    const auto length =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_path_.size());
    const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return false;
    const ssize_t sent = sendto(descriptor, message.data(), message.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&address), length);
    close(descriptor);
    return sent == static_cast<ssize_t>(message.size());
}

std::optional<std::chrono::microseconds> watchdog_interval() {
    const auto interval = number_in_environment("WATCHDOG_USEC");
    if (!interval || *interval == 0) return std::nullopt;
    const char* for_pid = getenv("WATCHDOG_PID");
    if (for_pid != nullptr &&
        number_in_environment("WATCHDOG_PID") != static_cast<std::uint64_t>(getpid())) {
        return std::nullopt;
    }
    return std::chrono::microseconds(static_cast<std::int64_t>(*interval));
}

}  // namespace schemux::daemon
