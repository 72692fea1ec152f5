// Every type of message in every state of the relay: one table says what must come of it. The
// server's half of each cell is checked against PostgreSQL by integration/hostile_client_test.py.

#include "tests/support/byte_splitter.h"
#include "tests/support/relay_script.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core::relay_script {
namespace {

/// What comes of a message, as the letters of the table.
enum class Outcome : char {
    passes = '>',    ///< the backend gets it as it is, the client hears nothing yet
    ignored = '.',   ///< nobody hears of it, the session goes on
    answered = '=',  ///< answered here, without the backend
    refused = '-',   ///< an error here, or a message in its place that PostgreSQL will refuse
    queued = 'q',    ///< answered here, behind the answers that the backend owes
    waits = 'w',     ///< kept until there is a backend
    goodbye = 'x',   ///< the connection is closed without a word
    later = 'l',     ///< as goodbye, once what came before is answered
    fatal = 'F',     ///< 08P01, and the connection is closed
    behind = 'L',    ///< as fatal, once what came before is answered
    copy = 'C',      ///< the two errors of what has no place in a COPY FROM STDIN
};

struct Row {
    std::string_view state;
    std::string_view outcomes;  ///< in the order of `columns`
};

// The types of the protocol, then every other byte.
constexpr std::string_view columns = "BCDEFHPQSXcdfp?";
constexpr std::array<Row, 11> table{{
    //                      BCDEFHPQSXcdfp?
    {"idle", /*          */ "-=->>.>>=x...FF"},
    {"waiting", /*       */ "wwwwwwwwwwwwwww"},
    {"in_transaction", /**/ "-q->>>>>>x...FF"},
    {"failed", /*        */ "-q->>>>>>x...FF"},
    {"query_running", /* */ "-q->>>>>>l>>>LL"},
    {"copy_out", /*      */ "-q->>>>>>l>>>LL"},
    {"copy_in", /*       */ "CCCCC>CC>x>>>CC"},
    {"extended_copy", /* */ "CCCCC>CC>x>>>CC"},
    {"batch_open", /*    */ ">q>>>>>>>x...FF"},
    {"batch_running", /* */ ">q>>>>>>>l>>>LL"},
    {"skipping", /*      */ "........>x...FF"},
}};

/// A message of this type that a driver might send.
std::string sample(char type) {
    switch (type) {
        case 'B':
            return bind("", "");
        case 'C':
            return close_statement("nobody");
        case 'D':
            return describe_statement("");
        case 'E':
            return execute();
        case 'P':
            return parse("", "select 2");
        case 'Q':
            return query("select 2");
        case 'd':
            return copy_data("line\n");
        case 'f':
            return copy_fail("why");
        case 'F':
            return function_call("\0\0\0\1\0\0\0\0\0\0"sv);
        default:
            return message(type);
    }
}

/// Brings the first client of `world` into a state.
void enter(World& world, std::string_view state) {
    const auto run = [&world](std::string_view asked, std::string_view answered) {
        world.from_frontend(0, asked);
        if (!answered.empty()) world.from_backend(0, answered);
    };
    const std::string batch = parse("", "select 1") + bind("", "") + execute();
    const std::string copy = "copy t from stdin";
    if (state == "waiting") {
        world.hold_grants = true;
        run(query("select 1"), "");
    } else if (state == "in_transaction") {
        run(query("begin"), command_complete("BEGIN") + ready('T'));
    } else if (state == "failed") {
        run(query("begin; x"), command_complete("BEGIN") + error("42601", "no") + ready('E'));
    } else if (state == "query_running") {
        run(query("select 1"), "");
    } else if (state == "copy_out") {
        run(query("copy t to stdout"), copy_out_response() + copy_data("1\n"));
    } else if (state == "copy_in") {
        run(query(copy), copy_in_response());
    } else if (state == "extended_copy") {
        run(parse("", copy) + bind("", "") + execute() + flush(),
            parse_complete() + bind_complete() + copy_in_response());
    } else if (state == "batch_open") {
        run(batch + flush(), parse_complete() + bind_complete() + command_complete("SELECT 0"));
    } else if (state == "batch_running") {
        run(batch, "");
    } else if (state == "skipping") {
        run(parse("", "selec") + flush(), error("42601", "no"));
    } else {
        EXPECT_EQ(state, "idle");
    }
}

/// What the server says to what it owes: enough to end every state with open answers.
std::string owed_in(std::string_view state) {
    if (state == "query_running") return command_complete("SELECT 0") + ready();
    if (state == "copy_out") return message('c') + command_complete("COPY 1") + ready();
    if (state == "batch_running") {
        return parse_complete() + bind_complete() + command_complete("SELECT 0");
    }
    return {};
}

std::string violation(char type) {
    return own_fatal("08P01", "invalid frontend message type " +
                                  std::to_string(static_cast<unsigned char>(type)));
}

std::string copy_violation(char type) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "unexpected message type 0x%02X during COPY from stdin",
                  static_cast<unsigned char>(type));
    return own_error("08P01", text.data()) +
           own_fatal("08P01", "terminating connection because protocol synchronization was lost");
}

