// What a Query's text may leave behind in the backend that runs it: decides whether the backend
// may be handed to another client without a reset. One pass with the lexer, no allocation.
// Conservative: what is not known is `opaque`. It sees text only: triggers, views, casts,
// operators, user functions that overload a name of pg_catalog or are called as `row.name` (which
// reads like a column) are beyond it. It must not know sessions or backends. Give it the text that
// the server gets (templates expanded), and treat text under encodings that are not ASCII-safe as
// opaque.
#pragma once

#include <cstdint>
#include <string_view>

namespace schemux::core {

enum class Effect : std::uint16_t {
    settings = 1U << 0,       ///< SET, RESET, set_config beyond the transaction
    role = 1U << 1,           ///< SET ROLE, SET SESSION AUTHORIZATION
    prepare = 1U << 2,        ///< SQL PREPARE, EXECUTE, DEALLOCATE
    temporary = 1U << 3,      ///< a temporary object, or any mention of pg_temp
    hold_cursor = 1U << 4,    ///< DECLARE … WITH HOLD
    listen = 1U << 5,         ///< LISTEN
    advisory_lock = 1U << 6,  ///< session-level ones
    sequence = 1U << 7,       ///< may change or read currval()/lastval()
    load = 1U << 8,           ///< LOAD
    opaque = 1U << 9,         ///< not known to be harmless
    seed = 1U << 10,          ///< setseed
    release = 1U << 11,       ///< UNLISTEN, pg_advisory_unlock: only ends, or tells, what was there
    perhaps = 1U << 12,       ///< one of these, perhaps, or only for the transaction
};

struct StatementEffects {
    std::uint16_t bits = 0;

    // No reasons for a reset, but the caller needs them.
    bool begins_transaction = false;  ///< BEGIN, START TRANSACTION, … AND CHAIN
    bool ends_transaction = false;    ///< COMMIT, ROLLBACK, PREPARE TRANSACTION …
    bool savepoint = false;           ///< SAVEPOINT, RELEASE, ROLLBACK TO
    bool frozen_literal = false;      ///< a literal that may be 'now', 'today' …: fixed at Parse
    bool literal = false;             ///< a literal in quotes: read by settings, at Parse
    bool sets_locally = false;        ///< changes settings until the transaction ends
    bool changes_meaning = false;     ///< sets what later texts may be analysed by
    bool changes_reading = false;     ///< sets what later texts are read by, here too
    bool drops = false;               ///< DROP, CLOSE: may end what pins a client
    bool copy = false;                ///< COPY
    bool databases = false;           ///< CREATE, ALTER, DROP DATABASE: not while one is in use
    bool notifies = false;            ///< NOTIFY, pg_notify
    bool single_statement = false;    ///< exactly one that is not empty
    bool names_statements = false;    ///< find_names will find something (name_references.h)

    bool none() const { return bits == 0; }
    bool has(Effect effect) const { return (bits & static_cast<std::uint16_t>(effect)) != 0; }
    void add(Effect effect) { bits = static_cast<std::uint16_t>(bits | bit(effect)); }
    void remove(Effect effect) { bits = static_cast<std::uint16_t>(bits & ~bit(effect)); }
    friend bool operator==(const StatementEffects&, const StatementEffects&) = default;

  private:
    static std::uint16_t bit(Effect effect) { return static_cast<std::uint16_t>(effect); }
};

/// `text` may hold several statements. PREPARE has the effects of the statement in it, and EXECUTE
/// only `prepare`: the caller joins what the named statement's PREPARE had.
StatementEffects classify_effects(std::string_view text, bool standard_conforming_strings);

}  // namespace schemux::core
