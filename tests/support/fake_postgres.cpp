#include "tests/support/fake_postgres.h"

#include "protocol/message_header.h"
#include "protocol/messages.h"
#include "protocol/wire_reader.h"
#include "tests/support/relay_messages.h"

#include <algorithm>
#include <utility>

namespace schemux::fake {

namespace script = core::relay_script;
using protocol::MessageHeader;

namespace {

/// PostgreSQL's output buffer.
constexpr std::size_t flush_bytes = 8'192;

/// Whether these answers make PostgreSQL send what it has.
bool flushes(std::string_view answers) {
    while (answers.size() >= protocol::header_bytes) {
        const std::size_t total = protocol::read_header(answers.data()).total_bytes();
        if (std::string_view("ENGZ").find(answers.front()) != std::string_view::npos) return true;
        answers.remove_prefix(std::min(total, answers.size()));
    }
    return false;
}

}  // namespace

void FakePostgres::on_bytes(std::string_view bytes, std::string& out) {
    if (closed_) return;
    held_.append(bytes);
    std::size_t at = 0;
    while (!closed_ && held_.size() - at >= protocol::header_bytes) {
        const MessageHeader header = protocol::read_header(held_.data() + at);
        std::string answers;
        bool flush = false;
        if (!header.plausible()) {
            fatal("08P01", "invalid message length", answers);
            flush = true;
        } else {
            if (held_.size() - at < header.total_bytes()) break;
            const std::string body = held_.substr(at + protocol::header_bytes, header.body_bytes());
            length_ = header.length;
            at += header.total_bytes();
            flush = on_message(header.type, body, answers);
        }
        unflushed_ += answers;
        if (flush || flushes(answers) || unflushed_.size() >= flush_bytes)
            out += std::exchange(unflushed_, {});
    }
    held_.erase(0, at);
}

/// True: what is unflushed is to be sent.
bool FakePostgres::on_message(char type, std::string_view body, std::string& out) {
    if (type == 'X') {
        closed_ = true;  // what is unflushed is never sent
        return false;
    }
    if (copy_) {
        on_copy_message(type, body, out);
        return false;
    }
    if (type == 'S') {
        on_sync(body, out);
        return true;
    }
    if (skipping_) {
        names_moved_ = names_moved_ || std::string_view("PCQE").find(type) != body.npos;
        return false;
    }
    if (!before_) before_ = settings_;
    switch (type) {
        case 'Q':
            on_simple(body, out);
            return true;
        case 'F':
            batch_open_ = false;
            out += script::function_result();
            ready(out);
            return true;
        case 'H':
            cancelled_ = false;  // it found nothing that runs
            return true;
        case 'd':
        case 'c':
        case 'f':
            cancelled_ = false;
            return false;
        case 'P':
        case 'B':
        case 'D':
        case 'E':
        case 'C': {
            batch_open_ = true;
            if (const Failed failure = on_extended(type, body, out)) {
                fail(*failure, out);
                skipping_ = true;
            }
            return false;
        }
        default:
            fatal("08P01", "invalid frontend message type", out);
            return true;
    }
}

// ---- the simple protocol ----

void FakePostgres::on_simple(std::string_view body, std::string& out) {
    batch_open_ = false;
    const auto text = protocol::read_text(body);
    std::string expanded;
    Failed failure = too_long();
    if (failure || text) statements_.erase("");
    if (!failure) failure = text ? analyse(*text, expanded, false) : broken_layout();
    if (failure) {
        fail(*failure, out);
        return ready(out);
    }
    std::vector<std::string> statements = statements_of(expanded);
    if (statements.empty()) {
        out += script::empty_query_response();
        return ready(out);
    }
    if (const Failed failed = run_simple(std::move(statements), out)) fail(*failed, out);
    if (!copy_) ready(out);
}

Failed FakePostgres::run_simple(std::vector<std::string> statements, std::string& out) {
    for (std::size_t i = 0; i < statements.size(); ++i) {
        if (Failed failure = run(statements[i], nullptr, 0, out)) return failure;
        if (!copy_) continue;
        copy_->simple = true;
        copy_->then.assign(statements.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                           statements.end());
        break;
    }
    return {};
}

// ---- the extended protocol ----

Failed FakePostgres::on_extended(char type, std::string_view body, std::string& out) {
    if (type == 'P') return on_parse(body, out);
    if (type == 'B') return on_bind(body, out);
    if (type == 'E') return on_execute(body, out);
    if (type == 'D') return on_describe(body, out);
    const auto named = protocol::read_named(body);
    if (!named) return broken_layout();
    if (named->kind == protocol::NamedKind::statement) {
        statements_.erase(std::string(named->name));
    } else {
        portals_.erase(std::string(named->name));
    }
    out += script::close_complete();
    return {};
}

Failed FakePostgres::on_parse(std::string_view body, std::string& out) {
    if (Failed failure = too_long()) {
        if (body.starts_with('\0')) statements_.erase("");
        return failure;
    }
    const auto parse = protocol::read_parse(body);
    if (!parse) return broken_layout();
    const std::string name(parse->name);
    if (name.empty()) {
        statements_.erase(name);
    } else if (statements_.contains(name)) {
        return Failure{"42P05", "prepared statement \"" + name + "\" already exists"};
    }
    // PostgreSQL refuses others too; but of those a pooler may have a copy (E16).
    if (status_ == 'E' && names_statement(words_of(parse->text))) return aborted_transaction();
    std::string text;
    if (Failed failure = analyse(parse->text, text, true)) return failure;
    statements_[name] = text;
    for (auto& [unused, portal] : portals_) {
        const Words words = words_of(portal.text);
        const auto is_name = [&](const std::string& word) { return unquoted(word) == name; };
        const bool speaks =
            names_statement(words) && std::any_of(words.begin(), words.end(), is_name);
        portal.name_taken = portal.name_taken || speaks;
    }
    out += script::parse_complete();
    return {};
}

Failed FakePostgres::on_bind(std::string_view body, std::string& out) {
    const auto prefix = protocol::read_bind_prefix(body);
    if (!prefix) return broken_layout();
    const auto found = statements_.find(prefix->statement);
    if (found == statements_.end()) return missing_statement(prefix->statement);
    const Words words = words_of(found->second);
    if (status_ == 'E' && !ends_transaction(words)) return aborted_transaction();
    const std::string portal(prefix->portal);
    if (!portal.empty() && portals_.contains(portal))
        return Failure{"42P03", "cursor \"" + portal + "\" already exists"};
    portals_[portal] = {found->second, std::string(body.substr(prefix->prefix_bytes)), 0, false,
                        false};
    out += script::bind_complete();
    return {};
}

Failed FakePostgres::on_describe(std::string_view body, std::string& out) {
    const auto named = protocol::read_named(body);
    if (!named) return broken_layout();
    const std::string* text = nullptr;
    // PostgreSQL describes what has no result even then; but a pooler may lack it (E43).
    const bool refused = status_ == 'E';
    if (named->kind == protocol::NamedKind::statement) {
        const auto found = statements_.find(named->name);
        if (found == statements_.end()) return missing_statement(named->name);
        if (refused) return aborted_transaction();
        text = &found->second;
        out += script::parameter_description();
    } else {
        const auto found = portals_.find(named->name);
        if (found == portals_.end()) return missing_portal(named->name);
        if (refused) return aborted_transaction();
        text = &found->second.text;
    }
    out += describes_rows(*text) ? script::row_description() : script::no_data();
    return {};
}

/// Of an EXECUTE by what it names now; of one that names an EXECUTE nothing is told (E4).
bool FakePostgres::describes_rows(const std::string& text) const {
    const std::string* const runs = executed_by(text);
    if (runs == nullptr) return false;
    const Words words = words_of(*runs);
    const bool nested = !words.empty() && words[0] == "execute";
    return !nested && returns_rows(words);
}

Failed FakePostgres::on_execute(std::string_view body, std::string& out) {
    protocol::WireReader reader(body);
    const std::string name(reader.cstring());
    const std::uint32_t limit = reader.u32();
    if (!reader.finished()) return broken_layout();
    const auto found = portals_.find(name);
    if (found == portals_.end()) return missing_portal(name);
    FakePortal& portal = found->second;
    const Words words = words_of(portal.text);
    if (status_ == 'E' && !ends_transaction(words)) return aborted_transaction();
    if (words.empty()) {
        out += script::empty_query_response();
        return {};
    }
    if (portal.done) {
        if (!returns_rows(words)) return Failure{"55000", "portal \"" + name + "\" cannot be run"};
        out += script::command_complete("SELECT 0");
        return {};
    }
    portal.done = true;
    is_excepted_ = is_excepted_ || portal.name_taken;
    const std::string text = portal.text;
    return run(text, &portal, limit, out);
}

void FakePostgres::on_sync(std::string_view body, std::string& out) {
    skipping_ = false;
    batch_open_ = false;
    if (!body.empty()) fail(broken_layout(), out);
    ready(out);
}

// ---- COPY FROM STDIN ----

void FakePostgres::on_copy_message(char type, std::string_view body, std::string& out) {
    switch (type) {
        case 'd':
            ++copy_->rows;
            return;
        case 'H':
        case 'S':
            return;
        case 'c':
        case 'f':
            break;
        default:
            return fatal("08P01", "unexpected message during COPY from stdin", out);
    }
    FakeCopy copy = std::move(*copy_);
    copy_.reset();
    Failed failure;
    if (type == 'f') {
        const auto why = protocol::read_text(body);
        failure = Failure{"57014", "COPY from stdin failed: " + std::string(why.value_or("?"))};
    } else if (begins_cancelled("end of copy")) {
        failure = Failure{"57014", "canceling statement due to user request"};
    } else {
        out += script::command_complete("COPY " + std::to_string(copy.rows));
        if (copy.simple) failure = run_simple(std::move(copy.then), out);
    }
    if (failure) fail(*failure, out);
    if (copy_) return;
    if (copy.simple) {
        ready(out);
    } else if (failure) {
        skipping_ = true;
    }
}

// ---- what all have in common ----

void FakePostgres::refuse(char type, const Failure& failure, std::string& out) {
    std::string answers;
    fail(failure, answers);
    if (type == 'Q' || type == 'F') {
        ready(answers);
    } else {
        skipping_ = batch_open_ = true;
    }
    out += std::exchange(unflushed_, {}) + answers;
}

bool FakePostgres::begins_cancelled(const std::string& statement) {
    const bool cancelled = std::exchange(cancelled_, false);
    // What the core asks for itself in a client's lease is none of the client's statements.
    const bool own = statement.find("pg_catalog.getdatabaseencoding") != statement.npos ||
                     statement.find("pg_catalog.pg_settings") != statement.npos ||
                     asks_for_features(statement) || statement == "SET LOCAL statement_timeout=0";
    if (own && cancelled && watch_) watch_(std::string(own_statement), true);
    return watch_ && !own ? watch_(statement, cancelled) : cancelled;
}

Failed FakePostgres::too_long() const {
    if (length_ <= text_max_) return {};
    return Failure{"54000", "query is too long", 0,
                   "The message has " + std::to_string(length_) +
                       " bytes; limits.max_query_bytes is " + std::to_string(text_max_) + ".",
                   "Raise limits.max_query_bytes, or send the data with COPY or parameters."};
}

void FakePostgres::fail(const Failure& failure, std::string& out) {
    out += script::own_error(failure.sqlstate, failure.message, failure.detail, failure.hint,
                             failure.position);
    if (status_ == 'T') status_ = 'E';
    if (status_ == 'I' && before_) settings_ = *before_;
    copy_.reset();
}

void FakePostgres::end_transaction(bool committed) {
    status_ = 'I';
    if (!committed && before_) settings_ = *before_;
    before_ = settings_;
    portals_.clear();
}

void FakePostgres::ready(std::string& out) {
    if (status_ == 'I') {
        portals_.clear();
        before_.reset();
    }
    cancelled_ = false;
    const auto name = settings_.find("application_name");
    const std::string now = name == settings_.end() ? std::string() : name->second;
    if (now != told_.value_or("")) {
        out += script::parameter_status("application_name", now);
        told_ = now;
    }
    out += script::ready(status_);
}

void FakePostgres::fatal(std::string_view sqlstate, std::string_view message, std::string& out) {
    out += script::own_fatal(sqlstate, message);
    closed_ = died_ = true;
}

}  // namespace schemux::fake
