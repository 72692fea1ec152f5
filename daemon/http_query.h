// The values in a request's target behind its question mark: `?service=orders&limit=20`.
// It must not know what they mean.
// Source: WHATWG URL Standard, 5.1 "application/x-www-form-urlencoded parsing".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace schemux::daemon {

/// The first value of that name; nothing: there is none. What is no escape stays as it is.
std::optional<std::string> query_value(std::string_view target, std::string_view name);

}  // namespace schemux::daemon
