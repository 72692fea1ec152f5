// Text that nobody may see: wiped where it ends, and with no way to be printed.
// It must not know what it is the secret of.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace schemux::protocol {

/// Overwrites the text, in a way that no compiler leaves out, and empties it.
void wipe(std::string& text);

class Secret {
  public:
    Secret() = default;
    explicit Secret(std::string_view text) : text_(text) {}
    ~Secret() { wipe(text_); }
    Secret(const Secret&) = default;
    Secret(Secret&& other) noexcept : text_(std::move(other.text_)) { wipe(other.text_); }
    Secret& operator=(const Secret& other) {
        if (this == &other) return *this;
        wipe(text_);
        text_ = other.text_;
        return *this;
    }
    Secret& operator=(Secret&& other) noexcept {
        if (this == &other) return *this;
        wipe(text_);
        text_ = std::move(other.text_);
        wipe(other.text_);
        return *this;
    }

    /// Lives as long as the secret.
    std::string_view view() const { return text_; }
    bool empty() const { return text_.empty(); }

    friend bool operator==(const Secret&, const Secret&) = default;

  private:
    std::string text_;
};

}  // namespace schemux::protocol
