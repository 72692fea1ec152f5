#include "core/session_channels.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace schemux::core {

bool SessionChannels::has(std::string_view name) const {
    return std::binary_search(names_.begin(), names_.end(), name);
}

void SessionChannels::take_over(std::vector<std::string> there) {
    std::sort(there.begin(), there.end());
    std::vector<std::string> now;
    if (loaded()) {
        now = std::move(there);
    } else {
        std::set_union(names_.begin(), names_.end(), there.begin(), there.end(),
                       std::back_inserter(now));
    }
    if (now == names_) return;
    const bool more = !std::includes(names_.begin(), names_.end(), now.begin(), now.end());
    names_ = std::move(now);
    moved_ = true;
    awaited_ = awaited_ || more;
}

void SessionChannels::clear() {
    if (names_.empty()) return;
    names_.clear();
    moved_ = true;
    awaited_ = false;
}

}  // namespace schemux::core
