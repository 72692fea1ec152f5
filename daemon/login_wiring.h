// From what the configuration says of logins to what core understands of them.
#pragma once

#include "config/settings.h"
#include "core/login_rules.h"
#include "daemon/user_lookup.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace schemux::daemon {

core::ClientAuthentication client_authentication(config::AuthMethod method);
/// What is no range was refused before.
std::vector<core::AddressRange> make_ranges(const std::vector<std::string>& texts);
/// Null: there are none.
std::shared_ptr<const core::LoginRuleList> make_login_rules(const config::Auth& auth);

/// For questions of our own to the backend's server. `name`: application_name.
ControlOptions make_control_options(const config::Backend& backend, std::string name);
/// Null: there is no auth.query.
std::shared_ptr<UserLookup> make_user_lookup(const config::Settings& settings);

}  // namespace schemux::daemon
