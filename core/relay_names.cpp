// The relay's part that follows SQL's own words for prepared statements: PREPARE, EXECUTE,
// DEALLOCATE. Each client has its names for itself, so a text that speaks of them is spelled with
// the backends' names, and what it speaks of is brought to the backend first. PostgreSQL does the
// rest, errors included. Statements of the protocol: relay_statements.cpp.

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sql_lexer.h"
#include "protocol/sqlstate.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include <utility>

namespace schemux::core {

using protocol::NamedKind;

namespace {

// The statement by which a backend is made to run a PREPARE again.
constexpr std::string_view helper_name = "sx_prepare";

/// Whether nothing but empty statements is in `text`.
bool is_empty_sql(std::string_view text, bool standard_conforming_strings) {
    protocol::SqlLexer lexer(text, standard_conforming_strings);
    while (true) {
        const protocol::Token token = lexer.next_significant();
        if (token.kind == protocol::TokenKind::end) return true;
        if (lexer.text_of(token) != ";") return false;
    }
}

}  // namespace

/// Notes the names in the text of a statement. What they do to the session is followed here, so
/// that it is no reason for a reset. False while it is open how strings read, and it will be told.
bool Relay::read_names(Statement& statement) {
    if (!statement.effects.names_statements) return true;
    if (!strings_certain() && backend_->replies.ready_is_due()) return false;
    NameReferences names = find_names(statement.text, standard_strings_);
    if (!names.complete) return true;
    statement.unspelled = statement.text;
    for (NameReference& reference : names.found)
        statement.names.push_back({std::move(reference), unnamed_statement});
    statement.effects.remove(Effect::prepare);
    return true;
}

/// What each name in a text stands for when PostgreSQL comes to it.
Relay::Lookup Relay::look_up_names(const Statement& statement, NameTargets& targets) const {
    struct Here {
        StatementId id{};
        bool own = false;  ///< `id` is the one of SQL's PREPARE
    };
    boost::unordered_flat_map<std::string_view, Here> here;
    bool all_gone = false;
    for (const SpelledName& spelled : statement.names) {
        const NameReference& reference = spelled.reference;
        if (reference.use == NameUse::deallocate_all) {
            all_gone = true;
            targets.ids.push_back(unnamed_statement);
            continue;
        }
        const auto [known, is_new] = here.try_emplace(reference.name);
        Here& name = known->second;
        if (is_new && !all_gone) {
            const ClientStatements::Found found = statements_.find(reference.name);
            if (is_open(found)) return Lookup::open;
            if (found.statement) {
                name = {found.statement->id, found.statement->origin == Origin::sql_prepare};
                targets.present.push_back(found.statement);
            }
            if (here.size() > limits::names_in_text_max) return Lookup::too_many;
        }
        // Not there, or no more: PREPARE gives it a backend's name of its own.
        if (name.id == unnamed_statement || (all_gone && !name.own)) {
            name = {worker_.namer->identify_own(reference.name, identity_.private_key), true};
            if (!all_gone) targets.absent.push_back(name.id);
        }
        targets.ids.push_back(name.id);
        if (reference.use == NameUse::deallocate && !name.own) name.id = unnamed_statement;
    }
    return Lookup::found;
}

/// Puts the backends' names into the text.
void Relay::spell(Statement& statement, const NameTargets& targets) const {
    const std::string_view from = statement.unspelled;
    statement.text.clear();
    statement.spelled_positions.clear();
    std::size_t copied = 0;
    std::size_t original = 0;
    std::size_t spelled = 0;
    for (std::size_t index = 0; index < statement.names.size(); ++index) {
        SpelledName& name = statement.names[index];
        name.id = targets.ids[index];
        if (name.reference.use == NameUse::deallocate_all) continue;
        const NameReference& reference = name.reference;
        const std::string_view before = from.substr(copied, reference.begin - copied);
        const std::size_t characters = count_characters(before, encoding_);
        original += characters;
        spelled += characters;
        const std::size_t replaced =
            count_characters(from.substr(reference.begin, reference.length), encoding_);
        statement.spelled_positions.add(original, replaced, spelled, backend_name_bytes);
        original += replaced;
        spelled += backend_name_bytes;
        std::array<char, backend_name_bytes> storage{};
        statement.text.append(before).append(backend_name(name.id, storage));
        copied = reference.begin + reference.length;
    }
    statement.text.append(from.substr(copied));
}

/// Brings what a text speaks of to the backend, and takes away what must not be found there.
Relay::Copy Relay::ready_targets(const NameTargets& targets) {
    BackendStatements& there = backend_->statements;
    for (const StatementId& id : targets.absent) {
        if (is_open(there.find(id))) return Copy::asked;
    }
    for (const StatementRef& target : targets.present) {
        if (is_open(there.find(target->id))) return Copy::asked;
    }
    for (const StatementId& id : targets.absent) {
        if (there.find(id).there) close_on_backend(id);
    }
    const std::uint64_t mark = there.mark();  // none of them makes room for another
    Copy all = Copy::ready;
    for (const StatementRef& target : targets.present) {
        const Copy copy = ensure_on_backend(target, mark);
        if (copy == Copy::differs) return copy;
        if (copy == Copy::asked) all = copy;
    }
    return all;
}

/// For a statement of the extended protocol: as its names are meant now.
Relay::Copy Relay::ready_names(StatementRef& statement) {
    if (statement->names.empty()) return Copy::ready;
    NameTargets targets;
    switch (look_up_names(*statement, targets)) {
        case Lookup::found:
            break;
        case Lookup::open:
            return Copy::asked;
        case Lookup::too_many:
            return Copy::too_many;
    }
    const Copy copy = ready_targets(targets);
    if (copy != Copy::ready) return copy;
    bool same = true;
    for (std::size_t index = 0; index < targets.ids.size(); ++index)
        same = same && statement->names[index].id == targets.ids[index];
    if (same) return Copy::ready;
    // One of its names means another statement than when the text was prepared.
    const StatementRef fresh = worker_.statements.make();
    fresh->name = statement->name;
    fresh->types = statement->types;
    fresh->positions = statement->positions;
    fresh->effects = statement->effects;
    fresh->unspelled = statement->unspelled;
    fresh->names = statement->names;
    fresh->version = ++worker_.last_version;
    spell(*fresh, targets);
    if (!fresh->name.empty()) identify(*fresh);
    statements_.replace(statement, fresh);
    statement = fresh;
    return Copy::ready;
}

/// For a Query. What its backend lacks is prepared ahead of it, and waited for.
Relay::Copy Relay::ready_query_names(Statement& statement) {
    NameTargets targets;
    switch (look_up_names(statement, targets)) {
        case Lookup::found:
            break;
        case Lookup::open:
            return Copy::asked;
        case Lookup::too_many:
            return Copy::too_many;
    }
    const ExpectedReplies& replies = backend_->replies;
    const std::uint64_t before = replies.last_number();
    Copy copy = ready_targets(targets);
    if (copy == Copy::differs) return copy;
    for (const StatementRef& target : targets.present) {
        if (backend_->statements.find(target->id).request > before) copy = Copy::asked;
    }
    if (copy == Copy::asked && replies.last_number() > before) {
        own_batch_ = {before + 1, replies.last_number()};
        worker_.to_backend.generate([](std::string& out) {
            protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::flush));
        });
    }
    if (copy == Copy::asked || replies.pending(own_batch_.last)) return Copy::asked;
    spell(statement, targets);
    return copy;
}

