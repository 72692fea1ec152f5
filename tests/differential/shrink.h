// Makes a text that shows a fault as short as removing bytes can make it.
// It must not know what the fault is.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace schemux::differential {

inline std::string shrink(std::string text, const std::function<bool(const std::string&)>& fails) {
    for (std::size_t chunk = text.size() / 2; chunk > 0;) {
        bool removed = false;
        for (std::size_t at = 0; at + chunk <= text.size();) {
            std::string shorter = text;
            shorter.erase(at, chunk);
            if (fails(shorter)) {
                text = std::move(shorter);
                removed = true;
            } else {
                ++at;
            }
        }
        if (!removed || chunk > text.size()) chunk = chunk > 1 ? chunk / 2 : 0;
    }
    return text;
}

}  // namespace schemux::differential
