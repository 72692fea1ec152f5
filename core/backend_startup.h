// The login to one PostgreSQL backend, sans-I/O: from the StartupMessage to the first
// ReadyForQuery, or to that of the SQL that is to run first. The server is not trusted: every
// message has its turn, every length and count a bound, and a SCRAM login ends only after the
// server has proved that it knows the password too. It must not know sockets, clocks, threads or
// randomness: keys are derived by the caller (slowly, elsewhere, or from a cache), the nonce comes
// from the caller.
#pragma once

#include "protocol/authentication.h"
#include "protocol/error_response.h"
#include "protocol/message_type.h"
#include "protocol/messages.h"
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
#include <variant>
#include <vector>

namespace schemux::core {

/// One message of a login, header included; PostgreSQL's own client allows 30 000.
inline constexpr std::uint32_t backend_login_message_max = 64 * 1024;
/// All bytes that a server may send before it is ready.
inline constexpr std::size_t backend_login_bytes_max = 512 * 1024;
/// A server's error text is cut here.
inline constexpr std::size_t backend_error_text_max = 2048;

/// How the server may let us prove who we are; it is refused when it asks for anything else, lest
/// whoever answers at its address could ask for the password itself.
struct AcceptedMethods {
    bool none = true;  ///< it asks for nothing
    bool password = false;
    bool md5 = true;
    bool scram_sha_256 = true;
};

/// Whether the login is bound to the encrypted channel, as libpq's channel_binding says.
enum class ChannelBinding : std::uint8_t { never, if_possible, required };

struct BackendLogin {
    std::string user;
    std::string database;
    std::vector<protocol::Setting> settings;  ///< further startup parameters, in this order
    std::optional<protocol::Secret> password;
    /// That do for a password where the server has the same verifier. Null: there are none.
    std::shared_ptr<const protocol::ScramSecret> keys{};
    AcceptedMethods methods;
    std::string scram_nonce;  ///< random and new for each login, see protocol::ScramClient
    /// The hash of the server's certificate; empty: nothing can be bound to.
    std::string end_point;
    ChannelBinding channel_binding = ChannelBinding::if_possible;
    std::uint16_t protocol_minor = 0;
    std::string on_connect;  ///< SQL that runs first; what it leaves in the session is discarded
};

/// What a CancelRequest for this backend must carry; empty when the server gave no key.
struct BackendKey {
    std::uint32_t pid = 0;
    std::string secret;
};

class BackendStartup {
  public:
    /// Everything buffered was handled; call `on_bytes` when there is more.
    struct NeedBytes {};
    /// Send this, then call `on_bytes({})`: more may be buffered.
    struct Send {
        std::string bytes;
    };
    /// Derive the keys of the login's password for these, then call `on_keys`. Bytes that arrive
    /// meanwhile may be given to `on_bytes`, which keeps them.
    struct DeriveKeys {
        std::string salt;
        std::uint32_t iterations = 0;
    };
    /// The backend is idle and ready; nothing is left over.
    struct Done {};
    /// The connection must be closed.
    struct Failed {
        protocol::ErrorFields error;
        bool transient = false;        ///< the same login may succeed later
        bool version_refused = false;  ///< the server may know no other protocol than 3.0
    };
    using Action = std::variant<NeedBytes, Send, DeriveKeys, Done, Failed>;

    explicit BackendStartup(BackendLogin login);

    /// The StartupMessage; Failed (54000) when it would be longer than servers accept.
    Action start();
    Action on_bytes(std::string_view bytes);
    Action on_keys(const protocol::ScramKeys& keys);
    /// The server closed the connection, or it broke: always Failed.
    Action on_closed();

    /// Valid after Done.
    const std::vector<protocol::Setting>& parameters() const { return parameters_; }
    const BackendKey& key() const { return key_; }

  private:
    enum class State : std::uint8_t {
        not_started,
        expects_authentication,
        expects_sasl_continue,
        expects_keys,
        expects_sasl_final,
        expects_ok,  ///< password or its md5 sent, or the server's signature verified
        expects_ready,
        runs_on_connect,
        discards,  ///< what that left in the session
        done,
        failed,
    };

    struct Message {
        char type = 0;
        std::string_view body;
    };

    Action fail(std::string_view code, std::string message, bool transient = false);
    Action violation(std::string message);
    bool may_refuse_version() const;
    std::optional<Action> on_message(Message message);
    std::optional<Action> on_authentication(std::string_view body);
    std::optional<Action> on_sasl(const protocol::AuthenticationSasl& request);
    std::optional<Action> on_sasl_continue(std::string_view data);
    std::optional<Action> on_sasl_final(std::string_view data);
    std::optional<Action> on_cleartext();
    std::optional<Action> on_md5(std::string_view salt);
    std::optional<Action> refuse_method(std::string_view name);
    std::string_view password() const { return login_.password ? login_.password->view() : ""; }
    std::optional<Action> send_password(std::string_view proof);
    Action no_password();
    Action other_verifier();
    std::optional<Action> on_parameter(std::string_view body);
    std::optional<Action> on_key(std::string_view body);
    std::optional<Action> on_negotiation(std::string_view body);
    std::optional<Action> on_ready(std::string_view body);
    std::optional<Action> on_result(protocol::BackendMessage type, std::string_view body);
    Action run(std::string_view sql, State next);
    Action on_error(std::string_view body);

    BackendLogin login_;
    std::optional<protocol::ScramClient> scram_;
    State state_ = State::not_started;
    bool any_message_ = false;
    bool negotiated_ = false;
    bool key_seen_ = false;
    bool bound_ = false;  ///< to the channel, by SCRAM
    std::size_t received_ = 0;
    std::string buffer_;
    std::size_t handled_ = 0;  ///< bytes at the front of the buffer that are done with
    std::vector<protocol::Setting> parameters_;
    std::size_t reported_bytes_ = 0;
    BackendKey key_;
};

}  // namespace schemux::core
