// Steps of a client's login that several tests take. It must not know what any of them is about.
#pragma once

#include "core/frontend_login.h"
#include "protocol/authentication.h"
#include "protocol/startup_packet.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace schemux::core {

inline std::string ssl_request() {
    std::string bytes;
    protocol::append_ssl_request(bytes);
    return bytes;
}

inline std::string password(std::string_view text) {
    std::string bytes;
    protocol::append_password(bytes, text);
    return bytes;
}

/// Everything is taken at once, in one step.
inline FrontendLogin::Action offer(FrontendLogin& login, std::string_view bytes) {
    FrontendLogin::Step step = login.on_bytes(bytes);
    EXPECT_EQ(step.consumed, bytes.size());
    return std::move(step.action);
}

template <typename Kind>
bool is(const FrontendLogin::Action& action) {
    return std::holds_alternative<Kind>(action);
}

inline protocol::ErrorFields error_of(const FrontendLogin::Action& action) {
    const auto* refused = std::get_if<FrontendLogin::Refuse>(&action);
    EXPECT_NE(refused, nullptr);
    return refused == nullptr ? protocol::ErrorFields{} : refused->error;
}

/// Behind a handshake that has shown this.
inline FrontendLogin encrypted(LoginRules given, SecureChannel channel = {}) {
    FrontendLogin login(std::move(given));
    EXPECT_TRUE(is<FrontendLogin::StartTls>(offer(login, ssl_request())));
    login.on_encrypted(std::move(channel));
    return login;
}

}  // namespace schemux::core
