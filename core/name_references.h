// Where a text of SQL speaks of prepared statements by name: PREPARE, EXECUTE (also behind EXPLAIN
// and CREATE TABLE … AS), DEALLOCATE, and DISCARD ALL, which takes all names away.
// It must not know which statements there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

enum class NameUse : std::uint8_t {
    prepare,
    execute,
    deallocate,
    deallocate_all,  ///< and DISCARD ALL: it has no name
};

struct NameReference {
    NameUse use = NameUse::execute;
    std::string name;        ///< as PostgreSQL reads it: folded, or without its quotes
    std::size_t begin = 0;   ///< where it stands, in bytes
    std::size_t length = 0;  ///< and how long it is there
    std::size_t end = 0;     ///< with `prepare`: the end of the statement
};

struct NameReferences {
    std::vector<NameReference> found;
    /// False when a name is written in a way that cannot be read here (U&"…", too long), or there
    /// are too many.
    bool complete = true;
};

/// A name that PostgreSQL would cut off (NAMEDATALEN) is left to it.
inline constexpr std::size_t sql_name_bytes_max = 63;

/// Names in one text, whichever; of more than these none is followed.
inline constexpr std::size_t name_references_max = 16'384;

/// In the order of the text. Worth a call when StatementEffects::names_statements is set.
NameReferences find_names(std::string_view text, bool standard_conforming_strings);

}  // namespace schemux::core
