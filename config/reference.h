// Texts made from the option table: the reference of all keys and the default file.
// It must not hold a word about a single key; those are in the table.
#pragma once

#include <string>

namespace schemux::config {

/// Markdown: one table of the active keys, one of the reserved ones.
std::string option_reference_markdown();

/// A file with every active key at its default and a comment each; required keys have an example
/// value, keys without a default are commented out. It loads as it is.
std::string default_config_yaml();

}  // namespace schemux::config
