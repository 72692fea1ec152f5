#include "protocol/scram_sha_256.h"

#include "protocol/base64.h"
#include "protocol/keyed_digest.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace schemux::protocol {

namespace {

constexpr std::string_view binding_name = "tls-server-end-point";

bool is_letter(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/// RFC 5802 "printable": no comma, no space, no control character, ASCII only.
bool is_nonce(std::string_view text) {
    return !text.empty() && text.size() <= scram_nonce_max &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return c > 0x20 && c < 0x7f && c != ','; });
}

/// Goes over `a=value,b=value…`. Every step takes at least two bytes or fails for good.
class Attributes {
  public:
    explicit Attributes(std::string_view message) : rest_(message), ended_(message.empty()) {}

    struct Attribute {
        char name = 0;
        std::string_view value;
    };

    std::optional<Attribute> next() {
        if (ended_ || rest_.size() < 2 || !is_letter(rest_[0]) || rest_[1] != '=') return {};
        const std::size_t comma = rest_.find(',');
        const Attribute attribute{
            rest_[0], rest_.substr(2, comma == std::string_view::npos ? comma : comma - 2)};
        ended_ = comma == std::string_view::npos;
        rest_ = ended_ ? std::string_view{} : rest_.substr(comma + 1);
        return attribute;
    }

    /// The value of the next attribute, which must have this name.
    std::optional<std::string_view> next(char name) {
        const auto attribute = next();
        if (!attribute || attribute->name != name) return {};
        return attribute->value;
    }

    std::string_view rest() const { return rest_; }
    /// True when the message ended with the last attribute (not with a comma behind it).
    bool ended() const { return ended_; }

  private:
    std::string_view rest_;
    bool ended_;
};

ScramKey exclusive_or(const ScramKey& a, const ScramKey& b) {
    ScramKey result;
    for (std::size_t i = 0; i < result.size(); ++i)
        result[i] = a[i] ^ b[i];
    return result;
}

std::string auth_message(std::string_view client_first_bare, std::string_view server_first,
                         std::string_view client_final_without_proof) {
    std::string text(client_first_bare);
    text.append(",").append(server_first).append(",").append(client_final_without_proof);
    return text;
}

struct ServerFirst {
    std::string_view nonce;
    std::string salt;
    std::uint32_t iterations = 0;
};

std::variant<ServerFirst, ScramFault> read_server_first(std::string_view message) {
    if (message.size() > scram_message_max) return ScramFault::too_long;
    if (message.starts_with("m=")) return ScramFault::unsupported;
    Attributes attributes(message);
    const auto nonce = attributes.next('r');
    if (!nonce) return ScramFault::malformed;
    const auto salt_text = attributes.next('s');
    if (!salt_text) return ScramFault::malformed;
    const auto iterations_text = attributes.next('i');
    if (!iterations_text || !attributes.ended()) return ScramFault::malformed;
    if (!is_nonce(*nonce)) return ScramFault::nonce;
    auto salt = decode_base64(*salt_text);
    if (!salt || salt->empty() || salt->size() > scram_salt_max) return ScramFault::salt;
    const auto iterations = read_iterations(*iterations_text);
    if (!iterations) return ScramFault::iterations;
    return ServerFirst{*nonce, std::move(*salt), *iterations};
}

struct ClientFirst {
    std::string_view header;  ///< gs2-header with its last comma
    std::string_view bare;
    std::string_view nonce;
};

/// How much of the message its channel binding flag takes, with the comma behind it; as PostgreSQL
/// judges it.
std::variant<std::size_t, ScramFault> read_binding_flag(std::string_view message,
                                                        const ScramServer::Binding& binding) {
    if (message.starts_with("p=")) {
        const std::size_t comma = message.find(',');
        if (!binding.chosen || comma == std::string_view::npos) return ScramFault::malformed;
        if (message.substr(2, comma - 2) != binding_name) return ScramFault::binding_type;
        return comma + 1;
    }
    if (binding.chosen) return ScramFault::malformed;
    // It says: "I could bind a channel but think that you cannot".
    if (message.starts_with("y,") && !binding.end_point.empty()) return ScramFault::downgrade;
    if (!message.starts_with("n,") && !message.starts_with("y,")) return ScramFault::malformed;
    return std::size_t{2};
}

