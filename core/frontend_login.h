// The login of one client, sans-I/O: bytes in, one action out, from the first byte to the moment
// when the client's parameters are known and it counts as authenticated.
// It must not know services, backends, sockets, clocks or secrets: what proves a user's password,
// and what an accepted client may use, is looked up by the caller. Before login a connection owns
// no more memory than the bytes it has sent, at most one packet of `protocol::startup_packet_max`.
#pragma once

#include "protocol/error_response.h"
#include "protocol/scram_sha_256.h"
#include "protocol/startup_packet.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::core {

/// How a client proves who it is.
enum class ClientAuthentication : std::uint8_t { trust, scram_sha_256 };

/// The body of one SASL message of a client; PostgreSQL's own bound.
inline constexpr std::uint32_t sasl_message_max = 1024;

class FrontendLogin {
  public:
    /// All offered bytes were taken, the packet is not complete.
    struct NeedBytes {};
    /// Send, then offer what was not consumed, then read on.
    struct Reply {
        std::string bytes;
    };
    /// The connection is a CancelRequest: act on it and close without an answer.
    struct Cancel {
        std::uint32_t pid = 0;
        std::string secret;
    };
    /// Look up what proves the password of this user (for one that does not exist, a
    /// `protocol::mock_verifier`), and call `on_verifier`.
    struct NeedVerifier {
        std::string user;
    };
    /// The login is done. `reply` (may be empty) goes out before AuthenticationOk.
    struct Accepted {
        protocol::StartupParameters parameters;
        std::string reply;
    };
    /// Send the FATAL error, then close. `error` is the same for the log.
    struct Refuse {
        std::string bytes;
        protocol::ErrorFields error;
    };
    /// Close without a word: what came is not PostgreSQL's protocol.
    struct Close {};
    using Action = std::variant<NeedBytes, Reply, Cancel, NeedVerifier, Accepted, Refuse, Close>;

    struct Step {
        std::size_t consumed = 0;  ///< of the offered bytes; the rest belongs to what comes next
        Action action;
    };

    explicit FrontendLogin(ClientAuthentication method = ClientAuthentication::trust)
        : method_(method) {}

    /// Everything but NeedBytes, Reply and NeedVerifier is final: a further call answers Close.
    Step on_bytes(std::string_view bytes);
    /// The answer to NeedVerifier: a Reply. `nonce` is random and new, see protocol::ScramServer.
    Action on_verifier(protocol::ScramVerifier verifier, std::string nonce);

    /// Of the startup packet, once that was read; for the log.
    const std::string& user() const { return parameters_.user; }

    /// Bytes of an incomplete packet that are held now.
    std::size_t held_bytes() const { return packet_.size(); }

  private:
    enum class State : std::uint8_t {
        negotiating,
        expects_verifier,
        expects_sasl_initial_response,
        expects_sasl_response,
        finished,
    };

    bool fill(std::string_view& bytes, std::size_t upto);
    std::optional<Action> take_startup_packet(std::string_view& bytes);
    std::optional<Action> take_sasl_message(std::string_view& bytes);
    Action on_packet();
    Action on_startup(const protocol::StartupMessage& message);
    Action on_encryption_request(bool& asked_before, protocol::UnsupportedProtocol as_version);
    Action on_sasl_initial_response(std::string_view body);
    Action on_client_first(std::string_view data);
    Action on_client_final(std::string_view data);
    Action refuse_password() const;
    Action refuse_exchange(protocol::ScramFault fault) const;

    const ClientAuthentication method_;
    State state_ = State::negotiating;
    bool ssl_asked_ = false;
    bool gss_asked_ = false;
    bool first_data_missing_ = false;
    std::string packet_;
    std::string negotiation_;
    protocol::StartupParameters parameters_;
    std::optional<protocol::ScramServer> scram_;
};

}  // namespace schemux::core