struct Seen {
    std::string told;    ///< to the client
    std::string passed;  ///< to the backend
    bool closed = false;
    bool waiting = false;
};

/// Nothing of the client's: only what asks for answers, or ends a COPY or a batch so that it fails.
bool is_ending(std::string_view passed) {
    for (const std::string& part :
         {flush(), copy_fail("client is gone"), bound_to_fail(), sync()}) {
        if (passed.starts_with(part)) passed.remove_prefix(part.size());
    }
    return passed.empty();
}

class Cell {
  public:
    Cell(std::string_view state, char type) : state_(state), type_(type) {
        enter(world_, state_);
        told_ = world_.client(0).received.size();
        passed_ = world_.server(0).received.size();
    }

    World& world() { return world_; }
    Seen seen() {
        return {world_.client(0).received.substr(told_), world_.server(0).received.substr(passed_),
                world_.client(0).closed, world_.client(0).waiting};
    }
    Seen after_owed_answers() {
        const std::string owed = owed_in(state_);
        world_.from_backend(0, owed);
        Seen now = seen();
        EXPECT_EQ(now.told.substr(0, owed.size()), owed);
        now.told.erase(0, owed.size());
        return now;
    }

    void expect(Outcome outcome, const std::string& sent);

  private:
    std::string_view state_;
    char type_;
    World world_{Scene{}};
    std::size_t told_ = 0;
    std::size_t passed_ = 0;
};

void Cell::expect(Outcome outcome, const std::string& sent) {
    const Seen now = seen();
    const bool ends =
        outcome == Outcome::goodbye || outcome == Outcome::fatal || outcome == Outcome::copy;
    EXPECT_EQ(now.closed, ends);
    EXPECT_EQ(now.waiting, outcome == Outcome::waits);
    switch (outcome) {
        case Outcome::passes:
            EXPECT_EQ(world_.describe(now.passed), world_.describe(sent));
            EXPECT_EQ(now.told, "");
            return;
        case Outcome::ignored:
        case Outcome::waits:
            EXPECT_EQ(now.passed, "");
            EXPECT_EQ(now.told, "");
            return;
        case Outcome::goodbye:
            EXPECT_TRUE(is_ending(now.passed)) << world_.describe(now.passed);
            EXPECT_EQ(now.told, "");
            return;
        case Outcome::answered:
            EXPECT_EQ(now.passed, "");
            EXPECT_NE(now.told, "");
            EXPECT_NE(now.told.front(), 'E');
            return;
        case Outcome::refused:
            if (now.passed.empty()) {
                EXPECT_EQ(now.told.front(), 'E');
            } else {
                EXPECT_EQ(world_.describe(now.passed), world_.describe(bound_to_fail()));
                EXPECT_EQ(now.told, "");
            }
            return;
        case Outcome::queued:
            EXPECT_EQ(now.passed, "");
            EXPECT_EQ(after_owed_answers().told, close_complete());
            return;
        case Outcome::later:
            EXPECT_TRUE(is_ending(now.passed)) << world_.describe(now.passed);
            EXPECT_EQ(after_owed_answers().told, "");
            EXPECT_TRUE(seen().closed);
            return;
        case Outcome::fatal:
            EXPECT_TRUE(is_ending(now.passed)) << world_.describe(now.passed);
            EXPECT_EQ(world_.describe(now.told), world_.describe(violation(type_)));
            return;
        case Outcome::behind: {
            EXPECT_TRUE(is_ending(now.passed)) << world_.describe(now.passed);
            EXPECT_EQ(now.told, "");
            const Seen then = after_owed_answers();
            EXPECT_EQ(world_.describe(then.told), world_.describe(violation(type_)));
            EXPECT_TRUE(then.closed);
            return;
        }
        case Outcome::copy:
            EXPECT_TRUE(is_ending(now.passed)) << world_.describe(now.passed);
            EXPECT_EQ(world_.describe(now.told), world_.describe(copy_violation(type_)));
            return;
    }
}

