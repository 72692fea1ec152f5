// The status page as it is sent: one text that is built in (status_page.html), and headers that let
// it load nothing from elsewhere and run no script but its own.
// It must not know what the page shows.
#pragma once

#include "daemon/http_server.h"

namespace schemux::daemon {

HttpReply status_page();

}  // namespace schemux::daemon
