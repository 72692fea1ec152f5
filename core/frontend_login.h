// The login of one client, sans-I/O: bytes in, one action out, from the first byte to the moment
// when the client's parameters are known and it counts as authenticated.
// It must not know services, backends, sockets, TLS itself, clocks or secrets: what proves a user's
// password, and what an accepted client may use, is looked up by the caller; where a handshake is
// due it says so and goes on with what comes out of it. Before login a connection owns no more
// memory here than the bytes it has sent, at most one packet of `protocol::startup_packet_max`.
#pragma once

#include "core/login_rules.h"
#include "protocol/error_response.h"
#include "protocol/scram_secret.h"
#include "protocol/scram_sha_256.h"
#include "protocol/secret.h"
#include "protocol/startup_packet.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace schemux::core {

enum class ClientTls : std::uint8_t { off, offered, required };

/// What of the listener and of the configuration decides over a login.
struct LoginRules {
    /// Where none of `rules` fits.
    ClientAuthentication method = ClientAuthentication::trust;
    std::shared_ptr<const LoginRuleList> rules{};  ///< null: none
    ClientTls tls = ClientTls::off;
    bool certificate_is_user = false;   ///< whatever the method, its name must be the user's
    bool is_local = false;              ///< a unix socket: nobody listens in between
    std::optional<std::string> peer{};  ///< the operating system's name of who has the other end
    std::string address{};              ///< of the client, as bytes; empty: a unix socket's
    std::string address_text{};         ///< the same for people
};

/// What a handshake has shown.
struct SecureChannel {
    std::string end_point{};  ///< what SCRAM can bind to (RFC 5929, tls-server-end-point); or empty
    /// The common name of the client's certificate, which was verified.
    std::optional<std::string> certificate_name{};
    std::vector<std::string> alternative_names{};  ///< of the same: DNS names, e-mail, URIs
    bool has_certificate = false;                  ///< the client has one, and it was verified
    /// That the name which the client called belongs to: it takes the database's place.
    std::optional<std::string> service{};
};

/// The body of one message with a password or of SASL; PostgreSQL's own bound.
inline constexpr std::uint32_t sasl_message_max = 1024;

class FrontendLogin {
  public:
    /// All offered bytes were taken, the packet is not complete.
    struct NeedBytes {};
    /// Send, then offer what was not consumed, then read on.
    struct Reply {
        std::string bytes;
    };
    /// Send these (may be none), see through a TLS handshake, call `on_encrypted`, then offer what
    /// comes decrypted. Nothing of what came in front of it is left.
    struct StartTls {
        std::string bytes;
        bool direct = false;  ///< no question went before: the client must name the protocol (ALPN)
    };
    /// The connection is a CancelRequest: act on it and close without an answer.
    struct Cancel {
        std::uint32_t pid = 0;
        std::string secret;
    };
    /// Look up what proves the password of this user (for one that does not exist, a
    /// `protocol::mock_verifier`), and call `on_verifier`; or, where md5 may be used and is all
    /// that there is, `on_md5_hash`.
    struct NeedVerifier {
        std::string user;
        bool md5_may_be_used = false;
    };
    /// See whether this is the user's password, and call `on_password_checked`.
    struct CheckPassword {
        std::string user;
        protocol::Secret password;
    };
    /// With what a server that has the user's secret lets the caller in as this user.
    struct Proved {
        protocol::Secret password{};  ///< empty: only the caller could know it, and does not
        std::optional<protocol::ScramSecret> keys{};
    };
    /// The login is done. `reply` (may be empty) goes out before AuthenticationOk.
    struct Accepted {
        protocol::StartupParameters parameters;
        std::string reply;
        Proved proved{};
    };
    /// Send the FATAL error, then close. `error` is the same for the log.
    struct Refuse {
        std::string bytes;
        protocol::ErrorFields error;
    };
    /// Close without a word: what came is not PostgreSQL's protocol.
    struct Close {};
    using Action = std::variant<NeedBytes, Reply, StartTls, Cancel, NeedVerifier, CheckPassword,
                                Accepted, Refuse, Close>;

