// The login of one client, sans-I/O: bytes in, one action out, from the first byte to the moment
// when the client's parameters are known and it counts as authenticated.
// It must not know services, backends, sockets or clocks: what an accepted client may use is looked
// up by the caller. Before login a connection owns no more memory than the bytes it has sent, at
// most one packet of `protocol::startup_packet_max`.
#pragma once

#include "protocol/error_response.h"
#include "protocol/startup_packet.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::core {

/// How a client proves who it is.
enum class ClientAuthentication : std::uint8_t { trust };

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
    /// The login is done. `negotiation` (may be empty) goes out before AuthenticationOk.
    struct Accepted {
        protocol::StartupParameters parameters;
        std::string negotiation;
    };
    /// Send the FATAL error, then close. `error` is the same for the log.
    struct Refuse {
        std::string bytes;
        protocol::ErrorFields error;
    };
    /// Close without a word: what came is not PostgreSQL's protocol.
    struct Close {};
    using Action = std::variant<NeedBytes, Reply, Cancel, Accepted, Refuse, Close>;

    struct Step {
        std::size_t consumed = 0;  ///< of the offered bytes; the rest belongs to what comes next
        Action action;
    };

    explicit FrontendLogin(ClientAuthentication method = ClientAuthentication::trust)
        : method_(method) {}

    /// Everything behind NeedBytes and Reply is final: a further call answers Close.
    Step on_bytes(std::string_view bytes);

    /// Bytes of an incomplete packet that are held now.
    std::size_t held_bytes() const { return packet_.size(); }

  private:
    enum class State : std::uint8_t { negotiating, finished };

    bool fill(std::string_view& bytes, std::size_t upto);
    Action on_packet();
    Action on_startup(const protocol::StartupMessage& message);
    Action on_encryption_request(bool& asked_before, protocol::UnsupportedProtocol as_version);

    const ClientAuthentication method_;
    State state_ = State::negotiating;
    bool ssl_asked_ = false;
    bool gss_asked_ = false;
    std::string packet_;
};

}  // namespace schemux::core
