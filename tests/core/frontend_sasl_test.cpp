// The password part of a client's login: SCRAM at every cut, and clients that lie.
#include "core/frontend_login.h"
#include "protocol/authentication.h"
#include "protocol/message_header.h"
#include "protocol/messages.h"
#include "protocol/startup_packet.h"
#include "protocol/wire_writer.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using protocol::ScramClient;
using testing::Parts;

constexpr std::uint32_t iterations = 2;
constexpr std::string_view salt = "0123456789abcdef";
constexpr std::string_view mock_secret = "thirty-two random bytes, one hopes";

std::string startup(std::string_view user = "ann", std::uint16_t minor = 0) {
    std::string bytes;
    protocol::append_startup_message(bytes, {minor, {{"user", user}, {"database", "users"}}});
    return bytes;
}

std::string message(char type, std::string_view body) {
    std::string out;
    protocol::WireWriter(out).begin_message(type).bytes(body).end_message();
    return out;
}

std::string initial_response(std::string_view mechanism, std::optional<std::string_view> data) {
    std::string out;
    protocol::append_sasl_initial_response(out, {mechanism, data});
    return out;
}

std::string response(std::string_view data) {
    std::string out;
    protocol::append_sasl_response(out, data);
    return out;
}

protocol::ScramKeys keys_of(std::string_view password) {
    return *protocol::derive_keys(password, salt, iterations);
}

/// What the lookup of a user's secret gives: only ann exists, with the password "pencil".
protocol::ScramVerifier verifier_of(const std::string& user) {
    if (user == "ann") return protocol::make_verifier(keys_of("pencil"), salt, iterations);
    return protocol::mock_verifier(mock_secret, user, iterations);
}

/// The server's side with its lookup, as a socket loop would drive it.
class Conversation {
  public:
    std::string known;  ///< the password, where the lookup has it

    /// Offers bytes; what is sent back until more are needed or all is over.
    std::string feed(std::string_view bytes) {
        rest_.append(bytes);
        std::string sent;
        while (!over()) {
            auto step = login_.on_bytes(rest_);
            rest_.erase(0, step.consumed);
            last_ = std::move(step.action);
            if (const auto* need = std::get_if<FrontendLogin::NeedVerifier>(&last_))
                last_ = login_.on_verifier(verifier_of(need->user), "servernonce",
                                           protocol::Secret(known));
            if (const auto* reply = std::get_if<FrontendLogin::Reply>(&last_)) sent += reply->bytes;
            if (is<FrontendLogin::NeedBytes>()) break;
        }
        return sent;
    }
    template <typename Kind>
    bool is() const {
        return std::holds_alternative<Kind>(last_);
    }
    bool over() const { return !is<FrontendLogin::NeedBytes>() && !is<FrontendLogin::Reply>(); }
    const FrontendLogin::Accepted* accepted() const {
        return std::get_if<FrontendLogin::Accepted>(&last_);
    }
    protocol::ErrorFields error() const {
        const auto* refused = std::get_if<FrontendLogin::Refuse>(&last_);
        return refused == nullptr ? protocol::ErrorFields{} : refused->error;
    }
    FrontendLogin& login() { return login_; }
    const std::string& rest() const { return rest_; }

  private:
    FrontendLogin login_{ClientAuthentication::scram_sha_256};
    FrontendLogin::Action last_ = FrontendLogin::NeedBytes{};
    std::string rest_;
};

/// The data of an AuthenticationSASLContinue.
std::string challenge_in(std::string_view sent) {
    const auto read = protocol::read_authentication(sent.substr(protocol::header_bytes));
    if (!read || !std::holds_alternative<protocol::AuthenticationSaslContinue>(*read)) return {};
    return std::string(std::get<protocol::AuthenticationSaslContinue>(*read).data);
}

using Feed = std::function<std::string(Conversation&, std::string_view)>;

std::string feed_whole(Conversation& server, std::string_view bytes) {
    return server.feed(bytes);
}

/// A client that follows the rules, with some password; `feed` decides how its bytes are cut.
void log_in(Conversation& server, std::string_view user, std::string_view password,
            const Feed& feed = feed_whole) {
    ScramClient client("clientnonce");
    EXPECT_EQ(feed(server, startup(user)), message('R', "\0\0\0\x0aSCRAM-SHA-256\0\0"sv));
    const std::string challenge = challenge_in(
        feed(server, initial_response(protocol::scram_mechanism, client.first_message())));
    auto needs = client.on_server_first(challenge);
    ASSERT_TRUE(std::holds_alternative<ScramClient::NeedsKeys>(needs)) << challenge;
    const auto& wanted = std::get<ScramClient::NeedsKeys>(needs);
    const auto keys = protocol::derive_keys(password, wanted.salt, wanted.iterations);
    EXPECT_EQ(feed(server, response(client.final_message(*keys))), "");
    if (!server.accepted()) return;
    const auto last = protocol::read_authentication(
        std::string_view(server.accepted()->reply).substr(protocol::header_bytes));
    ASSERT_TRUE(last && std::holds_alternative<protocol::AuthenticationSaslFinal>(*last));
    EXPECT_FALSE(client.on_server_final(std::get<protocol::AuthenticationSaslFinal>(*last).data))
        << "the server proved nothing";
}

