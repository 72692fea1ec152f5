// The relay's part that keeps prepared statements: each client's names, on whichever backend it
// has. A statement that a backend lacks is parsed there again, ahead of the message that needs it.
// Names change hands when the message passes, not when it is answered; relay_backend.cpp takes back
// what PostgreSQL refused or skipped.

#include "core/deallocate.h"
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
    if (message.header.length > service_->max_query_bytes) return on_oversized(message);
    if (!message.complete()) {
        held_until_ = message.header.total_bytes();
        return Take::need_more;
    }
    const auto parse = protocol::read_parse(message.body());
    if (!parse) return refuse_broken(message);
    if (!parse->name.empty() && statements_.find(parse->name) != nullptr) {
        if (may_be_forgotten()) return stall();
        return refuse_unless_undecided(message, parse->name, duplicate_statement(parse->name));
    }
    // A Close of it may yet turn out to have been skipped: then the name is taken.
    if (!parse->name.empty() && undecided_name(parse->name)) return stall();
    if (statements_.full()) {
        return refuse(message, make_error(sqlstate::program_limit_exceeded,
                                          "too many prepared statements in this session"));
    }
    // The text is looked at once, when there is a backend to tell which settings hold.
    if (phase_ == RelayPhase::idle) return acquire();
    worker_.rewritten.clear();
    PositionMap positions;
    RewriteResult result =
        rewrite_templates(parse->text, template_context(), worker_.rewritten, &positions);
    if (result.error) {
        counters_.template_errors.add();
        return refuse(message, std::move(*result.error));
    }
    const bool changed = result.outcome == RewriteResult::Outcome::rewritten;
    const StatementRef statement = worker_.statements.make();
    statement->name = parse->name;
    statement->text = changed ? std::string_view{worker_.rewritten} : parse->text;
    statement->types = parse->types;
    statement->positions = std::move(positions);
    statement->effects = effects_of(statement->text);
    statement->version = ++worker_.last_unnamed_version;
    if (changed) counters_.rewrites.add();
    const bool replaced = name_for_backend(*statement);
    return parse->name.empty() ? define_unnamed(message, statement, changed || replaced)
                               : define_named(statement);
}

/// A DEALLOCATE of a statement that was made with Parse must name it as the backend does. True when
/// the text was changed. What it changes is known, so that it is no reason for a reset.
bool Relay::name_for_backend(Statement& statement) const {
    const auto name = deallocated_name(statement.text, standard_strings_);
    const Statement* target = name ? statements_.find(*name) : nullptr;
    if (target == nullptr || name->empty()) return false;
    std::array<char, backend_name_bytes> storage{};
    statement.text = "DEALLOCATE \"";
    statement.text.append(backend_name(target->id, storage)).append("\"");
    statement.deallocates = *name;
    statement.effects = StatementEffects{};
    return true;
}

Take Relay::define_unnamed(const MessageInHand& message, const StatementRef& statement,
                           bool rewritten) {
    if (backend_->replies.empty()) query_began_ = worker_.now;
    batch_open_ = true;
    ExpectedReply& reply = backend_->replies.push(Request::parse, Answer::forward);
    reply.change = StatementChange::client_defined;
    reply.statement = statement;
    reply.displaced = statements_.define(statement);
    reply.unnamed_before = backend_->unnamed_version;
    backend_->unnamed_version = statement->version;
    backend_->unnamed_request = backend_->replies.last_number();
    backend_->unnamed_shape.clear();
    if (rewritten) {
        send_parse(*statement, statement->types);
    } else {
        worker_.to_backend.forward(message.bytes);
    }
    return Take::consumed;
}

Take Relay::define_named(const StatementRef& statement) {
    // A SET before it makes the label untrue, and literals such as 'now' freeze at each Parse: such
    // a statement is shared with nobody, not even with this client's next one of the same text.
    const bool shareable =
        !statement->effects.frozen_literal && !backend_->saw_set && !service_->keeps_backend;
    const std::string private_to =
        shareable ? std::string{}
                  : identity_.private_key + '/' + std::to_string(statement->version);
    statement->epoch = worker_.namer->epoch();
    statement->id = worker_.namer->identify(statement->text, statement->types, service_->name,
                                            label_, private_to);
    if (undecided(statement)) return stall();
    if (backend_->replies.empty()) query_began_ = worker_.now;
    batch_open_ = true;
    const bool known = backend_->statements.touch(statement->id);
    if (!known) make_room_on_backend();
    ExpectedReply& reply =
        backend_->replies.push(Request::parse, known ? Answer::fabricate : Answer::forward);
    reply.statement = statement;
    reply.displaced = statements_.define(statement);
    reply.change = known ? StatementChange::client_defined : StatementChange::both_defined;
    if (known) backend_->last_fabricated = backend_->replies.last_number();
    if (!known) {
        backend_->statements.add(statement->id, backend_->replies.last_number());
        backend_->added_statements = true;
        send_parse(*statement, statement->types);
    }
    return Take::consumed;
}

