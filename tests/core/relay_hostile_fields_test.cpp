// A PostgreSQL whose messages are of the right type at the right time, but broken inside: lengths,
// missing fields and terminators, floods. States and types: relay_hostile_backend_test.cpp.

#include "tests/support/counting_new.h"
#include "tests/support/hostile_states.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace schemux::core::relay_script {
namespace {

// ---- lengths ----

TEST(RelayHostileFields, ImpossibleLengthsEndClientAndBackendInEveryState) {
    const std::uint32_t lengths[] = {0,          1,          2,          3,         0x3fffffff,
                                     0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    for (const State& state : all_states()) {
        for (const char type : backend_types) {
            for (const std::uint32_t length : lengths) {
                SCOPED_TRACE(state.name + ", type " + type + ", length " + std::to_string(length));
                Hostile hostile(state);
                hostile.backend_sends(header(type, length));
                EXPECT_TRUE(hostile.poisoned());
            }
        }
    }
}

TEST(RelayHostileFields, MessagesOfAFixedLengthMayHaveNoOther) {
    const std::map<char, std::string_view> fixed{
        {'1', "parse owed"},           {'2', "bind owed"},    {'3', "close portal owed"},
        {'n', "describe portal owed"}, {'s', "execute owed"}, {'I', "query: nothing yet"},
        {'c', "copy out: begun"},      {'Z', "sync owed"}};
    for (const State& state : all_states()) {
        for (const auto& [type, name] : fixed) {
            if (state.name != name) continue;
            const std::uint32_t right = type == 'Z' ? 5 : 4;
            for (const std::uint32_t length : {4U, 5U, 6U, 100U, 60'000U, 1U << 20}) {
                if (length == right) continue;
                SCOPED_TRACE(state.name + ", length " + std::to_string(length));
                Hostile hostile(state);
                hostile.backend_sends(header(type, length));
                EXPECT_TRUE(hostile.poisoned());
            }
        }
    }
}

TEST(RelayHostileFields, MessagesShorterThanTheirFieldsEndClientAndBackend) {
    const std::map<char, std::uint32_t> least{{'D', 2}, {'T', 2}, {'t', 2}, {'G', 3},
                                              {'H', 3}, {'V', 4}, {'A', 6}, {'C', 1},
                                              {'S', 2}, {'E', 1}, {'N', 1}};
    for (const State& state : all_states()) {
        for (const auto& [type, bytes] : least) {
            for (std::uint32_t body = 0; body < bytes; ++body) {
                SCOPED_TRACE(state.name + ", type " + type + ", " + std::to_string(body));
                Hostile hostile(state);
                hostile.backend_sends(message(type, std::string(body, '\0')));
                EXPECT_TRUE(hostile.poisoned());
            }
        }
    }
}

TEST(RelayHostileFields, HeaderOfAnyLengthAllocatesNothingToSpeakOf) {
    constexpr std::size_t bound = 64 * 1024;
    for (const State& state : all_states()) {
        for (const char type : backend_types) {
            for (const std::uint32_t length :
                 {4U, 65'536U, 65'537U, 0x3ffffffeU, 0x3fffffffU, 0x80000000U, 0xffffffffU}) {
                SCOPED_TRACE(state.name + ", type " + type + ", length " + std::to_string(length));
                Hostile hostile(state);
                const std::string bytes = header(type, length);
                const std::size_t before = testing::allocated_bytes();
                hostile.backend_sends(bytes);
                EXPECT_LT(testing::allocated_bytes() - before, bound);
            }
        }
    }
}

TEST(RelayHostileFields, LargeMessagesPassInPiecesOrEndTheBackend) {
    constexpr std::uint32_t large = 0x3ffffffe;
    for (const State& state : all_states()) {
        for (const char type : backend_types) {
            SCOPED_TRACE(state.name + ", type " + type);
            Hostile hostile(state);
            hostile.backend_sends(header(type, large));
            const bool streamed = has("DdHTtVEN", type) && has(state.passes, type);
            if (streamed) {
                EXPECT_EQ(hostile.told(), header(type, large));
                hostile.backend_sends(std::string(100'000, 'x'));
                EXPECT_EQ(hostile.told().size(), 100'005U);
            } else if (type == 'N' && has(state.swallowed, type)) {
                hostile.backend_sends(std::string(100'000, 'x'));
                EXPECT_EQ(hostile.told(), "");
                EXPECT_FALSE(hostile.poisoned());
            } else {
                EXPECT_TRUE(hostile.poisoned());
            }
        }
    }
}

TEST(RelayHostileFields, BackendLostInsideALargeMessageIsNotToldInsideIt) {
    Hostile hostile(simple_states()[2]);
    const std::string half = header('D', 1 << 20) + "xxx";
    hostile.backend_sends(half);
    hostile.world().lose_backend(0);
    EXPECT_EQ(hostile.told(), half);
    EXPECT_TRUE(hostile.client_closed());
}

// ---- fields ----

TEST(RelayHostileFields, BrokenErrorsAndNoticesEndClientAndBackend) {
    for (const char type : {'E', 'N'}) {
        for (const std::string_view body :
             {"S"sv, "SERROR"sv, "SERROR\0"sv, "SERROR\0C"sv, "SERROR\0C42601\0Mhm"sv, "\0x"sv,
              "SERROR\0\0trailing"sv, "\0\0"sv}) {
            for (const State& state : all_states()) {
                SCOPED_TRACE(state.name + ", " + type + std::string(body));
                Hostile hostile(state);
                hostile.backend_sends(message(type, body));
                EXPECT_TRUE(hostile.poisoned());
            }
        }
    }
}

TEST(RelayHostileFields, ErrorWithoutFieldsIsStillTheAnswer) {
    for (const std::string_view body :
         {"\0"sv, "SERROR\0\0"sv, "C\0\0"sv, "MERROR\0\0"sv, "V\0C42\0\0"sv, "P\0\0"sv,
          "Pabc\0\0"sv, "P99999999999\0\0"sv, "?what\0\0"sv, "CCCCCCCCCC\0CCCCCC\0\0"sv,
          "V\xff\xfe\0\0"sv}) {
        SCOPED_TRACE(std::string(body));
        Script script;
        const std::string bare = message('E', body);
        script.frontend(query("select 1"))
            .backend(bare + ready())
            .frontend_gets(bare + ready())
            .released()
            .frontend(query("begin") + parse("", "select 2") + sync())
            .backend(command_complete("BEGIN") + ready('T') + bare + ready('E'))
            .frontend_gets(command_complete("BEGIN") + ready('T') + bare + ready('E'))
            .leased();
        script.check_whole();
    }
}

TEST(RelayHostileFields, BrokenTextsEndClientAndBackend) {
    const std::vector<std::string> broken{
        message('C', "SELECT 1"),    message('C', "SELECT 1\0x"sv),   message('C', "\0\0"sv),
        message('S', "TimeZone"),    message('S', "TimeZone\0UTC"sv), message('S', "\0\0"sv),
        message('S', "\0value\0"sv), message('S', "a\0b\0c"sv),       message('S', "a\0b\0\0"sv),
    };
    for (const std::string& bytes : broken) {
        Hostile hostile(simple_states()[2]);
        hostile.backend_sends(bytes);
        EXPECT_TRUE(hostile.poisoned()) << bytes;
    }
}

TEST(RelayHostileFields, OnlyThreeStatusBytesAreReady) {
    for (int status = 0; status < 256; ++status) {
        Hostile hostile(simple_states()[4]);
        const char c = static_cast<char>(status);
        hostile.backend_sends(ready(c));
        if (has("ITE", c)) {
            EXPECT_EQ(hostile.told(), ready(c));
            EXPECT_FALSE(hostile.client_closed());
        } else {
            EXPECT_TRUE(hostile.poisoned()) << status;
        }
    }
}

TEST(RelayHostileFields, NothingThatNobodyAskedForPassesBehindAnAnswer) {
    for (const char type : backend_types) {
        if (has("NSA", type)) continue;
        SCOPED_TRACE(std::string(1, type));
        Hostile hostile(simple_states()[1]);
        hostile.backend_sends(one_row("1") + ready() + backend_sample(type));
        EXPECT_EQ(hostile.told(), one_row("1") + ready() + poison_told);
        EXPECT_TRUE(hostile.poisoned());
    }
}

// ---- floods ----

TEST(RelayHostileFields, ReportedSettingsAreBounded) {
    Hostile many(simple_states()[1]);
    for (std::size_t i = 0; i < 10 * limits::reported_parameters_max; ++i)
        many.backend_sends(parameter_status("p" + std::to_string(i), "v"));
    EXPECT_TRUE(many.poisoned());
    EXPECT_LE(many.world().server(0).state.parameters.size(), limits::reported_parameters_max);

    Hostile large(simple_states()[1]);
    const std::string value(60'000, 'v');
    for (int i = 0; i < 5; ++i)
        large.backend_sends(parameter_status("p" + std::to_string(i), value));
    EXPECT_TRUE(large.poisoned());
    std::size_t bytes = 0;
    for (const auto& [name, text] : large.world().server(0).state.parameters)
        bytes += name.size() + text.size();
    EXPECT_LE(bytes, limits::reported_parameter_bytes_max);

    Hostile same(simple_states()[1]);
    for (int i = 0; i < 10'000; ++i)
        same.backend_sends(parameter_status("application_name", std::to_string(i)));
    EXPECT_FALSE(same.client_closed());
}

TEST(RelayHostileFields, FloodsOfNoticesKeepNothing) {
    const std::string flood = notice(std::string(1000, 'x')) + notification();
    Hostile hostile(simple_states()[1]);
    for (int i = 0; i < 1000; ++i)
        hostile.backend_sends(flood);
    EXPECT_FALSE(hostile.client_closed());
    EXPECT_TRUE(hostile.world().server(0).state.held.empty());
    hostile.backend_sends(one_row("1") + ready());
    EXPECT_TRUE(hostile.told().ends_with(one_row("1") + ready()));
}

TEST(RelayHostileFields, EveryDesyncHasAReason) {
    for (const State& state : all_states()) {
        Hostile hostile(state);
        hostile.backend_sends(message('?'));
        EXPECT_NE(hostile.world().client(0).relay->desync(), "") << state.name;
    }
}

}  // namespace
}  // namespace schemux::core::relay_script
