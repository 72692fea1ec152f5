// Walks a byte stream message by message: streamed bodies, messages held whole, carried-over bytes
// between reads. It decides nothing: a visitor says what each message is for.
// Used for both directions of the relay and for the upkeep of backends.
#pragma once

#include "core/backend.h"
#include "core/buffer_pool.h"
#include "protocol/message_header.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace schemux::core {

/// What the visitor wants done with the message whose header it was shown.
enum class Take : std::uint8_t {
    consumed,   ///< it dealt with the complete message (only if `complete`)
    stream,     ///< it wants the body bytes as they come (set StreamPosition itself)
    need_more,  ///< it wants to see the message again when more of it has arrived
    stop,       ///< do not consume this message now; keep it for later
};

/// A message at the front of the bytes in hand.
struct MessageInHand {
    protocol::MessageHeader header;
    std::string_view bytes;  ///< header and as much of the body as is there, never more
    bool complete() const { return bytes.size() == header.total_bytes(); }
    std::string_view body() const { return bytes.substr(protocol::header_bytes); }
};

/// Returns how many bytes of `in` were dealt with. `visit(MessageInHand) -> Take`,
/// `pass(bytes)` gets streamed body bytes. The visitor sets `position.body_left` for `stream`.
template <typename Visit, typename Pass>
std::size_t walk_messages(std::string_view in, StreamPosition& position, Visit&& visit,
                          Pass&& pass) {
    std::size_t at = 0;
    while (at < in.size()) {
        if (position.body_left > 0) {
            const std::size_t count = std::min(position.body_left, in.size() - at);
            pass(in.substr(at, count));
            position.body_left -= count;
            at += count;
            continue;
        }
        if (in.size() - at < protocol::header_bytes) break;
        MessageInHand message;
        message.header = protocol::read_header(in.data() + at);
        message.bytes = in.substr(at, message.header.total_bytes());
        const Take take = visit(message);
        if (take == Take::consumed) {
            at += message.bytes.size();
        } else if (take == Take::stream) {
            at += protocol::header_bytes;
        } else {
            break;
        }
    }
    return at;
}

/// Bytes that arrived but could not be dealt with yet, put before what arrives next.
/// While `bytes()` of a batch may still be referred to by an Output, they stay where they are:
/// `finish` keeps the old buffer until the next `begin`.
class Carry {
  public:
    /// The bytes in hand: what was kept, then `fresh`.
    std::string_view begin(std::string_view fresh, std::string& held, BufferPool& pool) {
        settle(pool);
        if (held.empty()) return fresh;
        held.append(fresh);
        spent_ = std::move(held);
        held = std::string{};
        return spent_;
    }
    void finish(std::string_view in, std::size_t consumed, std::string& held, BufferPool& pool) {
        if (consumed == in.size()) return;
        if (held.capacity() <= std::string{}.capacity()) held = pool.take();
        held.assign(in.substr(consumed));
    }
    /// Call when nothing refers to the last batch any more.
    void settle(BufferPool& pool) {
        if (spent_.capacity() > std::string{}.capacity()) pool.give(std::move(spent_));
    }

  private:
    std::string spent_;
};

}  // namespace schemux::core
