// Whole messages one after the other, for the targets that read a side's bytes as a peer would.
// It must not know what they mean.
#pragma once

#include "protocol/message_header.h"

#include <string_view>

namespace schemux::fake {

/// Calls `visit(type, whole message)`; returns what is left behind the last whole one.
template <typename Visit>
std::string_view for_each_message(std::string_view bytes, Visit visit) {
    while (bytes.size() >= protocol::header_bytes) {
        const protocol::MessageHeader header = protocol::read_header(bytes.data());
        if (!header.plausible() || bytes.size() < header.total_bytes()) break;
        visit(header.type, bytes.substr(0, header.total_bytes()));
        bytes.remove_prefix(header.total_bytes());
    }
    return bytes;
}

}  // namespace schemux::fake
