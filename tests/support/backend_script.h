// Servers for the tests of BackendStartup, as scripts of bytes, and a driver that plays the
// connection: it sends, derives keys on the spot and remembers what came of it.
// It must not judge: what a conversation should come to is said by the tests.
#pragma once

#include "core/backend_startup.h"
#include "core/limits.h"
#include "protocol/md5_password.h"
#include "protocol/wire_writer.h"
#include "tests/support/byte_splitter.h"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace schemux::core::backend_script {

using namespace std::string_literals;
using namespace std::string_view_literals;
using protocol::TransactionStatus;
using testing::Parts;

inline constexpr std::uint32_t iterations = 2;
inline constexpr std::string_view broke_protocol = "server broke the protocol during login: ";
inline const std::string salt = "0123456789abcdef";

inline BackendLogin login_with(std::optional<std::string> password = "pencil") {
    BackendLogin login;
    login.user = "app";
    login.database = "db";
    login.settings = {{"application_name", "schemux"}};
    if (password) login.password = protocol::Secret(*password);
    login.scram_nonce = "clientnonce";
    return login;
}

inline std::string message(char type, std::string_view body) {
    std::string out;
    protocol::WireWriter(out).begin_message(type).bytes(body).end_message();
    return out;
}

inline std::string header(char type, std::uint32_t length) {
    std::string out;
    protocol::WireWriter(out).u8(static_cast<std::uint8_t>(type)).u32(length);
    return out;
}

inline std::string md5() {
    return message('R', "\0\0\0\x05salt"sv);
}

inline std::string ok() {
    std::string out;
    protocol::append_authentication_ok(out);
    return out;
}

inline std::string parameter(std::string_view name, std::string_view value) {
    std::string out;
    protocol::append_parameter_status(out, name, value);
    return out;
}

inline std::string key(std::string_view secret = "\x01\x02\x03\x04"sv) {
    return message('K', "\0\0\x12\x34"s + std::string(secret));
}

inline std::string ready(TransactionStatus status = TransactionStatus::idle) {
    std::string out;
    protocol::append_ready_for_query(out, status);
    return out;
}

inline std::string error(std::string_view sqlstate, std::string_view text) {
    std::string out;
    protocol::append_error(
        out, {protocol::Severity::fatal, std::string(sqlstate), std::string(text), "d", "h", 0});
    return out;
}

inline std::string sasl(const std::vector<std::string_view>& mechanisms = {
                            protocol::scram_mechanism}) {
    std::string out;
    protocol::append_authentication_sasl(out, mechanisms);
    return out;
}

inline std::string sasl_continue(std::string_view data) {
    std::string out;
    protocol::append_authentication_sasl_continue(out, data);
    return out;
}

inline std::string sasl_final(std::string_view data) {
    std::string out;
    protocol::append_authentication_sasl_final(out, data);
    return out;
}

inline std::string cleartext() {
    std::string out;
    protocol::append_authentication_cleartext_password(out);
    return out;
}

inline const std::string tail = parameter("server_version", "15.20") + key() + ready();

struct Outcome {
    std::string sent;
    bool waits = false;  ///< the last action was NeedBytes
    bool done = false;
    bool transient = false;
    protocol::ErrorFields error;
    BackendKey key;
    std::vector<protocol::Setting> parameters;

    bool failed() const { return !error.sqlstate.empty(); }
    bool violated() const {
        return error.sqlstate == "08006" && error.message.starts_with(broke_protocol);
    }
};

/// Drives the machine as a connection would; keys are derived on the spot from `password`.
class Driver {
  public:
    explicit Driver(BackendLogin login) : password_(login.password), machine_(std::move(login)) {
        take(machine_.start());
    }

    void feed(std::string_view bytes) {
        if (!outcome_.done && !outcome_.failed()) take(machine_.on_bytes(bytes));
    }

    Outcome outcome() const { return outcome_; }
    BackendStartup& machine() { return machine_; }
    /// What was sent since the last call.
    std::string sent() { return std::exchange(outcome_.sent, {}); }

  private:
    void take(BackendStartup::Action action) {
        while (true) {
            outcome_.waits = false;
            if (auto* send = std::get_if<BackendStartup::Send>(&action)) {
                outcome_.sent += send->bytes;
                action = machine_.on_bytes({});
            } else if (auto* wanted = std::get_if<BackendStartup::DeriveKeys>(&action)) {
                const auto keys =
                    protocol::derive_keys(password_->view(), wanted->salt, wanted->iterations);
                action = machine_.on_keys(*keys);
            } else if (auto* failed = std::get_if<BackendStartup::Failed>(&action)) {
                outcome_.error = failed->error;
                outcome_.transient = failed->transient;
                return;
            } else if (std::holds_alternative<BackendStartup::Done>(action)) {
                outcome_.done = true;
                outcome_.key = machine_.key();
                outcome_.parameters = machine_.parameters();
                return;
            } else {
                outcome_.waits = true;
                return;
            }
        }
    }

    std::optional<protocol::Secret> password_;
    BackendStartup machine_;
    Outcome outcome_;
};

inline Outcome run(const Parts& parts, BackendLogin login = login_with()) {
    Driver driver(std::move(login));
    for (const std::string_view part : parts)
        driver.feed(part);
    return driver.outcome();
}

inline Outcome run(const std::string& script, BackendLogin login = login_with()) {
    return run(Parts{script}, std::move(login));
}

/// Both machines are deterministic here, so the server's whole side is one script.
struct ScramScript {
    explicit ScramScript(std::string_view server_password = "pencil") {
        protocol::ScramServer server(
            protocol::make_verifier(*protocol::derive_keys(server_password, salt, iterations), salt,
                                    iterations),
            "servernonce");
        protocol::ScramClient client("clientnonce");
        first = std::get<std::string>(server.on_client_first(client.first_message()));
        client.on_server_first(first);
        client_final = client.final_message(*protocol::derive_keys("pencil", salt, iterations));
        const auto answer = server.on_client_final(client_final);
        if (const auto* accepted = std::get_if<protocol::ScramServer::Accepted>(&answer))
            last = accepted->server_final;
    }

    std::string first;
    std::string client_final;
    std::string last;
};

inline std::string scram_script() {
    const ScramScript scram;
    return sasl() + sasl_continue(scram.first) + sasl_final(scram.last) + ok() + tail;
}

}  // namespace schemux::core::backend_script
