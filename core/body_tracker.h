// Follows the first words of each statement in a text, to tell whether a dollar quote is a body
// that PostgreSQL will run: of CREATE [OR REPLACE] FUNCTION/PROCEDURE … AS, or of DO.
// It must not know about templates.
#pragma once

#include "protocol/sql_lexer.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace schemux::core {

class BodyTracker {
  public:
    /// Takes the next token that is neither whitespace nor comment; `text` is its own text.
    void see(const protocol::Token& token, std::string_view text);

    /// Whether a dollar quote here is a body in SQL or PL/pgSQL. Bodies in other languages are not
    /// SQL: what looks like a template may be theirs. Looks ahead once a statement, to its end.
    bool expects_sql_body(std::string_view whole_text, bool standard_conforming_strings);

  private:
    enum class Kind : std::uint8_t {
        start,
        create,
        create_or,
        create_or_replace,
        routine,
        block,
        other,
    };

    static Kind routine_or_other(std::string_view word);

    Kind kind_ = Kind::start;
    bool behind_as_ = false;
    std::size_t begin_ = 0;
    std::optional<bool> sql_language_;
};

}  // namespace schemux::core
