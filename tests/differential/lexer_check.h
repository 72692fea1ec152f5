// The lexer against PostgreSQL's scanner on one text.
// It must not know how the texts are made.
#pragma once

#include <string>
#include <string_view>

namespace schemux::differential {

/// Empty when they agree, else what does not.
std::string check_lexer(std::string_view text, bool standard_conforming_strings);

}  // namespace schemux::differential