void Relay::send_parse(const Statement& statement, std::string_view types) {
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        const std::string_view name =
            statement.name.empty() ? std::string_view{} : backend_name(statement.id, storage);
        protocol::append_parse(out, name, statement.text, types);
    });
}

/// Closes the least recently used statement on a backend that is full of them.
void Relay::make_room_on_backend() {
    const std::optional<StatementId> victim = backend_->statements.victim();
    if (victim) close_on_backend(*victim);
}

void Relay::close_on_backend(const StatementId& id) {
    const StatementRef closed = worker_.statements.make();
    closed->id = id;
    ExpectedReply& reply = backend_->replies.push(Request::close, Answer::discard);
    reply.change = StatementChange::backend_removed;
    reply.statement = closed;
    backend_->last_eviction = backend_->replies.last_number();
    backend_->statements.remove(id);
    worker_.to_backend.generate([&](std::string& out) {
        std::array<char, backend_name_bytes> storage{};
        protocol::append_close(out, NamedKind::statement, backend_name(id, storage));
    });
}

/// True while it is open whether the backend will have the statement when it reads what we would
/// send now: its Parse (or a Close of ours) may yet be skipped, and what is sent now will not.
bool Relay::undecided(const StatementRef& statement) const {
    const ExpectedReplies& replies = backend_->replies;
    if (statement->name.empty()) {
        return backend_->unnamed_version == statement->version &&
               replies.undecided(backend_->unnamed_request);
    }
    // A Parse that we answer ourselves can be skipped as well.
    const bool maybe_skipped = replies.undecided(backend_->last_fabricated);
    if (maybe_skipped && undecided_name(statement->name)) return true;
    const std::uint64_t request = backend_->statements.request_of(statement->id);
    return replies.undecided(request != 0 ? request : backend_->last_eviction);
}

/// The same for what the client calls `name`. Looks at all that is owed, if a Sync is among it.
bool Relay::undecided_name(std::string_view name) const {
    if (!has_backend()) return false;
    ExpectedReplies& replies = backend_->replies;
    if (!replies.undecided(replies.number_at(0))) return false;
    for (std::size_t index = 0; index < replies.size(); ++index) {
        const ExpectedReply& reply = replies.at(index);
        const bool defines = reply.change == StatementChange::client_defined ||
                             reply.change == StatementChange::both_defined;
        const bool removes = reply.change == StatementChange::client_removed;
        const bool concerns = (defines && reply.statement->name == name) ||
                              (removes && reply.displaced->name == name);
        if (concerns && replies.undecided(replies.number_at(index))) return true;
    }
    return false;
}

/// True while something is to be answered that may be a DEALLOCATE ALL or DISCARD ALL.
bool Relay::may_be_forgotten() const {
    if (!has_backend() || copy_in_) return false;
    ExpectedReplies& replies = backend_->replies;
    for (std::size_t index = 0; index < replies.size(); ++index) {
        const Request request = replies.at(index).request;
        if (request == Request::query) return true;
        if (request == Request::execute && replies.undecided(replies.number_at(index))) return true;
    }
    return false;
}

Take Relay::refuse_unless_undecided(const MessageInHand& message, std::string_view name,
                                    ErrorFields error) {
    return undecided_name(name) ? stall() : refuse(message, std::move(error));
}

/// Makes sure that the backend of this lease has the client's statement, as the client was told of
/// it, sending its Parse again ahead of the message that needs it. With the types that its
/// parameters were found to have: after a change of the tables others might be inferred.
Relay::Copy Relay::ensure_on_backend(const StatementRef& statement) {
    batch_open_ = true;
    if (backend_->replies.empty()) query_began_ = worker_.now;
    const bool unnamed = statement->name.empty();
    const bool there = unnamed ? backend_->unnamed_version == statement->version
                               : backend_->statements.touch(statement->id);
    if (there) {
        const Copy found = compare(statement);
        const bool fresh =
            unnamed || backend_->statements.request_of(statement->id) > requests_before_;
        if (found != Copy::differs || fresh) return found;
        // It may be older than what the client prepared: PostgreSQL is asked anew.
        close_on_backend(statement->id);
    } else if (!unnamed) {
        make_room_on_backend();
    }
    counters_.statements_reprepared.add();
    ExpectedReply& reply = backend_->replies.push(Request::parse, Answer::discard);
    reply.change = StatementChange::backend_added;
    reply.statement = statement;
    if (unnamed) {
        backend_->unnamed_version = statement->version;
        backend_->unnamed_request = backend_->replies.last_number();
        backend_->unnamed_shape.clear();
    } else {
        backend_->statements.add(statement->id, backend_->replies.last_number());
        backend_->added_statements = true;
    }
    const StatementShape& shape = statement->shape;
    send_parse(*statement, shape.known ? shape.parameter_types : statement->types);
    return shape.known ? ask_for_shape(statement) : Copy::ready;
}

