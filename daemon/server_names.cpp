#include "daemon/server_names.h"

#include <utility>

namespace schemux::daemon {

void ServerNames::add(const std::string& name, const std::string& service) {
    const std::size_t star = name.find('*');
    if (star == std::string::npos) {
        exact_.emplace(name, service);
    } else {
        patterns_.push_back({name.substr(0, star), name.substr(star + 1), service});
    }
}

std::optional<std::string> ServerNames::find(std::string_view name) const {
    if (const auto exact = exact_.find(name); exact != exact_.end()) return exact->second;
    for (const Pattern& pattern : patterns_) {
        const std::size_t around = pattern.before.size() + pattern.after.size();
        const bool fits = name.size() > around && name.starts_with(pattern.before) &&
                          name.ends_with(pattern.after);
        if (!fits) continue;
        const std::string_view star = name.substr(pattern.before.size(), name.size() - around);
        if (star.find('.') != std::string_view::npos) continue;
        std::string service = pattern.service;
        service.replace(service.find('*'), 1, star);
        return service;
    }
    return {};
}

}  // namespace schemux::daemon
