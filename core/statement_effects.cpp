#include "core/statement_effects.h"

#include "core/call_scanner.h"
#include "core/name_references.h"
#include "core/setting_words.h"
#include "core/statement_cursor.h"

namespace schemux::core {

namespace {

// What to do when a statement's first words have been read.
enum class Next : std::uint8_t {
    done,       ///< skip what is left of it
    statement,  ///< another statement begins inside: EXPLAIN, CREATE TABLE AS …
};

// Objects whose definition runs nothing and is no session's own; EXTENSION runs a script.
bool is_plain_object(std::uint64_t key) {
    switch (key) {
        case word_key("access"):
        case word_key("aggregate"):
        case word_key("cast"):
        case word_key("collation"):
        case word_key("conversion"):
        case word_key("database"):
        case word_key("default"):
        case word_key("domain"):
        case word_key("event"):
        case word_key("foreign"):
        case word_key("function"):
        case word_key("group"):
        case word_key("index"):
        case word_key("language"):
        case word_key("large"):
        case word_key("materialized"):
        case word_key("operator"):
        case word_key("policy"):
        case word_key("procedural"):
        case word_key("procedure"):
        case word_key("publication"):
        case word_key("role"):
        case word_key("routine"):
        case word_key("rule"):
        case word_key("schema"):
        case word_key("sequence"):
        case word_key("server"):
        case word_key("statistics"):
        case word_key("subscription"):
        case word_key("system"):
        case word_key("tablespace"):
        case word_key("text"):
        case word_key("transform"):
        case word_key("trigger"):
        case word_key("type"):
        case word_key("user"):
        case word_key("view"):
            return true;
        default:
            return false;
    }
}

class Classifier {
  public:
    /// `names`, `settings`: where to note names of prepared statements and of settings, or null.
    Classifier(std::string_view text, bool standard_conforming_strings, NameReferences* names,
               SettingReferences* settings)
        : cursor_(text, standard_conforming_strings, effects_),
          names_(names),
          settings_(settings) {}

    StatementEffects run();

  private:
    Next statement();
    Next simple_statement();
    Next explain();
    Next create();
    Next create_table(bool temporary);
    Next alter();
    Next plain_object();
    Next prepare();
    Next declare();
    void routine();
    void atomic_body();
    void end_transaction();
    void scan(CallScanner::Mode mode) { CallScanner(cursor_, effects_, mode, settings_).run(); }
    Next query();
    Next skip_to_as();
    Next deallocate();
    Next discard();
    void refer(NameUse use);
    void refer(NameUse use, const protocol::Token& token);
    void end_prepare();
    Next add(Effect effect) {
        effects_.add(effect);
        return Next::done;
    }

