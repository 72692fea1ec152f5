// Channel binding, the -PLUS of SCRAM-SHA-256, on the server's side: what a client may say of it,
// as PostgreSQL judges it, and that a proof for another channel is of no use here.
#include "protocol/base64.h"
#include "protocol/keyed_digest.h"
#include "protocol/scram_sha_256.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

namespace schemux::protocol {
namespace {

constexpr std::uint32_t iterations = 2;
const std::string salt = "0123456789abcdef";
const std::string end_point(32, '\x5a');
const std::string plus_header = "p=tls-server-end-point,,";

ScramServer server_with(ScramServer::Binding binding) {
    const ScramKeys keys = *derive_keys("pencil", salt, iterations);
    return {make_verifier(keys, salt, iterations), "servernonce", std::move(binding)};
}

/// The proof of a client that knows the password, for what it says in c=.
std::string final_message(std::string_view server_first, std::string_view bound) {
    const ScramKeys keys = *derive_keys("pencil", salt, iterations);
    const std::string without_proof = "c=" + encode_base64(bound) + ",r=clientnonceservernonce";
    const std::string text = "n=,r=clientnonce," + std::string(server_first) + "," + without_proof;
    ScramKey proof = hmac_sha_256(keys.stored, text);
    for (std::size_t i = 0; i < proof.size(); ++i)
        proof[i] = proof[i] ^ keys.client[i];
    return without_proof +
           ",p=" + encode_base64({reinterpret_cast<const char*>(proof.data()), proof.size()});
}

/// nullopt: the server let it in.
std::optional<ScramFault> exchange(ScramServer server, const std::string& header,
                                   const std::string& bound) {
    const auto first = server.on_client_first(header + "n=,r=clientnonce");
    if (const auto* fault = std::get_if<ScramFault>(&first)) return *fault;
    const auto last = server.on_client_final(final_message(std::get<std::string>(first), bound));
    if (const auto* fault = std::get_if<ScramFault>(&last)) return *fault;
    return {};
}

TEST(ScramBinding, AProofForThisChannelIsAccepted) {
    EXPECT_EQ(exchange(server_with({end_point, true}), plus_header, plus_header + end_point),
              std::nullopt);
}

TEST(ScramBinding, AProofForAnotherChannelIsRefused) {
    const std::string other(32, '\x5b');
    for (const std::string& data : {other, std::string(), end_point + '\0', end_point.substr(1)}) {
        EXPECT_EQ(exchange(server_with({end_point, true}), plus_header, plus_header + data),
                  ScramFault::binding_data);
    }
    EXPECT_EQ(exchange(server_with({end_point, true}), plus_header, "n,,"),
              ScramFault::binding_data);
}

TEST(ScramBinding, OtherTypesOfBindingAreRefused) {
    for (const char* header : {"p=tls-unique,,", "p=,,", "p=tls-server-end-pointx,,"}) {
        EXPECT_EQ(exchange(server_with({end_point, true}), header, header + end_point),
                  ScramFault::binding_type)
            << header;
    }
}

TEST(ScramBinding, TheMechanismAndTheFlagMustAgree) {
    // -PLUS without data, and data without -PLUS.
    for (const char* header : {"n,,", "y,,"})
        EXPECT_EQ(exchange(server_with({end_point, true}), header, header), ScramFault::malformed);
    EXPECT_EQ(exchange(server_with({end_point, false}), plus_header, plus_header + end_point),
              ScramFault::malformed);
    EXPECT_EQ(exchange(server_with({}), plus_header, plus_header + end_point),
              ScramFault::malformed);
}

TEST(ScramBinding, AClientThatWasToldOfNoBindingIsToldThatItWasDeceived) {
    EXPECT_EQ(exchange(server_with({end_point, false}), "y,,", "y,,"), ScramFault::downgrade);
    EXPECT_EQ(exchange(server_with({end_point, false}), "n,,", "n,,"), std::nullopt);
    EXPECT_EQ(exchange(server_with({}), "y,,", "y,,"), std::nullopt);
}

/// Our own client against our own server.
std::optional<ScramFault> both(ScramClient::Binding said, const std::string& seen,
                               ScramServer::Binding offered) {
    ScramServer server = server_with(std::move(offered));
    ScramClient client("clientnonce", said, seen);
    const auto first = server.on_client_first(client.first_message());
    if (const auto* fault = std::get_if<ScramFault>(&first)) return *fault;
    const auto wanted = client.on_server_first(std::get<std::string>(first));
    const auto& needs = std::get<ScramClient::NeedsKeys>(wanted);
    const auto last = server.on_client_final(
        client.final_message(*derive_keys("pencil", needs.salt, needs.iterations)));
    if (const auto* fault = std::get_if<ScramFault>(&last)) return *fault;
    return client.on_server_final(std::get<ScramServer::Accepted>(last).server_final);
}

TEST(ScramBinding, TheClientSaysWhatItSees) {
    using Said = ScramClient::Binding;
    const std::string other(32, 'x');
    EXPECT_EQ(both(Said::end_point, end_point, {end_point, true}), std::nullopt);
    EXPECT_EQ(both(Said::end_point, other, {end_point, true}), ScramFault::binding_data);
    EXPECT_EQ(both(Said::none, "", {end_point, false}), std::nullopt);
    EXPECT_EQ(both(Said::not_offered, "", {}), std::nullopt);
    EXPECT_EQ(both(Said::not_offered, "", {end_point, false}), ScramFault::downgrade);
}

TEST(ScramBinding, AnIdentityBehindTheFlagIsRefused) {
    EXPECT_EQ(exchange(server_with({end_point, true}), "p=tls-server-end-point,a=root,", ""),
              ScramFault::authorization_identity);
}

}  // namespace
}  // namespace schemux::protocol
