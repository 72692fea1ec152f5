// Whole sessions: several clients, one pool of servers, every byte arriving when the input says so.
// Input: four bytes of circumstances, then steps (see `Session::step`).
// What must hold is said in relay_pool.cpp and relay_pool_checks.cpp: above all, that each client
// is told what PostgreSQL would have told it, however the bytes of all are cut and mixed.
#include "core/setting_references.h"
#include "core/statement_effects.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/relay_pool.h"
#include "tests/support/relay_messages.h"

#include <array>
#include <string>
#include <string_view>

namespace schemux::fuzz {
namespace {

namespace script = core::relay_script;

constexpr std::size_t steps_max = 300;
constexpr std::size_t clients_max = 4;
constexpr std::array<std::string_view, 3> names = {"", "s1", "s2"};
constexpr std::array<std::string_view, 2> portals = {"", "p"};

/// `%` becomes the client's tag. What the words do: fake_postgres.h.
constexpr auto texts = std::to_array<std::string_view>({
    "select '%'",
    "select $1",
    "select $1 three",
    "select '%' three",
    "begin",
    "commit",
    "rollback",
    "savepoint a",
    "rollback to a",
    "select boom, '%'",
    "select kaboom, '%'",
    "select '%'; select '%' three; select kaboom; select 2",
    "",
    ";",
    "begin; select '%'",
    "begin; select kaboom",
    "commit; select '%'",
    "insert into {{tables.t}} values ('%')",
    "insert into {{tables.t}} values ($1) returning 1",
    "select '%', \xc3\xa9 from <<tables.t>>, boom",
    "select 1 from {{tables.no.t}}",
    "select {{x}}",
    "select {{schema}}.f('%')",
    "set work_mem to 1",
    "set application_name to '%'",
    "reset all",
    "set local a = 1",
    "listen x",
    "create temp table t(a int)",
    "select pg_advisory_lock(1), '%'",
    "select nextval('%')",
    "declare c cursor with hold for select 1",
    "copy t from stdin",
    "copy t to stdout '%'",
    "copy t from stdin; select '%'",
    "discard all",
    "deallocate all",
    "commit and chain",
    "do $$ {{tables.t}} $$",
    "select notice, '%'",
    "select 'now', '%'",
    "select set_config('a','%',false)",
    "set role x",
    "{",
    "select 'unterminated",
    "vacuum",
    "update {{tables.t}} set a = boom",
    "begin; copy t from stdin; commit",
    "select 1 -- %",
    "prepare s1 as select '%' three",
    "prepare s2(int) as insert into {{tables.t}} values ('%', $1)",
    "execute s1",
    "execute S2(1)",
    "deallocate s1; prepare s1 as select '%'; execute s1",
    "begin; execute s1; deallocate prepare \"s1\"; execute s1",
    "prepare s2 as select 1; select kaboom",
    "deallocate s1; deallocate s2",
});

/// Only for who keeps what cannot travel.
constexpr auto pinned_texts = std::to_array<std::string_view>({
    "select residue, '%'",
    "begin; select residue, '%'",
    "listen x",
    "unlisten x",
    "create temp table t(a int)",
    "begin; create temp table t(a int)",
    "drop table t",
    "select pg_advisory_lock(1), '%'",
    "select pg_advisory_unlock(1), '%'",
    "declare c cursor with hold for select 1",
    "close c",
    "discard temp",
});

class Session {
  public:
    explicit Session(Input& input) : input_(input), pool_(plan_of(input)) {
        const std::size_t clients = 1 + input.below(clients_max);
        const std::uint8_t labels = input.u8();
        events_ = input.flag();
        for (std::size_t i = 0; i < clients; ++i) {
            core::Settings settings;
            if ((labels >> (2 * i) & 1U) != 0) settings.emplace_back("search_path", "app, public");
            if ((labels >> (2 * i) & 2U) != 0) settings.emplace_back("timezone", "it's");
            pool_.add_client(core::Label::of(settings));
        }
    }

