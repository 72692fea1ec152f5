// `SHOW schemux.service` and its like: what a client may ask of schemux in a session with
// PostgreSQL. Becomes a SELECT of one row and column with the same name, so that everything that
// PostgreSQL does with a SHOW (both protocols, an aborted transaction) stays PostgreSQL's work.
// It must not know messages.
#pragma once

#include "core/service.h"

#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

/// The part behind `schemux.` when the text is that one statement and nothing else, in lower case.
/// `standard_conforming_strings` does not matter: there are no literals in it.
std::optional<std::string> own_setting_of(std::string_view text);

/// Appends the SELECT. False: there is no such setting, which PostgreSQL says better.
bool append_own_setting(std::string& sql, std::string_view name, const Service& service,
                        std::string_view version);

}  // namespace schemux::core
