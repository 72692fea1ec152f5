// The SCRAM-SHA-256 exchange from both sides: RFC 7677's vector, wrong passwords, hostile messages.
#include "protocol/scram_sha_256.h"

#include "protocol/base64.h"
#include "tests/support/byte_splitter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

namespace schemux::protocol {
namespace {

constexpr std::uint32_t iterations = 16;
const std::string salt = "0123456789abcdef";

// RFC 7677, section 3.
const std::string rfc_client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const std::string rfc_server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const std::string rfc_server_first =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const std::string rfc_client_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const std::string rfc_server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

ScramVerifier verifier_of(std::string_view password) {
    return make_verifier(*derive_keys(password, salt, iterations), salt, iterations);
}

ScramVerifier rfc_verifier() {
    const std::string rfc_salt = *decode_base64("W22ZaJ0SNY7soEsUEjb6gQ==");
    return make_verifier(*derive_keys("pencil", rfc_salt, 4096), rfc_salt, 4096);
}

ScramFault client_fault(std::string_view server_first) {
    ScramClient client("abc");
    client.first_message();
    const auto answer = client.on_server_first(server_first);
    if (std::holds_alternative<ScramClient::NeedsKeys>(answer)) {
        ADD_FAILURE() << "accepted: " << server_first;
        return ScramFault::out_of_turn;
    }
    // A failed machine stays failed.
    EXPECT_EQ(std::get<ScramFault>(client.on_server_first("r=abcd,s=c2FsdA==,i=1")),
              ScramFault::out_of_turn);
    EXPECT_FALSE(client.server_verified());
    return std::get<ScramFault>(answer);
}

ScramFault server_fault(std::string_view client_first) {
    ScramServer server(verifier_of("pencil"), "srv");
    const auto answer = server.on_client_first(client_first);
    if (std::holds_alternative<std::string>(answer)) {
        ADD_FAILURE() << "accepted: " << client_first;
        return ScramFault::out_of_turn;
    }
    EXPECT_TRUE(std::holds_alternative<ScramFault>(server.on_client_final(rfc_client_final)));
    return std::get<ScramFault>(answer);
}

/// Both machines up to the client-final message of a client with this password.
struct Exchange {
    explicit Exchange(std::string_view password, ScramVerifier verifier = verifier_of("pencil"))
        : client("clientnonce"), server(std::move(verifier), "servernonce") {
        const auto first = server.on_client_first(client.first_message());
        const auto wanted = client.on_server_first(std::get<std::string>(first));
        const auto& needs = std::get<ScramClient::NeedsKeys>(wanted);
        client_final = client.final_message(*derive_keys(password, needs.salt, needs.iterations));
    }

    ScramFault fault_of(std::string_view final) {
        const auto answer = server.on_client_final(final);
        if (!std::holds_alternative<ScramFault>(answer)) {
            ADD_FAILURE() << "accepted: " << final;
            return ScramFault::out_of_turn;
        }
        return std::get<ScramFault>(answer);
    }