/// Whether the copy of a statement that the backend has is what the client was told.
Relay::Copy Relay::compare(const StatementRef& statement) {
    if (!statement->shape.known) return Copy::ready;
    const ExpectedReplies& replies = backend_->replies;
    const StatementShape& there = statement->name.empty()
                                      ? backend_->unnamed_shape
                                      : *backend_->statements.shape_of(statement->id);
    if (there.known) return there == statement->shape ? Copy::ready : Copy::differs;
    const bool under_way = !replies.empty() && backend_->last_question >= replies.number_at(0);
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
        const std::string_view name =
            statement->name.empty() ? std::string_view{} : backend_name(statement->id, storage);
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
    StatementShape* shape = nullptr;
    if (!statement->name.empty()) {
        shape = backend_->statements.shape_of(statement->id);
    } else if (backend_->unnamed_version == statement->version) {
        shape = &backend_->unnamed_shape;
    }
    StatementShape described{true, {}, result};
    if (result != unseen_result) std::swap(described.parameter_types, backend_->described_types);
    if (!statement->shape.known && result != unseen_result) statement->shape = described;
    if (shape != nullptr) *shape = std::move(described);
}

/// As PostgreSQL words it when a plan is made anew (plancache.c).
Take Relay::refuse_changed(const MessageInHand& message, const StatementRef& statement) {
    worker_.namer->renew(statement->epoch);
    return refuse(message, make_error(sqlstate::feature_not_supported,
                                      "cached plan must not change result type"));
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
    const StatementRef statement = statements_.get(prefix->statement);
    if (!statement) {
        return refuse_unless_undecided(message, prefix->statement,
                                       unknown_statement(prefix->statement));
    }
    // Our own name for the statement may be longer than the client's.
    if (message.header.length > protocol::large_message_max - backend_name_bytes) {
        return refuse(message, make_error(sqlstate::program_limit_exceeded, "message is too long"));
    }
    if (phase_ == RelayPhase::idle) return acquire();
    if (undecided(statement)) return stall();
    if (const StatementRef target = statements_.get(statement->deallocates);
        target && !statement->deallocates.empty()) {
        if (undecided(target)) return stall();
        ensure_on_backend(target);
    }
    switch (ensure_on_backend(statement)) {
        case Copy::ready:
            break;
        case Copy::asked:
            return stall();
        case Copy::differs:
            return refuse_changed(message, statement);
    }
    note_effects(statement->effects);
    note_lost_settings(statement->effects, statement->text);
    if (prefix->portal.empty()) portal_ = statement;
    ExpectedReply& reply = backend_->replies.push(Request::bind, Answer::forward);
    reply.statement = statement;
    if (statement->name.empty()) {
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
    const StatementRef statement =
        named->kind == NamedKind::statement ? statements_.get(named->name) : StatementRef{};
    if (named->kind == NamedKind::statement && !statement) {
        return refuse_unless_undecided(message, named->name, unknown_statement(named->name));
    }
    if (phase_ == RelayPhase::idle) return acquire();
    if (statement && undecided(statement)) return stall();
    switch (statement ? ensure_on_backend(statement) : Copy::ready) {
        case Copy::ready:
            break;
        case Copy::asked:
            return stall();
        case Copy::differs:
            return refuse_changed(message, statement);
    }
    batch_open_ = true;
    if (backend_->replies.empty()) query_began_ = worker_.now;
    ExpectedReply& reply = backend_->replies.push(Request::describe, Answer::forward);
    reply.statement = statement;
    if (named->kind == NamedKind::portal) reply.stage = AnswerStage::described;
    if (!statement || statement->name.empty()) {
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
    StatementRef removed = statements_.remove(named->name);
    if (!has_backend()) {
        worker_.to_frontend.generate([](std::string& out) {
            protocol::append_empty(out,
                                   static_cast<char>(protocol::BackendMessage::close_complete));
        });
        return Take::consumed;
    }
    batch_open_ = true;
    const bool undecided = !removed && undecided_name(named->name);
    ExpectedReply& reply = backend_->replies.push(Request::close, Answer::fabricate);
    if (removed) {
        reply.change = StatementChange::client_removed;
        reply.displaced = std::move(removed);
    } else if (undecided) {
        // The name may come back, to be gone again here: see removed_later.
        reply.statement = worker_.statements.make();
        reply.statement->name = named->name;
    }
    return Take::consumed;
}

}  // namespace schemux::core
