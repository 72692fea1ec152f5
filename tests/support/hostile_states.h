// What a client and its backend have said so far, for each state that an answer can be in, and what
// PostgreSQL may say next there: the table that the tests of hostile servers go through.
// It must not know how the relay decides.
#pragma once

#include "tests/support/backend_samples.h"
#include "tests/support/relay_world.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::core::relay_script {

inline const std::string poison_told =
    own_fatal("08006", "PostgreSQL answered what nobody had asked; the connection is closed");

/// One side speaks in each step: 'f' the client, 'b' its backend.
struct Turn {
    char side = 'f';
    std::string bytes;
};

/// What the client and a backend have said so far, and what may come next. Types in `passes` reach
/// the client as they are, those in `swallowed` are for schemux itself, those in `told` come out
/// as something else; all other types end client and backend.
struct State {
    std::string name;
    std::vector<Turn> turns;
    std::string_view passes;
    std::string_view swallowed = "";
    std::string_view told = "";
};

inline State state(std::string name, std::string asked, std::string answered,
                   std::string_view passes) {
    return {std::move(name), {{'f', std::move(asked)}, {'b', std::move(answered)}}, passes};
}

inline const std::string begun = command_complete("BEGIN") + ready('T');

inline std::vector<State> simple_states() {
    const std::string q = query("select 1");
    return {
        state("nothing owed in a transaction", query("begin"), begun, "NSA"),
        state("query: nothing yet", q, "",
              "NSAE"
              "TCIGH"),
        state("query: description came", q, row_description(),
              "NSAE"
              "TDC"),
        state("query: rows came", q, row_description() + data_row("1"),
              "NSAE"
              "TDC"),
        state("query: command complete", q, one_row("1"),
              "NSAE"
              "TCGHZ"),
        state("query: nothing in it", q, empty_query_response(),
              "NSAE"
              "Z"),
        state("query: failed", q, error("42601", "x"),
              "NSAE"
              "Z"),
        state("query: failed in its rows", q, row_description() + error("22012", "x"),
              "NSAE"
              "Z"),
        state("query: one is answered, one not", q + query("select 2"), one_row("1") + ready(),
              "NSAE"
              "TCIGH"),
        state("copy out: begun", q, copy_out_response(),
              "NSAE"
              "dc"),
        state("copy out: data came", q, copy_out_response() + copy_data("1\n"),
              "NSAE"
              "dc"),
        state("copy out: data done", q, copy_out_response() + copy_done(),
              "NSAE"
              "C"),
        state("copy in: client is to send", q, copy_in_response(), "NSAE"),
        {"copy in: client has sent all",
         {{'f', q}, {'b', copy_in_response()}, {'f', copy_data("1\n") + copy_done()}},
         "NSAE"
         "C"},
        {"copy in: client gave up",
         {{'f', q}, {'b', copy_in_response()}, {'f', copy_fail("no")}},
         "NSAE"
         "C"},
        state("copy in: end was sent ahead", q + copy_data("1\n") + copy_done(), copy_in_response(),
              "NSAE"
              "C"),
        state("function call: nothing yet", function_call("x"), "",
              "NSAE"
              "V"),
        state("function call: result came", function_call("x"), function_result(),
              "NSAE"
              "Z"),
        state("function call: failed", function_call("x"), error("42883", "x"),
              "NSAE"
              "Z"),
        {"refused query in a transaction: must fail",
         {{'f', query("begin")}, {'b', begun}, {'f', query("select {{tables.}}")}},
         "NSA",
         "",
         "E"},
    };
}

