// Owns objects under small numbers that are used again, with a generation that tells an old number
// from its successor: an id that outlived its object finds nothing.
#pragma once

#include "core/shared_pool.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace schemux::daemon {

template <typename T>
class SlotTable {
  public:
    /// Takes a place; `set` fills it.
    core::SessionId reserve() {
        if (free_.empty()) {
            free_.push_back(static_cast<std::uint32_t>(slots_.size()));
            slots_.emplace_back();
        }
        const std::uint32_t slot = free_.back();
        free_.pop_back();
        return {slot, slots_[slot].generation};
    }
    void set(core::SessionId id, std::unique_ptr<T> object) {
        slots_[id.slot].object = std::move(object);
    }
    T* find(core::SessionId id) const {
        if (id.slot >= slots_.size() || slots_[id.slot].generation != id.generation) return nullptr;
        return slots_[id.slot].object.get();
    }
    std::unique_ptr<T> remove(core::SessionId id) {
        std::unique_ptr<T> object = std::move(slots_[id.slot].object);
        ++slots_[id.slot].generation;
        free_.push_back(id.slot);
        return object;
    }
    std::size_t slots() const { return slots_.size(); }
    /// `visit(const T&)` for those in the slots from `first` on, up to `last`.
    template <typename Visit>
    void for_each(std::size_t first, std::size_t last, Visit&& visit) const {
        for (std::size_t slot = first; slot < std::min(last, slots_.size()); ++slot) {
            if (slots_[slot].object) visit(std::as_const(*slots_[slot].object));
        }
    }
    template <typename Visit>
    void for_each(Visit&& visit) const {
        for_each(0, slots_.size(), visit);
    }
    /// `visit(T&)`; objects may be removed while it runs.
    template <typename Visit>
    void for_each(Visit&& visit) {
        for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
            if (slots_[slot].object) visit(*slots_[slot].object);
        }
    }

  private:
    struct Slot {
        std::unique_ptr<T> object;
        std::uint32_t generation = 1;
    };
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
};

}  // namespace schemux::daemon
