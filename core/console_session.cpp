#include "core/console_session.h"

#include "core/console_rows.h"
#include "protocol/message_header.h"
#include "protocol/message_type.h"
#include "protocol/sqlstate.h"
#include "protocol/wire_reader.h"

#include <algorithm>
#include <array>
#include <utility>

namespace schemux::core {

namespace {

namespace sqlstate = protocol::sqlstate;
using protocol::FrontendMessage;
using protocol::TransactionStatus;

/// What the console says of its session's settings: PgBouncer's values, on which drivers rely.
constexpr std::array<std::pair<std::string_view, std::string_view>, 7> settings{{
    {"client_encoding", "UTF8"},
    {"datestyle", "ISO"},
    {"default_transaction_isolation", "read committed"},
    {"standard_conforming_strings", "on"},
    {"timezone", "GMT"},
    {"transaction_isolation", "read committed"},
    {"search_path", ""},
}};

std::string_view setting(std::string_view name) {
    for (const auto& [known, value] : settings) {
        if (known == name) return value;
    }
    return {};
}

protocol::ErrorFields no_such(std::string_view what, std::string_view name) {
    return protocol::make_error(
        what == "portal" ? "34000" : sqlstate::undefined_prepared_statement,
        std::string(what) + " \"" + std::string(name) + "\" does not exist");
}

protocol::ErrorFields violation(std::string message) {
    return protocol::make_error(sqlstate::protocol_violation, std::move(message));
}

bool gives_rows(const ConsoleCommand& command) {
    if (command.verb == ConsoleVerb::show_setting) return true;
    if (command.verb == ConsoleVerb::explain_rewrite) return true;
    return command.verb == ConsoleVerb::show && command.show != ConsoleShow::help;
}

}  // namespace

void ConsoleSession::welcome() {
    const std::string server = std::string(version_of(start_.profile)) + "/bouncer";
    protocol::append_authentication_ok(output_);
    protocol::append_parameter_status(output_, "server_version", server);
    protocol::append_parameter_status(output_, "client_encoding", "UTF8");
    protocol::append_parameter_status(output_, "server_encoding", "UTF8");
    protocol::append_parameter_status(output_, "DateStyle", "ISO");
    protocol::append_parameter_status(output_, "TimeZone", "GMT");
    protocol::append_parameter_status(output_, "standard_conforming_strings", "on");
    protocol::append_parameter_status(output_, "is_superuser", "on");
    protocol::append_backend_key_data(output_, start_.pid, start_.secret);
    ready();
}

void ConsoleSession::on_bytes(std::string_view bytes) {
    if (reading_ != Reading::over) input_.append(bytes);
}

ConsoleSession::Step ConsoleSession::next() {
    while (running_ == Running::nothing && reading_ != Reading::over &&
           input_.size() >= protocol::header_bytes) {
        const protocol::MessageHeader header = protocol::read_header(input_.data());
        if (!header.plausible() || header.total_bytes() > message_bytes_max)
            return over("invalid message length");
        if (input_.size() < header.total_bytes()) break;
        const std::string message = input_.substr(0, header.total_bytes());
        input_.erase(0, message.size());
        Step step =
            on_message(header.type, std::string_view(message).substr(protocol::header_bytes));
        if (!std::holds_alternative<NeedBytes>(step)) return step;
    }
    if (reading_ == Reading::over) return Close{};
    // Somebody sends on and on while a command runs.
    if (input_.size() > 2 * message_bytes_max) return over("too much waits for a command to end");
    return NeedBytes{};
}

ConsoleSession::Step ConsoleSession::over(std::string_view what) {
    auto error = violation(std::string(what));
    error.severity = protocol::Severity::fatal;
    protocol::append_error(output_, error);
    reading_ = Reading::over;
    return Close{};
}

ConsoleSession::Step ConsoleSession::on_message(char type, std::string_view body) {
    const auto message = static_cast<FrontendMessage>(type);
    if (message == FrontendMessage::terminate) {
        reading_ = Reading::over;
        return Close{};
    }
    if (reading_ == Reading::skips_to_sync && message != FrontendMessage::sync) return NeedBytes{};
    switch (message) {
        case FrontendMessage::query:
            return on_query(body);
        case FrontendMessage::parse:
            on_parse(body);
            return NeedBytes{};
        case FrontendMessage::bind:
            on_bind(body);
            return NeedBytes{};
        case FrontendMessage::describe:
            on_describe(body);
            return NeedBytes{};
        case FrontendMessage::execute:
            return on_execute(body);
        case FrontendMessage::close:
            on_close(body);
            return NeedBytes{};
        case FrontendMessage::flush:
            return NeedBytes{};
        case FrontendMessage::sync:
            reading_ = Reading::ready;
            // As PostgreSQL's: they end with their transaction.
            if (status_ == TransactionStatus::idle) portals_.clear();
            ready();
            return NeedBytes{};
        case FrontendMessage::copy_data:
        case FrontendMessage::copy_done:
        case FrontendMessage::copy_fail:
        case FrontendMessage::function_call:
        case FrontendMessage::password:
        case FrontendMessage::terminate:
            break;
    }
    return over("invalid frontend message type " +
                std::to_string(static_cast<unsigned char>(type)));
}

std::variant<ConsoleCommand, protocol::ErrorFields> ConsoleSession::read(
    std::string_view text) const {
    auto read = read_console_command(text);
    const auto* command = std::get_if<ConsoleCommand>(&read);
    if (command == nullptr) return read;
    if (!is_allowed(*command)) {
        auto error = protocol::make_error(sqlstate::insufficient_privilege, "admin access needed");
        error.hint = "admin.users says who has it; admin.stats_users may only SHOW.";
        return error;
    }
    const bool shows = command->verb == ConsoleVerb::show && command->show != ConsoleShow::help;
    if (shows && !console_columns(command->show, start_.profile)) {
        auto error = protocol::make_error(
            sqlstate::syntax_error,
            "SHOW " + std::string(name_of(command->show)) + " came with a later version");
        error.hint = "admin.compat says which version of PgBouncer's console this is.";
        return error;
    }
    return read;
}

/// Whoever may not steer may look: the list is of what changes nothing.
bool ConsoleSession::is_allowed(const ConsoleCommand& command) const {
    if (start_.rights == ConsoleRights::admin) return true;
    switch (command.verb) {
        case ConsoleVerb::nothing:
        case ConsoleVerb::show:
        case ConsoleVerb::show_setting:
        case ConsoleVerb::set_setting:
        case ConsoleVerb::begin:
        case ConsoleVerb::end:
        case ConsoleVerb::explain_rewrite:
            return true;
        case ConsoleVerb::pause:
        case ConsoleVerb::resume:
        case ConsoleVerb::reconnect:
        case ConsoleVerb::disable:
        case ConsoleVerb::enable:
        case ConsoleVerb::kill:
        case ConsoleVerb::kill_client:
        case ConsoleVerb::wait_close:
        case ConsoleVerb::reload:
        case ConsoleVerb::shutdown:
            break;
    }
    return false;
}

ConsoleColumns ConsoleSession::columns_of(const ConsoleCommand& command) const {
    if (command.verb == ConsoleVerb::show_setting)
        return {{session_setting(command.target), ColumnType::text}};
    if (!gives_rows(command)) return {};
    if (command.verb == ConsoleVerb::explain_rewrite) return {{"rewritten", ColumnType::text}};
    return console_columns(command.show, start_.profile).value_or(ConsoleColumns{});
}

/// What needs nobody else.
std::optional<ConsoleOutcome> ConsoleSession::answer_here(const ConsoleCommand& command) {
    switch (command.verb) {
        case ConsoleVerb::nothing:
        case ConsoleVerb::set_setting:
            return ConsoleResult{};
        case ConsoleVerb::begin:
            status_ = TransactionStatus::in_transaction;
            return ConsoleResult{};
        case ConsoleVerb::end:
            status_ = TransactionStatus::idle;
            return ConsoleResult{};
        case ConsoleVerb::show_setting: {
            ConsoleResult result{ConsoleTable(columns_of(command)), {}};
            const std::string server = std::string(version_of(start_.profile)) + "/bouncer";
            const bool is_version = command.target == "server_version";
            result.table.add({{session_setting(command.target),
                               is_version ? server : std::string(setting(command.target))}});
            return result;
        }
        case ConsoleVerb::show:
            break;
        case ConsoleVerb::pause:
        case ConsoleVerb::resume:
        case ConsoleVerb::reconnect:
        case ConsoleVerb::disable:
        case ConsoleVerb::enable:
        case ConsoleVerb::kill:
        case ConsoleVerb::kill_client:
        case ConsoleVerb::wait_close:
        case ConsoleVerb::reload:
        case ConsoleVerb::shutdown:
        case ConsoleVerb::explain_rewrite:
            return {};
    }
    if (command.show == ConsoleShow::help) {
        ConsoleResult result;
        result.notice = protocol::make_error("00000", "Console usage", protocol::Severity::notice);
        result.notice->detail = console_help();
        return result;
    }
    if (command.show != ConsoleShow::version) return {};
    ConsoleResult result{ConsoleTable(columns_of(command)), {}};
    result.table.add({{"version", "PgBouncer " + std::string(version_of(start_.profile)) +
                                      " (schemux " + start_.version + ")"}});
    return result;
}

ConsoleSession::Step ConsoleSession::run(const ConsoleCommand& command, Running how) {
    running_ = how;
    command_ = command;
    if (auto outcome = answer_here(command)) {
        on_outcome(*outcome);
        return NeedBytes{};
    }
    return Run{command};
}

void ConsoleSession::on_outcome(const ConsoleOutcome& outcome) {
    switch (std::exchange(running_, Running::nothing)) {
        case Running::nothing:
            return;
        case Running::query:
            return finish_query(outcome);
        case Running::portal:
            return finish_portal(outcome);
    }
}

// ---- the simple protocol -----------------------------------------------------------------------

ConsoleSession::Step ConsoleSession::on_query(std::string_view body) {
    const auto text = protocol::read_text(body);
    if (!text) return over(protocol::fault_in(FrontendMessage::query, body));
    auto command = read(*text);
    if (const auto* error = std::get_if<protocol::ErrorFields>(&command)) {
        protocol::append_error(output_, *error);
        ready();
        return NeedBytes{};
    }
    return run(std::get<ConsoleCommand>(command), Running::query);
}

void ConsoleSession::finish_query(const ConsoleOutcome& outcome) {
    if (const auto* error = std::get_if<protocol::ErrorFields>(&outcome)) {
        protocol::append_error(output_, *error);
    } else if (command_.verb == ConsoleVerb::nothing) {
        protocol::append_empty(output_, 'I');
    } else {
        const auto& result = std::get<ConsoleResult>(outcome);
        if (result.notice) protocol::append_error(output_, *result.notice);
        if (gives_rows(command_)) append_row_description(output_, result.table.columns(), {});
        for (std::size_t row = 0; row < result.table.rows().size(); ++row)
            append_data_row(output_, result.table, row, {});
        protocol::append_command_complete(output_, command_.tag);
    }
    ready();
}

// ---- the extended protocol ---------------------------------------------------------------------

void ConsoleSession::on_parse(std::string_view body) {
    const auto parse = protocol::read_parse(body);
    if (!parse) return fail(violation(protocol::fault_in(FrontendMessage::parse, body)));
    auto command = read(parse->text);
    if (const auto* error = std::get_if<protocol::ErrorFields>(&command)) return fail(*error);
    const bool is_new = !statements_.contains(parse->name);
    if (!is_new && !parse->name.empty())
        return fail(protocol::make_error(
            sqlstate::duplicate_prepared_statement,
            "prepared statement \"" + std::string(parse->name) + "\" already exists"));
    if (is_new && statements_.size() >= names_max)
        return fail(protocol::make_error(sqlstate::program_limit_exceeded,
                                         "too many prepared statements for the console"));
    statements_.insert_or_assign(std::string(parse->name), std::get<ConsoleCommand>(command));
    protocol::append_empty(output_, '1');
}

/// Names, formats of parameters, parameters, formats of columns.
std::optional<protocol::ErrorFields> ConsoleSession::read_bind(std::string_view body,
                                                               std::string& name,
                                                               Portal& portal) const {
    protocol::WireReader reader(body);
    name = reader.cstring();
    const std::string statement(reader.cstring());
    for (std::uint16_t formats = reader.u16(); formats > 0 && !reader.failed(); --formats)
        reader.u16();
    const std::uint16_t parameters = reader.u16();
    if (reader.failed()) return violation("insufficient data left in message");
    if (parameters > 0) return violation("commands of the console take no parameters");
    const auto found = statements_.find(statement);
    if (found == statements_.end()) return no_such("prepared statement", statement);
    portal.command = found->second;
    const std::uint16_t formats = reader.u16();
    for (std::uint16_t at = 0; at < formats && !reader.failed(); ++at)
        portal.binary.push_back(reader.u16() == 1);
    if (!reader.finished()) return violation("invalid message format");
    const std::size_t columns = columns_of(portal.command).size();
    if (portal.binary.size() == 1) portal.binary.assign(columns, portal.binary.front());
    if (portal.binary.size() > 1 && portal.binary.size() != columns)
        return violation("bind message has " + std::to_string(formats) +
                         " result formats but query has " + std::to_string(columns) + " columns");
    return {};
}

void ConsoleSession::on_bind(std::string_view body) {
    Portal portal;
    std::string name;
    if (const auto error = read_bind(body, name, portal)) return fail(*error);
    if (!portals_.contains(name) && portals_.size() >= names_max)
        return fail(protocol::make_error(sqlstate::program_limit_exceeded,
                                         "too many portals for the console"));
    portals_.insert_or_assign(std::move(name), std::move(portal));
    protocol::append_empty(output_, '2');
}

void ConsoleSession::describe(const ConsoleCommand& command, const std::vector<bool>& binary) {
    if (gives_rows(command)) {
        append_row_description(output_, columns_of(command), binary);
    } else {
        protocol::append_empty(output_, 'n');
    }
}

void ConsoleSession::on_describe(std::string_view body) {
    const auto named = protocol::read_named(body);
    if (!named) return fail(violation(protocol::fault_in(FrontendMessage::describe, body)));
    if (named->kind == protocol::NamedKind::portal) {
        const auto portal = portals_.find(named->name);
        if (portal == portals_.end()) return fail(no_such("portal", named->name));
        return describe(portal->second.command, portal->second.binary);
    }
    const auto statement = statements_.find(named->name);
    if (statement == statements_.end()) return fail(no_such("prepared statement", named->name));
    constexpr std::string_view no_parameters("t\0\0\0\6\0\0", 7);
    output_.append(no_parameters);
    describe(statement->second, {});
}

ConsoleSession::Step ConsoleSession::on_execute(std::string_view body) {
    protocol::WireReader reader(body);
    portal_ = reader.cstring();
    rows_max_ = reader.u32();
    if (!reader.finished()) {
        fail(violation("invalid message format"));
        return NeedBytes{};
    }
    const auto found = portals_.find(portal_);
    if (found == portals_.end()) {
        fail(no_such("portal", portal_));
        return NeedBytes{};
    }
    if (!found->second.result) return run(found->second.command, Running::portal);
    command_ = found->second.command;
    send_rows(found->second);
    return NeedBytes{};
}

void ConsoleSession::finish_portal(const ConsoleOutcome& outcome) {
    if (const auto* error = std::get_if<protocol::ErrorFields>(&outcome)) return fail(*error);
    if (command_.verb == ConsoleVerb::nothing) return protocol::append_empty(output_, 'I');
    Portal& portal = portals_.find(portal_)->second;
    portal.result = std::get<ConsoleResult>(outcome);
    if (portal.result->notice) protocol::append_error(output_, *portal.result->notice);
    send_rows(portal);
}

void ConsoleSession::send_rows(Portal& portal) {
    const ConsoleTable& table = portal.result->table;
    const std::size_t left = table.rows().size() - portal.sent;
    const std::size_t count = rows_max_ == 0 ? left : std::min<std::size_t>(left, rows_max_);
    for (std::size_t row = 0; row < count; ++row)
        append_data_row(output_, table, portal.sent++, portal.binary);
    if (portal.sent < table.rows().size()) return protocol::append_empty(output_, 's');
    protocol::append_command_complete(output_, command_.tag);
}

void ConsoleSession::on_close(std::string_view body) {
    const auto named = protocol::read_named(body);
    if (!named) return fail(violation(protocol::fault_in(FrontendMessage::close, body)));
    if (named->kind == protocol::NamedKind::portal) {
        if (const auto portal = portals_.find(named->name); portal != portals_.end())
            portals_.erase(portal);
    } else if (const auto one = statements_.find(named->name); one != statements_.end()) {
        statements_.erase(one);
    }
    protocol::append_empty(output_, '3');
}

/// What comes up to the next Sync is not looked at.
void ConsoleSession::fail(const protocol::ErrorFields& error) {
    protocol::append_error(output_, error);
    reading_ = Reading::skips_to_sync;
}

void ConsoleSession::ready() {
    protocol::append_ready_for_query(output_, status_);
}

}  // namespace schemux::core
