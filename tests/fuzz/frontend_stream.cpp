// Bytes of a client behind its login: the decoders, and a relay whose server answers honestly.
// Input: a byte that chooses (bit 0: messages with right lengths are made of what follows, see
// `framed`), a byte for the service, two for the cuts, then bytes.
#include "protocol/authentication.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/relay_pool.h"
#include "tests/support/relay_messages.h"

#include <string>
#include <string_view>

namespace schemux::fuzz {
namespace {

namespace script = core::relay_script;

/// Type, length byte, body; and so on.
std::string framed(Input& input) {
    std::string bytes;
    while (!input.empty()) {
        const char type = static_cast<char>(input.u8());
        bytes += script::message(type, input.text());
    }
    return bytes;
}

// ---- the decoders ----

void check_body(std::string_view body) {
    std::string again;
    if (const auto parse = protocol::read_parse(body)) {
        protocol::append_parse(again, parse->name, parse->text, parse->types);
        demand_equal(std::string_view(again).substr(5), body, "a Parse is written as it was read");
    }
    again.clear();
    if (const auto prefix = protocol::read_bind_prefix(body)) {
        const std::size_t tail = body.size() - prefix->prefix_bytes;
        protocol::append_bind_header(again, prefix->portal, prefix->statement, tail);
        again.append(body.substr(prefix->prefix_bytes));
        demand_equal(again, script::message('B', body), "a Bind is written as it was read");
    }
    again.clear();
    if (const auto named = protocol::read_named(body)) {
        protocol::append_describe(again, named->kind, named->name);
        protocol::append_close(again, named->kind, named->name);
        demand_equal(again, script::message('D', body) + script::message('C', body),
                     "Describe and Close are written as they were read");
    }
    again.clear();
    if (const auto text = protocol::read_text(body)) {
        protocol::append_query(again, *text);
        demand_equal(again, script::message('Q', body), "a Query is written as it was read");
    }
    again.clear();
    if (const auto password = protocol::read_password(body)) {
        protocol::append_password(again, *password);
        demand_equal(again, script::message('p', body), "a password is written as it was read");
    }
    again.clear();
    if (const auto response = protocol::read_sasl_initial_response(body)) {
        protocol::append_sasl_initial_response(again, *response);
        demand_equal(again, script::message('p', body), "SASL is written as it was read");
    }
}

// ---- the relay ----

enum class Pace : std::uint8_t { at_once, each_answered };

struct Told {
    std::string received;
    core::CloseReason reason = core::CloseReason::none;
};

Told converse(std::string_view bytes, std::uint8_t service, std::uint64_t cuts, Pace pace) {
    PoolPlan plan;
    if ((service & 1U) == 0) plan.service.schema = "app";
    plan.service.name = "service";
    plan.service.braces = (service & 2U) == 0;
    plan.service.angles = (service & 4U) == 0;
    plan.service.max_query_bytes = (service & 8U) == 0 ? 4'096 : 64;
    RelayPool pool(std::move(plan));
    pool.add_client({});
    // Other SQL than FakePostgres knows: only that no cut matters is looked at, and the bounds.
    pool.disturb(0);
    for (const std::string_view piece : cut(bytes, cuts)) {
        pool.send(0, piece);
        pool.read_frontend(0, std::string::npos);
        if (pace == Pace::each_answered) pool.settle();
    }
    pool.settle();
    Told told{pool.received(0), pool.reason(0)};
    // Each message has at least five bytes, and is answered by an error of ours at most; a Bind may
    // bring its statement's text along once more.
    demand(pool.bytes_out() <= 64 * bytes.size() + 16'384 + bytes.size() * bytes.size() / 8,
           "what goes out is bounded by what comes in");
    pool.finish();
    return told;
}

std::string without_status(std::string_view bytes) {
    std::string out;
    out += for_each_message(bytes, [&out](char type, std::string_view whole) {
        if (type != 'S') out += whole;
    });
    return out;
}

bool depends_on_time(const Told& told) {
    // Whether a SET has been answered when a template comes is a matter of time, and said so.
    return told.received.find("standard_conforming_strings is not certain") != std::string::npos ||
           told.received.find("while standard_conforming_strings") != std::string::npos;
}

void demand_same(const Told& a, const Told& b) {
    if (depends_on_time(a) || depends_on_time(b)) return;
    std::string this_one = without_status(a.received);
    std::string other = without_status(b.received);
    const bool violated = a.reason == core::CloseReason::protocol_violation &&
                          b.reason == core::CloseReason::protocol_violation;
    if (violated) {
        // The violation ends the connection at once, also before answers that are under way.
        const auto without_last = [](std::string_view bytes) {
            std::size_t last = 0;
            std::size_t end = 0;
            for_each_message(bytes, [&](char type, std::string_view whole) {
                if (type == 'E') last = end;
                end += whole.size();
            });
            return std::string(bytes.substr(0, last));
        };
        this_one = without_last(this_one);
        other = without_last(other);
        const std::size_t common = std::min(this_one.size(), other.size());
        this_one.resize(common);
        other.resize(common);
    } else {
        demand(a.reason == b.reason, "any cut ends alike");
    }
    if (a.reason == core::CloseReason::client_terminated) {
        // Who says Terminate without a Sync does not wait for answers.
        const std::size_t common = std::min(this_one.size(), other.size());
        this_one.resize(common);
        other.resize(common);
    }
    demand_equal(this_one, other, "any cut is told the same");
}

void check(Input input) {
    const std::uint8_t choice = input.u8();
    const std::uint8_t service = input.u8();
    const std::uint64_t cuts = 2U + input.u16();
    std::string bytes;
    if ((choice & 1U) != 0) {
        bytes = framed(input);
    } else {
        bytes = input.rest();
    }
    const Copy copy(bytes);
    for_each_message(copy.view(), [](char, std::string_view whole) {
        const Copy body(whole.substr(protocol::header_bytes));
        check_body(body.view());
    });
    check_body(copy.view());
    const Told whole = converse(copy.view(), service, 0, Pace::at_once);
    demand_same(whole, converse(copy.view(), service, cuts, Pace::at_once));
    demand_same(whole, converse(copy.view(), service, 1, Pace::at_once));
    if ((choice & 2U) == 0) return;
    // Answers between the pieces: a failed batch is then known before what comes behind its Sync
    // (what names mean there may depend on it), so only that it holds together is looked at.
    converse(copy.view(), service, cuts, Pace::each_answered);
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(schemux::fuzz::Input(data, size));
    return 0;
}
