// The relay's part that follows SQL's own words for prepared statements: PREPARE, EXECUTE,
// DEALLOCATE. Each client has its names for itself, so a text that speaks of them is spelled with
// the backends' names, and what it speaks of is brought to the backend first. PostgreSQL does the
// rest, errors included. Statements of the protocol: relay_statements.cpp.

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/sql_lexer.h"
#include "protocol/sqlstate.h"
#include "protocol/wire_reader.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include <algorithm>
#include <utility>

namespace schemux::core {

namespace {

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
    if (settings_open()) return false;
    NameReferences names = find_names(statement.text, standard_strings_);
    if (!names.complete) return true;
    statement.unspelled = statement.text;
    for (NameReference& reference : names.found)
        statement.names.push_back({std::move(reference), unnamed_statement});
    statement.effects.remove(Effect::prepare);
    return true;
}

/// What each name in a text stands for when PostgreSQL comes to it.
Relay::Lookup Relay::look_up_names(const Statement& statement, NameTargets& targets) {
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
        if (reference.use == NameUse::prepare) {
            if (statements_.full()) return Lookup::no_more;
            targets.prepares = true;
        }
        const auto [known, is_new] = here.try_emplace(reference.name);
        Here& name = known->second;
        if (is_new && !all_gone) {
            const ClientStatements::Found found = statements_.find(reference.name);
            if (is_open(found)) return Lookup::open;
            if (found.statement) {
                const StatementRef target = of_its_own(identified_now(found.statement), targets);
                name = {target->id, target->origin == Origin::sql_prepare};
                targets.present.push_back(target);
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

/// Two names of the client's may stand for one copy on the backend. A text that speaks of both may
/// take it away by one and go on with the other: there they part.
StatementRef Relay::of_its_own(const StatementRef& statement, const NameTargets& targets) {
    const auto same = [&](const StatementRef& other) { return other->id == statement->id; };
    if (std::none_of(targets.present.begin(), targets.present.end(), same)) return statement;
    const StatementRef fresh = copy_of(*statement);
    identify_alone(*fresh);
    statements_.replace(statement, fresh);
    return fresh;
}

StatementRef Relay::copy_of(const Statement& statement) {
    const StatementRef fresh = worker_.statements.make();
    fresh->name = statement.name;
    fresh->text = statement.text;
    fresh->types = statement.types;
    fresh->origin = statement.origin;
    fresh->version = ++worker_.last_version;
    fresh->positions = statement.positions;
    fresh->effects = statement.effects;
    fresh->shape = statement.shape;
    fresh->read_under = statement.read_under;
    fresh->fingerprint = statement.fingerprint;
    fresh->client_text = statement.client_text;
    fresh->unspelled = statement.unspelled;
    fresh->names = statement.names;
    fresh->spelled_positions = statement.spelled_positions;
    return fresh;
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
Relay::Copy Relay::ready_targets(const Statement& text, const NameTargets& targets) {
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
        note_target_effects(*target, text.unspelled);
        const Copy copy = ensure_on_backend(target, mark);
        if (copy == Copy::differs) return copy;
        if (copy == Copy::asked) all = copy;
    }
    if (targets.prepares) make_room_on_backend(text, mark);
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
        case Lookup::no_more:
            return Copy::no_more;
    }
    const Copy copy = ready_targets(*statement, targets);
    if (copy != Copy::ready) return copy;
    bool same = true;
    for (std::size_t index = 0; index < targets.ids.size(); ++index)
        same = same && statement->names[index].id == targets.ids[index];
    if (same) return Copy::ready;
    // One of its names means another statement than when the text was prepared.
    const StatementRef fresh = copy_of(*statement);
    fresh->shape.clear();
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
        case Lookup::no_more:
            return Copy::no_more;
    }
    ExpectedReplies& replies = backend_->replies;
    const std::uint64_t before = replies.last_number();
    const bool alone = !batch_open_ && !replies.batch_pending();
    Copy copy = ready_targets(statement, targets);
    if (copy == Copy::differs) return copy;
    if (alone && replies.last_number() == before) batch_open_ = false;
    for (const StatementRef& target : targets.present) {
        if (backend_->statements.find(target->id).request > before) copy = Copy::asked;
    }
    if (copy == Copy::asked && replies.last_number() > before) end_own_batch(before + 1, alone);
    if (copy == Copy::asked || replies.pending(own_batch_.last)) return Copy::asked;
    spell(statement, targets);
    return copy;
}

/// What was sent ahead of a Query is asked for. With a Sync where that ends nothing of the
/// client's: PostgreSQL 18 loses what a Query does behind an Execute without one.
void Relay::end_own_batch(std::uint64_t first, bool alone) {
    own_batch_ = {first, backend_->replies.last_number()};
    if (!alone) return send_flush();
    backend_->replies.push(Request::sync, Answer::discard);
    own_batch_.last = backend_->replies.last_number();
    send_sync();
}

/// An error in the batch ahead of a Query is the answer to that, and what it would have ended ends.
void Relay::answer_query_unsent() {
    own_batch_ = {};
    query_answered_ = true;
    ExpectedReplies& replies = backend_->replies;
    if (!replies.empty()) {
        replies.front().answer = Answer::forward;
        return;
    }
    replies.push(Request::sync, Answer::forward);
    send_sync();
}

/// A Query with its answer is dealt with, though it may have to wait to be dropped.
std::size_t Relay::held_bytes() const {
    if (!query_answered_ || held_.size() < protocol::header_bytes) return held_.size();
    const std::size_t whole = std::size_t{protocol::read_u32(held_.data() + 1)} + 1;
    return held_.size() - std::min(held_.size(), whole);
}

void Relay::send_sync() {
    batch_open_ = batch_executes_ = false;
    worker_.to_backend.generate([](std::string& out) {
        protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::sync));
    });
}