    StatementEffects effects_;
    StatementCursor cursor_;
    NameReferences* names_;
    std::size_t ended_names_ = 0;  // of those found: their statements have ended
    SettingReferences* settings_;
};

StatementEffects Classifier::run() {
    std::size_t statements = 0;
    while (!cursor_.at_text_end()) {
        cursor_.begin_statement();
        if (cursor_.is(';')) {
            cursor_.advance();
            continue;
        }
        ++statements;
        while (statement() == Next::statement) {
        }
        cursor_.skip_to_end();
        end_prepare();
    }
    effects_.single_statement = statements == 1;
    return effects_;
}

Next Classifier::query() {
    scan(CallScanner::Mode::query);
    return Next::done;
}

Next Classifier::statement() {
    if (cursor_.is('(')) return query();
    switch (cursor_.key()) {
        case word_key("select"):
        case word_key("insert"):
        case word_key("update"):
        case word_key("delete"):
        case word_key("with"):
        case word_key("values"):
        case word_key("table"):
        case word_key("merge"):
            return query();
        case word_key("begin"):
        case word_key("start"):
            effects_.begins_transaction = true;
            return Next::done;
        case word_key("commit"):
        case word_key("end"):
        case word_key("rollback"):
        case word_key("abort"):
            end_transaction();
            return Next::done;
        case word_key("set"):
            SettingWords(cursor_, effects_, settings_).set();
            return Next::done;
        case word_key("reset"):
            SettingWords(cursor_, effects_, settings_).reset();
            return Next::done;
        case word_key("explain"):
            return explain();
        case word_key("create"):
            return create();
        case word_key("alter"):
            return alter();
        case word_key("prepare"):
            return prepare();
        case word_key("declare"):
            return declare();
        case word_key("copy"):
            effects_.copy = true;
            scan(CallScanner::Mode::copy);
            return Next::done;
        case word_key("execute"):
            effects_.add(Effect::prepare);
            cursor_.advance();
            refer(NameUse::execute);
            while (!cursor_.at_end() && !cursor_.is('('))
                cursor_.advance();
            return query();
        default:
            return simple_statement();
    }
}

// Those whose first word says enough.
Next Classifier::simple_statement() {
    switch (cursor_.key()) {
        case word_key("show"):
        case word_key("fetch"):
        case word_key("move"):
        case word_key("grant"):
        case word_key("revoke"):
        case word_key("comment"):
        case word_key("security"):
        case word_key("vacuum"):
        case word_key("analyze"):
        case word_key("analyse"):
        case word_key("truncate"):
        case word_key("cluster"):
        case word_key("reindex"):
        case word_key("refresh"):
        case word_key("lock"):
        case word_key("checkpoint"):
        case word_key("reassign"):
        case word_key("import"):
            return Next::done;
        case word_key("drop"):
            effects_.drops = true;
            cursor_.advance();
            if (cursor_.key() == word_key("database")) effects_.databases = true;
            return Next::done;
        case word_key("notify"):
            effects_.notifies = true;
            return Next::done;
        case word_key("savepoint"):
        case word_key("release"):
            effects_.savepoint = true;
            return Next::done;
        case word_key("close"):
            cursor_.advance();
            effects_.drops = true;
            return cursor_.key() == word_key("all") ? add(Effect::opaque) : Next::done;
        case word_key("deallocate"):
            return deallocate();
        case word_key("discard"):
            return discard();
        case word_key("listen"):
            return add(Effect::listen);
        case word_key("unlisten"):
            return add(Effect::release);
        case word_key("load"):
            return add(Effect::load);
        default:  // DO, CALL, and whatever a later version brings
            return add(Effect::opaque);
    }
}

// COMMIT or the like; AND CHAIN begins the next transaction, AND NO CHAIN does not.
void Classifier::end_transaction() {
    std::uint64_t before = 0;
    bool to_savepoint = false;
    bool prepared = false;
    while (!cursor_.at_end()) {
        const std::uint64_t key = cursor_.key();
        if (key == word_key("to")) to_savepoint = true;
        if (key == word_key("prepared")) prepared = true;
        if (key == word_key("chain") && before == word_key("and"))
            effects_.begins_transaction = true;
        before = key;
        cursor_.advance();
    }
    if (to_savepoint) {
        effects_.savepoint = true;
    } else if (!prepared) {
        effects_.ends_transaction = true;
    }
}

Next Classifier::explain() {
    cursor_.advance();
    if (cursor_.is('(')) {
        do {
            cursor_.advance();
        } while (!cursor_.at_text_end() && cursor_.depth() > 0);
        cursor_.advance();
        return Next::statement;
    }
    while (cursor_.key() == word_key("analyze") || cursor_.key() == word_key("analyse") ||
           cursor_.key() == word_key("verbose"))
        cursor_.advance();
    return Next::statement;
}

Next Classifier::skip_to_as() {
    while (!cursor_.at_end()) {
        const bool found = cursor_.depth() == 0 && cursor_.key() == word_key("as");
        cursor_.advance();
        if (found) return Next::statement;
    }
    return Next::done;
}

Next Classifier::prepare() {
    cursor_.advance();
    const protocol::Token name = cursor_.token();
    const bool may_be_two_phase = cursor_.word_is("transaction");
    cursor_.advance();
    // PREPARE TRANSACTION 'id', and not a statement of that name.
    if (may_be_two_phase && cursor_.key() != word_key("as") && !cursor_.is('(')) {
        effects_.ends_transaction = true;
        return Next::done;
    }
    effects_.add(Effect::prepare);
    refer(NameUse::prepare, name);
    return skip_to_as();
}

Next Classifier::deallocate() {
    cursor_.advance();
    protocol::Token name = cursor_.token();
    if (cursor_.word_is("prepare")) {
        cursor_.advance();
        if (!cursor_.at_end()) name = cursor_.token();
    }
    if (cursor_.word_is("all")) {
        refer(NameUse::deallocate_all);
    } else {
        refer(NameUse::deallocate, name);
    }
    return add(Effect::prepare);
}

Next Classifier::discard() {
    cursor_.advance();
    if (cursor_.word_is("all")) {
        refer(NameUse::deallocate_all);
        if (settings_ != nullptr) settings_->resets_all = settings_->resets_who = true;
    }
    return add(Effect::opaque);
}

void Classifier::refer(NameUse use) {
    refer(use, cursor_.token());
}

void Classifier::refer(NameUse use, const protocol::Token& token) {
    using protocol::TokenKind;
    effects_.names_statements = true;
    if (names_ == nullptr) return;
    if (names_->found.size() == name_references_max) {
        names_->complete = false;
        return;
    }
    NameReference reference{use, {}, token.begin, token.length, 0};
    if (use != NameUse::deallocate_all) {
        const std::string_view inside = cursor_.name_of(token);
        const bool quoted = token.kind == TokenKind::quoted_identifier;
        if (token.kind == TokenKind::unicode_identifier) names_->complete = false;
        if (token.kind != TokenKind::identifier && !quoted) return;
        for (std::size_t at = 0; at < inside.size(); ++at) {
            const char c = inside[at];
            reference.name.push_back(!quoted && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20)
                                                                     : c);
            if (quoted && c == '"') ++at;  // doubled
        }
        if (reference.name.empty()) return;  // no name in SQL: PostgreSQL says so
        if (reference.name.size() > sql_name_bytes_max) names_->complete = false;
    }
    names_->found.push_back(std::move(reference));
}

/// A statement ends here: how far a PREPARE in it went, or several, one in the other.
void Classifier::end_prepare() {
    if (names_ == nullptr) return;
    for (; ended_names_ < names_->found.size(); ++ended_names_) {
        NameReference& name = names_->found[ended_names_];
        if (name.use == NameUse::prepare) name.end = cursor_.token().begin;
    }
}

Next Classifier::declare() {
    std::uint64_t before = 0;
    while (!cursor_.at_end()) {
        const std::uint64_t key = cursor_.key();
        if (key == word_key("hold") && before == word_key("with"))
            effects_.add(Effect::hold_cursor);
        cursor_.advance();
        if (key == word_key("for")) return Next::statement;
        before = key;
    }
    return Next::done;
}

Next Classifier::create() {
    cursor_.advance();
    bool temporary = false;
    while (true) {
        switch (cursor_.key()) {
            case word_key("temp"):
            case word_key("temporary"):
                temporary = true;
                [[fallthrough]];
            case word_key("or"):
            case word_key("replace"):
            case word_key("global"):
            case word_key("local"):
            case word_key("unlogged"):
            case word_key("unique"):
            case word_key("recursive"):
            case word_key("constraint"):
            case word_key("trusted"):
            case word_key("procedural"):
            case word_key("default"):
                cursor_.advance();
                continue;
            case word_key("table"):
                return create_table(temporary);
            case word_key("materialized"):
                return skip_to_as();
            case word_key("function"):
            case word_key("procedure"):
                routine();
                return Next::done;
            default:
                break;
        }
        break;
    }
    if (temporary) effects_.add(Effect::temporary);
    return plain_object();
}

Next Classifier::plain_object() {
    if (cursor_.key() == word_key("database")) effects_.databases = true;
    return is_plain_object(cursor_.key()) ? Next::done : add(Effect::opaque);
}

// Defaults and checks are not run here, but a query behind AS is, and so are partition bounds.
Next Classifier::create_table(bool temporary) {
    std::uint64_t before = 0;
    bool transient = false;
    Next next = Next::done;
    while (!cursor_.at_end() && next == Next::done) {
        const std::uint64_t key = cursor_.depth() == 0 ? cursor_.key() : 0;
        // ON COMMIT DROP
        if (key == word_key("drop") && before == word_key("commit")) transient = true;
        if (key == word_key("as")) next = Next::statement;
        if (key == word_key("for")) {
            scan(CallScanner::Mode::definition);
            break;
        }
        before = key;
        cursor_.advance();
    }
    if (temporary) effects_.add(transient ? Effect::perhaps : Effect::temporary);
    return next;
}

// A routine's body is data, but the semicolons of BEGIN ATOMIC … END do not end the statement.
void Classifier::routine() {
    while (!cursor_.at_end()) {
        const bool begin = cursor_.key() == word_key("begin");
        cursor_.advance();
        if (begin && cursor_.key() == word_key("atomic")) {
            atomic_body();
            return;
        }
    }
}

void Classifier::atomic_body() {
    std::size_t open = 1;
    while (!cursor_.at_text_end() && open > 0) {
        cursor_.advance();
        if (cursor_.key() == word_key("case")) ++open;
        if (cursor_.key() == word_key("end")) --open;
    }
    cursor_.advance();
}

Next Classifier::alter() {
    cursor_.advance();
    if (cursor_.key() == word_key("table") || cursor_.key() == word_key("domain")) {
        scan(CallScanner::Mode::definition);
        return Next::done;
    }
    return plain_object();
}

}  // namespace

StatementEffects classify_effects(std::string_view text, bool standard_conforming_strings) {
    return Classifier(text, standard_conforming_strings, nullptr, nullptr).run();
}

NameReferences find_names(std::string_view text, bool standard_conforming_strings) {
    NameReferences names;
    Classifier(text, standard_conforming_strings, &names, nullptr).run();
    return names;
}

SettingReferences find_settings(std::string_view text, bool standard_conforming_strings) {
    SettingReferences settings;
    Classifier(text, standard_conforming_strings, nullptr, &settings).run();
    return settings;
}

}  // namespace schemux::core
