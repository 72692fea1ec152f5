// What the manual says about the tokens of SQL (4.1), in the plainest words that can be run: the
// second opinion on the lexer. It shares nothing with it but the names of the kinds.
#pragma once

#include "protocol/sql_lexer.h"

#include <string_view>

namespace schemux::fuzz {

/// Demands that `token` is what has to stand at its place of `text`, and ends where it has to.
void check_by_manual(std::string_view text, const protocol::Token& token, bool conforming);

}  // namespace schemux::fuzz