TEST(FrontendSasl, RightPasswordIsAccepted) {
    Conversation server;
    log_in(server, "ann", "pencil");
    ASSERT_TRUE(server.accepted());
    EXPECT_EQ(server.accepted()->parameters.user, "ann");
    EXPECT_EQ(server.accepted()->parameters.database, "users");
    EXPECT_EQ(server.login().held_bytes(), 0U);
}

TEST(FrontendSasl, RightProofLeavesTheKeysOfTheVerifier) {
    Conversation server;
    log_in(server, "ann", "pencil");
    ASSERT_TRUE(server.accepted());
    const auto& proved = server.accepted()->proved;
    EXPECT_TRUE(proved.password.empty());
    ASSERT_TRUE(proved.keys);
    const auto* keys = proved.keys->keys_for(salt, iterations);
    ASSERT_NE(keys, nullptr);
    EXPECT_EQ(*keys, keys_of("pencil"));
}

TEST(FrontendSasl, KnownPasswordComesBackWithTheProof) {
    Conversation server;
    server.known = "pencil";
    log_in(server, "ann", "pencil");
    ASSERT_TRUE(server.accepted());
    EXPECT_EQ(server.accepted()->proved.password.view(), "pencil");
}

/// A stand-in's password can be found by trying all: that is no proof.
TEST(FrontendSasl, MockVerifierYieldsNothingWhateverTheProof) {
    protocol::ScramVerifier doomed = verifier_of("ann");
    doomed.doomed = true;
    protocol::ScramServer server(doomed, "servernonce");
    ScramClient client("clientnonce");
    const auto first = server.on_client_first(client.first_message());
    client.on_server_first(std::get<std::string>(first));
    const auto answer = server.on_client_final(client.final_message(keys_of("pencil")));
    ASSERT_TRUE(std::holds_alternative<protocol::ScramFault>(answer));
    EXPECT_EQ(std::get<protocol::ScramFault>(answer), protocol::ScramFault::proof);
}

TEST(FrontendSasl, EveryCutOfEveryMessageEndsAlike) {
    for (std::size_t cut = 0; cut < 100; ++cut) {
        Conversation server;
        log_in(server, "ann", "pencil", [cut](Conversation& to, std::string_view bytes) {
            std::string sent = to.feed(bytes.substr(0, cut));
            if (cut < bytes.size()) sent += to.feed(bytes.substr(cut));
            return sent;
        });
        EXPECT_TRUE(server.accepted()) << cut;
    }
    Conversation server;
    log_in(server, "ann", "pencil", [](Conversation& to, std::string_view bytes) {
        std::string sent;
        for (std::size_t i = 0; i < bytes.size(); ++i)
            sent += to.feed(bytes.substr(i, 1));
        return sent;
    });
    EXPECT_TRUE(server.accepted());
}

TEST(FrontendSasl, WrongPasswordAndUnknownUserGetTheSameWords) {
    for (const std::string user : {"ann", "nobody"}) {
        Conversation server;
        log_in(server, user, user == "ann" ? "pencils" : "pencil");
        EXPECT_EQ(server.error().severity, protocol::Severity::fatal);
        EXPECT_EQ(server.error().sqlstate, "28P01");
        EXPECT_EQ(server.error().message,
                  "password authentication failed for user \"" + user + "\"");
        EXPECT_EQ(server.error().detail + server.error().hint, "");
    }
}

TEST(FrontendSasl, BytesBehindTheProofAreLeftForWhatComesNext) {
    Conversation server;
    log_in(server, "ann", "pencil", [](Conversation& to, std::string_view bytes) {
        const bool is_proof = bytes.find(",p=") != std::string_view::npos;
        return to.feed(std::string(bytes) + (is_proof ? "Q..." : ""));
    });
    EXPECT_TRUE(server.accepted());
    EXPECT_EQ(server.rest(), "Q...");
}

TEST(FrontendSasl, NegotiationComesBeforeTheRequest) {
    Conversation server;
    EXPECT_TRUE(server.feed(startup("ann", 9)).starts_with("v\0\0\0\x0c"sv));
    log_in(server, "ann", "pencil",
           [first = true](Conversation& to, std::string_view bytes) mutable {
               if (std::exchange(first, false))
                   return message('R', "\0\0\0\x0aSCRAM-SHA-256\0\0"sv);
               return to.feed(bytes);
           });
    ASSERT_TRUE(server.accepted());
    EXPECT_EQ(server.accepted()->reply.front(), 'R');
}

