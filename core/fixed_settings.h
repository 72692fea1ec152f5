// Settings of a service that its clients may not say otherwise: which texts would. What a text does
// not show (a function, dynamic SQL) is not seen. It must not know messages or backends.
#pragma once

#include "core/service.h"
#include "core/statement_effects.h"
#include "protocol/error_response.h"

#include <optional>
#include <string_view>

namespace schemux::core {

/// Why the text must not run (42501, as PostgreSQL says it of settings that are not a user's to
/// change); or nothing. `effects`: those of the text.
std::optional<protocol::ErrorFields> forbid_fixed_settings(const Service& service,
                                                           std::string_view text,
                                                           const StatementEffects& effects,
                                                           bool standard_conforming_strings);

}  // namespace schemux::core