/// An error in the batch ahead of a Query is the answer to that, and what it would have ended ends.
void Relay::answer_query_unsent() {
    own_batch_ = {};
    query_answered_ = true;
    batch_open_ = false;
    backend_->replies.push(Request::sync, Answer::forward);
    worker_.to_backend.generate([](std::string& out) {
        protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::sync));
    });
}

/// What a message that is sent now, as the last one, will do to the client's names.
void Relay::log_names(const StatementRef& statement, When when) {
    const std::uint64_t request = backend_->replies.last_number();
    for (const SpelledName& spelled : statement->names) {
        switch (spelled.reference.use) {
            case NameUse::prepare: {
                const StatementRef prepared = prepared_by(*statement, spelled);
                statements_.define(request, when, prepared);
                backend_->statements.add(request, when, spelled.id, prepared->version);
                break;
            }
            case NameUse::execute:
                note_target_effects(spelled);
                break;
            case NameUse::deallocate:
                statements_.remove(request, when, spelled.reference.name);
                backend_->statements.remove(request, when, spelled.id);
                break;
            case NameUse::deallocate_all:
                statements_.remove_all(request, when);
                backend_->statements.remove_all(request, when);
                break;
        }
    }
}

/// EXECUTE does what its statement does.
void Relay::note_target_effects(const SpelledName& spelled) {
    const StatementRef target = statements_.find(spelled.reference.name).statement;
    if (target && target->id == spelled.id) note_effects(target->effects);
}

