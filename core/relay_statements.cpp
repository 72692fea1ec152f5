// The relay's part that keeps prepared statements: each client's names, on whichever backend it
// has. A statement that a backend lacks is parsed there again, ahead of the message that needs it.
// Names change hands when the answer comes; until then the change is in a log (change_log.h). Where
// it matters whether a change of an earlier batch happens, the message waits.

#include "core/relay.h"
#include "protocol/message_header.h"
#include "protocol/messages.h"
#include "protocol/sqlstate.h"

#include <cassert>
#include <utility>

namespace schemux::core {

namespace sqlstate = protocol::sqlstate;
using protocol::BackendMessage;
using protocol::ErrorFields;
using protocol::make_error;
using protocol::NamedKind;

namespace {

ErrorFields duplicate_statement(std::string_view name) {
    return make_error(sqlstate::duplicate_prepared_statement,
                      "prepared statement \"" + std::string(name) + "\" already exists");
}

}  // namespace

Take Relay::on_parse(const MessageInHand& message) {
    if (message.header.length > longest_text()) return on_oversized(message);
    if (!message.complete()) {
        held_until_ = message.header.total_bytes();
        return Take::need_more;
    }
    const auto parse = protocol::read_parse(message.body());
    if (!parse) return refuse_broken(message);
    if (!parse->name.empty()) {
        const ClientStatements::Found known = statements_.find(parse->name);
        if (is_open(known)) return stall();
        if (known.statement) return refuse(message, duplicate_statement(parse->name));
        if (statements_.full()) return unready(message, Copy::no_more);
        if (worker_.memory_short && statements_.named_bytes() >= limits::short_statement_bytes_max)
            return refuse(message, out_of_memory());
    }
    if (must_wait_for_reading(parse->text)) return stall();
    // The text is looked at once, when there is a backend to tell which settings hold.
    if (phase_ == RelayPhase::idle) return acquire();
    auto read_text = read(parse->text);
    if (auto* error = std::get_if<ErrorFields>(&read_text))
        return refuse(message, std::move(*error));
    const auto& reading = *std::get<const TextCache::Reading*>(read_text);
    const bool changed = reading.rewritten;
    const StatementRef statement = worker_.statements.make();
    statement->name = parse->name;
    statement->text = changed ? std::string_view{reading.text} : parse->text;
    statement->types = parse->types;
    statement->positions = reading.positions;
    statement->effects = reading.effects;
    note_text(*statement, reading, parse->text);
    if (waits_for_pin(statement->effects)) return stall();
    load_channels(statement->effects);
    statement->version = ++worker_.last_version;
    if (statement->effects.literal) {
        if (settings_open()) return stall();
        statement->read_under = literal_settings_;
    }
    // Of several commands PostgreSQL refuses the text before it looks at any name.
    if (statement->effects.single_statement && !read_names(*statement)) return stall();
    // PostgreSQL looks already here what an EXECUTE will return.
    StatementRef spelled = statement;
    const std::uint64_t before = backend_->replies.last_number();
    const Copy copy = ready_names(spelled);
    const bool sent_ahead = backend_->replies.last_number() > before;
    // What it names may fail to be prepared ahead of it: PostgreSQL drops the unnamed one first.
    if (parse->name.empty() && sent_ahead) statements_.remove(before + 1, When::attempted, "");
    if (copy != Copy::ready) return unready(message, copy);
    if (changed) counters_.rewrites.add();
    const bool replaced = changed || !statement->names.empty();
    return parse->name.empty() ? define_unnamed(message, spelled, replaced) : define_named(spelled);
}

/// Something is in the way of a message that needs a prepared statement.
Take Relay::unready(const MessageInHand& message, Copy copy) {
    switch (copy) {
        case Copy::ready:
        case Copy::asked:
            return stall();
        case Copy::differs:
            // As PostgreSQL words it when a plan is made anew (plancache.c).
            return refuse(message, make_error(sqlstate::feature_not_supported,
                                              "cached plan must not change result type"));
        case Copy::too_many:
            return refuse(message, make_error(sqlstate::program_limit_exceeded,
                                              "a query names more than " +
                                                  std::to_string(limits::names_in_text_max) +
                                                  " prepared statements"));
        case Copy::no_more:
            return refuse(message, make_error(sqlstate::program_limit_exceeded,
                                              "too many prepared statements in this session"));
    }
    return stall();
}

Take Relay::define_unnamed(const MessageInHand& message, const StatementRef& statement,
                           bool rewritten) {
    if (backend_->replies.empty()) query_began_ = worker_.now;
    batch_open_ = true;
    ExpectedReply& reply = backend_->replies.push(Request::parse, Answer::forward);
    reply.statement = statement;
    statements_.define(reply.number, When::attempted, statement);
    backend_->statements.add(reply.number, When::attempted, unnamed_statement, statement->version,
                             statement->server_bytes());
    if (rewritten) {
        send_parse(*statement, statement->types);
    } else {
        worker_.to_backend.forward(message.bytes);
    }
    return Take::consumed;
}

void Relay::identify(Statement& statement) {
    // A SET before it makes the label untrue, literals such as 'now' freeze at each Parse, and
    // names are looked up there: such a statement is shared with nobody, not even with this
    // client's next one of the same text.
    const bool shareable = !statement.effects.frozen_literal && !backend_->saw_set &&
                           !service_->keeps_backend() && statement.names.empty() &&
                           !reads_otherwise(statement);
    if (!shareable) return identify_alone(statement);
    statement.identified_under = label_version_;
    statement.epoch = worker_.namer->epoch();
    statement.id =
        worker_.namer->identify(statement.text, statement.types, service_->name, label_, {});
}

void Relay::identify_alone(Statement& statement) {
    statement.identified_under = label_version_;
    statement.epoch = worker_.namer->epoch();
    statement.id =
        worker_.namer->identify(statement.text, statement.types, service_->name, label_,
                                identity_.private_key + '/' + std::to_string(statement.version));
}

Take Relay::define_named(const StatementRef& statement) {
    identify(*statement);
    const BackendStatements::Found copy = backend_->statements.find(statement->id);
    if (is_open(copy)) return stall();
    if (backend_->replies.empty()) query_began_ = worker_.now;
    batch_open_ = true;
    if (copy.there) {
        backend_->statements.touch(statement->id);
    } else {
        make_room_on_backend(*statement, backend_->statements.mark());
    }
    ExpectedReply& reply =
        backend_->replies.push(Request::parse, copy.there ? Answer::fabricate : Answer::forward);
    reply.statement = statement;
    statements_.define(reply.number, When::done, statement);
    if (!copy.there) {
        backend_->statements.add(reply.number, When::done, statement->id, 0,
                                 statement->server_bytes());
        backend_->added_statements = true;
        send_parse(*statement, statement->types);
    }
    return Take::consumed;
}

void Relay::send_parse(const Statement& statement, std::string_view types) {
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        const std::string_view name = statement.id == unnamed_statement
                                          ? std::string_view{}
                                          : backend_name(statement.id, storage);
        protocol::append_parse(out, name, statement.text, types);
    });
}

