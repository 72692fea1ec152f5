// Who is next to be looked at, and when: a heap of sessions by time, one entry for each, so that
// nothing has to be looked through. Entries may be early: who is looked at in vain is put back.
// It must not know clocks, or what anybody is late with.
#pragma once

#include "core/backend.h"
#include "core/fair_queue.h"

#include <cstddef>
#include <utility>
#include <vector>

namespace schemux::core {

class DeadlineQueue {
  public:
    /// Lives in the session.
    class Entry {
      public:
        /// When it will be looked at; never, if nobody armed it.
        TimePoint when() const { return when_; }

      private:
        friend class DeadlineQueue;
        static constexpr std::size_t none = ~std::size_t{0};
        TimePoint when_ = TimePoint::max();
        SessionId session_;
        std::size_t at_ = none;
    };

    /// O(log n); an entry that is there moves.
    void arm(Entry& entry, SessionId session, TimePoint when) {
        entry.when_ = when;
        entry.session_ = session;
        if (entry.at_ == Entry::none) {
            entry.at_ = heap_.size();
            heap_.push_back(&entry);
        }
        sift(entry.at_);
    }
    /// Before the entry's end.
    void disarm(Entry& entry) {
        if (entry.at_ == Entry::none) return;
        const std::size_t at = std::exchange(entry.at_, Entry::none);
        entry.when_ = TimePoint::max();
        Entry* moved = heap_.back();
        heap_.pop_back();
        if (moved == &entry) return;
        put(at, moved);
        sift(at);
    }
    /// Takes out all whose time has come.
    void take_due(TimePoint now, std::vector<SessionId>& due) {
        while (!heap_.empty() && heap_.front()->when_ <= now) {
            due.push_back(heap_.front()->session_);
            disarm(*heap_.front());
        }
    }
    std::size_t size() const { return heap_.size(); }

  private:
    void put(std::size_t at, Entry* entry) {
        heap_[at] = entry;
        entry->at_ = at;
    }
    void sift(std::size_t at) {
        Entry* entry = heap_[at];
        while (at > 0 && entry->when_ < heap_[(at - 1) / 2]->when_) {
            put(at, heap_[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        while (true) {
            std::size_t child = 2 * at + 1;
            if (child >= heap_.size()) break;
            if (child + 1 < heap_.size() && heap_[child + 1]->when_ < heap_[child]->when_) ++child;
            if (heap_[child]->when_ >= entry->when_) break;
            put(at, heap_[child]);
            at = child;
        }
        put(at, entry);
    }

    std::vector<Entry*> heap_;
};

}  // namespace schemux::core