TEST(FrontendSasl, EveryOtherMessageTypeIsRefusedByItsNumber) {
    for (int type = 0; type < 256; ++type) {
        if (type == 'p') continue;
        for (const bool after_challenge : {false, true}) {
            Conversation server;
            server.feed(startup());
            if (after_challenge)
                server.feed(initial_response(protocol::scram_mechanism, "n,,n=,r=clientnonce"));
            server.feed(std::string(1, static_cast<char>(type)));
            EXPECT_EQ(server.error().sqlstate, "08P01");
            EXPECT_EQ(server.error().message,
                      "expected SASL response, got message type " + std::to_string(type));
        }
    }
}

TEST(FrontendSasl, LengthsHaveABoundBeforeAnythingIsHeld) {
    for (const std::uint32_t length : {0U, 1U, 3U, 1029U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        Conversation server;
        server.feed(startup());
        std::string header = "p";
        protocol::WireWriter(header).u32(length);
        server.feed(header);
        EXPECT_EQ(server.error().sqlstate, "28P01") << length;
        EXPECT_EQ(server.login().held_bytes(), 0U);
    }
}

TEST(FrontendSasl, LongestMessageIsRead) {
    Conversation server;
    server.feed(startup());
    server.feed(message('p', std::string(sasl_message_max, 'x')));
    EXPECT_EQ(server.error().sqlstate, "08P01");
    EXPECT_EQ(server.error().message, "malformed SASL initial response");
}

TEST(FrontendSasl, OtherMechanismsAreRefused) {
    for (const std::string_view mechanism :
         {"SCRAM-SHA-256-PLUS"sv, "PLAIN"sv, "scram-sha-256"sv}) {
        Conversation server;
        server.feed(startup());
        server.feed(initial_response(mechanism, "n,,n=,r=clientnonce"));
        EXPECT_EQ(server.error().sqlstate, "08P01");
        EXPECT_EQ(server.error().message,
                  "client selected an invalid SASL authentication mechanism");
    }
}

TEST(FrontendSasl, ClientThatSaysNothingFirstIsAskedAgain) {
    Conversation server;
    server.feed(startup());
    EXPECT_EQ(server.feed(initial_response(protocol::scram_mechanism, {})),
              message('R', "\0\0\0\x0b"sv));
    ScramClient client("clientnonce");
    auto needs = client.on_server_first(
        challenge_in((client.first_message(), server.feed(response("n,,n=,r=clientnonce")))));
    ASSERT_TRUE(std::holds_alternative<ScramClient::NeedsKeys>(needs));
    server.feed(response(client.final_message(keys_of("pencil"))));
    EXPECT_TRUE(server.accepted());
}

TEST(FrontendSasl, MalformedExchangesAreProtocolViolations) {
    const auto refused_with = [](std::string_view first) {
        Conversation server;
        server.feed(startup());
        server.feed(initial_response(protocol::scram_mechanism, first));
        return server.error();
    };
    for (const std::string_view first : {""sv, "n"sv, "n,,"sv, "n,,n=,r="sv, "n,,r=x,n=y"sv,
                                         "n,,n=,r=a b"sv, "\0\0\0"sv, "x,,n=,r=abc"sv}) {
        EXPECT_EQ(refused_with(first).sqlstate, "08P01") << first;
    }
    EXPECT_EQ(refused_with("n,,n=").message, "malformed SCRAM message");
    EXPECT_EQ(refused_with("n,,n=,r=a b").message, "non-printable characters in SCRAM nonce");
    EXPECT_EQ(refused_with("p=tls-unique,,n=,r=abc").sqlstate, "08P01");
    EXPECT_EQ(refused_with("n,a=root,n=,r=abc").sqlstate, "0A000");
    EXPECT_EQ(refused_with("n,,m=x,n=,r=abc").sqlstate, "0A000");
}

TEST(FrontendSasl, ProofOfAnotherExchangeIsRefused) {
    for (const std::string_view last :
         {"c=biws,r=clientnonceothernonce,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="sv,
          "c=eSws,r=clientnonceservernonce,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="sv,
          "c=biws,r=clientnonceservernonce,p=AAAA"sv, ""sv}) {
        Conversation server;
        server.feed(startup());
        server.feed(initial_response(protocol::scram_mechanism, "n,,n=,r=clientnonce"));
        server.feed(response(last));
        EXPECT_EQ(server.error().severity, protocol::Severity::fatal) << last;
        EXPECT_FALSE(server.accepted());
    }
}

TEST(FrontendSasl, UnknownUsersHaveASaltOfTheirOwnThatStays) {
    const auto challenge_for = [](std::string_view user) {
        Conversation server;
        server.feed(startup(user));
        return challenge_in(
            server.feed(initial_response(protocol::scram_mechanism, "n,,n=,r=clientnonce")));
    };
    EXPECT_EQ(challenge_for("nobody"), challenge_for("nobody"));
    EXPECT_NE(challenge_for("nobody"), challenge_for("somebody"));
    EXPECT_EQ(challenge_for("nobody").size(), challenge_for("ann").size());
}

}  // namespace
}  // namespace schemux::core
