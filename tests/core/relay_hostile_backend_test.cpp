// A PostgreSQL that breaks the protocol towards a client that has it: every message type in every
// state of an answer. What PostgreSQL may say passes; everything else ends this client and this
// backend, and nothing of it reaches the client. Lengths and fields: relay_hostile_fields_test.cpp.

#include "tests/support/hostile_states.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace schemux::core::relay_script {
namespace {

void check_cell(const State& state, char type, bool byte_by_byte) {
    const std::string bytes = backend_sample(type);
    SCOPED_TRACE(state.name + ", type " + std::to_string(static_cast<unsigned char>(type)) + " '" +
                 type + "'" + (byte_by_byte ? ", byte by byte" : ""));
    Hostile hostile(state);
    if (byte_by_byte) {
        for (std::size_t i = 0; i < bytes.size(); ++i)
            hostile.backend_sends(std::string_view{bytes}.substr(i, 1));
    } else {
        hostile.backend_sends(bytes);
    }
    if (has(state.passes, type)) {
        EXPECT_EQ(hostile.describe(hostile.told()), hostile.describe(bytes));
    } else if (has(state.swallowed, type)) {
        EXPECT_EQ(hostile.told(), "");
    } else if (has(state.told, type)) {
        EXPECT_NE(hostile.told(), "");
        EXPECT_EQ(hostile.told().find("division by zero"), std::string::npos);
    } else {
        EXPECT_TRUE(hostile.poisoned()) << hostile.describe(hostile.told());
        EXPECT_EQ(hostile.describe(hostile.told()), hostile.describe(poison_told));
        return;
    }
    EXPECT_FALSE(hostile.client_closed());
    EXPECT_FALSE(hostile.backend_closed());
}

TEST(RelayHostileBackend, EveryTypeInEveryState) {
    std::size_t cells = 0;
    for (const State& state : all_states()) {
        for (int type = 0; type < 256; ++type) {
            check_cell(state, static_cast<char>(type), false);
            check_cell(state, static_cast<char>(type), true);
            ++cells;
        }
    }
    EXPECT_EQ(cells, all_states().size() * 256);
}

TEST(RelayHostileBackend, FatalEndsTheClientInEveryState) {
    for (const State& state : all_states()) {
        SCOPED_TRACE(state.name);
        Hostile hostile(state);
        const std::string last_word = fatal("57P01", "terminating connection");
        hostile.backend_sends(last_word);
        EXPECT_EQ(hostile.describe(hostile.told()), hostile.describe(last_word));
        EXPECT_TRUE(hostile.client_closed());
        EXPECT_EQ(name_of(hostile.reason()), name_of(CloseReason::backend_lost));
        EXPECT_TRUE(hostile.backend_closed());
    }
}

TEST(RelayHostileBackend, BytesBehindFatalReachNobody) {
    const std::string last_word = fatal("57P01", "terminating connection");
    for (const State& state : all_states()) {
        for (const char type : backend_types) {
            SCOPED_TRACE(state.name + ", type " + type);
            Hostile hostile(state);
            hostile.backend_sends(last_word + backend_sample(type));
            // What PostgreSQL may still say while it shuts down passes.
            const std::string more = has("NSAE", type) ? backend_sample(type) : "";
            const std::string told = hostile.told();
            EXPECT_TRUE(told == last_word || told == last_word + more) << hostile.describe(told);
            EXPECT_TRUE(hostile.client_closed());
            EXPECT_TRUE(hostile.backend_closed());
        }
    }
}

TEST(RelayHostileBackend, LingeringBackendIsClosedWhateverItSays) {
    for (int type = 0; type < 256; ++type) {
        const char c = static_cast<char>(type);
        if (has("NSAETCIGH", c)) continue;
        Hostile hostile(simple_states()[1]);
        hostile.world().from_frontend(0, terminate());
        hostile.world().close_frontend(0);
        hostile.backend_sends(backend_sample(c));
        EXPECT_TRUE(hostile.backend_closed()) << type;
        EXPECT_EQ(hostile.told(), "") << type;
        EXPECT_EQ(hostile.world().counters().leases_active.value(), 0U) << type;
    }
}

TEST(RelayHostileBackend, FatalToALingeringClientFreesTheBackend) {
    for (const std::string& tail : {""s, header('N', 100), message('?')}) {
        Hostile hostile(simple_states()[1]);
        hostile.world().from_frontend(0, terminate());
        hostile.world().close_frontend(0);
        hostile.backend_sends(fatal("57P01", "terminating connection") + tail);
        EXPECT_TRUE(hostile.backend_closed());
        EXPECT_EQ(hostile.told(), "");
        EXPECT_EQ(hostile.world().counters().leases_active.value(), 0U);
    }
}

// ---- what must go on passing ----

TEST(RelayHostileBackend, AnswersThatLookOddButAreRight) {
    const std::string rows = row_description() + data_row("1");
    const std::vector<std::string> right{
        rows + rows + command_complete("INSERT 0 1") + ready(),           // a rule's own results
        one_row("1") + one_row("2") + command_complete("SET") + ready(),  // several commands
        rows + error("22012", "x") + error("XX000", "in the abort") + ready(),
        copy_out_response() + copy_done() + command_complete("COPY 0") + one_row("1") + ready(),
        command_complete("") + ready(),
        notice("a") + parameter_status("TimeZone", "UTC") + rows + notification() + notice("b") +
            command_complete("SELECT 1") + notice("c") + ready(),
    };
    for (const std::string& answer : right) {
        Script script;
        script.frontend(query("select 1")).backend(answer).frontend_gets(answer).open();
        script.check_whole();
    }
}

}  // namespace
}  // namespace schemux::core::relay_script
