// What a client sends before its first message: packets, the meaning of their parameters, the
// text of `options`, and the login as a machine.
// Input: a byte that chooses (bit 0: the rest is one packet's body, to be framed here; bits 1-7:
// how it is cut), then bytes of the client.
#include "protocol/startup_packet.h"

#include "core/frontend_login.h"
#include "core/overload.h"
#include "protocol/messages.h"
#include "protocol/wire_writer.h"
#include "tests/fuzz/input.h"

#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace schemux::fuzz {
namespace {

using core::FrontendLogin;
using core::Overload;
using protocol::ErrorFields;
using protocol::Setting;

// ---- one packet ----

void check_settings(const std::vector<Setting>& settings) {
    demand(settings.size() <= protocol::startup_settings_max, "settings are bounded");
    std::set<std::string> names;
    for (const auto& [name, value] : settings) {
        demand(!name.empty(), "a setting has a name");
        demand(names.insert(name).second, "a setting occurs once");
        demand(std::none_of(name.begin(), name.end(), [](char c) { return c >= 'A' && c <= 'Z'; }),
               "a setting's name is in lower case");
    }
}

/// As the manual tells clients to write `options`.
std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\\' || c == ' ' || (c >= '\t' && c <= '\r')) out += '\\';
        out += c;
    }
    return out;
}

/// Settings written as options read as themselves.
void check_options(std::string_view text) {
    const auto any = protocol::read_options("-c a=" + escaped(text));
    const auto* one = std::get_if<std::vector<Setting>>(&any);
    demand(one != nullptr && *one == std::vector<Setting>{{"a", std::string(text)}},
           "any value can be written");
    auto read = protocol::read_options(text);
    if (const auto* error = std::get_if<ErrorFields>(&read)) {
        demand(error->sqlstate == "42601" || error->sqlstate == "54000", "a known error");
        demand(error->severity == protocol::Severity::fatal, "broken options are fatal");
        return;
    }
    const auto& settings = std::get<std::vector<Setting>>(read);
    check_settings(settings);
    std::string again;
    for (const auto& [name, value] : settings)
        again += " -c " + escaped(name) + '=' + escaped(value);
    auto same = protocol::read_options(again);
    demand(std::holds_alternative<std::vector<Setting>>(same), "settings can be written");
    demand(std::get<std::vector<Setting>>(same) == settings, "settings read as they were written");
}

void check_startup(std::string_view packet, const protocol::StartupMessage& message) {
    demand(message.parameters.size() <= protocol::startup_parameters_max, "parameters are bounded");
    std::string again;
    protocol::append_startup_message(again, message);
    demand_equal(again, packet, "a startup packet is written as it was read");
    for (const auto& [name, value] : message.parameters) {
        if (name == "options") check_options(value);
        protocol::read_boolean(value);
    }
    const auto interpreted = protocol::interpret(message);
    if (const auto* error = std::get_if<ErrorFields>(&interpreted)) {
        demand(!error->message.empty() && error->severity == protocol::Severity::fatal,
               "a refusal says why");
        return;
    }
    const auto& parameters = std::get<protocol::StartupParameters>(interpreted);
    demand(!parameters.user.empty() && !parameters.database.empty(), "user and database are known");
    check_settings(parameters.settings);
}

void check_packet(std::string_view packet) {
    std::string again;
    std::visit(Overload{
                   [&](const protocol::StartupMessage& message) { check_startup(packet, message); },
                   [&](protocol::SslRequest) {
                       protocol::append_ssl_request(again);
                       demand_equal(again, packet, "an SSLRequest is written as it was read");
                   },
                   [&](protocol::GssEncryptionRequest) {
                       protocol::append_gss_encryption_request(again);
                       demand_equal(again, packet, "a GSSENCRequest is written as it was read");
                   },
                   [&](const protocol::CancelRequest& request) {
                       protocol::append_cancel_request(again, request.pid, request.secret);
                       demand_equal(again, packet, "a CancelRequest is written as it was read");
                   },
                   [&](protocol::UnsupportedProtocol version) {
                       demand(version.major != 3, "protocol 3 is supported");
                   },
                   [](protocol::PacketFault) {},
               },
               protocol::read_first_packet(packet));
}

// ---- the login ----

/// Of the input's first byte: the login asks for a password.
constexpr std::uint8_t scram_bit = 0x80;
/// Two encryptions declined, the mechanism, an empty challenge, the challenge.
constexpr std::size_t replies_max = 5;
constexpr std::size_t close_index = std::variant_size_v<FrontendLogin::Action> - 1;
static_assert(std::is_same_v<std::variant_alternative_t<close_index, FrontendLogin::Action>,
                             FrontendLogin::Close>);

struct Conversation {
    std::string sent;
    std::size_t last = 0;   ///< which action came last
    std::string result;     ///< what it held
    std::size_t taken = 0;  ///< of all bytes, when it was over

    friend bool operator==(const Conversation&, const Conversation&) = default;
};

std::string describe(const protocol::StartupParameters& parameters) {
    std::string text = parameters.user + '|' + parameters.database + '|' + parameters.replication;
    for (const auto& [name, value] : parameters.settings)
        text += '|' + name + '=' + value;
    for (const std::string& option : parameters.unknown_options)
        text += '|' + option;
    return text + '|' + std::to_string(parameters.minor);
}

/// Of a user that never gets in: nobody finds a proof by chance.
protocol::ScramVerifier some_verifier(const std::string& user) {
    return protocol::mock_verifier("secret", user, 1);
}

constexpr std::string_view some_hash = "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

FrontendLogin::Action answer(FrontendLogin& login, const FrontendLogin::NeedVerifier& need) {
    return need.md5_may_be_used ? login.on_md5_hash(some_hash, "salt")
                                : login.on_verifier(some_verifier(need.user), "servernonce");
}

