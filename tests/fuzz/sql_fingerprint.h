// What must hold of the fingerprint of any text. It must not know how one is made.
#pragma once

#include <string_view>

namespace schemux::fuzz {

/// No constant has a part in it, it is bounded, and its own fingerprint is itself.
void check_fingerprint(std::string_view text, bool conforming);

}  // namespace schemux::fuzz
