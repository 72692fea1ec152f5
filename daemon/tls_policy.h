// What a listener does about TLS.
#pragma once

#include "core/frontend_login.h"
#include "daemon/tls_context.h"

#include <memory>

namespace schemux::daemon {

struct TlsPolicy {
    core::ClientTls use = core::ClientTls::off;
    bool certificate_is_user = false;
    std::shared_ptr<const TlsContext> context{};  ///< null: off
};

}  // namespace schemux::daemon
