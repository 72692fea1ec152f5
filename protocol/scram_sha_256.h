// SCRAM-SHA-256, without and with channel binding (-PLUS): both sides of the exchange as small
// machines over message texts. Sources: RFC 5802 (messages: section 7), RFC 7677, RFC 5929
// (tls-server-end-point); PostgreSQL manual, 55.3.1.
// PostgreSQL takes the user's name from the startup packet, the one in the exchange is ignored.
// They must not derive keys themselves nor make random numbers: the caller gives both, so that the
// slow part runs elsewhere and tests are repeatable. Each message is either read to its end into a
// complete value or refused; each call is legal once and in its turn only.
#pragma once

#include "protocol/scram_keys.h"
#include "protocol/scram_secret.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace schemux::protocol {

inline constexpr std::string_view scram_mechanism = "SCRAM-SHA-256";
inline constexpr std::string_view scram_plus_mechanism = "SCRAM-SHA-256-PLUS";
inline constexpr std::size_t scram_message_max = 4096;
/// Client's and server's part together.
inline constexpr std::size_t scram_nonce_max = 512;
/// Random bytes behind PostgreSQL's own nonces, which are sent as base64.
inline constexpr std::size_t scram_nonce_random_bytes = 18;

enum class ScramFault : std::uint8_t {
    out_of_turn,
    too_long,
    malformed,
    unsupported,  ///< a mandatory extension
    authorization_identity,
    channel_binding,  ///< not the one that the exchange began with
    binding_type,     ///< another than tls-server-end-point
    binding_data,     ///< of another channel: somebody is in between
    downgrade,        ///< the client was told, not by us, that we cannot bind channels
    nonce,
    other_nonce,  ///< of another exchange
    iterations,
    salt,
    rejected,  ///< the server's final message was e=…
    proof,     ///< wrong password
    signature  ///< the server does not know the password
};

/// A new random one, as PostgreSQL makes them.
std::string make_scram_nonce();

/// A sentence for an error's detail; never holds bytes of the peer.
std::string_view describe(ScramFault fault);

/// The side that knows the password.
class ScramClient {
  public:
    /// What `derive_keys` must be called with.
    struct NeedsKeys {
        std::string salt;
        std::uint32_t iterations = 0;
    };

    /// What is said of the channel: nothing can be bound; it could, but the server does not offer
    /// it; or the hash of the server's certificate, under the mechanism with -PLUS.
    enum class Binding : std::uint8_t { none, not_offered, end_point };

    /// `nonce`: printable ASCII without a comma, at most half of `scram_nonce_max`.
    explicit ScramClient(std::string nonce, Binding binding = Binding::none,
                         std::string_view end_point = {});

    std::string first_message();
    std::variant<NeedsKeys, ScramFault> on_server_first(std::string_view message);
    /// Legal only after `on_server_first` asked for keys.
    std::string final_message(const ScramKeys& keys);
    /// nullopt when the server has proved that it knows the keys.
    std::optional<ScramFault> on_server_final(std::string_view message);

    bool server_verified() const { return state_ == State::verified; }

  private:
    enum class State : std::uint8_t {
        start,
        expects_server_first,
        expects_keys,
        expects_server_final,
        verified,
        failed
    };

    std::string nonce_;
    std::string header_;           ///< what the first message begins with (gs2-header)
    std::string channel_binding_;  ///< that and what is bound to
    std::string first_bare_;
    std::string server_first_;
    std::string full_nonce_;
    ScramKey server_signature_{};
    State state_ = State::start;
};

/// The side that knows a verifier.
class ScramServer {
  public:
    /// What the channel offers and the client has chosen of it.
    struct Binding {
        std::string end_point{};  ///< hash of the server's certificate; empty: nothing is offered
        bool chosen = false;      ///< the client's mechanism is the one with -PLUS
    };

    struct Accepted {
        std::string server_final;
        /// The client's key is recovered from its proof.
        ScramSecret secret;
    };

    /// `nonce` as for `ScramClient`; the verifier may be a mock one.
    ScramServer(ScramVerifier verifier, std::string nonce, Binding binding);
    ScramServer(ScramVerifier verifier, std::string nonce)
        : ScramServer(std::move(verifier), std::move(nonce), Binding{}) {}

    /// The server-first message.
    std::variant<std::string, ScramFault> on_client_first(std::string_view message);
    std::variant<Accepted, ScramFault> on_client_final(std::string_view message);

  private:
    enum class State : std::uint8_t { expects_first, expects_final, finished };

    ScramVerifier verifier_;
    std::string nonce_;
    Binding binding_;
    std::string channel_binding_;  ///< what the client must repeat in c=
    std::string first_bare_;
    std::string server_first_;
    std::string full_nonce_;
    State state_ = State::expects_first;
};

}  // namespace schemux::protocol
