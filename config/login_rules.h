// Whether a login rule makes sense, wherever it was written.
// It must not know where that was.
#pragma once

#include "config/settings.h"
#include "config/validate.h"

#include <string>
#include <vector>

namespace schemux::config {

struct RuleProblem {
    std::string key;  ///< of the rule
    std::string message;
};

std::vector<RuleProblem> check_login_rule(const LoginRule& rule, const Settings& settings);

/// auth.rules, auth.maps and auth.query, with their paths.
std::vector<Problem> check_login_rules(const Settings& settings);

/// Some client may be asked for a password, by `auth.method` or by a rule.
bool asks_for_passwords(const Auth& auth);
/// An md5 hash could prove who a client is.
bool takes_md5_hashes(const Auth& auth);

}  // namespace schemux::config