/// Instead of it: what comes next is taken for what comes out of it.
void check_handshake(const FrontendLogin::StartTls& start, const core::LoginRules& rules,
                     std::string& pending) {
    demand(rules.tls != core::ClientTls::off, "there is TLS");
    demand(start.direct || pending.empty(), "nothing came before it");
    if (start.direct) pending.erase(0, 1);
}

void check_refusal(const FrontendLogin::Refuse& refuse) {
    const auto view = protocol::read_error(std::string_view(refuse.bytes).substr(5));
    demand(view && view->severity == "FATAL" && view->sqlstate == refuse.error.sqlstate,
           "a refusal is a well-formed FATAL error");
}

void check_end(FrontendLogin& login, const Conversation& talk) {
    demand(std::holds_alternative<FrontendLogin::Close>(login.on_bytes("x").action),
           "after the end there is only Close");
    demand(login.held_bytes() == 0 || talk.last == close_index, "nothing is held at the end");
}

Conversation converse(const Pieces& pieces, const core::LoginRules& rules) {
    FrontendLogin login(rules);
    Conversation talk;
    std::string pending;
    bool over = false;
    bool encrypted = false;
    std::size_t replies = 0;
    for (const std::string_view piece : pieces) {
        pending.append(piece);
        bool more = true;
        while (more && !over) {
            const Copy copy(pending);
            auto step = login.on_bytes(copy.view());
            demand(step.consumed <= pending.size(), "no more is taken than was offered");
            demand(login.held_bytes() <= protocol::startup_packet_max, "what is held is bounded");
            talk.taken += step.consumed;
            pending.erase(0, step.consumed);
            talk.last = step.action.index();
            if (const auto* need = std::get_if<FrontendLogin::NeedVerifier>(&step.action))
                step.action = answer(login, *need);
            if (std::holds_alternative<FrontendLogin::CheckPassword>(step.action))
                step.action = login.on_password_checked(false);
            std::visit(Overload{
                           [&](FrontendLogin::NeedBytes) {
                               demand(pending.empty(), "more is wanted only when all was taken");
                               more = false;
                           },
                           [&](const FrontendLogin::Reply& reply) {
                               talk.sent += reply.bytes;
                               demand(++replies <= replies_max, "each question is asked once");
                           },
                           [&](const FrontendLogin::StartTls& start) {
                               demand(!std::exchange(encrypted, true), "one handshake is enough");
                               check_handshake(start, rules, pending);
                               talk.sent += start.bytes;
                               login.on_encrypted({"end point", {}});
                           },
                           [&](const FrontendLogin::NeedVerifier&) {
                               demand(false, "it got its verifier");
                           },
                           [&](const FrontendLogin::CheckPassword&) {
                               demand(false, "its password was checked");
                           },
                           [&](const FrontendLogin::Cancel& cancel) {
                               talk.result = std::to_string(cancel.pid) + '|' + cancel.secret;
                               over = true;
                           },
                           [&](const FrontendLogin::Accepted& accepted) {
                               demand(rules.method == core::ClientAuthentication::trust,
                                      "nobody gets in without a proof");
                               demand(encrypted || rules.tls != core::ClientTls::required,
                                      "nobody gets in without TLS where it is required");
                               talk.result = describe(accepted.parameters);
                               talk.sent += accepted.reply;
                               over = true;
                           },
                           [&](const FrontendLogin::Refuse& refuse) {
                               check_refusal(refuse);
                               talk.sent += refuse.bytes;
                               over = true;
                           },
                           [&](FrontendLogin::Close) { over = true; },
                       },
                       step.action);
        }
        if (over) break;
    }
    if (over) check_end(login, talk);
    return talk;
}

void check(Input input) {
    const std::uint8_t choice = input.u8();
    std::string bytes;
    if ((choice & 1U) != 0) {
        // Packets with right lengths, each up to a 0xff 0xff.
        while (!input.empty()) {
            std::string body;
            while (!input.empty()) {
                const char c = static_cast<char>(input.u8());
                if (c == '\xff' && body.ends_with('\xff')) break;
                body += c;
            }
            if (body.ends_with('\xff')) body.pop_back();
            protocol::WireWriter(bytes)
                .u32(static_cast<std::uint32_t>(body.size() + 4))
                .bytes(body);
        }
    } else {
        bytes = input.rest();
    }
    const Copy copy(bytes);
    check_packet(copy.view());
    check_options(copy.view());
    if (copy.view().size() >= protocol::startup_length_bytes) {
        const auto length = protocol::startup_packet_bytes(copy.view());
        if (length) check_packet(copy.view().substr(0, *length));
    }
    core::LoginRules rules;
    rules.method = (choice & scram_bit) != 0 ? core::ClientAuthentication::scram_sha_256
                                             : core::ClientAuthentication::trust;
    const Conversation whole = converse(cut(copy.view(), 0), rules);
    demand(converse(cut(copy.view(), 1), rules) == whole,
           "byte by byte it is the same conversation");
    demand(converse(cut(copy.view(), 2 + (choice >> 1U)), rules) == whole, "any cut is the same");
    // Where TLS begins depends on the cuts, as it must.
    for (const auto method :
         {rules.method, core::ClientAuthentication::password, core::ClientAuthentication::md5,
          core::ClientAuthentication::certificate, core::ClientAuthentication::reject}) {
        rules.method = method;
        rules.tls = (choice & 2U) != 0 ? core::ClientTls::offered : core::ClientTls::required;
        converse(cut(copy.view(), 1), rules);
        converse(cut(copy.view(), 2 + (choice >> 1U)), rules);
    }
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