void Relay::send_flush() {
    worker_.to_backend.generate([](std::string& out) {
        protocol::append_empty(out, static_cast<char>(protocol::FrontendMessage::flush));
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
                backend_->statements.add(request, when, spelled.id, prepared->version,
                                         prepared->server_bytes());
                break;
            }
            case NameUse::execute: {
                const StatementRef target = statements_.find(spelled.reference.name).statement;
                if (target && target->id == spelled.id)
                    note_target_effects(*target, statement->unspelled);
                break;
            }
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

/// EXECUTE does what its statement does. Noted when a text that speaks of it is sent, and once more
/// when the text runs: the name may be closed in between, with the copy still there, or mean
/// another statement. What an EXECUTE within that does is not followed.
void Relay::note_target_effects(const Statement& target, std::string_view execute) {
    StatementEffects effects = target.effects;
    if (!target.names.empty()) effects.add(Effect::prepare);
    note_effects(effects, target.text, execute);
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
    // It was read with the text: what that changes of how texts are read comes behind it.
    prepared->effects = classify_effects(prepared->text, standard_strings_);
    if (prepared->effects.literal) prepared->read_under = literal_settings_;
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

/// PostgreSQL looks a name up when the portal runs: what has been closed since the Bind must not be
/// found on the backend either, though others may share it. False if that is open.
bool Relay::take_away_closed(const Statement& statement) {
    for (const SpelledName& spelled : statement.names) {
        const NameUse use = spelled.reference.use;
        if (use != NameUse::execute && use != NameUse::deallocate) continue;
        const ClientStatements::Found named = statements_.find(spelled.reference.name);
        if (is_open(named)) return false;
        if (named.statement && named.statement->id == spelled.id) continue;
        const BackendStatements::Found copy = backend_->statements.find(spelled.id);
        if (is_open(copy)) return false;
        if (copy.there) close_on_backend(spelled.id);
    }
    return true;
}

/// A Query that is nothing but the DEALLOCATE of a statement that there is needs no backend, when
/// the client has none: the copies stay where they are, as with Close.
bool Relay::answer_deallocate(std::string_view text) {
    // To the letter: a statement's words are told apart by their first eight bytes.
    constexpr std::string_view command = "deallocate";
    const std::size_t first = std::min(text.find_first_not_of(" \t\r\n"), text.size());
    const std::string_view word = text.substr(first, command.size());
    const bool is_command =
        std::equal(word.begin(), word.end(), command.begin(), command.end(),
                   [](char byte, char letter) { return (byte | 0x20) == letter; });
    const bool may_be = is_command && text.size() <= limits::lone_deallocate_max &&
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
