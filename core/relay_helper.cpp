// The relay's part that runs statements of schemux's own in the midst of a client's batch, by the
// extended protocol: the PREPARE of a client again, and the settings under which a statement was
// read first. Nothing of it is left behind, and the client never sees an answer to it.

#include "core/relay.h"
#include "protocol/messages.h"

#include <utility>

namespace schemux::core {

using protocol::NamedKind;

namespace {

// The statement and the portal of it all: no client's id is like it.
constexpr StatementId helper{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

}  // namespace

/// A SET is under way whose outcome PostgreSQL will tell.
bool Relay::settings_open() const {
    return !strings_certain() && backend_->replies.ready_is_due();
}

/// Whether the literals of the statement would be read otherwise now than when it was prepared.
bool Relay::reads_otherwise(const Statement& statement) const {
    return statement.read_under && statement.read_under != literal_settings_ &&
           *statement.read_under != *literal_settings_;
}

/// Whether all is certain that preparing it again depends on.
bool Relay::may_prepare_again(const Statement& statement) const {
    if (statement.read_under && settings_open()) return false;
    const bool helped = statement.origin == Origin::sql_prepare || reads_otherwise(statement);
    return !helped || !is_open(backend_->statements.find(helper));
}

/// Prepares it on the backend, as it was prepared first; `types` of a Parse.
void Relay::prepare_again(const StatementRef& statement, std::string_view types) {
    const bool otherwise = reads_otherwise(*statement);
    if (otherwise) run_helper(literal_settings_->change_to(*statement->read_under), {});
    if (statement->origin == Origin::sql_prepare) {
        run_helper(statement->text, statement);
    } else {
        const bool unnamed = statement->id == unnamed_statement;
        ExpectedReply& reply = backend_->replies.push(Request::parse, Answer::discard);
        reply.statement = statement;
        const When when = unnamed ? When::attempted : When::done;
        backend_->statements.add(reply.number, when, statement->id, statement->copy_version(),
                                 statement->server_bytes());
        if (!unnamed) backend_->added_statements = true;
        send_parse(*statement, types);
    }
    if (otherwise) run_helper(statement->read_under->change_to(*literal_settings_), {});
    counters_.statements_reprepared.add();
}

/// `prepares`: what the text, a PREPARE, makes; or null. One that failed before may have left the
/// helper on the backend; it is not open whether.
void Relay::run_helper(std::string_view sql, const StatementRef& prepares) {
    ExpectedReplies& replies = backend_->replies;
    BackendStatements& there = backend_->statements;
    if (there.find(helper).there) close_on_backend(helper);
    for (const Request request : {Request::parse, Request::bind, Request::execute}) {
        replies.push(request, Answer::discard).statement = prepares;
        const std::uint64_t number = replies.last_number();
        if (request == Request::parse) there.add(number, When::done, helper, 0, sql.size());
        if (request == Request::execute && prepares)
            there.add(number, When::command, prepares->id, prepares->version,
                      prepares->server_bytes());
    }
    batch_executes_ = true;
    replies.push(Request::close, Answer::discard);
    there.remove(replies.push(Request::close, Answer::discard).number, When::done, helper);
    worker_.to_backend.generate([&](std::string& out) {
        constexpr std::string_view no_types{"\0\0", 2};
        constexpr std::string_view no_parameters{"\0\0\0\0\0\0", 6};
        std::array<char, backend_name_bytes> storage{};
        const std::string_view name = backend_name(helper, storage);
        protocol::append_parse(out, name, sql, no_types);
        protocol::append_bind_header(out, name, name, no_parameters.size());
        out.append(no_parameters);
        protocol::append_execute(out, name);
        protocol::append_close(out, NamedKind::portal, name);
        protocol::append_close(out, NamedKind::statement, name);
    });
}

}  // namespace schemux::core
