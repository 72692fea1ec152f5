// What the relay itself costs, without sockets: nanoseconds and allocations for each transaction
// and message in memory, for the kinds of traffic that clients make. No pass or fail: a ruler.
//   relay_bench [MILLISECONDS_PER_CASE [PART_OF_THE_CASES_NAME [COUNTED_STATEMENTS]]]
// It plays both peers with canned bytes and must not know what the relay does with them.

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/wire_writer.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

std::uint64_t allocations = 0;

void* counted_allocation(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) {
    return counted_allocation(size);
}
void* operator new[](std::size_t size) {
    return counted_allocation(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t /*size*/) noexcept {
    std::free(memory);
}

namespace {

using namespace std::string_view_literals;
using schemux::core::Backend;
using schemux::core::Label;
using schemux::core::Next;
using schemux::core::Relay;
using schemux::core::Service;
using schemux::core::ServiceCounters;
using schemux::core::Settings;
using schemux::core::StatementNamer;
using schemux::core::Step;
using schemux::core::WorkerContext;
using schemux::protocol::TransactionStatus;
using schemux::protocol::WireWriter;
using Clock = std::chrono::steady_clock;

namespace wire = schemux::protocol;

constexpr std::string_view plain_text = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";
constexpr std::string_view templated_text =
    "SELECT abalance FROM {{tables.accounts}} WHERE aid = 4711;";
constexpr std::string_view no_types{"\0\0", 2};
/// One parameter in text form, value "4711"; results in text form.
constexpr std::string_view bind_tail{
    "\0\0\0\1\0\0\0\4"
    "4711"
    "\0\0",
    14};

/// What one side sends in one read batch, and how many messages that is.
struct Batch {
    std::string bytes;
    int messages = 0;

    Batch& query(std::string_view text) {
        wire::append_query(bytes, text);
        return counted();
    }
    Batch& parse(std::string_view name, std::string_view text) {
        wire::append_parse(bytes, name, text, no_types);
        return counted();
    }
    Batch& bind(std::string_view statement) {
        wire::append_bind_header(bytes, "", statement, bind_tail.size());
        bytes.append(bind_tail);
        return counted();
    }
    Batch& describe_portal() {
        wire::append_describe(bytes, wire::NamedKind::portal, "");
        return counted();
    }
    Batch& execute() { return message('E', "\0\0\0\0\0"sv); }
    Batch& sync() { return message('S', ""); }
    Batch& row_description() {
        return message('T', "\0\1abalance\0\0\0\x40\1\0\3\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"sv);
    }
    Batch& data_row(std::size_t value_bytes) {
        WireWriter writer(bytes);
        writer.begin_message('D').u16(1).u32(static_cast<std::uint32_t>(value_bytes));
        writer.bytes(std::string(value_bytes, '7')).end_message();
        return counted();
    }
    Batch& complete(std::string_view tag) {
        wire::append_command_complete(bytes, tag);
        return counted();
    }
    Batch& ready(TransactionStatus status = TransactionStatus::idle) {
        wire::append_ready_for_query(bytes, status);
        return counted();
    }
    Batch& message(char type, std::string_view body) {
        WireWriter(bytes).begin_message(type).bytes(body).end_message();
        return counted();
    }

  private:
    Batch& counted() {
        ++messages;
        return *this;
    }
};

/// The answers to Bind, Describe, Execute, Sync.
Batch& append_row_answer(Batch& batch) {
    return batch.message('2', "").row_description().data_row(1).complete("SELECT 1").ready();
}

struct Exchange {
    Batch from_client;
    Batch from_server;
};

struct Case {
    std::string name;
    std::vector<Exchange> prologue;  ///< once, before the clock runs
    std::vector<Exchange> transaction;
};

struct Cost {
    double nanoseconds = 0;
    double allocations = 0;
};

/// One client, one backend, and the worker between them: performs the steps as the daemon does.
class Bench {
  public:
    explicit Bench(std::size_t counted_statements) {
        context_.namer = &namer_;
        context_.statistics.configure({.statements = counted_statements});
        Service service;
        service.name = "app";
        service.schema = "app";
        service.search_path = "\"app\", public";
        Label label = Label::of({{"search_path", service.search_path}});
        backend_.label = label;
        backend_.parameters = {{"client_encoding", "UTF8"}, {"standard_conforming_strings", "on"}};
        Relay::Identity identity;
        identity.pid = 1;
        identity.private_key = "1:1";
        relay_ = std::make_unique<Relay>(context_, std::make_shared<const Service>(service),
                                         counters_, std::move(label), std::move(identity));
        perform(relay_->start(&backend_.parameters));
    }

    void run(const std::vector<Exchange>& exchanges) {
        for (const Exchange& exchange : exchanges) {
            perform(relay_->on_frontend_bytes(exchange.from_client.bytes));
            for (std::string_view rest = exchange.from_server.bytes; !rest.empty();) {
                const std::size_t count = std::min(rest.size(), read_bytes);
                perform(relay_->on_backend_bytes(rest.substr(0, count)));
                rest.remove_prefix(count);
            }
        }
    }

    bool at_rest() const { return relay_->phase() == schemux::core::RelayPhase::idle; }
    std::uint64_t bytes_out() const { return bytes_out_; }

  private:
    static constexpr std::size_t read_bytes = 64 * 1024;

    void perform(Step step) {
        while (true) {
            bytes_out_ += context_.to_backend.size() + context_.to_frontend.size();
            context_.settle();
            if (step.next == Next::acquire) {
                step = relay_->on_granted(backend_);
            } else if (step.next == Next::release) {
                step = relay_->resume();
            } else if (step.next == Next::proceed) {
                return;
            } else {
                std::fprintf(stderr, "relay_bench: the script made the relay give up\n");
                std::exit(1);
            }
        }
    }

    WorkerContext context_;
    StatementNamer namer_;
    ServiceCounters counters_;
    Backend backend_;
    std::unique_ptr<Relay> relay_;
    std::uint64_t bytes_out_ = 0;
};

Exchange simple(std::string_view text) {
    Exchange exchange;
    exchange.from_client.query(text);
    exchange.from_server.row_description().data_row(1).complete("SELECT 1").ready();
    return exchange;
}

Exchange unnamed(std::string_view text) {
    Exchange exchange;
    exchange.from_client.parse("", text).bind("").describe_portal().execute().sync();
    exchange.from_server.message('1', "");
    append_row_answer(exchange.from_server);
    return exchange;
}

Exchange prepare(std::string_view text) {
    Exchange exchange;
    exchange.from_client.parse("P0_1", text).sync();
    exchange.from_server.message('1', "").ready();
    return exchange;
}

Exchange prepared() {
    Exchange exchange;
    exchange.from_client.bind("P0_1").describe_portal().execute().sync();
    append_row_answer(exchange.from_server);
    return exchange;
}

Exchange command(std::string_view text, std::string_view tag, TransactionStatus after) {
    Exchange exchange;
    exchange.from_client.query(text);
    exchange.from_server.complete(tag).ready(after);
    return exchange;
}

std::vector<Exchange> transaction_block() {
    Exchange select;
    select.from_client.query(plain_text);
    select.from_server.row_description()
        .data_row(1)
        .complete("SELECT 1")
        .ready(TransactionStatus::in_transaction);
    return {command("BEGIN", "BEGIN", TransactionStatus::in_transaction), select,
            command("COMMIT", "COMMIT", TransactionStatus::idle)};
}

Exchange rows(int count, std::size_t bytes) {
    Exchange exchange;
    exchange.from_client.query("SELECT payload FROM big");
    exchange.from_server.row_description();
    for (int row = 0; row < count; ++row)
        exchange.from_server.data_row(bytes);
    exchange.from_server.complete("SELECT " + std::to_string(count)).ready();
    return exchange;
}

Exchange pipeline(int queries) {
    Exchange exchange;
    for (int query = 0; query < queries; ++query) {
        exchange.from_client.bind("P0_1").execute();
        exchange.from_server.message('2', "").data_row(1).complete("SELECT 1");
    }
    exchange.from_client.sync();
    exchange.from_server.ready();
    return exchange;
}

/// A text of about `bytes` with literals and comments, and no template in it.
std::string long_text(std::size_t bytes) {
    std::string text = "SELECT 1 /* report */";
    while (text.size() < bytes)
        text += ", 'it''s a value' AS \"col\", abalance + 42";
    return text + " FROM pgbench_accounts";
}

/// More texts than are remembered, which differ in their literals, as where nothing is prepared.
std::vector<Exchange> different_texts() {
    std::vector<Exchange> exchanges;
    for (int number = 0; number < 1'000; ++number) {
        const std::string key = std::to_string(number * 7919);
        exchanges.push_back(simple("UPDATE pgbench_accounts SET abalance = abalance + -" + key +
                                   ", note = 'n" + key + "' WHERE aid = " + key + ";"));
    }
    return exchanges;
}

std::vector<Case> cases() {
    return {
        {"1000 simple, all different", {}, different_texts()},
        {"simple SELECT 1", {}, {simple("SELECT 1;")}},
        {"simple select by key", {}, {simple(plain_text)}},
        {"simple, 4 KB of text", {}, {simple(long_text(4096))}},
        {"simple, templated", {}, {simple(templated_text)}},
        {"unnamed extended", {}, {unnamed(plain_text)}},
        {"unnamed extended, templated", {}, {unnamed(templated_text)}},
        {"named prepared", {prepare(plain_text)}, {prepared()}},
        {"named prepared, templated", {prepare(templated_text)}, {prepared()}},
        {"pipeline of 10 prepared", {prepare(plain_text)}, {pipeline(10)}},
        {"BEGIN, select, COMMIT", {}, transaction_block()},
        {"1000 rows of 100 bytes", {}, {rows(1000, 100)}},
        {"100 rows of 10 kB", {}, {rows(100, 10'000)}},
    };
}

/// The least of several rounds: what disturbs a measurement only ever adds to it.
Cost measure(const Case& subject, std::chrono::milliseconds budget, std::size_t statements) {
    constexpr int rounds = 15;
    constexpr int calibration_runs = 200;
    Bench bench(statements);
    bench.run(subject.prologue);
    const auto timed = [&](int runs) {
        const auto begin = Clock::now();
        for (int run = 0; run < runs; ++run)
            bench.run(subject.transaction);
        return std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / runs;
    };
    const double guess = timed(calibration_runs);
    const double wanted = std::chrono::duration<double, std::nano>(budget).count() / rounds / guess;
    const int runs = std::max(10, static_cast<int>(wanted));
    Cost best{1e18, 0};
    for (int round = 0; round < rounds; ++round) {
        const std::uint64_t before = allocations;
        best.nanoseconds = std::min(best.nanoseconds, timed(runs));
        best.allocations = static_cast<double>(allocations - before) / runs;
    }
    if (!bench.at_rest() || bench.bytes_out() == 0) {
        std::fprintf(stderr, "relay_bench: %s did not end at rest\n", subject.name.c_str());
        std::exit(1);
    }
    return best;
}

}  // namespace

int main(int count, char** arguments) {
    const int milliseconds = count > 1 ? std::atoi(arguments[1]) : 150;
    std::printf("%-30s %9s %9s %9s %10s\n", "case", "ns/tx", "messages", "ns/msg", "allocs/tx");
    const std::string_view wanted = count > 2 ? arguments[2] : "";
    const std::size_t statements = count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 0;
    for (const Case& subject : cases()) {
        if (subject.name.find(wanted) == std::string::npos) continue;
        int messages = 0;
        for (const Exchange& exchange : subject.transaction)
            messages += exchange.from_client.messages + exchange.from_server.messages;
        const Cost cost = measure(subject, std::chrono::milliseconds(milliseconds), statements);
        std::printf("%-30s %9.0f %9d %9.1f %10.2f\n", subject.name.c_str(), cost.nanoseconds,
                    messages, cost.nanoseconds / messages, cost.allocations);
    }
    return 0;
}
