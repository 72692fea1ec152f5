// What a client may be told next, seen from the client's chair: which message may answer which, in
// which order. The second opinion on core/answer_grammar.h, with which it shares nothing.
#pragma once

#include <string_view>

namespace schemux::fuzz {

/// `told` is what a client got that sent `asked` at once, and it begins with the welcome. Demands
/// that every message answers a request whose turn it is, whatever the server was.
void demand_in_turn(std::string_view asked, std::string_view told);

}  // namespace schemux::fuzz
