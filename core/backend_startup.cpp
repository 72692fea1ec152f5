#include "core/backend_startup.h"

#include "core/limits.h"
#include "core/overload.h"
#include "protocol/md5_password.h"
#include "protocol/message_header.h"
#include "protocol/message_type.h"
#include "protocol/sqlstate.h"
#include "protocol/wire_reader.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace schemux::core {

namespace {

namespace sqlstate = protocol::sqlstate;
using protocol::BackendMessage;

constexpr std::uint16_t protocol_major = 3;

/// The front of a text, not cut inside a UTF-8 character.
std::string cut(std::string_view text) {
    if (text.size() > backend_error_text_max) {
        std::size_t end = backend_error_text_max;
        constexpr std::size_t utf8_tail_max = 3;
        for (std::size_t i = 0; i < utf8_tail_max && (text[end] & 0xc0) == 0x80; ++i)
            --end;
        text = text.substr(0, end);
    }
    return std::string(text);
}

bool is_sqlstate(std::string_view text) {
    constexpr std::size_t sqlstate_bytes = 5;
    return text.size() == sqlstate_bytes && std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
           });
}

/// States of the server that pass by themselves: shutting down, starting up, no free slot.
bool is_transient(std::string_view code) {
    static constexpr std::array transient{sqlstate::cannot_connect_now,
                                          sqlstate::too_many_connections, sqlstate::admin_shutdown};
    return std::find(transient.begin(), transient.end(), code) != transient.end();
}

}  // namespace

BackendStartup::BackendStartup(BackendLogin login) : login_(std::move(login)) {}

BackendStartup::Action BackendStartup::fail(std::string_view code, std::string message,
                                            bool transient) {
    state_ = State::failed;
    protocol::ErrorFields error;
    error.severity = protocol::Severity::fatal;
    error.sqlstate = code;
    error.message = std::move(message);
    return Failed{std::move(error), transient};
}

/// For clients it is a connection that failed; the next one may well succeed.
BackendStartup::Action BackendStartup::violation(std::string message) {
    return fail(sqlstate::connection_failure,
                "server broke the protocol during login: " + std::move(message), true);
}

BackendStartup::Action BackendStartup::start() {
    assert(state_ == State::not_started);
    protocol::StartupMessage message;
    message.minor = login_.protocol_minor;
    message.parameters.emplace_back("user", login_.user);
    message.parameters.emplace_back("database", login_.database);
    for (const auto& [name, value] : login_.settings)
        message.parameters.emplace_back(name, value);
    std::string bytes;
    protocol::append_startup_message(bytes, message);
    if (bytes.size() > protocol::startup_packet_max)
        return fail(sqlstate::program_limit_exceeded,
                    "startup parameters for the server are too long");
    state_ = State::expects_authentication;
    return Send{std::move(bytes)};
}

BackendStartup::Action BackendStartup::on_bytes(std::string_view bytes) {
    if (state_ == State::not_started || state_ == State::done || state_ == State::failed)
        return violation("bytes out of turn");
    if (bytes.size() > backend_login_bytes_max - received_) return violation("too many bytes");
    received_ += bytes.size();
    buffer_.append(bytes);
    // While keys are derived the next message waits: only an error could be legal, and it keeps.
    while (state_ != State::expects_keys && buffer_.size() - handled_ >= protocol::header_bytes) {
        const protocol::MessageHeader header = protocol::read_header(buffer_.data() + handled_);
        const bool fits = header.plausible() && header.length <= backend_login_message_max;
        if (!fits && !any_message_ &&
            header.type == static_cast<char>(BackendMessage::error_response))
            // A postmaster that cannot fork sends bare text behind the 'E', as protocol 2 did.
            return fail(sqlstate::connection_failure,
                        "server refused the connection with a message older than protocol 3; "
                        "it may be unable to start processes",
                        true);
        if (!fits) return violation("impossible message length");
        if (buffer_.size() - handled_ < header.total_bytes()) break;
        any_message_ = true;
        const std::string_view whole =
            std::string_view(buffer_).substr(handled_, header.total_bytes());
        handled_ += whole.size();
        if (auto action = on_message({header.type, whole.substr(protocol::header_bytes)}))
            return std::move(*action);
    }
    buffer_.erase(0, std::exchange(handled_, 0));
    return NeedBytes{};
}

