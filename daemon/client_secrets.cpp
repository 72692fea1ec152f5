#include "daemon/client_secrets.h"

#include <utility>

namespace schemux::daemon {

void ClientSecrets::learn(const std::string& role, core::FrontendLogin::Proved proved) {
    const std::lock_guard lock(mutex_);
    Entry& entry = roles_[role];
    by_age_.erase(entry.learned);
    entry.learned = ++counter_;
    by_age_.emplace(entry.learned, role);
    ClientSecret& secret = entry.secret;
    const bool other_password = !proved.password.empty() && !(proved.password == secret.password);
    const bool other_keys = proved.keys && !(secret.keys && *secret.keys == *proved.keys);
    if (other_password) secret.password = std::move(proved.password);
    if (other_keys)
        secret.keys = std::make_shared<const protocol::ScramSecret>(std::move(*proved.keys));
    if (other_password || other_keys || secret.version == 0) secret.version = counter_;
    if (roles_.size() <= roles_max) return;
    roles_.erase(by_age_.begin()->second);
    by_age_.erase(by_age_.begin());
}

std::optional<ClientSecret> ClientSecrets::find(const std::string& role) const {
    const std::lock_guard lock(mutex_);
    const auto found = roles_.find(role);
    if (found == roles_.end()) return {};
    return found->second.secret;
}

void ClientSecrets::refuse(const core::BackendIdentity& who, protocol::ErrorFields error,
                           Time until) {
    const std::lock_guard lock(mutex_);
    const auto role = roles_.find(who.role);
    if (role == roles_.end()) return;
    if (refusals_.size() >= refusals_max) refusals_.clear();
    refusals_.insert_or_assign(who, Refused{std::move(error), until, role->second.secret.version});
}

std::optional<ClientSecrets::Refusal> ClientSecrets::refusal(const core::BackendIdentity& who,
                                                             Time now) const {
    const std::lock_guard lock(mutex_);
    const auto refused = refusals_.find(who);
    if (refused == refusals_.end() || refused->second.until <= now) return {};
    const auto role = roles_.find(who.role);
    const bool same =
        role != roles_.end() && role->second.secret.version == refused->second.version;
    return Refusal{refused->second.error, !same};
}

std::string hint_for(const ClientSecret& secret, const std::string& role) {
    if (!secret.password.empty())
        return "schemux has another password of role \"" + role +
               "\" than PostgreSQL: the service's role is its client's own (role: client).";
    if (secret.keys) return {};
    return "The service's role is its client's own (role: client), and the login of \"" + role +
           "\" proved no password: scram-sha-256 and password do, and auth.users may have it.";
}

}  // namespace schemux::daemon