    void run() {
        for (std::size_t i = 0; i < steps_max && !input_.empty(); ++i)
            step();
        pool_.finish();
    }

  private:
    static PoolPlan plan_of(Input& input) {
        const std::uint8_t choice = input.u8();
        PoolPlan plan;
        plan.servers_max = 1 + (choice & 3U) % 3;
        plan.known_welcome = (choice & 4U) == 0;
        plan.lazy_grants = (choice & 8U) != 0;
        if ((choice & 16U) == 0) plan.service.schema = "app";
        plan.service.name = "service";
        plan.service.allow_schemas = {"other"};
        plan.service.literals = static_cast<core::LiteralTemplates>((choice >> 5U) % 3);
        if ((choice >> 5U) >= 6) {
            core::askable_features().each([&plan](core::SessionFeature feature) {
                plan.service.session_features.set(feature, core::FeaturePolicy::pin);
            });
            plan.service.pin_budget = clients_max;
        }
        return plan;
    }

    std::size_t count() {
        const std::uint8_t value = input_.u8();
        return value >= 0x80 ? std::string::npos : std::size_t{value} + 1;
    }
    std::size_t client() { return input_.below(pool_.client_count()); }
    bool server(std::size_t& at) {
        at = input_.below(pool_.server_count());
        return at < pool_.server_count();
    }

    void step() {
        const std::uint8_t what = input_.u8();
        std::size_t at = 0;
        switch (what & 15U) {
            case 0:
            case 1:
            case 2:
            case 3:
                at = client();
                return pool_.send(at, message(at, what >> 4U));
            case 4:
            case 5:
                at = client();
                return pool_.read_frontend(at, count());
            case 6:
            case 7:
                if (server(at)) pool_.work(at, count());
                return;
            case 8:
            case 9:
                if (server(at)) pool_.read_backend(at, count());
                return;
            case 10:
                return pool_.settle();
            case 11:
                return pool_.grant();
            case 12:
            case 13:
                // A whole batch.
                at = client();
                for (const unsigned kind : {1U, 2U, 4U})
                    pool_.send(at, message(at, kind));
                return pool_.send(at, message(at, what >> 4U) + script::sync());
            default:
                return event(what >> 4U);
        }
    }

    /// What a direct connection knows nothing of.
    void event(unsigned kind) {
        std::size_t at = 0;
        if (!events_) return pool_.settle();
        switch (kind % 8) {
            case 0:
                return pool_.cancel(client());
            case 1:
                if (server(at)) pool_.cancel_arrives(at);
                return;
            case 2:
                return pool_.drain(client());
            case 3:
                return pool_.refuse_waiting();
            case 4:
                return pool_.close_frontend(client());
            case 5:
                if (server(at)) pool_.lose_server(at);
                return;
            case 6:
                if (server(at)) pool_.speak(at, hostile_words());
                return;
            default:
                // Bytes that may be no message at all: only that nobody else is touched counts.
                at = client();
                pool_.disturb(at);
                return pool_.send(at, input_.text());
        }
    }

    std::string hostile_words() {
        switch (input_.below(12)) {
            case 0:
                return std::string(input_.text());
            case 1:
                return script::ready("ITE"[input_.below(3)]);
            case 2:
                return script::error("42601", "no", input_.u8());
            case 3:
                return script::fatal("57P01", "terminating connection");
            case 4:
                return script::command_complete(input_.text().substr(0, 0));
            case 5:
                return script::copy_in_response();
            case 6:
                return script::data_row("row") + script::no_data();
            case 7:
                return script::parse_complete() + script::bind_complete();
            case 8:
                return script::parameter_status("client_encoding", "SJIS");
            case 9:
                return script::command_complete("DEALLOCATE ALL") + script::ready();
            case 10:
                return script::row_description() + script::parameter_description();
            default:
                return message_of(static_cast<char>(input_.u8()), input_.text());
        }
    }

    static std::string message_of(char type, std::string_view body) {
        return script::message(type, body);
    }