BackendStartup::Action BackendStartup::on_keys(const protocol::ScramKeys& keys) {
    assert(state_ == State::expects_keys && scram_);
    Send action;
    protocol::append_sasl_response(action.bytes, scram_->final_message(keys));
    state_ = State::expects_sasl_final;
    return action;
}

BackendStartup::Action BackendStartup::on_closed() {
    const bool silent = received_ == 0 && may_refuse_version();
    Action action =
        fail(sqlstate::connection_failure, "server closed the connection during login", true);
    std::get<Failed>(action).version_refused = silent;
    return action;
}

/// PostgreSQL negotiates; what only speaks its protocol may refuse, or close without a word.
bool BackendStartup::may_refuse_version() const {
    return login_.protocol_minor > 0 && state_ == State::expects_authentication && !negotiated_;
}

std::optional<BackendStartup::Action> BackendStartup::on_message(Message message) {
    const auto type = static_cast<BackendMessage>(message.type);
    if (type == BackendMessage::error_response) return on_error(message.body);
    if (type == BackendMessage::notice_response) {
        if (!protocol::read_error(message.body)) return violation("malformed notice");
        return {};
    }
    if (type == BackendMessage::authentication) return on_authentication(message.body);
    if (type == BackendMessage::negotiate_protocol_version) return on_negotiation(message.body);
    if (state_ == State::runs_on_connect || state_ == State::discards)
        return on_result(type, message.body);
    if (state_ != State::expects_ready) return violation("message before authentication");
    if (type == BackendMessage::parameter_status) return on_parameter(message.body);
    if (type == BackendMessage::backend_key_data) return on_key(message.body);
    if (type == BackendMessage::ready_for_query) return on_ready(message.body);
    return violation("unexpected message");
}

std::optional<BackendStartup::Action> BackendStartup::on_authentication(std::string_view body) {
    using Result = std::optional<Action>;
    const auto request = protocol::read_authentication(body);
    if (!request) return violation("malformed authentication request");
    return std::visit(
        Overload{
            [&](protocol::AuthenticationOk) -> Result {
                if (state_ != State::expects_authentication && state_ != State::expects_ok)
                    return violation("authentication was cut short");
                if (state_ == State::expects_authentication && !login_.methods.none)
                    return fail(sqlstate::invalid_authorization_specification,
                                "server asks for no authentication, which is not accepted");
                if (login_.channel_binding == ChannelBinding::required && !bound_)
                    return fail(sqlstate::invalid_authorization_specification,
                                "channel binding is required, but the server's authentication "
                                "does not use it");
                state_ = State::expects_ready;
                return {};
            },
            [&](protocol::AuthenticationCleartextPassword) -> Result { return on_cleartext(); },
            [&](const protocol::AuthenticationMd5Password& md5) -> Result {
                return on_md5(md5.salt);
            },
            [&](const protocol::AuthenticationSasl& sasl) -> Result { return on_sasl(sasl); },
            [&](protocol::AuthenticationSaslContinue next) -> Result {
                return on_sasl_continue(next.data);
            },
            [&](protocol::AuthenticationSaslFinal last) -> Result {
                return on_sasl_final(last.data);
            },
            [&](protocol::AuthenticationOther other) -> Result {
                if (state_ != State::expects_authentication)
                    return violation("second authentication request");
                return fail(sqlstate::feature_not_supported,
                            "server asks for authentication method " +
                                std::to_string(other.method) + ", which is not supported");
            },
        },
        *request);
}

std::optional<BackendStartup::Action> BackendStartup::on_cleartext() {
    if (!login_.methods.password) return refuse_method("the password in clear text");
    return send_password(password());
}

std::optional<BackendStartup::Action> BackendStartup::on_md5(std::string_view salt) {
    if (!login_.methods.md5) return refuse_method("md5 authentication");
    const auto proof = protocol::md5_password(login_.user, password(), salt);
    if (!proof)
        return fail(sqlstate::feature_not_supported,
                    "server asks for md5 authentication, which OpenSSL does not offer here");
    return send_password(*proof);
}

std::optional<BackendStartup::Action> BackendStartup::refuse_method(std::string_view name) {
    if (state_ != State::expects_authentication) return violation("second authentication request");
    return fail(sqlstate::invalid_authorization_specification,
                "server asks for " + std::string(name) + ", which is not accepted");
}

