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

std::shared_ptr<core::Share> ServiceIndex::share_of(
    const std::string& name, const std::shared_ptr<core::SubPool>& sub_pool) {
    const std::lock_guard lock(mutex_);
    Part& part = parts_[name];
    if (part.share && part.sub_pool == sub_pool) return part.share;
    if (part.share) former_.push_back(part);
    part = {sub_pool, std::make_shared<core::Share>(sub_pool.get())};
    return part.share;
}

std::shared_ptr<core::Share> ServiceIndex::known_share_of(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    const auto found = parts_.find(name);
    return found == parts_.end() ? nullptr : found->second.share;
}

void ServiceIndex::set_isolation(const std::string& name, core::Isolation isolation) {
    const std::lock_guard lock(mutex_);
    isolations_.insert_or_assign(name, isolation);
}

std::map<std::string, core::Isolation> ServiceIndex::isolations() const {
    const std::lock_guard lock(mutex_);
    return isolations_;
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
    const auto found = parts_.find(name);
    return found == parts_.end() ? nullptr : found->second.share;
}

}  // namespace schemux::daemon