/// Closes the least recently used statements on a backend that is full of them, as far as they were
/// last used before `mark`.
void Relay::make_room_on_backend(const Statement& statement, std::uint64_t mark) {
    BackendStatements& there = backend_->statements;
    while (const auto victim = there.victim(mark, statement.server_bytes()))
        close_on_backend(*victim);
}

void Relay::close_on_backend(const StatementId& id) {
    const ExpectedReply& reply = backend_->replies.push(Request::close, Answer::discard);
    backend_->statements.remove(reply.number, When::done, id);
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        protocol::append_close(out, NamedKind::statement, backend_name(id, storage));
    });
}

/// With the message that is sent now the unnamed statement goes, if there is one.
void Relay::drop_unnamed(When when) {
    const std::uint64_t request = backend_->replies.last_number();
    const ClientStatements::Found named = statements_.find("");
    if (named.statement || named.request != 0) statements_.remove(request, when, "");
    const BackendStatements::Found copy = backend_->statements.find(unnamed_statement);
    if (copy.there || copy.request != 0) {
        backend_->statements.remove(request, when, unnamed_statement);
    }
}

/// True while it is open whether what was found is so when the backend reads what we would send
/// now: what it depends on may yet be skipped, and what is sent now will not.
template <class Found>
bool Relay::is_open(const Found& found) const {
    if (found.request == 0 || !has_backend()) return false;
    const ExpectedReplies& replies = backend_->replies;
    return found.in_query ? replies.pending(found.request) : replies.undecided(found.request);
}

template bool Relay::is_open(const ClientStatements::Found& found) const;
template bool Relay::is_open(const BackendStatements::Found& found) const;