std::optional<BackendStartup::Action> BackendStartup::send_password(std::string_view proof) {
    if (state_ != State::expects_authentication) return violation("second authentication request");
    if (!login_.password) return no_password();
    Send action;
    protocol::append_password(action.bytes, proof);
    state_ = State::expects_ok;
    return action;
}

/// Keys are no password, and it cannot be had from them.
BackendStartup::Action BackendStartup::no_password() {
    if (!login_.keys)
        return fail(sqlstate::invalid_password,
                    "server asks for a password, but none is configured");
    Action action =
        fail(sqlstate::invalid_password, "server asks for the password of role \"" + login_.user +
                                             "\", of which only SCRAM keys are known");
    std::get<Failed>(action).error.hint =
        "They do where pg_hba.conf asks for scram-sha-256, and not for password or md5.";
    return action;
}

/// Its keys cannot be derived.
BackendStartup::Action BackendStartup::other_verifier() {
    Action action =
        fail(sqlstate::invalid_password, "server has another SCRAM secret of role \"" +
                                             login_.user + "\" than the one that was proved here");
    std::get<Failed>(action).error.hint =
        "Where the password itself is not known, both must be the same verifier byte for byte, "
        "with its salt and iterations, as in pg_authid.";
    return action;
}

std::optional<BackendStartup::Action> BackendStartup::on_sasl(
    const protocol::AuthenticationSasl& request) {
    if (!login_.methods.scram_sha_256) return refuse_method("SCRAM authentication");
    if (state_ != State::expects_authentication) return violation("second authentication request");
    const auto& offered = request.mechanisms;
    const auto offers = [&offered](std::string_view mechanism) {
        return std::find(offered.begin(), offered.end(), mechanism) != offered.end();
    };
    using Binding = protocol::ScramClient::Binding;
    Binding binding = Binding::none;
    if (!login_.end_point.empty() && login_.channel_binding != ChannelBinding::never)
        binding =
            offers(protocol::scram_plus_mechanism) ? Binding::end_point : Binding::not_offered;
    bound_ = binding == Binding::end_point;
    const std::string_view mechanism =
        bound_ ? protocol::scram_plus_mechanism : protocol::scram_mechanism;
    if (!offers(mechanism))
        return fail(sqlstate::feature_not_supported,
                    "server offers no supported SASL mechanism (SCRAM-SHA-256)");
    if (!login_.password && !login_.keys) return no_password();
    if (login_.channel_binding == ChannelBinding::required && !bound_)
        return fail(sqlstate::invalid_authorization_specification,
                    "channel binding is required, but the server does not offer it");
    scram_.emplace(login_.scram_nonce, binding,
                   bound_ ? std::string_view(login_.end_point) : std::string_view());
    const std::string first = scram_->first_message();
    Send action;
    protocol::append_sasl_initial_response(action.bytes, {mechanism, first});
    state_ = State::expects_sasl_continue;
    return action;
}

std::optional<BackendStartup::Action> BackendStartup::on_sasl_continue(std::string_view data) {
    if (state_ != State::expects_sasl_continue) return violation("SASL message out of turn");
    auto answer = scram_->on_server_first(data);
    if (const auto* fault = std::get_if<protocol::ScramFault>(&answer))
        return violation(std::string(protocol::describe(*fault)));
    auto& wanted = std::get<protocol::ScramClient::NeedsKeys>(answer);
    state_ = State::expects_keys;
    const auto* kept =
        login_.keys ? login_.keys->keys_for(wanted.salt, wanted.iterations) : nullptr;
    if (kept != nullptr) return on_keys(*kept);
    if (!login_.password) return other_verifier();
    return DeriveKeys{std::move(wanted.salt), wanted.iterations};
}

std::optional<BackendStartup::Action> BackendStartup::on_sasl_final(std::string_view data) {
    if (state_ != State::expects_sasl_final) return violation("SASL message out of turn");
    if (const auto fault = scram_->on_server_final(data)) {
        if (*fault == protocol::ScramFault::signature)
            return fail(sqlstate::invalid_authorization_specification,
                        "server does not know the password it asks for: "
                        "it may not be the server it claims to be");
        if (*fault == protocol::ScramFault::rejected)
            return fail(sqlstate::invalid_password, "server rejected the SCRAM exchange");
        return violation(std::string(protocol::describe(*fault)));
    }
    state_ = State::expects_ok;
    return {};
}

