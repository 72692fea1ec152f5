// Looks through one statement that PostgreSQL will execute (a query, INSERT, ALTER TABLE …) for
// function calls and for the clauses that leave something behind in a session.
// It must not know which statement it is in, beyond the mode it is told.
#pragma once

#include "core/setting_references.h"
#include "core/statement_cursor.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace schemux::core {

class CallScanner {
  public:
    enum class Mode : std::uint8_t {
        query,       ///< SELECT, INSERT, EXECUTE's arguments …
        definition,  ///< ALTER TABLE and the like: defaults and checks run over existing rows
        copy,        ///< COPY
    };

    /// `settings`: where to note the names of settings, or null.
    CallScanner(StatementCursor& cursor, StatementEffects& effects, Mode mode,
                SettingReferences* settings)
        : cursor_(cursor), effects_(effects), mode_(mode), settings_(settings) {}

    /// Reads from the cursor's token to the end of the statement.
    void run();

  private:
    // What is needed of a token that went by. Written field by field and never copied in the
    // loop: a copy right behind the writes would wait for them, token by token.
    struct Seen {
        std::uint64_t key = 0;
        std::uint32_t begin = 0;
        std::uint32_t length = 0;
        protocol::TokenKind kind = protocol::TokenKind::end;
        char self = '\0';
    };
    // A chain of names a.b.c with an opening parenthesis behind it, and what stands before it.
    struct Call {
        const Seen* name = nullptr;
        const Seen* schema = nullptr;  // the first part of several
        const Seen* before = nullptr;
        std::size_t parts = 1;
    };

    class FoldedName;
    FoldedName folded(const Seen& seen) const;
    void see_name();
    void see_word();
    void see_opening();
    std::optional<Call> call() const;
    void see_call(const Call& call);
    bool add_function(std::string_view lower_name);
    void add_set_config();
    void add_unnamed_setting(bool local);
    void begin_with_list();
    bool is_no_call(const Call& call) const;
    bool is_clause(const Call& call) const;
    bool bit_at(std::uint64_t bits, std::size_t depth) const {
        return depth < depth_max && (bits >> depth & 1U) != 0;
    }

    // Deeper than this, a statement is opaque.
    static constexpr std::size_t depth_max = 64;

    StatementCursor& cursor_;
    StatementEffects& effects_;
    Mode mode_;
    SettingReferences* settings_;
    bool updates_ = false;  ///< the word UPDATE went by
    // The newest token is back(0); tokens before the first one have the kind `end`.
    static constexpr std::size_t seen_max = 8;
    const Seen& back(std::size_t distance) const { return seen_[(at_ - distance) % seen_max]; }
    std::array<Seen, seen_max> seen_{};
    std::size_t at_ = 0;
    // One bit per parenthesis depth.
    std::uint64_t with_list_ = 0;
    std::uint64_t distinct_on_ = 0;
};

}  // namespace schemux::core
