#include "tests/simulation/conversation.h"

#include "protocol/wire_writer.h"
#include "tests/support/relay_messages.h"

#include <array>

namespace schemux::simulation {

namespace script = core::relay_script;

namespace {

constexpr std::array<std::string_view, 4> names = {"", "s1", "s2", "a name that is long \xc3\xa9"};
constexpr std::array<std::string_view, 3> portals = {"", "", "p"};

/// `%` becomes a tag of the client's. What the words do: tests/support/fake_postgres.h.
constexpr auto texts = std::to_array<std::string_view>({
    "select '%'",
    "select '%'",
    "select '%' three",
    "select $1",
    "select $1 three",
    "insert into {{tables.t}} values ('%')",
    "insert into {{tables.t}} values ($1) returning 1",
    "select '%' from {{tables.t}}",
    "begin",
    "begin",
    "commit",
    "commit",
    "rollback",
    "savepoint a",
    "rollback to a",
    "commit and chain",
    "select '%'; select '%' three; select kaboom; select 2",
    "select '%'; select notice, '%'",
    "begin; select '%'",
    "begin; select '%'; commit",
    "commit; select '%'",
    "begin; select kaboom",
    "select boom, '%'",
    "select kaboom, '%'",
    "select '%', \xc3\xa9 from <<tables.t>>, boom",
    "select 1 from {{tables.no.t}}, '%'",
    "select {{x}}",
    "update {{tables.t}} set a = boom",
    "do $$ {{tables.t}} $$",
    "",
    ";",
    "{",
    "select 'unterminated",
    "set work_mem to 1",
    "set application_name to '%'",
    "set local a = 1",
    "select set_config('a','%',false)",
    "set role x",
    "reset all",
    "discard all",
    "deallocate all",
    "listen x",
    "create temp table t(a int)",
    "select pg_advisory_lock(1), '%'",
    "select nextval('%')",
    "declare c cursor with hold for select 1",
    "copy t from stdin",
    "copy t from stdin",
    "copy t to stdout '%'",
    "copy t from stdin; select '%'",
    "begin; copy t from stdin; commit",
    "select notice, '%'",
    "select 'now', '%'",
    "vacuum",
    "select 1 -- %",
    "prepare s1 as select '%' three",
    "prepare s2(int) as insert into {{tables.t}} values ('%', $1)",
    "execute s1",
    "execute S2(1)",
    "execute s1; select '%'",
    "deallocate s1; prepare s1 as select '%'; execute s1",
    "begin; execute s1; deallocate prepare \"s1\"; execute s1",
    "prepare s2 as select '%'; select kaboom",
});

/// Only for who keeps it: all others have lost it behind the transaction.
constexpr auto pinned_texts = std::to_array<std::string_view>({
    "select residue, '%'",
    "select residue, '%'",
    "select residue, $1",
    "begin; select residue, '%'",
    "listen x",
    "unlisten x",
    "unlisten *",
    "create temp table t(a int)",
    "begin; create temp table t(a int); select residue, '%'",
    "drop table t",
    "select pg_advisory_lock(1), '%'",
    "select pg_advisory_unlock(1), '%'",
    "select pg_advisory_unlock_all(), '%'",
    "declare c cursor with hold for select 1",
    "close c",
    "discard temp",
    "select pg_advisory_lock(1), '%'; select kaboom",
});

}  // namespace

bool Conversation::say(std::string_view message) {
    if (client_.names_moved || client_.planned().fake().closed()) return false;
    const bool in_copy = std::string_view("dcfHSX").find(message.front()) != std::string_view::npos;
    if (client_.planned().fake().copying() && !in_copy) return false;
    client_.send(message);
    return true;
}

void Conversation::go_on() {
    const fake::FakePostgres& state = client_.planned().fake();
    if (state.copying() && !choice_.chance(3)) return in_copy();
    if (!state.at_rest() && choice_.chance(40)) {
        say(script::sync());
        return;
    }
    const std::size_t what = choice_.below(100);
    if (what < 28) return simple();
    if (what < 46) return batch();
    if (what < 60) return prepared();
    if (what < 72) return transaction();
    if (what < 77) return pipeline();
    if (what < 81) return deallocate();
    any_message();
}

void Conversation::in_copy() {
    const std::size_t what = choice_.below(10);
    if (what < 5) {
        for (std::size_t rows = choice_.between(1, 4); rows > 0; --rows)
            say(script::copy_data(client_.new_tag(choice_) + std::string(choice_.below(400), 'x')));
    } else if (what < 8) {
        say(script::copy_done());
        if (choice_.chance(60)) say(script::sync());
    } else if (what < 9) {
        say(script::copy_fail("no"));
        if (choice_.chance(60)) say(script::sync());
    } else {
        say(choice_.chance(50) ? script::flush() : script::sync());
    }
}

void Conversation::simple() {
    say(script::query(text()));
}

void Conversation::batch() {
    const std::string_view portal = portals[choice_.below(portals.size())];
    say(parse(""));
    if (choice_.chance(20)) say(script::describe_statement(""));
    say(bind(portal, ""));
    if (choice_.chance(50)) say(script::describe_portal(portal));
    say(script::execute(portal, choice_.chance(20) ? 1 : 0));
    if (choice_.chance(85)) say(script::sync());
}

void Conversation::prepared() {
    const std::string_view statement = name();
    if (!client_.planned().fake().has_statement(statement) || choice_.chance(10))
        say(parse(statement));
    for (std::size_t runs = choice_.between(1, 3); runs > 0; --runs) {
        say(bind("", statement));
        say(script::execute("", choice_.below(3) == 0 ? 2 : 0));
    }
    if (choice_.chance(15)) say(script::close_statement(statement));
    if (choice_.chance(90)) say(script::sync());
}

void Conversation::transaction() {
    if (client_.planned().fake().status() == 'I') say(script::query("begin"));
    for (std::size_t runs = choice_.below(3); runs > 0; --runs)
        choice_.chance(60) ? simple() : prepared();
    if (choice_.chance(60)) say(script::query(choice_.chance(80) ? "commit" : "rollback"));
}

void Conversation::pipeline() {
    const std::size_t kind = choice_.below(3);
    for (std::size_t runs = choice_.between(5, 40); runs > 0; --runs) {
        if (kind == 0) say(script::query("select '" + client_.new_tag(choice_) + "'"));
        if (kind == 1) say(script::sync());
        if (kind == 2) batch();
    }
}

void Conversation::deallocate() {
    const std::string gone(names[1 + choice_.below(2)]);
    if (choice_.chance(70)) {
        say(script::query("deallocate " + gone));
    } else {
        say(script::parse("", "deallocate " + gone));
        say(script::bind("", ""));
        say(script::execute());
        if (choice_.chance(70)) say(script::sync());
    }
}

void Conversation::any_message() {
    const std::string_view portal = portals[choice_.below(portals.size())];
    switch (choice_.below(13)) {
        case 0:
            say(parse(name()));
            return;
        case 1:
            say(bind(portal, name()));
            return;
        case 2:
            say(script::describe_statement(name()));
            return;
        case 3:
            say(script::describe_portal(portal));
            return;
        case 4:
            say(script::execute(portal, static_cast<std::uint32_t>(choice_.below(3))));
            return;
        case 5:
            say(script::close_statement(name()));
            return;
        case 6:
            say(script::close_portal(portal));
            return;
        case 7:
            say(script::flush());
            return;
        case 8:
            say(script::copy_data(client_.new_tag(choice_)));
            return;
        case 9:
            say(choice_.chance(50) ? script::copy_done() : script::copy_fail("no"));
            return;
        case 10:
            say(script::function_call("\0\0\0\1\0\0\0\0\0\0"));
            return;
        case 11:
            say(script::message("QBDPC"[choice_.below(5)], "s1"));
            return;
        default:
            say(script::sync());
    }
}

std::string Conversation::text() {
    std::string out;
    const bool pins = client_.service()->session_features.pinning().any();
    std::string_view chosen = texts[choice_.below(texts.size())];
    if (pins && choice_.chance(30)) chosen = pinned_texts[choice_.below(pinned_texts.size())];
    for (const char c : chosen) {
        if (c == '%') {
            out += client_.new_tag(choice_);
        } else {
            out += c;
        }
    }
    // Some are long, some are longer than schemux takes.
    const bool is_long = choice_.chance(3);
    // The server shows the text of a PREPARE, where the spaces behind it are not its own.
    const bool shown = out.find("prepare") != std::string::npos;
    if (is_long && !shown) out += " " + std::string(choice_.between(500, 6'000), ' ');
    return out;
}

/// An EXECUTE has no name of its own, which it might come to speak of itself by, or keep into a
/// failed transaction (core/EXCEPTIONS.md, E4 and E43).
std::string Conversation::parse(std::string_view statement) {
    const std::string words = text();
    const bool executes = words.find("execute ") != std::string::npos;
    return script::parse(executes ? "" : statement, words);
}

std::string Conversation::bind(std::string_view portal, std::string_view statement) {
    std::string value = client_.new_tag(choice_);
    if (choice_.chance(3)) value += std::string(choice_.between(1'000, 9'000), 'v');
    std::string tail("\0\0\0\1", 4);
    protocol::WireWriter(tail).u32(static_cast<std::uint32_t>(value.size())).bytes(value);
    tail.append("\0\0", 2);
    return script::bind_with(portal, statement, tail);
}

std::string_view Conversation::name() {
    return names[choice_.below(names.size())];
}

void Conversation::wind_up() {
    if (client_.planned().fake().copying()) say(script::copy_fail("over"));
    say(script::sync());
    say(script::query("rollback"));
}

void Conversation::terminate() {
    if (!client_.planned().fake().closed()) client_.send(script::terminate());
}

}  // namespace schemux::simulation