/// The statement that a PREPARE in a text makes.
StatementRef Relay::prepared_by(const Statement& text, const SpelledName& spelled) {
    const NameReference& reference = spelled.reference;
    const StatementRef prepared = worker_.statements.make();
    prepared->name = reference.name;
    prepared->id = spelled.id;
    prepared->origin = Origin::sql_prepare;
    prepared->version = ++worker_.last_version;
    std::array<char, backend_name_bytes> storage{};
    const std::size_t behind = reference.begin + reference.length;
    prepared->text = "PREPARE ";
    prepared->text.append(backend_name(spelled.id, storage))
        .append(std::string_view{text.unspelled}.substr(behind, reference.end - behind));
    prepared->effects = effects_of(prepared->text);
    prepared->effects.remove(Effect::prepare);
    return prepared;
}

/// What an Execute will run: of named portals only where that may change names.
void Relay::note_portal(std::string_view portal, const StatementRef& statement) {
    if (portal.empty()) {
        portal_ = statement;
        return;
    }
    std::erase_if(naming_portals_, [&](const auto& known) { return known.name == portal; });
    if (statement->names.empty()) return;
    if (naming_portals_.size() == limits::naming_portals_max) {
        naming_portals_.erase(naming_portals_.begin());
    }
    naming_portals_.push_back({std::string(portal), statement});
}

StatementRef Relay::statement_of_portal(std::string_view portal) const {
    if (portal.empty()) return portal_;
    for (const NamingPortal& known : naming_portals_) {
        if (known.name == portal) return known.statement;
    }
    return {};
}

/// Runs a PREPARE of the client's again, on a backend that lacks what it made.
void Relay::prepare_by_sql(const StatementRef& statement) {
    ExpectedReplies& replies = backend_->replies;
    for (const Request request : {Request::parse, Request::bind, Request::execute}) {
        replies.push(request, Answer::discard).statement = statement;
    }
    backend_->statements.add(replies.last_number(), When::command, statement->id,
                             statement->version);
    replies.push(Request::close, Answer::discard);
    replies.push(Request::close, Answer::discard);
    worker_.to_backend.generate([&](std::string& out) {
        constexpr std::string_view no_types{"\0\0", 2};
        constexpr std::string_view no_parameters{"\0\0\0\0\0\0", 6};
        protocol::append_parse(out, helper_name, statement->text, no_types);
        // A portal's name is not the client's either, and the client cannot guess this one.
        std::array<char, backend_name_bytes> storage{};
        const std::string_view portal = backend_name(statement->id, storage);
        protocol::append_bind_header(out, portal, helper_name, no_parameters.size());
        out.append(no_parameters);
        protocol::append_execute(out, portal);
        protocol::append_close(out, NamedKind::portal, portal);
        protocol::append_close(out, NamedKind::statement, helper_name);
    });
}

/// A Query that is nothing but the DEALLOCATE of a statement that there is needs no backend, when
/// the client has none: the copies stay where they are, as with Close.
bool Relay::answer_deallocate(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    const bool may_be = first != text.npos && (text[first] | 0x20) == 'd' &&
                        text.size() <= limits::lone_deallocate_max &&
                        encoding_ != EncodingClass::unsafe;
    if (!may_be) return false;
    const NameReferences names = find_names(text, standard_strings_);
    if (!names.complete || names.found.size() != 1) return false;
    const NameReference& reference = names.found.front();
    if (reference.use != NameUse::deallocate || reference.name.empty()) return false;
    if (!is_empty_sql(text.substr(reference.begin + reference.length), standard_strings_)) {
        return false;
    }
    if (!statements_.find(reference.name).statement) return false;
    statements_.remove_now(reference.name);
    statements_.remove_now("");
    worker_.to_frontend.generate([](std::string& out) {
        protocol::append_command_complete(out, "DEALLOCATE");
        protocol::append_ready_for_query(out, protocol::TransactionStatus::idle);
    });
    return true;
}

}  // namespace schemux::core
