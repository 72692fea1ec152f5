// SCRAM-SHA-256, both sides. An honest exchange succeeds; a wrong password or one changed byte of
// any message on its way ends it; and hostile messages alone get nowhere.
// Input: a byte for the kind, two seeds of nonces, then the kind's own part.
#include "protocol/base64.h"
#include "protocol/scram_sha_256.h"
#include "tests/fuzz/input.h"

#include <array>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::fuzz {
namespace {

using protocol::ScramClient;
using protocol::ScramFault;
using protocol::ScramKeys;
using protocol::ScramServer;

/// What the target itself derives keys for: more would only be slow.
constexpr std::uint32_t iterations_max = 64;

std::string nonce_of(std::uint16_t seed) {
    Numbers numbers(seed);
    std::string nonce(1 + numbers.below(24), 'x');
    for (char& c : nonce) {
        c = static_cast<char>(0x21 + numbers.below(0x7f - 0x21));
        if (c == ',') c = 'x';
    }
    return nonce;
}

struct Account {
    std::string password;
    std::string salt;
    std::uint32_t iterations = 1;

    ScramKeys keys() const { return *protocol::derive_keys(password, salt, iterations); }
    protocol::ScramVerifier verifier() const {
        return protocol::make_verifier(keys(), salt, iterations);
    }
};

Account account_of(Input& input) {
    Account account;
    account.iterations = 1 + static_cast<std::uint32_t>(input.below(4));
    account.password = input.text();
    account.salt = input.take(1 + input.below(20));
    if (account.salt.empty()) account.salt = "s";
    return account;
}

/// Changes one message as the input says: nothing, a byte, a cut, an insertion.
std::string tampered(std::string message, Input& input) {
    const std::uint8_t how = input.u8();
    if (how < 0x40) return message;
    const std::size_t at = input.below(message.size() + 1);
    if (how < 0x80) {
        if (at < message.size()) message[at] = static_cast<char>(input.u8());
    } else if (how < 0xa0) {
        message.resize(at);
    } else if (how < 0xd0) {
        message.insert(at, input.text());
    } else {
        message = input.text();
    }
    return message;
}

/// A whole exchange with a man in the middle, who may change every message.
void exchange(Input& input, std::uint16_t a, std::uint16_t b) {
    const Account account = account_of(input);
    const bool same_password = input.u8() < 0xc0;
    const bool mock = input.u8() >= 0xe0;
    ScramClient client(nonce_of(a));
    ScramServer server(
        mock ? protocol::mock_verifier("secret", account.password, 1) : account.verifier(),
        nonce_of(b));
    bool honest = same_password && !mock;
    const auto send = [&input, &honest](const std::string& message) {
        std::string arrives = tampered(message, input);
        honest = honest && arrives == message;
        return Copy(arrives);
    };
    const bool was_honest_before = honest;
    const Copy client_first = send(client.first_message());
    const auto server_first = server.on_client_first(client_first.view());
    if (std::holds_alternative<ScramFault>(server_first)) {
        demand(!(honest && was_honest_before), "an honest client-first is accepted");
        return;
    }
    const Copy first = send(std::get<std::string>(server_first));
    const auto wanted = client.on_server_first(first.view());
    if (std::holds_alternative<ScramFault>(wanted)) {
        demand(!honest, "an honest server-first is accepted");
        return;
    }
    const auto& need = std::get<ScramClient::NeedsKeys>(wanted);
    demand(!need.salt.empty() && need.salt.size() <= protocol::scram_salt_max &&
               need.iterations >= 1 && need.iterations <= protocol::scram_iterations_max,
           "salt and iterations are bounded");
    Account typed = account;
    if (!same_password) typed.password += 'x';
    typed.salt = need.salt;
    typed.iterations = std::min(need.iterations, iterations_max);
    const Copy final = send(client.final_message(typed.keys()));
    const auto verdict = server.on_client_final(final.view());
    demand(std::holds_alternative<ScramServer::Accepted>(verdict) == honest,
           "the server accepts exactly an untouched exchange with the right password");
    std::string last = "v=" + protocol::encode_base64(std::string(32, 'x'));
    if (honest) {
        const auto& accepted = std::get<ScramServer::Accepted>(verdict);
        const auto* keys = accepted.secret.keys_for(account.salt, account.iterations);
        demand(keys != nullptr && *keys == account.keys(), "the recovered keys are the client's");
        last = accepted.server_final;
    }
    const Copy server_final = send(last);
    const auto fault = client.on_server_final(server_final.view());
    demand(!fault.has_value() == honest && client.server_verified() == honest,
           "the client believes exactly the server that knows the password");
}

/// Messages of a server that knows nothing.
void hostile_server(Input& input, std::uint16_t a) {
    ScramClient client(nonce_of(a));
    client.first_message();
    std::string first(input.until('\n'));
    // Else hardly any would get past the nonce.
    if (first.starts_with("r=+")) first = "r=" + nonce_of(a) + first.substr(3);
    const Copy server_first(first);
    const auto wanted = client.on_server_first(server_first.view());
    if (const auto* need = std::get_if<ScramClient::NeedsKeys>(&wanted)) {
        demand(first.starts_with("r=" + nonce_of(a)), "the client's nonce is repeated");
        Account account;
        account.password = "pencil";
        account.salt = need->salt;
        account.iterations = std::min(need->iterations, iterations_max);
        demand(client.final_message(account.keys()).size() <= 2 * protocol::scram_message_max,
               "the answer is bounded");
    }
    const Copy last(input.rest());
    demand(client.on_server_final(last.view()).has_value() && !client.server_verified(),
           "a server without the password is not believed");
    demand(client.on_server_final(last.view()) == ScramFault::out_of_turn, "once is enough");
}

/// Messages of a client that knows nothing.
void hostile_client(Input& input, std::uint16_t b) {
    const Account account{"a password that no input knows", "salt", 1};
    ScramServer server(account.verifier(), nonce_of(b));
    const Copy first(input.until('\n'));
    const auto answer = server.on_client_first(first.view());
    std::string final(input.rest());
    if (const auto* server_first = std::get_if<std::string>(&answer)) {
        demand(server_first->size() <= protocol::scram_message_max, "the answer is bounded");
        const std::size_t comma = server_first->find(',');
        // `r=+`: the nonce that is asked for.
        const std::size_t at = final.find(",r=+");
        if (at != std::string::npos) final.replace(at + 1, 3, server_first->substr(0, comma));
    }
    const Copy second(final);
    demand(std::holds_alternative<ScramFault>(server.on_client_final(second.view())),
           "a client without the password is not accepted");
    demand(std::get<ScramFault>(server.on_client_final(second.view())) == ScramFault::out_of_turn,
           "once is enough");
}

void texts(Input& input) {
    const Copy text(input.rest());
    const auto verifier = protocol::read_verifier(text.view());
    if (verifier) {
        const auto again = protocol::read_verifier(protocol::verifier_text(*verifier));
        demand(again == verifier, "a verifier reads as it was written");
        demand_equal(protocol::verifier_text(*verifier), text.view(), "a verifier has one text");
    }
    const auto iterations = protocol::read_iterations(text.view());
    if (iterations) demand_equal(std::to_string(*iterations), text.view(), "a number has one text");
    const std::string encoded = protocol::encode_base64(text.view());
    demand(protocol::decode_base64(encoded) == text.view(), "base64 reads as it was written");
    const auto decoded = protocol::decode_base64(text.view());
    if (decoded)
        demand_equal(protocol::encode_base64(*decoded), text.view(), "base64 has one spelling");
}

void check(Input input) {
    const std::size_t kind = input.below(4);
    const std::uint16_t a = input.u16();
    const std::uint16_t b = input.u16();
    switch (kind) {
        case 0:
            return exchange(input, a, b);
        case 1:
            return hostile_server(input, a);
        case 2:
            return hostile_client(input, b);
        default:
            return texts(input);
    }
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
