#include "core/frontend_login.h"

#include "core/overload.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace schemux::core {

namespace {

namespace sqlstate = protocol::sqlstate;
using protocol::ErrorFields;

constexpr std::uint32_t newest_minor = 0;
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

FrontendLogin::Refuse refuse_version(protocol::UnsupportedProtocol version) {
    return refuse(sqlstate::feature_not_supported,
                  "unsupported frontend protocol " + std::to_string(version.major) + '.' +
                      std::to_string(version.minor) + ": server supports 3.0 to 3.0");
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

/// What PostgreSQL says to a `replication` value, or that schemux has no replication.
std::optional<FrontendLogin::Refuse> judge_replication(const std::string& value) {
    if (value.empty()) return {};
    const bool of_database = value == "database";
    const std::optional<bool> wanted = protocol::read_boolean(value);
    if (!of_database && !wanted)
        return refuse(sqlstate::invalid_parameter_value,
                      "invalid value for parameter \"replication\": \"" + value + '"',
                      R"(Valid values are: "false", 0, "true", 1, "database".)");
    if (!of_database && !*wanted) return {};
    return refuse(sqlstate::feature_not_supported, "replication connections are not supported",
                  "Connect to the PostgreSQL server directly for replication.");
}

}  // namespace

FrontendLogin::Step FrontendLogin::on_bytes(std::string_view bytes) {
    const std::size_t offered = bytes.size();
    if (state_ == State::finished) return {0, Close{}};
    if (!fill(bytes, protocol::startup_length_bytes)) return {offered, NeedBytes{}};
    const auto length = protocol::startup_packet_bytes(packet_);
    if (!length) {
        state_ = State::finished;
        return {offered - bytes.size(), Close{}};
    }
    if (!fill(bytes, *length)) return {offered, NeedBytes{}};

    Action action = on_packet();
    packet_ = std::string();  // gives the memory back, clear() would not
    if (!std::holds_alternative<Reply>(action)) state_ = State::finished;
    return {offered - bytes.size(), std::move(action)};
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
            [&](protocol::SslRequest) -> Action {
                return on_encryption_request(ssl_asked_, ssl_request_version);
            },
            [&](protocol::GssEncryptionRequest) -> Action {
                return on_encryption_request(gss_asked_, gss_request_version);
            },
            [](const protocol::CancelRequest& request) -> Action {
                return Cancel{request.pid, std::string(request.secret)};
            },
            [](protocol::UnsupportedProtocol version) -> Action { return refuse_version(version); },
            [](protocol::PacketFault fault) -> Action { return on_fault(fault); },
        },
        protocol::read_first_packet(packet_));
}

/// Each encryption may be asked for once; after that the code is, as in PostgreSQL, a version that
/// nobody supports. Bytes that came in behind the request are taken: the answer is 'N', so they are
/// as unencrypted as what follows them. (PostgreSQL 15.20 refuses them even then.)
FrontendLogin::Action FrontendLogin::on_encryption_request(
    bool& asked_before, protocol::UnsupportedProtocol as_version) {
    if (std::exchange(asked_before, true)) return refuse_version(as_version);
    return Reply{"N"};
}

FrontendLogin::Action FrontendLogin::on_startup(const protocol::StartupMessage& message) {
    auto interpreted = protocol::interpret(message);
    if (auto* error = std::get_if<ErrorFields>(&interpreted)) return refuse(std::move(*error));
    auto& parameters = std::get<protocol::StartupParameters>(interpreted);
    if (auto refusal = judge_replication(parameters.replication)) return std::move(*refusal);

    Accepted accepted;
    if (parameters.minor > newest_minor || !parameters.unknown_options.empty())
        protocol::append_negotiate_protocol_version(accepted.negotiation, newest_minor,
                                                    parameters.unknown_options);
    accepted.parameters = std::move(parameters);
    switch (method_) {
        case ClientAuthentication::trust:
            return accepted;
    }
    return Close{};
}

}  // namespace schemux::core
