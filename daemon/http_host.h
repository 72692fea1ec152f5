// By which names of itself a page for people answers. A browser that was sent here by a foreign
// page, whose name was made to mean this address (DNS rebinding), still calls us by that name; so
// only addresses, localhost and names that are configured will do.
// It must not know the server or its pages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {

/// `host`: as the request's header Host says; none comes from no browser, and will do.
bool is_own_host(std::string_view host, const std::vector<std::string>& names);

}  // namespace schemux::daemon
