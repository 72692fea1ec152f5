// Every message type in every state of a login that expects a message, with lengths of ten classes:
// what is not expected ends the login at once and takes no memory, and nothing else gets in.
#include "core/frontend_login.h"
#include "protocol/authentication.h"
#include "protocol/messages.h"
#include "protocol/startup_packet.h"
#include "protocol/wire_writer.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <string_view>

namespace schemux::core {
namespace {

using Login = FrontendLogin;

enum class Expects : std::uint8_t { sasl_initial, sasl_first, sasl_final, password };

std::string startup() {
    std::string bytes;
    protocol::append_startup_message(bytes, {0, {{"user", "ann"}, {"database", "users"}}});
    return bytes;
}

/// A login that has come as far as this.
Login login_that(Expects state) {
    LoginRules rules;
    rules.method = state == Expects::password ? ClientAuthentication::password
                                              : ClientAuthentication::scram_sha_256;
    rules.is_local = true;
    Login login(rules);
    login.on_bytes(startup());
    if (state == Expects::password) return login;
    login.on_verifier(protocol::mock_verifier("secret", "ann", 2), "servernonce");
    if (state == Expects::sasl_initial) return login;
    std::string bytes;
    const bool says_first = state == Expects::sasl_final;
    protocol::append_sasl_initial_response(
        bytes, {protocol::scram_mechanism,
                says_first ? std::optional<std::string_view>("n,,n=,r=nonce") : std::nullopt});
    EXPECT_TRUE(std::holds_alternative<Login::Reply>(login.on_bytes(bytes).action));
    return login;
}

/// What the table says: the SQLSTATE of the refusal; empty: the password is to be checked.
std::string expected(Expects state, unsigned type, std::uint32_t length) {
    if (type != 'p') return "08P01";
    if (length < 4 || length - 4 > sasl_message_max) return "28P01";
    if (state != Expects::password) return "08P01";  // nothing of this is SASL
    if (length == 4) return "08P01";                 // no text
    return length == 5 ? "28P01" : "";               // an empty one
}

TEST(LoginTable, EveryTypeAndLengthInEveryState) {
    static constexpr std::array<std::uint32_t, 10> lengths{
        0,          3,          4,         5, 100, 4 + sasl_message_max, 5 + sasl_message_max,
        0x7fffffff, 0x80000000, 0xffffffff};
    for (const auto state :
         {Expects::sasl_initial, Expects::sasl_first, Expects::sasl_final, Expects::password}) {
        for (unsigned type = 0; type < 256; ++type) {
            for (const std::uint32_t length : lengths) {
                Login login = login_that(state);
                std::string bytes;
                protocol::WireWriter(bytes).u8(static_cast<std::uint8_t>(type)).u32(length);
                if (length > 4 && length <= 5 + sasl_message_max)
                    bytes += std::string(length - 5, 'x') + '\0';
                const auto step = login.on_bytes(bytes);
                const auto* refused = std::get_if<Login::Refuse>(&step.action);
                const std::string got = refused != nullptr ? refused->error.sqlstate : "";
                ASSERT_EQ(got, expected(state, type, length))
                    << "state " << static_cast<int>(state) << " type " << type << " length "
                    << length;
                ASSERT_EQ(refused == nullptr,
                          std::holds_alternative<Login::CheckPassword>(step.action));
                ASSERT_EQ(login.held_bytes(), 0U);
                ASSERT_TRUE(std::holds_alternative<Login::Close>(login.on_bytes("p").action));
            }
        }
    }
}

TEST(LoginTable, EveryLengthOfAFirstPacket) {
    for (const std::uint32_t length : {0U, 3U, 4U, 7U, protocol::startup_packet_max + 1U,
                                       0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        Login login;
        std::string bytes;
        protocol::WireWriter(bytes).u32(length);
        EXPECT_TRUE(std::holds_alternative<Login::Close>(login.on_bytes(bytes).action)) << length;
        EXPECT_LE(login.held_bytes(), 4U);
    }
}

}  // namespace
}  // namespace schemux::core