    ScramClient client;
    ScramServer server;
    std::string client_final;
};

TEST(ScramServer, FollowsTheVectorOfTheRfc) {
    ScramServer server(rfc_verifier(), rfc_server_nonce);
    EXPECT_EQ(std::get<std::string>(server.on_client_first(rfc_client_first)), rfc_server_first);
    const auto answer = server.on_client_final(rfc_client_final);
    EXPECT_EQ(std::get<ScramServer::Accepted>(answer).server_final, rfc_server_final);
}

TEST(ScramServer, RecoversTheClientsKeysFromItsProof) {
    Exchange exchange("pencil");
    const auto answer = exchange.server.on_client_final(exchange.client_final);
    const auto* keys = std::get<ScramServer::Accepted>(answer).secret.keys_for(salt, iterations);
    ASSERT_NE(keys, nullptr);
    EXPECT_EQ(*keys, derive_keys("pencil", salt, iterations));
}

TEST(ScramServer, RecoveredKeysAreForTheirOwnVerifierOnly) {
    Exchange exchange("pencil");
    const auto answer = exchange.server.on_client_final(exchange.client_final);
    const ScramSecret secret = std::get<ScramServer::Accepted>(answer).secret;
    EXPECT_EQ(secret.keys_for("another salt", iterations), nullptr);
    EXPECT_EQ(secret.keys_for(salt, iterations + 1), nullptr);
    EXPECT_NE(secret.keys_for(salt, iterations), nullptr);
}

TEST(ScramClient, ProvesItselfAndVerifiesTheServer) {
    Exchange exchange("pencil");
    EXPECT_FALSE(exchange.client.server_verified());
    const auto answer = exchange.server.on_client_final(exchange.client_final);
    EXPECT_EQ(exchange.client.on_server_final(std::get<ScramServer::Accepted>(answer).server_final),
              std::nullopt);
    EXPECT_TRUE(exchange.client.server_verified());
}

TEST(ScramClient, FirstMessageNamesNoUser) {
    ScramClient client("abc");
    EXPECT_EQ(client.first_message(), "n,,n=,r=abc");
}

TEST(ScramServer, WrongPasswordIsRefused) {
    for (const auto password : {"", "Pencil", "pencil ", "pencilpencil"}) {
        Exchange exchange(password);
        EXPECT_EQ(exchange.fault_of(exchange.client_final), ScramFault::proof) << password;
    }
}

TEST(ScramServer, UnknownUserSeesTheSameMessagesAndNeverPasses) {
    Exchange exchange("pencil", mock_verifier("secret", "nobody", iterations));
    EXPECT_EQ(exchange.fault_of(exchange.client_final), ScramFault::proof);
    // Even a proof that fits the mock's stored key is refused.
    ScramVerifier doomed = verifier_of("pencil");
    doomed.doomed = true;
    Exchange fitting("pencil", doomed);
    EXPECT_EQ(fitting.fault_of(fitting.client_final), ScramFault::proof);
}

TEST(ScramServer, AProofIsGoodForOneExchangeOnly) {
    Exchange first("pencil");
    ScramServer second(verifier_of("pencil"), "anothernonce");
    second.on_client_first("n,,n=,r=clientnonce");
    EXPECT_EQ(std::get<ScramFault>(second.on_client_final(first.client_final)),
              ScramFault::other_nonce);
}

TEST(ScramServer, EachMessageHasOneTurn) {
    ScramServer server(rfc_verifier(), rfc_server_nonce);
    EXPECT_EQ(std::get<ScramFault>(server.on_client_final(rfc_client_final)),
              ScramFault::out_of_turn);
    EXPECT_EQ(std::get<ScramFault>(server.on_client_first(rfc_client_first)),
              ScramFault::out_of_turn);

    ScramServer again(rfc_verifier(), rfc_server_nonce);
    EXPECT_TRUE(std::holds_alternative<std::string>(again.on_client_first(rfc_client_first)));
    EXPECT_EQ(std::get<ScramFault>(again.on_client_first(rfc_client_first)),
              ScramFault::out_of_turn);
    EXPECT_EQ(std::get<ScramFault>(again.on_client_final(rfc_client_final)),
              ScramFault::out_of_turn);
}

TEST(ScramServer, FirstMessageNeedsEveryAttribute) {
    for (const auto text : {"", "n", "n,", "n,,", "n,,r=abc", "n,,n=", "n,,n=,", "n,,n=,r",
                            "n,,n=u", "n,n=,r=abc", ",,n=,r=abc", "x,,n=,r=abc", "n,,n=,r=abc,",
                            "n,,n=,r=abc,x", "n,,n=,r=abc,1=2", "n,,n=,,r=abc", "n,,r=abc,n="}) {
        EXPECT_EQ(server_fault(text), ScramFault::malformed) << text;
    }
}

TEST(ScramServer, NoncesMustBePrintableAndShort) {
    for (const std::string& nonce :
         {std::string(), std::string("a b"), std::string("a\x7f"), std::string("\xc3\xa4"),
          std::string(scram_nonce_max - 2, 'n'), std::string(4000, 'n')}) {
        EXPECT_EQ(server_fault("n,,n=,r=" + nonce), ScramFault::nonce) << nonce.size();
    }
    ScramServer server(verifier_of("pencil"), "srv");
    EXPECT_TRUE(std::holds_alternative<std::string>(
        server.on_client_first("n,,n=,r=" + std::string(scram_nonce_max - 3, 'n'))));
}

TEST(ScramServer, AZeroByteIsInNoMessage) {
    EXPECT_EQ(server_fault(std::string("n,,n=,r=a\0b", 11)), ScramFault::malformed);
    ScramServer server(verifier_of("pencil"), "srv");
    server.on_client_first("n,,n=,r=abc");
    EXPECT_EQ(
        std::get<ScramFault>(server.on_client_final(std::string("c=biws,r=abc\0srv,p=x", 20))),
        ScramFault::malformed);
}

TEST(ScramServer, ChannelBindingAndIdentitiesAreUnsupported) {
    EXPECT_EQ(server_fault("p=tls-server-end-point,,n=,r=abc"), ScramFault::malformed);
    EXPECT_EQ(server_fault("n,a=root,n=,r=abc"), ScramFault::authorization_identity);
    EXPECT_EQ(server_fault("n,,m=x,n=,r=abc"), ScramFault::unsupported);
}

TEST(ScramServer, ClientThatCouldBindAChannelIsAccepted) {
    ScramServer server(verifier_of("pencil"), "srv");
    EXPECT_TRUE(std::holds_alternative<std::string>(server.on_client_first("y,,n=,r=abc")));
    // It must repeat its own header, "eSws", not "biws".
    EXPECT_EQ(std::get<ScramFault>(server.on_client_final("c=biws,r=abcsrv,p=" +
                                                          encode_base64(std::string(32, 'p')))),
              ScramFault::channel_binding);
}

TEST(ScramServer, ExtensionsAreIgnored) {
    ScramServer server(verifier_of("pencil"), "srv");
    const auto first = server.on_client_first("n,,n=,r=abc,x=1,y=");
    EXPECT_TRUE(std::get<std::string>(first).starts_with("r=abcsrv,s="));
}

TEST(ScramServer, TooLongMessagesAreRefused) {
    const std::string padding(scram_message_max, 'x');
    EXPECT_EQ(server_fault("n,,n=,r=abc,x=" + padding), ScramFault::too_long);
    Exchange exchange("pencil");
    EXPECT_EQ(exchange.fault_of(exchange.client_final + ",x=" + padding), ScramFault::too_long);
}

TEST(ScramServer, FinalMessageNeedsEveryAttribute) {
    const std::string proof = ",p=" + encode_base64(std::string(32, 'p'));
    const std::string nonce = "r=clientnonceservernonce";
    for (const std::string& text :
         {std::string(), std::string("c=biws"), "c=biws," + nonce, "c=biws" + proof, nonce + proof,
          std::string("c=biws,r="), "c=biws," + nonce + ",p=", "c=biws," + nonce + ",p=AAAA",
          "c=biws," + nonce + ",p=!", "c=biws," + nonce + proof + ",x=y",
          "c=biws," + nonce + proof + ",", nonce + ",c=biws" + proof,
          "c=biws," + nonce + ",x" + proof, "c=biws,," + nonce + proof,
          "c=biws," + nonce + ",p=" + encode_base64(std::string(33, 'p'))}) {
        Exchange exchange("pencil");
        EXPECT_EQ(exchange.fault_of(text), ScramFault::malformed) << text;
    }
}

TEST(ScramServer, FinalMessageIsRefusedAtEveryTruncation) {
    testing::for_each_truncation(rfc_client_final, [](std::string_view prefix) {
        ScramServer server(rfc_verifier(), rfc_server_nonce);
        server.on_client_first(rfc_client_first);
        EXPECT_TRUE(std::holds_alternative<ScramFault>(server.on_client_final(prefix)));
    });
}

TEST(ScramServer, EveryChangedByteOfTheFinalMessageIsRefused) {
    const ScramVerifier verifier = rfc_verifier();
    for (std::size_t i = 0; i < rfc_client_final.size(); ++i) {
        std::string changed = rfc_client_final;
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        ScramServer server(verifier, rfc_server_nonce);
        server.on_client_first(rfc_client_first);
        EXPECT_TRUE(std::holds_alternative<ScramFault>(server.on_client_final(changed))) << changed;
    }
}

TEST(ScramClient, ServerFirstNeedsEveryAttribute) {
    for (const auto text : {"", "r=abcd", "r=abcd,s=c2FsdA==", "r=abcd,i=1", "s=c2FsdA==,i=1",
                            "s=c2FsdA==,r=abcd,i=1", "r=abcd,s=c2FsdA==,i=1,", "r=abcd,s=c2FsdA==,",
                            "r=abcd,s=c2FsdA==,i=1,x=y", "r=abcd,,i=1", "abcd", "r"}) {
        EXPECT_EQ(client_fault(text), ScramFault::malformed) << text;
    }
    EXPECT_EQ(client_fault("m=x,r=abcd,s=c2FsdA==,i=1"), ScramFault::unsupported);
}

TEST(ScramClient, IterationBombsAreRefused) {
    for (const auto count : {"0", "-1", "600001", "2147483647", "4294967296",
                             "99999999999999999999", "1e9", "", "04096"}) {
        EXPECT_EQ(client_fault(std::string("r=abcd,s=c2FsdA==,i=") + count), ScramFault::iterations)
            << count;
    }
}

TEST(ScramClient, ServersNonceMustExtendOurs) {
    const std::string tail = ",s=c2FsdA==,i=1";
    for (const std::string& nonce :
         {std::string("abc"), std::string("ab"), std::string("xabc"), std::string("ABCD"),
          std::string(), "abc" + std::string(scram_nonce_max, 'n'), std::string("abc\x01"),
          std::string("abc d")}) {
        EXPECT_EQ(client_fault("r=" + nonce + tail), ScramFault::nonce) << nonce;
    }
    EXPECT_EQ(client_fault("r=abc" + std::string(scram_message_max, 'n') + tail),
              ScramFault::too_long);
}

TEST(ScramClient, SaltMustBeBase64AndBounded) {
    for (const std::string& text : {std::string(), std::string("c2FsdA"), std::string("c2F sdA="),
                                    encode_base64(std::string(scram_salt_max + 1, 's'))}) {
        EXPECT_EQ(client_fault("r=abcd,s=" + text + ",i=1"), ScramFault::salt) << text;
    }
}

TEST(ScramClient, WrongServerSignatureIsRefused) {
    Exchange exchange("pencil");
    EXPECT_EQ(exchange.client.on_server_final("v=" + encode_base64(std::string(32, '\0'))),
              ScramFault::signature);
    EXPECT_FALSE(exchange.client.server_verified());
    // No second try.
    const auto answer = exchange.server.on_client_final(exchange.client_final);
    EXPECT_EQ(exchange.client.on_server_final(std::get<ScramServer::Accepted>(answer).server_final),
              ScramFault::out_of_turn);
}

TEST(ScramClient, MalformedServerFinalIsRefused) {
    const std::string key = encode_base64(std::string(32, '\0'));
    for (const std::string& text :
         {std::string(), std::string("v="), std::string("v=AAAA"), "v=" + key + ",",
          "v=" + key + ",x=y", "x=" + key, key, "v=" + key.substr(1)}) {
        Exchange exchange("pencil");
        EXPECT_EQ(exchange.client.on_server_final(text), ScramFault::malformed) << text;
    }
    Exchange rejected("pencil");
    EXPECT_EQ(rejected.client.on_server_final("e=invalid-proof"), ScramFault::rejected);
    Exchange endless("pencil");
    EXPECT_EQ(endless.client.on_server_final("v=" + std::string(scram_message_max, 'A')),
              ScramFault::too_long);
}

TEST(ScramClient, ServerFinalBeforeKeysIsOutOfTurn) {
    ScramClient client("abc");
    client.first_message();
    EXPECT_EQ(client.on_server_final(rfc_server_final), ScramFault::out_of_turn);
    EXPECT_FALSE(client.server_verified());
}

TEST(ScramFault, EveryFaultHasItsOwnSentence) {
    EXPECT_NE(describe(ScramFault::proof), describe(ScramFault::signature));
    for (int i = 0; i <= static_cast<int>(ScramFault::signature); ++i)
        EXPECT_NE(describe(static_cast<ScramFault>(i)), "") << i;
}

}  // namespace
}  // namespace schemux::protocol
