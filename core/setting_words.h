// Reads the statements SET and RESET, and notes what they change (PostgreSQL manual, SET, RESET).
// It must not know where in a text they stand.
#pragma once

#include "core/setting_references.h"
#include "core/statement_cursor.h"
#include "core/statement_effects.h"

#include <string>
#include <string_view>

namespace schemux::core {

class SettingWords {
  public:
    /// `references`: where to note the names, or null.
    SettingWords(StatementCursor& cursor, StatementEffects& effects, SettingReferences* references)
        : cursor_(cursor), effects_(effects), references_(references) {}

    /// From the keyword on; stops somewhere before the end of the statement.
    void set();
    void reset();

    /// A change of the setting; `for_good`: not only until the transaction ends.
    static void note_change(std::string_view name, bool for_good, StatementEffects& effects);

  private:
    struct Name {
        std::string text;       ///< in lower case
        bool defaults = false;  ///< the spelling itself asks for the default
        bool unclear = false;   ///< several settings, or one that is not known
    };
    Name name();
    Name special(std::string_view setting, std::size_t words);
    bool to_default();

    StatementCursor& cursor_;
    StatementEffects& effects_;
    SettingReferences* references_;
};

}  // namespace schemux::core
