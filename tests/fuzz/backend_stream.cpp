// Bytes of a server, honest or not: its login, its answers to a client, its answers to upkeep, and
// the decoders of all of them.
// Input: a byte for what listens, one for the circumstances, one for the cut, then bytes (bit 7 of
// the first: messages with right lengths are made of them: type, length byte, body).
#include "protocol/authentication.h"
#include "protocol/error_response.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/relay_pool.h"
#include "tests/fuzz/told_grammar.h"
#include "tests/support/backend_script.h"
#include "tests/support/relay_messages.h"

#include <array>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::fuzz {
namespace {

namespace script = core::relay_script;
using core::BackendStartup;

// ---- the decoders ----

void check_error(std::string_view body) {
    const auto view = protocol::read_error(body);
    if (!view) return;
    std::string moved;
    protocol::append_with_position(moved, 'E', body, 77);
    const auto again = protocol::read_error(std::string_view(moved).substr(5));
    demand(again && again->severity == view->severity && again->sqlstate == view->sqlstate &&
               again->message == view->message && again->detail == view->detail &&
               again->hint == view->hint,
           "another position changes nothing else");
    if (view->position) demand(again->position == 77U, "the position is the new one");
    std::string twice;
    protocol::append_with_position(twice, 'E', std::string_view(moved).substr(5), 77);
    demand_equal(twice, moved, "twice is once");
    protocol::ErrorFields fields = protocol::make_error(view->sqlstate, std::string(view->message));
    fields.detail = view->detail;
    fields.hint = view->hint;
    fields.position = view->position.value_or(0);
    std::string written;
    protocol::append_error(written, fields);
    const auto read = protocol::read_error(std::string_view(written).substr(5));
    demand(read && read->sqlstate == fields.sqlstate && read->message == fields.message &&
               read->detail == fields.detail && read->hint == fields.hint &&
               read->position.value_or(0) == fields.position,
           "an error reads as it was written");
}

void check_authentication(std::string_view body) {
    const auto request = protocol::read_authentication(body);
    if (!request) return;
    std::string again;
    if (std::holds_alternative<protocol::AuthenticationOk>(*request)) {
        protocol::append_authentication_ok(again);
    } else if (std::holds_alternative<protocol::AuthenticationCleartextPassword>(*request)) {
        protocol::append_authentication_cleartext_password(again);
    } else if (const auto* sasl = std::get_if<protocol::AuthenticationSasl>(&*request)) {
        demand(sasl->mechanisms.size() <= protocol::sasl_mechanisms_max, "mechanisms are bounded");
        protocol::append_authentication_sasl(again, sasl->mechanisms);
    } else if (const auto* next = std::get_if<protocol::AuthenticationSaslContinue>(&*request)) {
        protocol::append_authentication_sasl_continue(again, next->data);
    } else if (const auto* last = std::get_if<protocol::AuthenticationSaslFinal>(&*request)) {
        protocol::append_authentication_sasl_final(again, last->data);
    } else {
        return;
    }
    demand_equal(again, script::message('R', body), "a request is written as it was read");
}

void check_body(std::string_view body) {
    check_error(body);
    check_authentication(body);
    std::string again;
    if (const auto status = protocol::read_parameter_status(body)) {
        protocol::append_parameter_status(again, status->name, status->value);
        demand_equal(again, script::message('S', body), "a status is written as it was read");
    }
    again.clear();
    if (const auto key = protocol::read_backend_key_data(body); key && key->secret.size() == 4) {
        protocol::append_backend_key_data(again, key->pid, key->secret);
        demand_equal(again, script::message('K', body), "a key is written as it was read");
    }
    again.clear();
    if (const auto row = protocol::read_data_row(body)) {
        protocol::WireWriter writer(again);
        writer.u16(static_cast<std::uint16_t>(row->size()));
        for (const auto& column : *row) {
            writer.i32(column ? static_cast<std::int32_t>(column->size()) : -1);
            writer.bytes(column.value_or(std::string_view{}));
        }
        demand_equal(again, body, "a row is written as it was read");
    }
    again.clear();
    if (const auto tag = protocol::read_text(body)) {
        protocol::append_command_complete(again, *tag);
        demand_equal(again, script::message('C', body), "a tag is written as it was read");
    }
}

// ---- the login ----

struct Login {
    std::string sent;
    std::string error;
    bool done = false;
    bool failed = false;
    std::size_t parameters = 0;
    std::size_t fed = 0;  ///< bytes when it ended
};

Login log_in(const Pieces& pieces, std::uint8_t circumstances) {
    core::BackendLogin login = core::backend_script::login_with();
    if ((circumstances & 1U) != 0) login.password.reset();
    login.methods.password = (circumstances & 2U) != 0;
    login.protocol_minor = (circumstances & 4U) != 0 ? 2 : 0;
    BackendStartup machine(login);
    Login talk;
    std::size_t requests = 0;
    BackendStartup::Action action = machine.start();
    const auto perform = [&] {
        while (true) {
            if (auto* send = std::get_if<BackendStartup::Send>(&action)) {
                talk.sent += send->bytes;
                demand(++requests <= 4, "a login has few messages");
                action = machine.on_bytes({});
            } else if (auto* wanted = std::get_if<BackendStartup::DeriveKeys>(&action)) {
                demand(wanted->iterations <= protocol::scram_iterations_max &&
                           !wanted->salt.empty() && login.password.has_value(),
                       "the work is bounded, and there is a password");
                const std::uint32_t iterations = std::min(wanted->iterations, 8U);
                action = machine.on_keys(
                    *protocol::derive_keys(login.password->view(), wanted->salt, iterations));
            } else {
                break;
            }
        }
        talk.done = std::holds_alternative<BackendStartup::Done>(action);
        if (const auto* failed = std::get_if<BackendStartup::Failed>(&action)) {
            talk.failed = true;
            talk.error = failed->error.sqlstate + failed->error.message;
            demand(failed->error.message.size() <= core::backend_error_text_max + 200 &&
                       failed->error.detail.size() <= core::backend_error_text_max,
                   "a server's words are cut");
        }
    };
    perform();
    for (const std::string_view piece : pieces) {
        if (talk.done || talk.failed) break;
        const Copy copy(piece);
        talk.fed += piece.size();
        action = machine.on_bytes(copy.view());
        perform();
    }
    talk.parameters = machine.parameters().size();
    demand(talk.parameters <= core::limits::reported_parameters_max, "parameters are bounded");
    if (talk.done)
        demand((circumstances & 2U) != 0 || talk.sent.find("pencil") == std::string::npos,
               "the password is not given away");
    return talk;
}

void check_login(std::string_view bytes, std::uint8_t circumstances, std::uint64_t cuts) {
    const Login whole = log_in(cut(bytes, 0), circumstances);
    for (const std::uint64_t seed : {std::uint64_t{1}, cuts}) {
        const Login other = log_in(cut(bytes, seed), circumstances);
        demand_equal(other.sent, whole.sent, "any cut is answered alike");
        // What comes too early behind the end is seen only when it comes together with it.
        if (other.done && whole.failed && other.fed < bytes.size()) continue;
        demand(other.done == whole.done && other.error == whole.error, "any cut ends alike");
        demand(other.parameters == whole.parameters, "any cut tells the same parameters");
    }
}

// ---- the answers to a client ----

const std::array<std::string, 8> conversations = {
    script::query("select {{tables.t}}"),
    script::query("begin") + script::query("select 1"),
    script::parse("s1", "select {{tables.t}}") + script::bind("", "s1") +
        script::describe_portal("") + script::execute() + script::sync(),
    script::parse("s1", "select 1") + script::close_statement("s1") + script::parse("s1", "x") +
        script::describe_statement("s1") + script::sync() + script::query("deallocate s1"),
    script::query("copy t from stdin") + script::copy_data("x") + script::copy_done(),
    script::parse("", "copy t from stdin") + script::bind("", "") + script::execute() +
        script::sync() + script::copy_data("x") + script::copy_fail("no") + script::sync(),
    script::function_call("\0\0\0\1") + script::bind("", "missing") + script::sync() +
        script::query("{{x}}"),
    script::query("deallocate all") + script::parse("s2", "select 2") + script::execute("p", 1) +
        script::sync() + script::parse("s2", "select 3") + script::terminate(),
};

struct Told {
    std::string received;
    core::CloseReason reason = core::CloseReason::none;
};

Told answer(std::string_view bytes, std::uint8_t circumstances, std::uint64_t cuts) {
    PoolPlan plan;
    plan.service.schema = "app";
    plan.service.name = "service";
    RelayPool pool(std::move(plan));
    pool.add_client({});
    const std::string& conversation = conversations[circumstances % conversations.size()];
    pool.send(0, conversation);
    pool.read_frontend(0, std::string::npos);
    for (const std::string_view piece : cut(bytes, cuts)) {
        if (pool.server_count() == 0) break;
        pool.speak(0, piece);
        pool.read_frontend(0, std::string::npos);
    }
    demand(pool.received(0).size() <= 16 * bytes.size() + 4'096, "what is told is bounded");
    demand_in_turn(conversation, pool.received(0));
    return {pool.received(0), pool.reason(0)};
}

void check_answers(std::string_view bytes, std::uint8_t circumstances, std::uint64_t cuts) {
    // An error of ours in front of the end; what came before is the server's.
    const auto honest_part = [](const Told& told) {
        std::size_t end = 0;
        std::size_t own = 0;
        for_each_message(told.received, [&](char type, std::string_view whole) {
            if (type != 'E') own = end + whole.size();
            end += whole.size();
        });
        return told.reason == core::CloseReason::none ? told.received
                                                      : told.received.substr(0, own);
    };
    const std::string whole = honest_part(answer(bytes, circumstances, 0));
    for (const std::uint64_t seed : {std::uint64_t{1}, cuts}) {
        const std::string other = honest_part(answer(bytes, circumstances, seed));
        // A lease may end between two pieces, and the rest is then nobody's.
        const bool prefix = whole.starts_with(other) || other.starts_with(whole);
        if (!prefix) {
            show("whole", whole);
            show("cut  ", other);
        }
        demand(prefix, "any cut tells the client the same");
    }
}

// ---- the answers to upkeep ----

core::UpkeepState keep_up(std::string_view bytes, std::uint8_t circumstances, std::uint64_t cuts) {
    core::Backend backend;
    core::Carry carry;
    core::BufferPool buffers;
    std::string sql;
    backend.taint.full_reset = (circumstances & 1U) != 0;
    backend.taint.sequences = true;
    core::Upkeep upkeep = (circumstances & 128U) != 0 ? core::Upkeep::audit(backend, sql)
                          : (circumstances & 2U) != 0
                              ? core::Upkeep::reset(backend, sql)
                              : core::Upkeep::relabel(backend, core::Label::of({{"a", "b"}}), sql);
    for (const std::string_view piece : cut(bytes, cuts)) {
        const Copy copy(piece);
        const core::UpkeepState state = upkeep.on_bytes(copy.view(), backend, carry, buffers);
        if (state == core::UpkeepState::done)
            demand(backend.transaction == protocol::TransactionStatus::idle, "done means idle");
        if (state != core::UpkeepState::running) break;
    }
    return upkeep.state();
}

/// Whether the server refused our text, as far as it answered at all.
bool was_refused(std::string_view bytes) {
    bool answered = false;
    bool refused = false;
    for_each_message(bytes, [&](char type, std::string_view) {
        refused = refused || (type == 'E' && !answered);
        answered = answered || type == 'Z';
    });
    return refused;
}

void check_upkeep(std::string_view bytes, std::uint8_t circumstances, std::uint64_t cuts) {
    const core::UpkeepState whole = keep_up(bytes, circumstances, 0);
    demand(whole != core::UpkeepState::done || !was_refused(bytes),
           "a server that refused is not done");
    demand(whole != core::UpkeepState::refused || was_refused(bytes), "refused means an error");
    for (const std::uint64_t seed : {std::uint64_t{1}, cuts}) {
        const core::UpkeepState other = keep_up(bytes, circumstances, seed);
        // What comes behind the end is seen only when it comes together with it.
        demand(other == whole || whole == core::UpkeepState::failed, "any cut ends alike");
    }
}

void check(Input input) {
    const std::uint8_t choice = input.u8();
    const std::uint8_t circumstances = input.u8();
    const std::uint64_t cuts = 2U + input.u8();
    std::string bytes;
    if ((choice & 0x80U) != 0) {
        while (!input.empty()) {
            const char type = static_cast<char>(input.u8());
            bytes += script::message(type, input.text());
        }
    } else {
        bytes = input.rest();
    }
    const Copy copy(bytes);
    for_each_message(copy.view(), [](char, std::string_view whole) {
        const Copy body(whole.substr(protocol::header_bytes));
        check_body(body.view());
    });
    check_body(copy.view());
    switch ((choice & 0x7fU) % 3) {
        case 0:
            return check_login(copy.view(), circumstances, cuts);
        case 1:
            return check_answers(copy.view(), circumstances, cuts);
        default:
            return check_upkeep(copy.view(), circumstances, cuts);
    }
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
