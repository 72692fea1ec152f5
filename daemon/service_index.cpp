#include "daemon/service_index.h"

namespace schemux::daemon {

std::size_t ServiceIndex::index_of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    return indices_.try_emplace(name, indices_.size()).first->second;
}

std::shared_ptr<core::PinBudget> ServiceIndex::pins_of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<core::PinBudget>& pins = pins_[name];
    if (!pins) pins = std::make_shared<core::PinBudget>();
    return pins;
}

std::shared_ptr<core::Share> ServiceIndex::share_of(const std::string& name) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<core::Share>& share = shares_[name];
    if (!share) share = std::make_shared<core::Share>();
    return share;
}

std::vector<std::string> ServiceIndex::names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names(indices_.size());
    for (const auto& [name, index] : indices_)
        names[index] = name;
    return names;
}

std::shared_ptr<const core::Share> ServiceIndex::find_share(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = shares_.find(name);
    return found == shares_.end() ? nullptr : found->second;
}

}  // namespace schemux::daemon