/// Makes sure that the backend of this lease has the client's statement, as the client was told of
/// it, preparing it again ahead of the message that needs it. With the types that its parameters
/// were found to have: after a change of the tables others might be inferred. It is not open
/// whether the backend has it.
Relay::Copy Relay::ensure_on_backend(const StatementRef& statement, std::uint64_t mark) {
    batch_open_ = true;
    if (backend_->replies.empty()) query_began_ = worker_.now;
    const bool unnamed = statement->id == unnamed_statement;
    const BackendStatements::Found copy = backend_->statements.find(statement->id);
    if (copy.there && copy.version == statement->copy_version()) {
        backend_->statements.touch(statement->id);
        const Copy found = compare(statement);
        if (found != Copy::differs) return found;
        if (unnamed || copy.made > requests_before_) {
            worker_.namer->renew(statement->epoch);
            return found;
        }
        // It may be older than what the client prepared: PostgreSQL is asked anew.
    }
    if (!may_prepare_again(*statement)) return Copy::asked;
    if (copy.there && !unnamed) {
        close_on_backend(statement->id);
    } else if (!unnamed) {
        make_room_on_backend(*statement, mark);
    }
    const StatementShape& shape = statement->shape;
    prepare_again(statement, shape.known ? shape.parameter_types : statement->types);
    return shape.known ? ask_for_shape(statement) : Copy::ready;
}

/// Whether the copy of a statement that the backend has is what the client was told.
Relay::Copy Relay::compare(const StatementRef& statement) {
    if (!statement->shape.known) return Copy::ready;
    // A copy whose Parse is under way has been described yet less.
    const bool pending = backend_->statements.find(statement->id).request != 0;
    const StatementShape* there = pending ? nullptr : backend_->statements.shape_of(statement->id);
    if (there != nullptr && there->known) {
        return *there == statement->shape ? Copy::ready : Copy::differs;
    }
    const bool under_way = backend_->replies.pending(backend_->last_question);
    return under_way ? Copy::asked : ask_for_shape(statement);
}

/// Describe and Flush of ours: what follows waits for the answer, since it could not be called
/// back.
Relay::Copy Relay::ask_for_shape(const StatementRef& statement) {
    ExpectedReply& reply = backend_->replies.push(Request::describe, Answer::discard);
    reply.statement = statement;
    backend_->last_question = backend_->replies.last_number();
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        const std::string_view name = statement->id == unnamed_statement
                                          ? std::string_view{}
                                          : backend_name(statement->id, storage);
        protocol::append_describe(out, NamedKind::statement, name);
        protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::flush));
    });
    return Copy::asked;
}

/// `type` is a part of what was asked about a prepared statement, not about a portal.
bool Relay::describes_statement(BackendMessage type) {
    const bool describes = type == BackendMessage::parameter_description ||
                           type == BackendMessage::row_description ||
                           type == BackendMessage::no_data;
    if (!describes) return false;
    settle_head();
    if (backend_->replies.empty()) return false;
    const ExpectedReply& head = backend_->replies.front();
    return head.request == Request::describe && head.statement;
}

/// A part of the description of a prepared statement: kept, so that it can be compared with what
/// another backend will say.
Take Relay::on_description(const MessageInHand& message) {
    const auto type = static_cast<BackendMessage>(message.header.type);
    const bool seen = message.header.length <= limits::description_max;
    if (seen && !message.complete()) return Take::need_more;
    const Due answered = due(type);
    if (answered.head == nullptr) return poison("an answer out of turn");
    const StatementRef statement = answered.head->statement;
    if (type == BackendMessage::parameter_description) {
        backend_->described_types.assign(seen ? message.body() : std::string_view{});
        backend_->description_seen = seen;
    } else {
        const bool rows = type == BackendMessage::row_description;
        const bool whole = seen && backend_->description_seen;
        note_shape(statement, !whole ? unseen_result : rows ? result_digest(message.body()) : 0);
    }
    if (seen) return pass(message, take(answered));
    return stream_from_backend(message);
}

/// PostgreSQL has described the backend's copy of a statement.
void Relay::note_shape(const StatementRef& statement, std::uint64_t result) {
    const BackendStatements::Found copy = backend_->statements.find(statement->id);
    const bool same = copy.there && copy.version == statement->copy_version();
    StatementShape* shape = same ? backend_->statements.shape_of(statement->id) : nullptr;
    StatementShape described{true, {}, result};
    if (result != unseen_result) std::swap(described.parameter_types, backend_->described_types);
    if (!statement->shape.known && result != unseen_result) statement->shape = described;
    if (shape != nullptr) *shape = std::move(described);
}

/// Everything that a Bind or Describe of the statement needs. May spell it anew.
Relay::Copy Relay::ready_on_backend(StatementRef& statement) {
    statement = identified_now(statement);
    const std::uint64_t mark = backend_->statements.mark();
    const Copy names = ready_names(statement);
    if (names != Copy::ready) return names;
    if (is_open(backend_->statements.find(statement->id))) return Copy::asked;
    return ensure_on_backend(statement, mark);
}