inline std::vector<State> extended_states() {
    const std::string p = parse("", "select 1");
    const std::string b = bind("", "");
    const std::string e = p + b + execute() + sync();
    const std::string bound = parse_complete() + bind_complete();
    return {
        state("parse owed", p + flush(), "",
              "NSAE"
              "1"),
        state("bind owed", p + b + flush(), parse_complete(),
              "NSAE"
              "2"),
        state("describe statement owed", p + describe_statement("") + sync(), parse_complete(),
              "NSAE"
              "t"),
        state("describe statement: parameters came", p + describe_statement("") + sync(),
              parse_complete() + parameter_description(),
              "NSAE"
              "Tn"),
        state("describe portal owed", p + b + describe_portal("") + sync(), bound,
              "NSAE"
              "Tn"),
        state("execute owed", e, bound,
              "NSAE"
              "DCIsGH"),
        state("execute: rows came", e, bound + data_row("1"),
              "NSAE"
              "DCs"),
        state("execute: copy out begun", e, bound + copy_out_response(),
              "NSAE"
              "dc"),
        state("execute: copy out done", e, bound + copy_out_response() + copy_done(),
              "NSAE"
              "C"),
        state("execute: copy in", p + b + execute() + flush(), bound + copy_in_response(), "NSAE"),
        {"execute: copy in, all sent",
         {{'f', p + b + execute() + flush()},
          {'b', bound + copy_in_response()},
          {'f', copy_done() + sync()}},
         "NSAE"
         "C"},
        state("close portal owed", close_portal("x") + sync(), "",
              "NSAE"
              "3"),
        state("sync owed", e, bound + command_complete("SELECT 0"),
              "NSAE"
              "Z"),
        state("sync owed after an error", e, error("42P01", "x"),
              "NSAE"
              "Z"),
        state("sync owed after an error at the sync", e,
              bound + command_complete("SELECT 0") + error("23503", "x"),
              "NSAE"
              "Z"),
        state("skipping, no sync was sent", p + b + execute() + flush(), error("42P01", "x"),
              "NSA"),
        state("all answered, no sync was sent", p + flush(), parse_complete(), "NSA"),
        {"refused bind in a batch: must fail",
         {{'f', p + bind("", "nobody") + sync()}, {'b', parse_complete()}},
         "NSA",
         "",
         "E"},
    };
}

/// The client's statement is prepared again on its second backend.
inline State repeated_parse() {
    return {"our own parse owed", {}, "SAE", "1N", ""};
}

class Hostile {
  public:
    explicit Hostile(const State& state) : world_(Scene{}) {
        if (state.turns.empty()) {
            prepare_again();
        } else {
            for (const Turn& turn : state.turns)
                speak(turn);
        }
        EXPECT_FALSE(world_.client(0).closed) << state.name;
        mine_ = world_.client(0).backend;
        EXPECT_GE(mine_, 0) << state.name;
        before_ = world_.client(0).received.size();
    }

    void backend_sends(std::string_view bytes) {
        world_.from_backend(static_cast<std::size_t>(mine_), bytes);
    }
    std::string told() { return world_.client(0).received.substr(before_); }
    bool client_closed() { return world_.client(0).closed; }
    CloseReason reason() { return world_.client(0).reason; }
    bool backend_closed() {
        return world_.server(static_cast<std::size_t>(mine_)).phase == ServerPhase::closed;
    }
    std::string describe(std::string_view bytes) { return world_.describe(bytes); }
    World& world() { return world_; }

    bool poisoned() {
        return client_closed() && backend_closed() && reason() == CloseReason::backend_desync &&
               told().ends_with(poison_told);
    }

  private:
    void speak(const Turn& turn) {
        if (turn.side == 'f') {
            world_.from_frontend(0, turn.bytes);
        } else {
            world_.from_backend(static_cast<std::size_t>(world_.client(0).backend), turn.bytes);
        }
    }
    void prepare_again() {
        speak({'f', parse("s1", "select 1") + sync()});
        speak({'b', parse_complete() + ready()});
        world_.client(1);
        world_.from_frontend(1, query("begin"));  // takes the first backend away
        speak({'f', bind("", "s1") + execute() + sync()});
    }

    World world_;
    int mine_ = -1;
    std::size_t before_ = 0;
};

inline std::vector<State> all_states() {
    std::vector<State> all = simple_states();
    for (State& one : extended_states())
        all.push_back(std::move(one));
    all.push_back(repeated_parse());
    return all;
}

inline bool has(std::string_view types, char type) {
    return types.find(type) != std::string_view::npos;
}

}  // namespace schemux::core::relay_script
