// Where the password of the backend's login comes from when that is not the configuration itself:
// a file, or a program that prints it, such as those of clouds and vaults whose passwords end after
// minutes. It must not know PostgreSQL or who waits. Blocks: for a helper thread.
#pragma once

#include "protocol/secret.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <variant>
#include <vector>

namespace schemux::daemon {

inline constexpr std::size_t password_output_max = 64 * 1024;
inline constexpr std::chrono::seconds password_command_timeout{10};

struct PasswordSource {
    std::vector<std::string> command{};  ///< program and arguments, without a shell; or
    std::string file{};
    /// The dsn or a file said it before; it is asked only when that is refused.
    bool empty() const { return command.empty() && file.empty(); }

    friend bool operator==(const PasswordSource&, const PasswordSource&) = default;
};

struct NoPassword {
    std::string why;  ///< never has what the program printed
};

/// The first line of the file, or of what the program prints on its standard output. Soon over when
/// `stopped` becomes true, if it is given.
std::variant<protocol::Secret, NoPassword> read_password(
    const PasswordSource& source, const std::atomic<bool>* stopped = nullptr);

}  // namespace schemux::daemon
