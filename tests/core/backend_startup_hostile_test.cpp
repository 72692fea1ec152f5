// The login to a server that breaks the protocol: every message type and every authentication
// request in every state of a login, every length, SCRAM messages that lie, floods. Each ends in a
// value, at once or within a bound, and never in a backend that counts as ready.
#include "core/backend_startup.h"
#include "tests/support/backend_samples.h"
#include "tests/support/backend_script.h"
#include "tests/support/byte_splitter.h"
#include "tests/support/counting_new.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {
namespace {

using namespace backend_script;
using relay_script::backend_sample;
using relay_script::backend_types;

struct State {
    std::string name;
    std::string script;        ///< what the server has said so far
    std::string_view fine;     ///< types that may come next, with any content
    std::string_view methods;  ///< authentication requests that may come next
};

// Authentication requests by their letter: 'o' ok, 'p' password, 'm' md5, 's' SASL, 'c' SASL
// continue, 'f' SASL final.
std::vector<State> states() {
    const ScramScript scram;
    const std::string first = sasl() + sasl_continue(scram.first);
    const std::string to_zero = message('v', "\0\x03\0\0\0\0\0\0"sv);
    return {
        {"nothing said", "", "NREv", "opmsx"},
        {"version negotiated", to_zero, "NRE", "opmsx"},
        {"SASL offered", sasl(), "NE", "c"},
        {"SASL final is due", first, "NE", "f"},
        {"server has proved itself", first + sasl_final(scram.last), "NRE", "o"},
        {"logged in", ok(), "NESKZ", ""},
        {"settings reported", ok() + parameter("a", "b"), "NESKZ", ""},
        {"key given", ok() + key(), "NESZ", ""},
    };
}

std::map<char, std::string> requests() {
    const ScramScript scram;
    return {
        {'o', ok()},
        {'p', cleartext()},
        {'m', message('R', "\0\0\0\x05salt"sv)},
        {'s', sasl()},
        {'c', sasl_continue(scram.first)},
        {'f', sasl_final(scram.last)},
        {'x', message('R', "\0\0\0\x07"sv)},
    };
}

bool has(std::string_view all, char one) {
    return all.find(one) != std::string_view::npos;
}

TEST(BackendStartupHostile, EveryTypeInEveryState) {
    for (const State& state : states()) {
        for (int type = 0; type < 256; ++type) {
            const char c = static_cast<char>(type);
            SCOPED_TRACE(state.name + ", type " + std::to_string(type));
            const std::string script = state.script + backend_sample(c);
            testing::for_each_split(backend_sample(c), [&](const Parts& parts) {
                Parts all{state.script};
                all.insert(all.end(), parts.begin(), parts.end());
                const Outcome outcome = run(all);
                if (has(state.fine, c)) {
                    EXPECT_FALSE(outcome.violated());
                    EXPECT_EQ(outcome.done, c == 'Z');
                    EXPECT_EQ(outcome.failed(), c == 'E');
                } else {
                    EXPECT_TRUE(outcome.violated());
                    EXPECT_TRUE(outcome.transient);
                }
            });
        }
    }
}

TEST(BackendStartupHostile, EveryAuthenticationRequestInEveryState) {
    for (const State& state : states()) {
        for (const auto& [letter, bytes] : requests()) {
            SCOPED_TRACE(state.name + ", request " + letter);
            const Outcome outcome = run(state.script + bytes);
            EXPECT_FALSE(outcome.done);
            if (has(state.methods, letter)) {
                EXPECT_FALSE(outcome.violated());
            } else {
                EXPECT_TRUE(outcome.violated());
            }
        }
    }
}

TEST(BackendStartupHostile, EveryMethodNumberInEveryState) {
    for (const State& state : states()) {
        for (std::uint32_t method = 0; method < 300; ++method) {
            std::string body;
            protocol::WireWriter(body).u32(method == 299 ? 0xffffffff : method);
            const Outcome outcome = run(state.script + message('R', body));
            EXPECT_FALSE(outcome.done) << state.name << method;
            EXPECT_EQ(outcome.sent.find("pencil"), std::string::npos) << state.name << method;
        }
    }
}

TEST(BackendStartupHostile, EveryLengthInEveryState) {
    for (const State& state : states()) {
        for (const char type : backend_types) {
            for (const std::uint32_t length : {0U, 1U, 2U, 3U, backend_login_message_max + 1,
                                               0x7fffffffU, 0x80000000U, 0xffffffffU}) {
                SCOPED_TRACE(state.name + ", type " + type + ", " + std::to_string(length));
                Driver driver(login_with());
                driver.feed(state.script);
                const std::string bytes = header(type, length);
                const std::size_t before = testing::allocated_bytes();
                driver.feed(bytes);
                EXPECT_LT(testing::allocated_bytes() - before, 64U * 1024);
                EXPECT_TRUE(driver.outcome().failed());
            }
        }
    }
}

TEST(BackendStartupHostile, NothingIsTakenAfterTheEnd) {
    for (const char type : backend_types) {
        for (const std::string& end : {ok() + ready(), error("28P01", "no"), message('?', "")}) {
            BackendStartup machine(login_with());
            machine.start();
            machine.on_bytes(end);
            const auto action = machine.on_bytes(backend_sample(type));
            EXPECT_TRUE(std::holds_alternative<BackendStartup::Failed>(action)) << type;
        }
    }
}

TEST(BackendStartupHostile, OtherProtocolsAreRefused) {
    for (const std::string& bytes :
         {"HTTP/1.1 400 Bad Request\r\n\r\n"s, "\x15\x03\x01\0\x02\x02\x28"s,
          "SSH-2.0-OpenSSH_9\r\n"s, "220 mail ESMTP\r\n"s, std::string(64, '\0'),
          std::string(64, '\xff'), "S"s + tail, "N"s + tail, "-ERR\r\n"s}) {
        const Outcome outcome = run(bytes);
        EXPECT_FALSE(outcome.done);
        EXPECT_TRUE(outcome.failed() || outcome.waits) << bytes;
        EXPECT_TRUE(outcome.failed() || bytes.size() < 32) << bytes;
    }
}

// ---- SCRAM ----

TEST(BackendStartupHostile, IterationCounts) {
    for (const std::string& count :
         {""s, "0"s, "-1"s, "+1"s, " 1"s, "1 "s, "01x"s, "1e3"s, "0x10"s, "4096\0"s, "600001"s,
          "2147483647"s, "2147483648"s, "4294967295"s, "4294967296"s, "18446744073709551616"s,
          std::string(4000, '9'), "\xd9\xa1"s}) {
        SCOPED_TRACE(count);
        const Outcome outcome = run(sasl() + sasl_continue("r=clientnonceX,s=c2FsdA==,i=" + count));
        EXPECT_TRUE(outcome.violated());
    }
    BackendStartup machine(login_with());
    machine.start();
    machine.on_bytes(sasl());
    const auto action = machine.on_bytes(sasl_continue("r=clientnonceX,s=c2FsdA==,i=600000"));
    EXPECT_TRUE(std::holds_alternative<BackendStartup::DeriveKeys>(action));
}

TEST(BackendStartupHostile, NoncesAndSalts) {
    const std::vector<std::string> broken{
        "r=,s=c2FsdA==,i=2",
        "r=clientnonce,s=c2FsdA==,i=2",
        "r=Clientnonce123,s=c2FsdA==,i=2",
        "r=xclientnonce123,s=c2FsdA==,i=2",
        "r=clientnonc,s=c2FsdA==,i=2",
        "r=clientnonceX\n,s=c2FsdA==,i=2",
        "r=clientnonce\xff,s=c2FsdA==,i=2",
        "r=clientnonceX\0,s=c2FsdA==,i=2"s,
        "r=clientnonce" + std::string(600, 'n') + ",s=c2FsdA==,i=2",
        "r=clientnonce" + std::string(60'000, 'n') + ",s=c2FsdA==,i=2",
        "r=clientnonceX,s=,i=2",
        "r=clientnonceX,s=====,i=2",
        "r=clientnonceX,s=c2FsdA,i=2",
        "r=clientnonceX,s=c2FsdA=,i=2",
        "r=clientnonceX,s=c2F dA==,i=2",
        "r=clientnonceX,s=c2FsdA==c2FsdA==,i=2",
        "r=clientnonceX,s=" + std::string(60'000, 'A') + ",i=2",
        "r=clientnonceX,i=2,s=c2FsdA==",
        "s=c2FsdA==,r=clientnonceX,i=2",
        "r=clientnonceX,s=c2FsdA==",
        "r=clientnonceX,,s=c2FsdA==,i=2",
        "m=ext,r=clientnonceX,s=c2FsdA==,i=2",
        "r=clientnonceX,r=clientnonceX,s=c2FsdA==,i=2",
        "",
        ",",
        "=",
        "r",
        std::string(4097, ','),
    };
    for (const std::string& first : broken) {
        SCOPED_TRACE(first.substr(0, 80));
        EXPECT_TRUE(run(sasl() + sasl_continue(first)).violated());
    }
}

TEST(BackendStartupHostile, ServersProof) {
    const ScramScript scram;
    const std::string half = sasl() + sasl_continue(scram.first);
    for (std::size_t at = 2; at + 1 < scram.last.size(); ++at) {
        std::string forged = scram.last;
        forged[at] = forged[at] == 'A' ? 'B' : 'A';
        const Outcome outcome = run(half + sasl_final(forged) + ok() + tail);
        EXPECT_TRUE(outcome.failed()) << at;
        EXPECT_FALSE(outcome.done) << at;
    }
    for (std::size_t length = 0; length < scram.last.size(); ++length) {
        EXPECT_TRUE(run(half + sasl_final(scram.last.substr(0, length))).failed()) << length;
    }
    EXPECT_TRUE(run(half + sasl_final(scram.last + "x")).failed());
    EXPECT_TRUE(run(half + sasl_final(scram.last + '\0')).failed());
    EXPECT_TRUE(run(half + sasl_final("v=" + std::string(60'000, 'A'))).failed());
}

TEST(BackendStartupHostile, Mechanisms) {
    for (const std::string_view body :
         {"\0\0\0\x0a"sv, "\0\0\0\x0a\0"sv, "\0\0\0\x0aSCRAM-SHA-256"sv,
          "\0\0\0\x0aSCRAM-SHA-256\0"sv, "\0\0\0\x0aSCRAM-SHA-256\0\0x"sv}) {
        EXPECT_TRUE(run(message('R', body)).violated());
    }
    const std::vector<std::string_view> many(protocol::sasl_mechanisms_max + 1,
                                             protocol::scram_mechanism);
    EXPECT_TRUE(run(sasl(many)).violated());
    for (const std::string_view name : {"scram-sha-256"sv, "SCRAM-SHA-256 "sv, "SCRAM-SHA-1"sv})
        EXPECT_EQ(run(sasl({name})).error.sqlstate, "0A000") << name;
}

// ---- floods ----

/// Feeds `piece` until the login fails; the bytes that it took.
std::size_t flood(std::string_view before, const std::string& piece) {
    Driver driver(login_with());
    driver.feed(before);
    std::size_t fed = 0;
    while (!driver.outcome().failed() && fed < 4 * backend_login_bytes_max) {
        driver.feed(piece);
        fed += piece.size();
    }
    EXPECT_TRUE(driver.outcome().violated());
    return fed;
}

TEST(BackendStartupHostile, FloodsEndWithinTheBound) {
    std::string notice;
    protocol::append_error(notice, {protocol::Severity::notice, "00000", "hm", "", "", 0});
    for (const State& state : states()) {
        SCOPED_TRACE(state.name);
        EXPECT_LE(flood(state.script, notice), backend_login_bytes_max + notice.size());
    }
    const std::string same = parameter("TimeZone", std::string(1000, 'x'));
    EXPECT_LE(flood(ok(), same), backend_login_bytes_max + same.size());
    EXPECT_LE(flood("", ok()), 2 * ok().size());
    EXPECT_LE(flood("", sasl()), 2 * sasl().size());
}

TEST(BackendStartupHostile, AFloodKeepsNoMoreThanItsBound) {
    const std::string piece = parameter("TimeZone", std::string(50'000, 'x'));
    const std::size_t before = testing::allocated_bytes();
    flood(ok(), piece);
    EXPECT_LT(testing::allocated_bytes() - before, 16 * backend_login_bytes_max);
}

}  // namespace
}  // namespace schemux::core
