// Writes JSON text (RFC 8259) piece by piece, with commas where they belong. Texts may be any
// bytes: what is no UTF-8 becomes U+FFFD, so the whole is always valid. Keys are ours, never a
// client's. It must not know what is written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::daemon {

class JsonText {
  public:
    JsonText& begin_object();
    JsonText& end_object();
    JsonText& begin_array();
    JsonText& end_array();
    JsonText& key(std::string_view name);

    JsonText& text(std::string_view value);
    JsonText& number(std::uint64_t value);
    JsonText& number(double value);
    /// Null where there is none.
    JsonText& number(const std::optional<double>& value);
    JsonText& flag(bool value);

    JsonText& text(std::string_view name, std::string_view value) { return key(name).text(value); }
    JsonText& flag(std::string_view name, bool value) { return key(name).flag(value); }
    template <class Number>
    JsonText& number(std::string_view name, const Number& value) {
        return key(name).number(value);
    }

    std::string take() { return std::move(out_); }

  private:
    void begin_value();
    JsonText& raw(std::string_view text);

    std::string out_;
    bool comma_ = false;  ///< before the next key or value
};

}  // namespace schemux::daemon