std::variant<ClientFirst, ScramFault> read_client_first(std::string_view message,
                                                        const ScramServer::Binding& binding) {
    if (message.size() > scram_message_max) return ScramFault::too_long;
    const auto flag = read_binding_flag(message, binding);
    if (const auto* fault = std::get_if<ScramFault>(&flag)) return *fault;
    const std::size_t at = std::get<std::size_t>(flag);
    if (message.substr(at).starts_with("a=")) return ScramFault::authorization_identity;
    if (!message.substr(at).starts_with(",")) return ScramFault::malformed;
    ClientFirst first{message.substr(0, at + 1), message.substr(at + 1), {}};
    if (first.bare.starts_with("m=")) return ScramFault::unsupported;
    Attributes attributes(first.bare);
    if (!attributes.next('n')) return ScramFault::malformed;
    const auto nonce = attributes.next('r');
    if (!nonce) return ScramFault::malformed;
    while (!attributes.ended()) {  // extensions, which are to be ignored
        if (!attributes.next()) return ScramFault::malformed;
    }
    if (!is_nonce(*nonce)) return ScramFault::nonce;
    first.nonce = *nonce;
    return first;
}

struct ClientFinal {
    std::string_view channel_binding;
    std::string_view nonce;
    std::string_view without_proof;
    ScramKey proof{};
};

std::variant<ClientFinal, ScramFault> read_client_final(std::string_view message) {
    if (message.size() > scram_message_max) return ScramFault::too_long;
    Attributes attributes(message);
    const auto channel_binding = attributes.next('c');
    if (!channel_binding) return ScramFault::malformed;
    const auto nonce = attributes.next('r');
    if (!nonce) return ScramFault::malformed;
    ClientFinal final{*channel_binding, *nonce, {}, {}};
    while (true) {
        const std::size_t taken = message.size() - attributes.rest().size();
        const auto attribute = attributes.next();
        if (!attribute) return ScramFault::malformed;
        if (attribute->name != 'p') continue;  // an extension
        final.without_proof = message.substr(0, taken - 1);
        const auto proof = decode_base64(attribute->value);
        if (!attributes.ended() || !proof || proof->size() != final.proof.size())
            return ScramFault::malformed;
        std::copy(proof->begin(), proof->end(), reinterpret_cast<char*>(final.proof.data()));
        return final;
    }
}

}  // namespace

std::string make_scram_nonce() {
    std::array<char, scram_nonce_random_bytes> random{};
    random_bytes(random.data(), random.size());
    return encode_base64({random.data(), random.size()});
}

std::string_view describe(ScramFault fault) {
    switch (fault) {
        case ScramFault::out_of_turn:
            return "a SCRAM message came out of turn";
        case ScramFault::too_long:
            return "a SCRAM message is too long";
        case ScramFault::malformed:
            return "a SCRAM message is malformed";
        case ScramFault::unsupported:
            return "the SCRAM exchange asks for an unsupported extension";
        case ScramFault::authorization_identity:
            return "the SCRAM exchange names an authorization identity";
        case ScramFault::channel_binding:
            return "the SCRAM channel binding is not the one that the exchange began with";
        case ScramFault::binding_type:
            return "the SCRAM exchange asks for an unsupported type of channel binding";
        case ScramFault::binding_data:
            return "the SCRAM exchange is bound to another channel";
        case ScramFault::downgrade:
            return "the client thinks that the server supports no channel binding";
        case ScramFault::nonce:
            return "the SCRAM nonce is not acceptable";
        case ScramFault::other_nonce:
            return "the SCRAM nonce belongs to another exchange";
        case ScramFault::iterations:
            return "the SCRAM iteration count is not acceptable";
        case ScramFault::salt:
            return "the SCRAM salt is not acceptable";
        case ScramFault::rejected:
            return "the SCRAM exchange was rejected";
        case ScramFault::proof:
            return "the SCRAM proof does not match";
        case ScramFault::signature:
            return "the SCRAM server signature does not match";
    }
    return "";
}

ScramClient::ScramClient(std::string nonce, Binding binding, std::string_view end_point)
    : nonce_(std::move(nonce)) {
    switch (binding) {
        case Binding::none:
            header_ = "n,,";
            break;
        case Binding::not_offered:
            header_ = "y,,";
            break;
        case Binding::end_point:
            header_ = "p=" + std::string(binding_name) + ",,";
            break;
    }
    channel_binding_ = header_ + std::string(end_point);
    assert(is_nonce(nonce_) && nonce_.size() <= scram_nonce_max / 2);
}

std::string ScramClient::first_message() {
    assert(state_ == State::start);
    state_ = State::expects_server_first;
    first_bare_ = "n=,r=" + nonce_;
    return header_ + first_bare_;
}

std::variant<ScramClient::NeedsKeys, ScramFault> ScramClient::on_server_first(
    std::string_view message) {
    if (std::exchange(state_, State::failed) != State::expects_server_first)
        return ScramFault::out_of_turn;
    auto read = read_server_first(message);
    if (const auto* fault = std::get_if<ScramFault>(&read)) return *fault;
    auto& first = std::get<ServerFirst>(read);
    // The server must have added something of its own, else an old exchange could be replayed.
    if (!first.nonce.starts_with(nonce_) || first.nonce.size() == nonce_.size())
        return ScramFault::nonce;
    server_first_ = message;
    full_nonce_ = first.nonce;
    state_ = State::expects_keys;
    return NeedsKeys{std::move(first.salt), first.iterations};
}

