// The text of status_page.html, which the build puts into a source of its own (embed_page.cmake).
// It must not know how it is sent.
#pragma once

#include <string_view>

namespace schemux::daemon {

extern const std::string_view status_page_text;

}  // namespace schemux::daemon
