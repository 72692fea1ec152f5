#include "core/frontend_login.h"

#include "core/overload.h"
#include "protocol/authentication.h"
#include "protocol/keyed_digest.h"
#include "protocol/md5_password.h"
#include "protocol/message_header.h"
#include "protocol/message_type.h"
#include "protocol/messages.h"
#include "protocol/secret.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <cassert>
#include <optional>
#include <utility>
#include <vector>

namespace schemux::core {

namespace {

namespace sqlstate = protocol::sqlstate;
using protocol::ErrorFields;

constexpr std::uint16_t newest_minor = 2;
constexpr protocol::UnsupportedProtocol ssl_request_version{1234, 5679};
constexpr protocol::UnsupportedProtocol gss_request_version{1234, 5680};

FrontendLogin::Refuse refuse(ErrorFields error) {
    error.severity = protocol::Severity::fatal;
    FrontendLogin::Refuse action;
    protocol::append_error(action.bytes, error);
    action.error = std::move(error);
    return action;
}

FrontendLogin::Refuse refuse(std::string_view code, std::string message, std::string hint = {}) {
    ErrorFields error;
    error.sqlstate = code;
    error.message = std::move(message);
    error.hint = std::move(hint);
    return refuse(std::move(error));
}

/// `options=-c schemux.service=…`: for clients whose database name has another meaning to them.
void choose_service(protocol::StartupParameters& parameters) {
    const auto named =
        std::find_if(parameters.settings.begin(), parameters.settings.end(),
                     [](const auto& setting) { return setting.first == "schemux.service"; });
    if (named == parameters.settings.end()) return;
    parameters.database = named->second;
    parameters.settings.erase(named);
}

/// Nothing is expected of the client, nor of the caller, behind it.
bool is_final(const FrontendLogin::Action& action) {
    return std::visit(Overload{[](const FrontendLogin::NeedBytes&) { return false; },
                               [](const FrontendLogin::Reply&) { return false; },
                               [](const FrontendLogin::StartTls&) { return false; },
                               [](const FrontendLogin::NeedVerifier&) { return false; },
                               [](const FrontendLogin::CheckPassword&) { return false; },
                               [](const FrontendLogin::Cancel&) { return true; },
                               [](const FrontendLogin::Accepted&) { return true; },
                               [](const FrontendLogin::Refuse&) { return true; },
                               [](const FrontendLogin::Close&) { return true; }},
                      action);
}

FrontendLogin::Refuse refuse_version(protocol::UnsupportedProtocol version) {
    return refuse(sqlstate::feature_not_supported,
                  "unsupported frontend protocol " + std::to_string(version.major) + '.' +
                      std::to_string(version.minor) + ": server supports 3.0 to 3." +
                      std::to_string(newest_minor));
}

FrontendLogin::Action on_fault(protocol::PacketFault fault) {
    switch (fault) {
        case protocol::PacketFault::length:
            return FrontendLogin::Close{};
        case protocol::PacketFault::layout:
            return refuse(sqlstate::protocol_violation,
                          "invalid startup packet layout: expected terminator as last byte");
        case protocol::PacketFault::too_many_parameters:
            return refuse(sqlstate::protocol_violation,
                          "too many parameters in startup packet: at most " +
                              std::to_string(protocol::startup_parameters_max) + " are accepted");
    }
    return FrontendLogin::Close{};
}

}  // namespace

FrontendLogin::Step FrontendLogin::on_bytes(std::string_view bytes) {
    const std::size_t offered = bytes.size();
    std::optional<Action> action;
    switch (state_) {
        case State::negotiating:
            action = take_startup_packet(bytes);
            break;
        case State::expects_sasl_initial_response:
        case State::expects_sasl_response:
        case State::expects_password:
        case State::expects_md5_answer:
            action = take_password_message(bytes);
            break;
        case State::expects_encryption:
        case State::expects_verifier:
        case State::expects_password_check:
        case State::finished:
            action = Close{};
            break;
    }
    if (!action) return {offered, NeedBytes{}};
    protocol::wipe(packet_);  // there may be a password in it
    packet_ = std::string();  // gives the memory back, clear() would not
    if (is_final(*action)) state_ = State::finished;
    return {offered - bytes.size(), std::move(*action)};
}

/// A record of TLS in place of a packet, as libpq sends with sslnegotiation=direct: only as the
/// very first thing. (As a packet's length its first byte would say 369 million bytes.)
bool FrontendLogin::begins_with_handshake(std::string_view bytes) const {
    constexpr char handshake_record = 0x16;
    return rules_.tls != ClientTls::off && !channel_ && !ssl_asked_ && !gss_asked_ &&
           packet_.empty() && bytes.starts_with(handshake_record);
}

void FrontendLogin::on_encrypted(SecureChannel channel) {
    assert(state_ == State::expects_encryption);
    channel_ = std::move(channel);
    state_ = State::negotiating;
}

/// Nothing while the packet is not complete; so for all `take_…`.
std::optional<FrontendLogin::Action> FrontendLogin::take_startup_packet(std::string_view& bytes) {
    if (begins_with_handshake(bytes)) {
        state_ = State::expects_encryption;
        return StartTls{{}, true};
    }
    if (!fill(bytes, protocol::startup_length_bytes)) return {};
    const auto length = protocol::startup_packet_bytes(packet_);
    if (!length) return Close{};
    if (!fill(bytes, *length)) return {};
    Action action = on_packet();
    // Whoever is in between could have put it there, to have it taken for the client's own
    // (CVE-2021-23214).
    if (std::holds_alternative<StartTls>(action) && !bytes.empty()) {
        bytes = {};
        return refuse(sqlstate::protocol_violation, "received unencrypted data after SSL request");
    }
    return action;
}

std::optional<FrontendLogin::Action> FrontendLogin::take_password_message(std::string_view& bytes) {
    if (!fill(bytes, 1)) return {};
    const char type = packet_.front();
    if (type != static_cast<char>(protocol::FrontendMessage::password)) {
        const bool plain = state_ == State::expects_password || state_ == State::expects_md5_answer;
        const std::string_view expected = plain ? "password" : "SASL";
        return refuse(sqlstate::protocol_violation,
                      "expected " + std::string(expected) + " response, got message type " +
                          std::to_string(static_cast<unsigned char>(type)));
    }
    if (!fill(bytes, protocol::header_bytes)) return {};
    const protocol::MessageHeader header = protocol::read_header(packet_.data());
    if (!header.plausible() || header.body_bytes() > sasl_message_max) return refuse_password();
    if (!fill(bytes, header.total_bytes())) return {};
    const std::string_view body = std::string_view(packet_).substr(protocol::header_bytes);
    if (state_ == State::expects_password) return on_password(body);
    if (state_ == State::expects_md5_answer) return on_md5_answer(body);
    if (state_ == State::expects_sasl_initial_response) return on_sasl_initial_response(body);
    // A client that had nothing to say first says it now, as PostgreSQL allows.
    return std::exchange(first_data_missing_, false) ? on_client_first(body)
                                                     : on_client_final(body);
}

/// Moves bytes from the front of `bytes` into the packet until it has `upto`; true when it has.
bool FrontendLogin::fill(std::string_view& bytes, std::size_t upto) {
    if (packet_.size() < upto) {
        const std::size_t taken = std::min(upto - packet_.size(), bytes.size());
        packet_.append(bytes.substr(0, taken));
        bytes.remove_prefix(taken);
    }
    return packet_.size() >= upto;
}

FrontendLogin::Action FrontendLogin::on_packet() {
    return std::visit(
        Overload{
            [&](const protocol::StartupMessage& message) -> Action { return on_startup(message); },
            [&](protocol::SslRequest) -> Action { return on_ssl_request(); },
            [&](protocol::GssEncryptionRequest) -> Action { return on_gss_request(); },
            [](const protocol::CancelRequest& request) -> Action {
                return Cancel{request.pid, std::string(request.secret)};
            },
            [](protocol::UnsupportedProtocol version) -> Action { return refuse_version(version); },
            [](protocol::PacketFault fault) -> Action { return on_fault(fault); },
        },
        protocol::read_first_packet(packet_));
}

/// Each encryption may be asked for once; after that the code is, as in PostgreSQL, a version that
/// nobody supports. Bytes that came in behind a request that is answered 'N' are taken: they are
/// as unencrypted as what follows them. (PostgreSQL 15.20 refuses them even then.)
FrontendLogin::Action FrontendLogin::on_ssl_request() {
    if (std::exchange(ssl_asked_, true)) return refuse_version(ssl_request_version);
    if (rules_.tls == ClientTls::off || channel_) return Reply{"N"};
    state_ = State::expects_encryption;
    return StartTls{"S", false};
}

FrontendLogin::Action FrontendLogin::on_gss_request() {
    if (std::exchange(gss_asked_, true)) return refuse_version(gss_request_version);
    return Reply{"N"};
}

FrontendLogin::Action FrontendLogin::on_startup(const protocol::StartupMessage& message) {
    auto interpreted = protocol::interpret(message);
    if (auto* error = std::get_if<ErrorFields>(&interpreted)) return refuse(std::move(*error));
    auto& parameters = std::get<protocol::StartupParameters>(interpreted);
    if (parameters.wants_replication())
        return refuse(sqlstate::feature_not_supported, "replication connections are not supported",
                      "Connect to the PostgreSQL server directly for replication.");

    std::string negotiation;
    const bool too_new = parameters.minor > newest_minor;
    parameters.minor = std::min(parameters.minor, newest_minor);
    if (too_new || !parameters.unknown_options.empty())
        protocol::append_negotiate_protocol_version(negotiation, parameters.minor,
                                                    parameters.unknown_options);
    parameters_ = std::move(parameters);
    choose_service(parameters_);
    if (channel_ && channel_->service) parameters_.database = *channel_->service;
    negotiation_ = std::move(negotiation);
    return ask_for_proof();
}

FrontendLogin::Action FrontendLogin::ask_for_proof() {
    if (rules_.tls == ClientTls::required && !channel_)
        return refuse(sqlstate::invalid_authorization_specification,
                      "connections to this address must be encrypted",
                      "Connect with sslmode=require, or better verify-full.");
    Newcomer who;
    who.is_local = rules_.is_local;
    who.is_encrypted = channel_.has_value();
    who.address = rules_.address;
    who.service = parameters_.database;
    who.user = parameters_.user;
    const LoginRule* rule = rules_.rules ? rules_.rules->find(who) : nullptr;
    const ClientAuthentication method = rule != nullptr ? rule->method : rules_.method;
    if (method == ClientAuthentication::reject) return refuse_origin(rule);
    const std::string_view map = rule != nullptr ? std::string_view(rule->map) : "";
    const CertificateNeed need = rule != nullptr ? rule->certificate : CertificateNeed::none;
    if (need == CertificateNeed::verified && !has_certificate()) return refuse_certificate();
    const bool of_user = need == CertificateNeed::of_user || rules_.certificate_is_user;
    if (of_user && !certified(map)) return refuse_certificate();
    return ask_for(method, map);
}

FrontendLogin::Action FrontendLogin::ask_for(ClientAuthentication method, std::string_view map) {
    switch (method) {
        case ClientAuthentication::trust:
            return accept(std::move(negotiation_));
        case ClientAuthentication::scram_sha_256:
        case ClientAuthentication::md5:
            state_ = State::expects_verifier;
            return NeedVerifier{parameters_.user, method == ClientAuthentication::md5};
        case ClientAuthentication::password:
            return ask_for_password();
        case ClientAuthentication::certificate:
            return certified(map) ? accept(std::move(negotiation_)) : refuse_certificate();
        case ClientAuthentication::peer:
            return rules_.peer && is_mapped(map, *rules_.peer) ? accept(std::move(negotiation_))
                                                               : refuse_peer();
        case ClientAuthentication::reject:
            return refuse_origin(nullptr);
    }
    return Close{};
}

FrontendLogin::Action FrontendLogin::ask_for_password() {
    if (!channel_ && !rules_.is_local)
        return refuse(sqlstate::invalid_authorization_specification,
                      "a password is accepted only over TLS or a unix socket",
                      "Connect with sslmode=require, or better verify-full.");
    state_ = State::expects_password;
    Reply reply{std::move(negotiation_)};
    protocol::append_authentication_cleartext_password(reply.bytes);
    return reply;
}

FrontendLogin::Action FrontendLogin::accept(std::string reply) {
    return Accepted{std::move(parameters_), std::move(reply), std::move(proved_)};
}

bool FrontendLogin::is_mapped(std::string_view map, std::string_view identity) const {
    if (map.empty()) return identity == parameters_.user;
    return rules_.rules && rules_.rules->maps(map, identity, parameters_.user);
}

/// Without a map the common name is the user, as by PostgreSQL; a map knows the other names too.
bool FrontendLogin::certified(std::string_view map) const {
    if (!has_certificate()) return false;
    if (channel_->certificate_name && is_mapped(map, *channel_->certificate_name)) return true;
    const auto mapped = [&](const std::string& name) { return is_mapped(map, name); };
    return !map.empty() && std::any_of(channel_->alternative_names.begin(),
                                       channel_->alternative_names.end(), mapped);
}

/// Before anything is proved: from there, as that user, for that service nobody gets in.
FrontendLogin::Action FrontendLogin::refuse_origin(const LoginRule* rule) const {
    const std::string host = rules_.is_local ? "[local]" : rules_.address_text;
    const std::string_view begin = rule != nullptr ? "pg_hba.conf rejects connection for host \""
                                                   : "no pg_hba.conf entry for host \"";
    return refuse(sqlstate::invalid_authorization_specification,
                  std::string(begin) + host + "\", user \"" + parameters_.user + "\", database \"" +
                      parameters_.database + "\", " +
                      (channel_ ? "SSL encryption" : "no encryption"),
                  "auth.rules or auth.hba_file of schemux decides from where whom it lets in.");
}

FrontendLogin::Action FrontendLogin::refuse_certificate() const {
    if (!has_certificate())
        return refuse(sqlstate::invalid_authorization_specification,
                      "connection requires a valid client certificate");
    return refuse(sqlstate::invalid_authorization_specification,
                  "certificate authentication failed for user \"" + parameters_.user + '"');
}

FrontendLogin::Action FrontendLogin::refuse_peer() const {
    return refuse(sqlstate::invalid_authorization_specification,
                  "Peer authentication failed for user \"" + parameters_.user + '"');
}

FrontendLogin::Action FrontendLogin::on_password(std::string_view body) {
    const auto password = protocol::read_password(body);
    if (!password) return refuse(sqlstate::protocol_violation, "invalid password packet size");
    if (password->empty())
        return refuse(sqlstate::invalid_password, "empty password returned by client");
    state_ = State::expects_password_check;
    return CheckPassword{parameters_.user, protocol::Secret(*password)};
}

FrontendLogin::Action FrontendLogin::on_md5_hash(std::string_view hash, std::string_view salt,
                                                 protocol::Secret known) {
    assert(state_ == State::expects_verifier);
    proved_.password = std::move(known);
    state_ = State::expects_md5_answer;
    md5_answer_ = protocol::md5_answer(hash, salt).value_or("");
    Reply reply{std::move(negotiation_)};
    protocol::append_authentication_md5_password(reply.bytes, salt);
    return reply;
}

FrontendLogin::Action FrontendLogin::on_md5_answer(std::string_view body) {
    const auto answer = protocol::read_password(body);
    if (!answer) return refuse(sqlstate::protocol_violation, "invalid password packet size");
    if (answer->empty())
        return refuse(sqlstate::invalid_password, "empty password returned by client");
    const bool right =
        !md5_answer_.empty() && protocol::equal_in_constant_time(*answer, md5_answer_);
    return right ? accept({}) : refuse_password();
}

FrontendLogin::Action FrontendLogin::on_no_answer(ErrorFields error) {
    assert(state_ == State::expects_verifier || state_ == State::expects_password_check);
    state_ = State::finished;
    return refuse(std::move(error));
}

FrontendLogin::Action FrontendLogin::on_password_checked(bool right, protocol::Secret known) {
    assert(state_ == State::expects_password_check);
    state_ = State::finished;
    if (!right) return refuse_password();
    proved_.password = std::move(known);
    return accept({});
}

FrontendLogin::Action FrontendLogin::on_verifier(protocol::ScramVerifier verifier,
                                                 std::string nonce, protocol::Secret known) {
    assert(state_ == State::expects_verifier);
    proved_.password = std::move(known);
    verifier_ = std::move(verifier);
    nonce_ = std::move(nonce);
    state_ = State::expects_sasl_initial_response;
    Reply reply{std::move(negotiation_)};
    std::vector<std::string_view> mechanisms;
    if (can_bind()) mechanisms.push_back(protocol::scram_plus_mechanism);
    mechanisms.push_back(protocol::scram_mechanism);
    protocol::append_authentication_sasl(reply.bytes, mechanisms);
    return reply;
}

bool FrontendLogin::can_bind() const {
    return channel_ && !channel_->end_point.empty();
}

FrontendLogin::Action FrontendLogin::on_sasl_initial_response(std::string_view body) {
    const auto response = protocol::read_sasl_initial_response(body);
    if (!response) return refuse(sqlstate::protocol_violation, "malformed SASL initial response");
    protocol::ScramServer::Binding binding;
    binding.chosen = can_bind() && response->mechanism == protocol::scram_plus_mechanism;
    if (!binding.chosen && response->mechanism != protocol::scram_mechanism)
        return refuse(sqlstate::protocol_violation,
                      "client selected an invalid SASL authentication mechanism");
    if (can_bind()) binding.end_point = channel_->end_point;
    scram_.emplace(std::move(*verifier_), std::move(nonce_), std::move(binding));
    verifier_.reset();
    state_ = State::expects_sasl_response;
    if (response->data) return on_client_first(*response->data);
    first_data_missing_ = true;
    Reply reply;
    protocol::append_authentication_sasl_continue(reply.bytes, {});
    return reply;
}

FrontendLogin::Action FrontendLogin::on_client_first(std::string_view data) {
    auto answer = scram_->on_client_first(data);
    if (const auto* fault = std::get_if<protocol::ScramFault>(&answer))
        return refuse_exchange(*fault);
    Reply reply;
    protocol::append_authentication_sasl_continue(reply.bytes, std::get<std::string>(answer));
    return reply;
}

FrontendLogin::Action FrontendLogin::on_client_final(std::string_view data) {
    auto answer = scram_->on_client_final(data);
    if (const auto* fault = std::get_if<protocol::ScramFault>(&answer))
        return refuse_exchange(*fault);
    auto& right = std::get<protocol::ScramServer::Accepted>(answer);
    proved_.keys = std::move(right.secret);
    std::string reply;
    protocol::append_authentication_sasl_final(reply, right.server_final);
    return accept(std::move(reply));
}

/// Here and below the words are PostgreSQL's. The same for a wrong password and for a user that
/// does not exist.
FrontendLogin::Action FrontendLogin::refuse_password() const {
    return refuse(sqlstate::invalid_password,
                  "password authentication failed for user \"" + parameters_.user + '"');
}

FrontendLogin::Action FrontendLogin::refuse_exchange(protocol::ScramFault fault) const {
    switch (fault) {
        case protocol::ScramFault::proof:
            return refuse_password();
        case protocol::ScramFault::unsupported:
            return refuse(sqlstate::feature_not_supported,
                          "client requires an unsupported SCRAM extension");
        case protocol::ScramFault::authorization_identity:
            return refuse(sqlstate::feature_not_supported,
                          "client uses authorization identity, but it is not supported");
        case protocol::ScramFault::channel_binding:
            return refuse(sqlstate::protocol_violation,
                          "unexpected SCRAM channel-binding attribute in client-final-message");
        case protocol::ScramFault::binding_type:
            return refuse(sqlstate::protocol_violation, "unsupported SCRAM channel-binding type");
        case protocol::ScramFault::binding_data:
            return refuse(sqlstate::invalid_authorization_specification,
                          "SCRAM channel binding check failed");
        case protocol::ScramFault::downgrade:
            return refuse(sqlstate::invalid_authorization_specification,
                          "SCRAM channel binding negotiation error");
        case protocol::ScramFault::nonce:
            return refuse(sqlstate::protocol_violation, "non-printable characters in SCRAM nonce");
        case protocol::ScramFault::other_nonce:
            return refuse(sqlstate::protocol_violation, "invalid SCRAM response");
        case protocol::ScramFault::out_of_turn:
        case protocol::ScramFault::too_long:
        case protocol::ScramFault::malformed:
        case protocol::ScramFault::iterations:
        case protocol::ScramFault::salt:
        case protocol::ScramFault::rejected:
        case protocol::ScramFault::signature:
            break;
    }
    return refuse(sqlstate::protocol_violation, "malformed SCRAM message");
}

}  // namespace schemux::core
