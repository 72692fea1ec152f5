// The handful of SQL that FakePostgres understands: statements, words, the errors it has in common
// with PostgreSQL. It must not know the protocol.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::fake {

struct Failure {
    std::string sqlstate;
    std::string message;
    std::uint32_t position = 0;
    std::string detail{};
    std::string hint{};
};
using Failed = std::optional<Failure>;
using Words = std::vector<std::string>;

/// Every token that is neither space nor comment; unquoted identifiers in lower case.
Words words_of(std::string_view text);
/// The statements of a text that are not empty, without what stands around them.
std::vector<std::string> statements_of(std::string_view text);
bool has_word(const Words& words, std::string_view word);
/// A quoted identifier or a plain literal without its quotes, anything else as it is.
std::string unquoted(std::string_view word);

/// PREPARE, EXECUTE or DEALLOCATE.
bool names_statement(const Words& words);
/// The statement in a PREPARE; nothing if it has none.
std::optional<std::string> prepared_text(std::string_view text);

/// What a failed transaction still takes.
bool ends_transaction(const Words& words);
bool returns_rows(const Words& words);
/// The query of schemux's own about what a session has that cannot travel.
bool asks_for_features(std::string_view text);
/// The name and the value of every set_config(…, false).
std::vector<std::pair<std::string, std::string>> set_configs(const Words& words);
/// The literals of every list (VALUES …) l.
std::vector<std::string> listed_values(const Words& words);

/// 1-based, in characters of UTF-8; 0 when the text has no such word.
std::uint32_t position_of(std::string_view text, std::string_view word);
/// A token that no grammar takes, or one that does not end.
bool is_broken(std::string_view text);

Failure broken_layout();
Failure missing_statement(std::string_view name);
Failure missing_portal(std::string_view name);
Failure aborted_transaction();

}  // namespace schemux::fake