std::optional<BackendStartup::Action> BackendStartup::on_parameter(std::string_view body) {
    const auto status = protocol::read_parameter_status(body);
    if (!status || status->name.empty()) return violation("malformed parameter status");
    const auto known =
        std::find_if(parameters_.begin(), parameters_.end(),
                     [&](const protocol::Setting& old) { return old.first == status->name; });
    reported_bytes_ += status->name.size() + status->value.size();
    if (reported_bytes_ > limits::reported_parameter_bytes_max)
        return violation("too many bytes of parameters");
    if (known != parameters_.end()) {
        known->second = status->value;
        return {};
    }
    if (parameters_.size() == limits::reported_parameters_max)
        return violation("too many parameters");
    parameters_.emplace_back(status->name, status->value);
    return {};
}

std::optional<BackendStartup::Action> BackendStartup::on_key(std::string_view body) {
    const auto key = protocol::read_backend_key_data(body);
    if (!key || std::exchange(key_seen_, true)) return violation("malformed or second cancel key");
    key_ = {key->pid, std::string(key->secret)};
    return {};
}

/// Legal once, before authentication, and only to a version that we did not ask above. We send no
/// protocol options, so none can be unknown to the server.
std::optional<BackendStartup::Action> BackendStartup::on_negotiation(std::string_view body) {
    if (state_ != State::expects_authentication || std::exchange(negotiated_, true))
        return violation("protocol negotiation out of turn");
    protocol::WireReader reader(body);
    const std::uint16_t major = reader.u16();
    const std::uint16_t minor = reader.u16();
    const std::uint32_t unknown_options = reader.u32();
    // The manual says "minor version"; PostgreSQL sends the whole version number.
    const bool version_fits =
        (major == protocol_major || major == 0) && minor <= login_.protocol_minor;
    if (!reader.finished() || !version_fits || unknown_options != 0)
        return violation("impossible protocol negotiation");
    return {};
}

std::optional<BackendStartup::Action> BackendStartup::on_ready(std::string_view body) {
    const auto status = body.size() == 1 ? protocol::transaction_status(body[0]) : std::nullopt;
    if (status && *status != protocol::TransactionStatus::idle && state_ == State::runs_on_connect)
        return fail(sqlstate::active_sql_transaction,
                    "backend.on_connect leaves a transaction open");
    if (status != protocol::TransactionStatus::idle) return violation("not idle when ready");
    if (handled_ != buffer_.size()) return violation("bytes behind ReadyForQuery");
    if (state_ == State::expects_ready && !login_.on_connect.empty())
        return run(login_.on_connect, State::runs_on_connect);
    if (state_ == State::runs_on_connect) return run("DISCARD ALL", State::discards);
    state_ = State::done;
    buffer_ = std::string();
    return Done{};
}

BackendStartup::Action BackendStartup::run(std::string_view sql, State next) {
    Send action;
    protocol::append_query(action.bytes, sql);
    state_ = next;
    return action;
}

std::optional<BackendStartup::Action> BackendStartup::on_result(BackendMessage type,
                                                                std::string_view body) {
    if (type == BackendMessage::ready_for_query) return on_ready(body);
    if (type == BackendMessage::parameter_status) return on_parameter(body);
    static constexpr std::array of_no_interest{
        BackendMessage::row_description, BackendMessage::data_row, BackendMessage::command_complete,
        BackendMessage::empty_query_response, BackendMessage::notification_response};
    const bool known =
        std::find(of_no_interest.begin(), of_no_interest.end(), type) != of_no_interest.end();
    if (!known) return violation("unexpected answer to backend.on_connect");
    return {};
}

BackendStartup::Action BackendStartup::on_error(std::string_view body) {
    const auto view = protocol::read_error(body);
    if (!view) return violation("malformed error");
    // Every field may be missing.
    const std::string code(is_sqlstate(view->sqlstate) ? view->sqlstate
                                                       : sqlstate::connection_failure);
    const bool refused =
        (code == sqlstate::feature_not_supported || code == sqlstate::protocol_violation) &&
        may_refuse_version();
    const std::string where = state_ == State::runs_on_connect ? "backend.on_connect failed: " : "";
    Action action =
        fail(code, view->message.empty() ? where + "server refused the login without a message"
                                         : where + cut(view->message));
    auto& failed = std::get<Failed>(action);
    failed.error.detail = cut(view->detail);
    failed.error.hint = cut(view->hint);
    failed.transient = is_transient(code);
    failed.version_refused = refused;
    return action;
}

}  // namespace schemux::core
