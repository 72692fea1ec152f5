// Bytes on their way to one peer in one batch: spans borrowed from a receive buffer and bytes of
// our own, in order. One `Output` per direction and worker is filled by the relay and flushed by
// the I/O side with one send. It must not know about sockets.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace schemux::core {

class Output {
  public:
    static constexpr std::size_t segments_max = 32;

    /// Passes received bytes on without a copy; they must stay where they are until the flush.
    void forward(std::string_view borrowed) {
        if (borrowed.empty()) return;
        size_ += borrowed.size();
        if (count_ > 0) {
            Segment& last = segments_[count_ - 1];
            if (last.borrowed != nullptr && last.borrowed + last.size == borrowed.data()) {
                last.size += borrowed.size();
                return;
            }
            // A short copy is cheaper than one more segment for the kernel to walk.
            if (last.borrowed == nullptr && borrowed.size() <= copy_max) {
                own_.append(borrowed);
                last.size += borrowed.size();
                return;
            }
        }
        if (count_ == segments_max) collapse();
        segments_[count_++] = {borrowed.data(), 0, borrowed.size()};
    }

    /// Appends bytes of our own: `append(std::string&)` writes them at the end of the string.
    template <typename Append>
    void generate(Append&& append) {
        const std::size_t before = own_.size();
        append(own_);
        const std::size_t added = own_.size() - before;
        if (added == 0) return;
        size_ += added;
        if (count_ > 0 && segments_[count_ - 1].borrowed == nullptr) {
            segments_[count_ - 1].size += added;
            return;
        }
        if (count_ == segments_max) {
            // Collapsing copies every segment behind what was just written; set that aside first.
            const std::string tail = own_.substr(before);
            own_.resize(before);
            size_ -= added;
            collapse();
            own_.append(tail);
            size_ += added;
            segments_[0].size += added;
            return;
        }
        segments_[count_++] = {nullptr, before, added};
    }

    bool empty() const { return count_ == 0; }
    std::size_t size() const { return size_; }
    std::size_t count() const { return count_; }
    std::string_view segment(std::size_t at) const {
        const Segment& segment = segments_[at];
        return segment.borrowed != nullptr
                   ? std::string_view{segment.borrowed, segment.size}
                   : std::string_view{own_}.substr(segment.offset, segment.size);
    }

    void clear() {
        count_ = 0;
        size_ = 0;
        own_.clear();
        if (own_.capacity() > own_capacity_max) own_.shrink_to_fit();
    }

    /// Everything as one string: for tests and for queues.
    std::string str() const {
        std::string all;
        all.reserve(size_);
        for (std::size_t at = 0; at < count_; ++at)
            all.append(segment(at));
        return all;
    }

  private:
    static constexpr std::size_t copy_max = 512;
    static constexpr std::size_t own_capacity_max = 1 << 20;

    struct Segment {
        const char* borrowed = nullptr;  ///< null: the bytes are in own_ at `offset`
        std::size_t offset = 0;
        std::size_t size = 0;
    };

    void collapse() {
        own_ = str();
        segments_[0] = {nullptr, 0, own_.size()};
        count_ = 1;
    }

    std::array<Segment, segments_max> segments_{};
    std::size_t count_ = 0;
    std::size_t size_ = 0;
    std::string own_;
};

}  // namespace schemux::core
