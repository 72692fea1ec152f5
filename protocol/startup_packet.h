// The packets that open a connection, before any typed message: StartupMessage, SSLRequest,
// GSSENCRequest, CancelRequest; and what the parameters of a StartupMessage mean.
// Source: PostgreSQL manual, 55.7 "Message Formats"; the server's rules for `options`: chapter
// 20.1.4 and its command line (-c name=value, --name=value).
// It must not know what happens after a packet was read.
#pragma once

#include "protocol/error_response.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace schemux::protocol {

inline constexpr std::size_t startup_length_bytes = 4;
inline constexpr std::uint32_t startup_packet_min = 8;
inline constexpr std::uint32_t startup_packet_max = 10'000;
/// Name/value pairs in one StartupMessage; real drivers send at most a dozen.
inline constexpr std::size_t startup_parameters_max = 64;
/// Settings of `options` and of the packet together.
inline constexpr std::size_t startup_settings_max = 256;
inline constexpr std::size_t cancel_secret_min = 4;
inline constexpr std::size_t cancel_secret_max = 256;
/// From protocol 3.2 on a cancel key may be longer than four bytes.
inline constexpr std::uint16_t long_key_minor = 2;
inline constexpr std::size_t long_key_bytes = 32;

/// A setting's name (lower case where schemux made it) and value.
using Setting = std::pair<std::string, std::string>;
using ParameterView = std::pair<std::string_view, std::string_view>;

/// StartupMessage of protocol 3.`minor`: the parameters as they came, duplicates included.
struct StartupMessage {
    std::uint16_t minor = 0;
    std::vector<ParameterView> parameters;
};
struct SslRequest {};
struct GssEncryptionRequest {};
struct CancelRequest {
    std::uint32_t pid = 0;
    std::string_view secret;
};
/// A StartupMessage of another major version than 3.
struct UnsupportedProtocol {
    std::uint16_t major = 0;
    std::uint16_t minor = 0;
};
enum class PacketFault : std::uint8_t { length, layout, too_many_parameters };

using FirstPacket = std::variant<StartupMessage, SslRequest, GssEncryptionRequest, CancelRequest,
                                 UnsupportedProtocol, PacketFault>;

/// How long the packet is, its length field included, from its first `startup_length_bytes` bytes;
/// nullopt when it is shorter or longer than any client's packet may be.
std::optional<std::size_t> startup_packet_bytes(std::string_view first_bytes);

/// Reads one whole packet with its length field; the views point into `packet`.
FirstPacket read_first_packet(std::string_view packet);

/// `parameters`: no empty names (one would end the packet), no zero bytes.
void append_startup_message(std::string& out, const StartupMessage& message);
void append_ssl_request(std::string& out);
void append_gss_encryption_request(std::string& out);

/// What a StartupMessage asks for.
struct StartupParameters {
    std::string user;
    std::string database;  ///< the user's name where the packet names none, as the server does
    /// In the order in which the server applies them: those of `options`, then the packet's own.
    /// Names are lower case and occur once: the last value wins.
    std::vector<Setting> settings;
    std::string replication;  ///< the parameter's text, the last one's; '' when absent
    std::uint16_t minor = 0;
    std::vector<std::string> unknown_options;  ///< names that start with `_pq_.`

    bool wants_replication() const;  ///< physical or of a database; false, off … are neither
};

/// FATAL 22023 for a broken `replication`, 28000 without a user, 42601 for a broken `options`,
/// 54000 for too many settings.
std::variant<StartupParameters, ErrorFields> interpret(const StartupMessage& message);

/// The settings in the text of an `options` parameter: words are split at white space, a backslash
/// takes the next byte literally; `-c name=value`, `-cname=value` and `--name=value` are known,
/// every other switch of the server's command line is FATAL 42601.
std::variant<std::vector<Setting>, ErrorFields> read_options(std::string_view options);

/// A boolean as the server reads it: any unique prefix of true, false, yes, no, on, off in any
/// case, 1, 0; nullopt for everything else.
std::optional<bool> read_boolean(std::string_view text);

}  // namespace schemux::protocol
