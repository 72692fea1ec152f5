// Which trace a statement belongs to: the traceparent of W3C's Trace Context in a comment of its
// text, as sqlcommenter writes it, /*traceparent='00-…-…-01'*/. Looked for only in what is told of.
// It must not know what a trace is for.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

/// A valid one of version 00, or nothing.
std::optional<std::string> find_trace_parent(std::string_view text,
                                             bool standard_conforming_strings);

}  // namespace schemux::core