Outcome outcome_of(const Row& row, char type) {
    const std::size_t column = columns.find(type);
    const bool known = type != '?' && column != columns.npos;
    return static_cast<Outcome>(row.outcomes[known ? column : columns.size() - 1]);
}

void run_cell(const Row& row, char type, std::size_t split) {
    SCOPED_TRACE(::testing::Message()
                 << row.state << ", type " << static_cast<int>(static_cast<unsigned char>(type))
                 << ", split at " << split);
    const std::string sent = sample(type);
    Cell cell(row.state, type);
    cell.world().from_frontend(0, std::string_view{sent}.substr(0, split));
    cell.world().from_frontend(0, std::string_view{sent}.substr(split));
    cell.expect(outcome_of(row, type), sent);
}

TEST(RelayHostile, EveryTypeByteInEveryState) {
    for (const Row& row : table) {
        ASSERT_EQ(row.outcomes.size(), columns.size()) << row.state;
        for (int type = 0; type < 256; ++type)
            run_cell(row, static_cast<char>(type), 0);
    }
}

TEST(RelayHostile, EveryTypeInEveryStateCutAtEveryByte) {
    for (const Row& row : table) {
        for (const char type : columns) {
            for (std::size_t split = 1; split < sample(type).size(); ++split)
                run_cell(row, type, split);
        }
    }
}

// ---- lengths ----

std::uint32_t longest(char type) {
    return std::string_view("BFPQd").find(type) != std::string_view::npos
               ? protocol::large_message_max
               : protocol::small_message_max;
}

TEST(RelayHostile, ImpossibleLengthsEndTheClientInEveryState) {
    for (const Row& row : table) {
        for (const char type : std::string_view("BCDEFHPQSXcdf")) {
            const std::uint32_t lengths[] = {
                0,          1,          2,          3,          longest(type) + 1,
                0x40000000, 0x7fffffff, 0x80000000, 0xfffffffb, 0xffffffff};
            const auto in_table = static_cast<Outcome>(row.outcomes[columns.find(type)]);
            for (const std::uint32_t length : lengths) {
                SCOPED_TRACE(::testing::Message() << row.state << ' ' << type << ' ' << length);
                Cell cell(row.state, type);
                cell.world().from_frontend(0, header(type, length) + "some bytes");
                if (in_table == Outcome::waits) {
                    cell.expect(Outcome::waits, "");
                    continue;
                }
                const bool copy_refuses = in_table == Outcome::copy;
                const Seen now = cell.after_owed_answers();
                EXPECT_TRUE(now.closed);
                const std::string told = copy_refuses
                                             ? copy_violation(type)
                                             : own_fatal("08P01", "invalid message length");
                EXPECT_EQ(cell.world().describe(now.told), cell.world().describe(told));
                EXPECT_TRUE(is_ending(now.passed));
            }
        }
    }
}

TEST(RelayHostile, LongestLengthIsNoViolation) {
    for (const Row& row : table) {
        for (const char type : std::string_view("BCDEFHPQSXcdf")) {
            if (row.outcomes[columns.find(type)] == static_cast<char>(Outcome::copy)) continue;
            SCOPED_TRACE(::testing::Message() << row.state << ' ' << type);
            Cell cell(row.state, type);
            cell.world().from_frontend(0, header(type, longest(type)));
            EXPECT_FALSE(cell.seen().closed);
        }
    }
}

TEST(RelayHostile, ViolationBehindAWaitIsToldBehindTheAnswer) {
    World world{Scene{}};
    enter(world, "waiting");
    world.from_frontend(0, message('?'));
    world.grant_waiting();
    EXPECT_EQ(world.server(0).received, query("select 1"));
    const std::size_t told = world.client(0).received.size();
    world.from_backend(0, one_row("1") + ready());
    EXPECT_EQ(world.describe(world.client(0).received.substr(told)),
              world.describe(one_row("1") + ready() + violation('?')));
    EXPECT_TRUE(world.client(0).closed);
}

}  // namespace
}  // namespace schemux::core::relay_script