Take Relay::on_bind(const MessageInHand& message) {
    const auto prefix = protocol::read_bind_prefix(message.body());
    if (!prefix) {
        if (message.complete()) return refuse_broken(message);
        if (message.bytes.size() > limits::name_prefix_max) {
            return refuse(message, make_error(sqlstate::program_limit_exceeded,
                                              "portal or statement name is too long"));
        }
        return Take::need_more;
    }
    const ClientStatements::Found known = statements_.find(prefix->statement);
    if (is_open(known)) return stall();
    if (!known.statement) return refuse(message, unknown_statement(prefix->statement));
    // Our own name for the statement may be longer than the client's.
    if (message.header.length > protocol::large_message_max - backend_name_bytes) {
        return refuse(message, make_error(sqlstate::program_limit_exceeded, "message is too long"));
    }
    if (phase_ == RelayPhase::idle) return acquire();
    StatementRef statement = known.statement;
    if (waits_for_pin(statement->effects)) return stall();
    if (must_hear_before(statement->effects)) return stall();
    load_channels(statement->effects);
    const Copy copy = ready_on_backend(statement);
    if (copy != Copy::ready) return unready(message, copy);
    if (auto error = forbidden(statement->effects)) return refuse(message, std::move(*error));
    note_effects(statement->effects, statement->text,
                 message.complete() ? message.body() : std::string_view{});
    note_portal(prefix->portal, statement);
    note_counted_portal(prefix->portal, statement);
    ExpectedReply& reply = backend_->replies.push(Request::bind, Answer::forward);
    reply.statement = statement;
    if (statement->id == unnamed_statement) {
        worker_.to_backend.forward(message.bytes.substr(0, protocol::header_bytes));
        return stream_body(message, StreamPosition::Mode::forward);
    }
    const std::size_t tail = message.header.body_bytes() - prefix->prefix_bytes;
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        protocol::append_bind_header(out, prefix->portal, backend_name(statement->id, storage),
                                     tail);
    });
    const std::string_view here = message.body().substr(prefix->prefix_bytes);
    worker_.to_backend.forward(here);
    if (message.complete()) return Take::consumed;
    // The walker counts from the header on; what is here of the tail was just passed.
    stream_ = {tail - here.size(), StreamPosition::Mode::forward};
    return Take::consumed;
}

Take Relay::on_describe(const MessageInHand& message) {
    const auto named = protocol::read_named(message.body());
    if (!named) return refuse_broken(message);
    StatementRef statement;
    if (named->kind == NamedKind::statement) {
        const ClientStatements::Found known = statements_.find(named->name);
        if (is_open(known)) return stall();
        if (!known.statement) return refuse(message, unknown_statement(named->name));
        statement = known.statement;
    }
    if (phase_ == RelayPhase::idle) return acquire();
    const Copy copy = statement ? ready_on_backend(statement) : Copy::ready;
    if (copy != Copy::ready) return unready(message, copy);
    batch_open_ = true;
    if (backend_->replies.empty()) query_began_ = worker_.now;
    ExpectedReply& reply = backend_->replies.push(Request::describe, Answer::forward);
    reply.statement = statement;
    if (named->kind == NamedKind::portal) reply.stage = AnswerStage::described;
    if (!statement || statement->id == unnamed_statement) {
        worker_.to_backend.forward(message.bytes);
        return Take::consumed;
    }
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        protocol::append_describe(out, NamedKind::statement, backend_name(statement->id, storage));
    });
    return Take::consumed;
}

Take Relay::on_close(const MessageInHand& message) {
    const auto named = protocol::read_named(message.body());
    if (!named) return refuse_broken(message);
    if (named->kind == NamedKind::portal) {
        if (phase_ == RelayPhase::idle) return acquire();
        batch_open_ = true;
        backend_->replies.push(Request::close, Answer::forward);
        worker_.to_backend.forward(message.bytes);
        return Take::consumed;
    }
    // The backend's copy stays: others may share it, and the least used goes first anyway.
    if (!has_backend()) {
        statements_.remove_now(named->name);
        worker_.to_frontend.generate([](std::string& out) {
            protocol::append_empty(out,
                                   static_cast<char>(protocol::BackendMessage::close_complete));
        });
        return Take::consumed;
    }
    batch_open_ = true;
    const ExpectedReply& reply = backend_->replies.push(Request::close, Answer::fabricate);
    const ClientStatements::Found known = statements_.find(named->name);
    if (known.statement || known.request != 0) {
        statements_.remove(reply.number, When::done, named->name);
    }
    return Take::consumed;
}

}  // namespace schemux::core
