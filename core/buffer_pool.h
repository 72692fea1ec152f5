// Byte strings that a worker lends to its connections while they have something in hand, so that
// an idle connection owns no buffer and a busy one allocates nothing.
#pragma once

#include "core/limits.h"

#include <string>
#include <utility>
#include <vector>

namespace schemux::core {

class BufferPool {
  public:
    BufferPool() { free_.reserve(limits::pooled_buffers_max); }

    std::string take() {
        if (free_.empty()) return {};
        std::string buffer = std::move(free_.back());
        free_.pop_back();
        return buffer;
    }

    void give(std::string&& buffer) {
        std::string returned = std::move(buffer);
        buffer = std::string{};
        if (free_.size() == limits::pooled_buffers_max) return;
        if (returned.capacity() > limits::pooled_buffer_capacity_max) return;
        // A string without memory of its own saves nobody an allocation.
        if (returned.capacity() <= std::string{}.capacity()) return;
        returned.clear();
        free_.push_back(std::move(returned));
    }

  private:
    std::vector<std::string> free_;
};

}  // namespace schemux::core
