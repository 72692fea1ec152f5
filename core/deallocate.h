// Recognises `DEALLOCATE name`, which drivers send for statements that they made with Parse: only
// we know those by their names. It must not know statements or sessions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

/// The name in a text that is nothing but DEALLOCATE [PREPARE] name, as PostgreSQL would read it
/// (folded, unless quoted); nullopt for everything else, DEALLOCATE ALL included.
std::optional<std::string> deallocated_name(std::string_view text,
                                            bool standard_conforming_strings);

}  // namespace schemux::core
