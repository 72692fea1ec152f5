// A text that is written anew with some pieces replaced, in ascending order, and the map of
// positions that goes with it.
// It must not know why anything is replaced.
#pragma once

#include "core/position_map.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace schemux::core {

class SplicedText {
  public:
    /// Appends to `out`; `map` is emptied first and may be null.
    SplicedText(std::string_view text, EncodingClass encoding, std::string& out, PositionMap* map)
        : text_(text), encoding_(encoding), out_(out), out_base_(out.size()), map_(map) {
        if (map_ != nullptr) map_->clear();
    }

    /// `append(out)` writes what stands for the `bytes` bytes at `at`, which may be none.
    template <typename Append>
    void replace(std::size_t at, std::size_t bytes, Append append) {
        copy_until(at);
        const std::size_t before = out_.size();
        append(out_);
        copied_ = at + bytes;
        changed_ = true;
        if (map_ == nullptr) return;
        const std::size_t original = count_characters(text_.substr(at, bytes), encoding_);
        const std::size_t rewritten =
            count_characters(std::string_view(out_).substr(before), encoding_);
        map_->add(original_characters_, original, rewritten_characters_, rewritten);
        original_characters_ += original;
        rewritten_characters_ += rewritten;
    }

    /// Nothing is replaced behind this. False: nothing was at all, and nothing is in `out`.
    bool finish() {
        if (changed_) copy_until(text_.size());
        return changed_;
    }
    void undo() {
        out_.resize(out_base_);
        if (map_ != nullptr) map_->clear();
    }

  private:
    void copy_until(std::size_t end) {
        const std::string_view piece = text_.substr(copied_, end - copied_);
        out_.append(piece);
        copied_ = end;
        if (map_ == nullptr) return;
        const std::size_t characters = count_characters(piece, encoding_);
        original_characters_ += characters;
        rewritten_characters_ += characters;
    }

    std::string_view text_;
    EncodingClass encoding_;
    std::string& out_;
    std::size_t out_base_;
    PositionMap* map_;
    std::size_t copied_ = 0;  // of text_, in bytes
    bool changed_ = false;
    std::size_t original_characters_ = 0;
    std::size_t rewritten_characters_ = 0;
};

}  // namespace schemux::core
