// Changes of a map that messages under way will make, or not: PostgreSQL may refuse a message, or
// skip it behind an error. What comes behind them in the pipeline already reads the map as they
// will have left it; the map itself changes when the answers come. So nothing has to be undone.
// Requests are known by their numbers (ExpectedReply::number), and are settled in their order.
// It must not know what is mapped to what.
#pragma once

#include <boost/circular_buffer.hpp>

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace schemux::core {

/// What makes a change come true.
enum class When : std::uint8_t {
    done,             ///< the request's success
    attempted,        ///< the same; and if it fails, what was there before is gone
    command,          ///< the CommandComplete of an Execute
    one_of_commands,  ///< a CommandComplete of a Query, which may fail in the middle
};

template <class Key, class Value>
class ChangeLog {
  public:
    struct Change {
        std::uint64_t request = 0;
        When when = When::done;
        std::optional<Key> key;      ///< none: all keys but the default one
        std::optional<Value> value;  ///< none: the key goes
    };

    bool empty() const { return ring_.empty(); }
    std::size_t size() const { return ring_.size(); }

    Change& push(Change change) {
        assert(ring_.empty() || ring_.back().request <= change.request);
        if (ring_.full()) ring_.set_capacity(ring_.empty() ? 16 : ring_.capacity() * 2);
        ring_.push_back(std::move(change));
        return ring_.back();
    }

    /// The last change that concerns `key`, in front of `before` (null: the very last); or null.
    template <class AnyKey>
    const Change* last(const AnyKey& key, const Change* before = nullptr) const {
        bool passed = before == nullptr;
        for (auto change = ring_.rbegin(); change != ring_.rend(); ++change) {
            const bool concerns = change->key ? *change->key == key : key != AnyKey{};
            if (passed && concerns) return &*change;
            if (&*change == before) passed = true;
        }
        return nullptr;
    }
    template <class Visit>
    void each(Visit visit) {
        for (Change& change : ring_)
            visit(change);
    }
    template <class Visit>
    void each(Visit visit) const {
        for (const Change& change : ring_)
            visit(change);
    }

    /// A command of `request` is complete that changes something: true if one was expected to.
    template <class Apply>
    bool command(std::uint64_t request, Apply apply) {
        if (!is_front(request) || !waits_for_command(ring_.front())) return false;
        take(apply);
        return true;
    }
    template <class Apply>
    void succeeded(std::uint64_t request, Apply apply) {
        while (is_front(request)) {
            if (waits_for_command(ring_.front())) {
                ring_.pop_front();
            } else {
                take(apply);
            }
        }
    }
    template <class Apply>
    void failed(std::uint64_t request, Apply apply) {
        while (is_front(request)) {
            const bool goes = ring_.front().when == When::attempted;
            ring_.front().value.reset();
            if (goes) {
                take(apply);
            } else {
                ring_.pop_front();
            }
        }
    }
    void skipped(std::uint64_t request) {
        while (is_front(request))
            ring_.pop_front();
    }
    /// Keeps no more memory than a usual batch needs.
    void clear() {
        ring_.clear();
        if (ring_.capacity() > kept_changes) ring_.set_capacity(kept_changes);
    }

  private:
    static constexpr std::size_t kept_changes = 64;

    bool is_front(std::uint64_t request) const {
        return !ring_.empty() && ring_.front().request == request;
    }
    static bool waits_for_command(const Change& change) {
        return change.when == When::command || change.when == When::one_of_commands;
    }
    template <class Apply>
    void take(Apply apply) {
        Change change = std::move(ring_.front());
        ring_.pop_front();
        apply(change);
    }

    boost::circular_buffer<Change> ring_;
};

}  // namespace schemux::core
