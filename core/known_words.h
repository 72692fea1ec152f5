// Words of PostgreSQL that the statement classifier knows: its keywords, and the functions of
// pg_catalog that leave nothing behind in a session. All lookups want lower case, take one hash and
// allocate nothing.
// It must not know what a statement is.
#pragma once

#include <string_view>

namespace schemux::core {

/// A function of pg_catalog that keeps no state in the session and runs no SQL text: PostgreSQL
/// 15's catalog without session locks, sequences, settings, seeds, large objects, replication,
/// functions that run queries, and without what only operators, indexes and types call.
bool is_harmless_function(std::string_view lower_name);

/// A keyword that is no function call when a parenthesis follows: reserved ones, and those that
/// cannot be function names.
bool is_construct_keyword(std::string_view lower_word);

/// Any keyword of PostgreSQL 15 to 18.
bool is_keyword(std::string_view lower_word);

}  // namespace schemux::core