    struct Step {
        std::size_t consumed = 0;  ///< of the offered bytes; the rest belongs to what comes next
        Action action;
    };

    FrontendLogin() = default;
    explicit FrontendLogin(ClientAuthentication method) { rules_.method = method; }
    explicit FrontendLogin(LoginRules rules) : rules_(std::move(rules)) {}

    /// What does not ask for more is final: a further call answers Close.
    Step on_bytes(std::string_view bytes);
    /// The answer to StartTls.
    void on_encrypted(SecureChannel channel);
    /// The answer to NeedVerifier: a Reply. `nonce` is random and new, see protocol::ScramServer.
    /// `known`, here and below: the password, for what is Accepted; empty: it is not known.
    Action on_verifier(protocol::ScramVerifier verifier, std::string nonce,
                       protocol::Secret known = {});
    /// The answer to NeedVerifier: a Reply. `hash` is "md5" and 32 digits, as in pg_authid; `salt`
    /// four random bytes.
    Action on_md5_hash(std::string_view hash, std::string_view salt, protocol::Secret known = {});
    /// The answer to NeedVerifier or CheckPassword: what proves the user cannot be had now.
    Action on_no_answer(protocol::ErrorFields error);
    /// The answer to CheckPassword: Accepted or Refuse.
    Action on_password_checked(bool right, protocol::Secret known = {});

    /// Of the startup packet, once that was read; for the log.
    const std::string& user() const { return parameters_.user; }

    /// The same: what it asks for.
    const std::string& database() const { return parameters_.database; }

    /// Bytes of an incomplete packet that are held now.
    std::size_t held_bytes() const { return packet_.size(); }

  private:
    enum class State : std::uint8_t {
        negotiating,
        expects_encryption,
        expects_verifier,
        expects_sasl_initial_response,
        expects_sasl_response,
        expects_password,
        expects_password_check,
        expects_md5_answer,
        finished,
    };

    bool fill(std::string_view& bytes, std::size_t upto);
    std::optional<Action> take_startup_packet(std::string_view& bytes);
    std::optional<Action> take_password_message(std::string_view& bytes);
    bool begins_with_handshake(std::string_view bytes) const;
    Action on_packet();
    Action on_startup(const protocol::StartupMessage& message);
    Action on_ssl_request();
    Action on_gss_request();
    Action ask_for_proof();
    Action ask_for(ClientAuthentication method, std::string_view map);
    Action ask_for_password();
    bool has_certificate() const { return channel_ && channel_->has_certificate; }
    bool certified(std::string_view map) const;
    bool is_mapped(std::string_view map, std::string_view identity) const;
    bool can_bind() const;
    Action refuse_origin(const LoginRule* rule) const;
    Action refuse_certificate() const;
    Action refuse_peer() const;
    Action on_password(std::string_view body);
    Action on_md5_answer(std::string_view body);
    Action on_sasl_initial_response(std::string_view body);
    Action on_client_first(std::string_view data);
    Action on_client_final(std::string_view data);
    Action accept(std::string reply);
    Action refuse_password() const;
    Action refuse_exchange(protocol::ScramFault fault) const;

    LoginRules rules_;
    State state_ = State::negotiating;
    std::optional<SecureChannel> channel_;
    bool ssl_asked_ = false;
    bool gss_asked_ = false;
    bool first_data_missing_ = false;
    std::string packet_;
    std::string negotiation_;
    protocol::StartupParameters parameters_;
    Proved proved_;  ///< what will be, when it is
    std::optional<protocol::ScramVerifier> verifier_;
    std::string md5_answer_;  ///< the right one
    std::string nonce_;
    std::optional<protocol::ScramServer> scram_;
};

}  // namespace schemux::core