    std::string text_for(std::size_t at) {
        const std::uint8_t choice = input_.u8();
        if (choice >= 0xf0) return own_text(at);
        std::string text;
        const std::size_t count = texts.size() + (pool_.pins() ? pinned_texts.size() : 0);
        const std::size_t chosen = choice % count;
        for (const char c :
             chosen < texts.size() ? texts[chosen] : pinned_texts[chosen - texts.size()]) {
            if (c == '%') {
                text += tag_of(at);
            } else {
                text += c;
            }
        }
        return text;
    }

    /// SQL of the input itself, as far as the fake server and PostgreSQL's rules for it are
    /// certain.
    std::string own_text(std::size_t at) {
        std::string text(input_.text());
        for (char& c : text) {
            if (c == '\0' || c == '\\') c = ' ';
        }
        if (text.find("boom") != text.npos || text.find("BOOM") != text.npos) text.clear();
        // The core's own questions, which the fake server answers as such.
        const std::string lower = core::in_lower_case(text);
        for (const std::string_view own :
             {"getdatabaseencoding", "pg_settings", "pg_catalog.concat"}) {
            if (lower.find(own) != lower.npos) text.clear();
        }
        // The fake server knows little of PREPARE's grammar.
        const bool prepares = core::classify_effects(text, true).has(core::Effect::prepare) ||
                              text.find("tables.boo") != text.npos;
        if (prepares) pool_.disturb(at);
        return text;
    }

    std::string_view name() { return names[input_.below(names.size())]; }
    std::string_view portal() { return portals[input_.below(portals.size())]; }

    std::string bind(std::size_t at) {
        const std::string_view from = portal();
        const std::string_view to = name();
        const std::string value = tag_of(at);
        std::string tail("\0\0\0\1", 4);
        protocol::WireWriter(tail).u32(static_cast<std::uint32_t>(value.size())).bytes(value);
        tail.append("\0\0", 2);
        return script::bind_with(from, to, tail);
    }

    std::string message(std::size_t at, unsigned kind) {
        switch (kind & 15U) {
            case 0:
                return script::query(text_for(at));
            case 1: {
                const std::string_view as = name();
                return script::parse(as, text_for(at));
            }
            case 2:
                return bind(at);
            case 3:
                return input_.flag() ? script::describe_statement(name())
                                     : script::describe_portal(portal());
            case 4: {
                const std::string_view from = portal();
                return script::execute(from, input_.u8() % 3);
            }
            case 5:
                return input_.flag() ? script::close_statement(name())
                                     : script::close_portal(portal());
            case 6:
                return script::sync();
            case 7:
                return script::flush();
            case 8:
                return script::copy_data(tag_of(at));
            case 9:
                return input_.flag() ? script::copy_done() : script::copy_fail("no");
            case 10:
                return script::terminate();
            case 11:
                return script::function_call("\0\0\0\1\0\0\0\0\0\0");
            case 12:
                return script::query("deallocate " + std::string(dealloc_name()));
            case 13:
                return script::parse("", "deallocate " + std::string(dealloc_name())) +
                       script::bind("", "") + script::execute();
            case 14: {
                const std::string_view as = name();
                std::string batch = script::parse(as, text_for(at)) + bind(at);
                return batch + script::describe_portal("") + script::execute() + script::sync();
            }
            default:
                return broken();
        }
    }

    std::string_view dealloc_name() { return names[1 + input_.below(names.size() - 1)]; }

    /// Messages whose fields do not fit.
    std::string broken() {
        switch (input_.below(5)) {
            case 0:
                return message_of('Q', "select 1");
            case 1:
                return message_of('B', "p");
            case 2:
                return message_of('D', "X");
            case 3:
                return message_of('P', "s1");
            default:
                return message_of('C', "");
        }
    }

    Input& input_;
    RelayPool pool_;
    bool events_ = false;
};

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::Input input(data, size);
    schemux::fuzz::Session(input).run();
    return 0;
}