std::string ScramClient::final_message(const ScramKeys& keys) {
    assert(state_ == State::expects_keys);
    const std::string without_proof = "c=" + encode_base64(channel_binding_) + ",r=" + full_nonce_;
    const std::string text = auth_message(first_bare_, server_first_, without_proof);
    const ScramKey proof = exclusive_or(keys.client, hmac_sha_256(keys.stored, text));
    server_signature_ = hmac_sha_256(keys.server, text);
    state_ = State::expects_server_final;
    return without_proof + ",p=" + encode_base64(bytes_of(proof));
}

std::optional<ScramFault> ScramClient::on_server_final(std::string_view message) {
    if (std::exchange(state_, State::failed) != State::expects_server_final)
        return ScramFault::out_of_turn;
    if (message.size() > scram_message_max) return ScramFault::too_long;
    if (message.starts_with("e=")) return ScramFault::rejected;
    Attributes attributes(message);
    const auto value = attributes.next('v');
    if (!value || !attributes.ended()) return ScramFault::malformed;
    const auto signature = decode_base64(*value);
    if (!signature || signature->size() != server_signature_.size()) return ScramFault::malformed;
    if (CRYPTO_memcmp(signature->data(), server_signature_.data(), signature->size()) != 0)
        return ScramFault::signature;
    state_ = State::verified;
    return {};
}

ScramServer::ScramServer(ScramVerifier verifier, std::string nonce, Binding binding)
    : verifier_(std::move(verifier)), nonce_(std::move(nonce)), binding_(std::move(binding)) {
    assert(is_nonce(nonce_) && nonce_.size() <= scram_nonce_max / 2);
    assert(!binding_.chosen || !binding_.end_point.empty());
}

namespace {

/// To PostgreSQL a message is a text that ends there.
bool has_zero_byte(std::string_view message) {
    return message.find('\0') != std::string_view::npos;
}

}  // namespace

std::variant<std::string, ScramFault> ScramServer::on_client_first(std::string_view message) {
    if (std::exchange(state_, State::finished) != State::expects_first)
        return ScramFault::out_of_turn;
    if (has_zero_byte(message)) return ScramFault::malformed;
    const auto read = read_client_first(message, binding_);
    if (const auto* fault = std::get_if<ScramFault>(&read)) return *fault;
    const auto& first = std::get<ClientFirst>(read);
    if (first.nonce.size() > scram_nonce_max - nonce_.size()) return ScramFault::nonce;
    channel_binding_ = std::string(first.header);
    if (binding_.chosen) channel_binding_ += binding_.end_point;
    channel_binding_ = encode_base64(channel_binding_);
    first_bare_ = first.bare;
    full_nonce_ = std::string(first.nonce) + nonce_;
    server_first_ = "r=" + full_nonce_ + ",s=" + encode_base64(verifier_.salt) +
                    ",i=" + std::to_string(verifier_.iterations);
    state_ = State::expects_final;
    return server_first_;
}

std::variant<ScramServer::Accepted, ScramFault> ScramServer::on_client_final(
    std::string_view message) {
    if (std::exchange(state_, State::finished) != State::expects_final)
        return ScramFault::out_of_turn;
    if (has_zero_byte(message)) return ScramFault::malformed;
    const auto read = read_client_final(message);
    if (const auto* fault = std::get_if<ScramFault>(&read)) return *fault;
    const auto& final = std::get<ClientFinal>(read);
    if (final.channel_binding != channel_binding_)
        return binding_.chosen ? ScramFault::binding_data : ScramFault::channel_binding;
    if (final.nonce != full_nonce_) return ScramFault::other_nonce;
    const std::string text = auth_message(first_bare_, server_first_, final.without_proof);
    ScramKeys keys{exclusive_or(final.proof, hmac_sha_256(verifier_.stored, text)),
                   verifier_.stored, verifier_.server};
    // The comparison is made for a mock verifier too: both take the same time.
    const bool matches = equal(sha_256(keys.client), verifier_.stored);
    if (!matches || verifier_.doomed) return ScramFault::proof;
    const ScramKey signature = hmac_sha_256(verifier_.server, text);
    Accepted accepted{"v=" + encode_base64(bytes_of(signature)),
                      ScramSecret(keys, verifier_.salt, verifier_.iterations)};
    OPENSSL_cleanse(&keys, sizeof keys);
    return accepted;
}

}  // namespace schemux::protocol
