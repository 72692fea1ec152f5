// TLS of one connection without a socket: handshakes and data at every cut, ends, garbage.
#include "daemon/tls_session.h"

#include "tests/daemon/tls_support.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {
namespace {

using namespace std::string_view_literals;
using testing::SelfSigned;
using testing::TlsClient;

class TlsSessionTest : public ::testing::TestWithParam<int> {
  protected:
    TlsSession session() const { return TlsSession(certificate_.context()); }

    /// The server's side of a handshake, fed by `cut` bytes at a time. What came behind it.
    static std::string shake_hands(TlsSession& server, TlsClient& client, std::size_t cut) {
        std::string behind;
        client.handshake();
        for (int turn = 0; turn < 10; ++turn) {
            const std::string flight = client.take();
            for (std::size_t at = 0; at < flight.size();) {
                std::string_view part = std::string_view(flight).substr(at, cut);
                at += part.size();
                std::string answer;
                const auto progress = server.handshake(part, answer);
                client.receive(answer);
                EXPECT_NE(progress, TlsSession::Progress::failed) << server.why();
                if (progress != TlsSession::Progress::done) continue;
                client.handshake();
                return std::string(part) + flight.substr(at) + client.take();
            }
            client.handshake();
        }
        ADD_FAILURE() << "the handshake does not end";
        return behind;
    }

    static std::string decrypt(TlsSession& server, std::string_view cipher,
                               TlsSession::State expected = TlsSession::State::open) {
        std::vector<char> room(TlsSession::plain_bytes_max(cipher.size()));
        std::string answer;
        const TlsSession::Plain plain = server.decrypt(cipher, room, answer);
        EXPECT_EQ(plain.state, expected);
        return {room.data(), plain.size};
    }

    SelfSigned certificate_;
};

std::string some_text(std::size_t size) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
    return text;
}

TEST_P(TlsSessionTest, HandsAreShakenAtEveryCut) {
    for (const std::size_t cut : {1U, 2U, 5U, 7U, 64U, 1000U, 100'000U}) {
        TlsSession server = session();
        TlsClient client(GetParam());
        const std::string behind = shake_hands(server, client, cut);
        EXPECT_EQ(decrypt(server, behind), "");
        client.write("hello");
        EXPECT_EQ(decrypt(server, client.take()), "hello");
        std::string out;
        EXPECT_TRUE(server.encrypt("good day", out));
        client.receive(out);
        EXPECT_EQ(client.read(), "good day");
    }
}

TEST_P(TlsSessionTest, DataComesThroughAtEveryCutAndSize) {
    TlsSession server = session();
    TlsClient client(GetParam());
    decrypt(server, shake_hands(server, client, 100'000));
    for (const std::size_t size : {1U, 100U, 16'384U, 16'385U, 200'000U}) {
        const std::string text = some_text(size);
        for (const std::size_t cut : {std::size_t{1'300}, std::size_t{65'536}, size * 2 + 100}) {
            client.write(text);
            const std::string cipher = client.take();
            std::string got;
            for (std::size_t at = 0; at < cipher.size(); at += cut)
                got += decrypt(server, std::string_view(cipher).substr(at, cut));
            EXPECT_EQ(got, text);
        }
        std::string out;
        EXPECT_TRUE(server.encrypt(text, out));
        client.receive(out);
        EXPECT_EQ(client.read(), text);
    }
}

TEST_P(TlsSessionTest, AByteAtATimeLosesNothing) {
    TlsSession server = session();
    TlsClient client(GetParam());
    decrypt(server, shake_hands(server, client, 100'000));
    client.write("one");
    client.write("two");
    std::string got;
    for (const char byte : client.take())
        got += decrypt(server, {&byte, 1});
    EXPECT_EQ(got, "onetwo");
}

TEST_P(TlsSessionTest, WhatWasAlteredBreaksIt) {
    TlsSession server = session();
    TlsClient client(GetParam());
    decrypt(server, shake_hands(server, client, 100'000));
    client.write("one");
    std::string cipher = client.take();
    cipher.back() = static_cast<char>(cipher.back() ^ 1);
    EXPECT_EQ(decrypt(server, cipher, TlsSession::State::broken), "");
    EXPECT_NE(server.why(), "");
    client.write("two");
    EXPECT_EQ(decrypt(server, client.take(), TlsSession::State::broken), "");
}

TEST_P(TlsSessionTest, AGoodbyeIsTheEndBehindWhatCameBefore) {
    TlsSession server = session();
    TlsClient client(GetParam());
    decrypt(server, shake_hands(server, client, 100'000));
    client.write("last words");
    client.end();
    EXPECT_EQ(decrypt(server, client.take(), TlsSession::State::closed), "last words");
    EXPECT_EQ(decrypt(server, "", TlsSession::State::closed), "");
    std::string out;
    server.end(out);
    client.receive(out);
    EXPECT_EQ(client.read(), "");
    EXPECT_TRUE(client.closed());
}

TEST_P(TlsSessionTest, GarbageFails) {
    for (const std::string_view garbage :
         {"GET / HTTP/1.1\r\n\r\n"sv, "\x16\x03\x01\x00\x05hello"sv,
          "\x15\x03\x01\x00\x02\x02\x28"sv}) {
        TlsSession server = session();
        std::string_view bytes = garbage;
        std::string answer;
        EXPECT_EQ(server.handshake(bytes, answer), TlsSession::Progress::failed);
        EXPECT_NE(server.why(), "");
    }
}

TEST_P(TlsSessionTest, TheChannelIsTheCertificatesHash) {
    TlsSession server = session();
    TlsClient client(GetParam());
    shake_hands(server, client, 100'000);
    EXPECT_EQ(server.channel().end_point.size(), 32U);
    EXPECT_EQ(server.channel().certificate_name, std::nullopt);
    EXPECT_FALSE(server.names_protocol());
}

INSTANTIATE_TEST_SUITE_P(Versions, TlsSessionTest,
                         ::testing::Values(TLS1_2_VERSION, TLS1_3_VERSION), [](const auto& one) {
                             return one.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

}  // namespace
}  // namespace schemux::daemon
