// A connected socket as the stream engine and its peer see it: what the peer has sent, what the
// engine had to queue, what lies in the kernel for the peer. Nothing moves by itself.
// It must not know what the bytes mean.
#pragma once

#include "core/output.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace schemux::simulation {

struct Stream {
    std::string inbound;   ///< sent by the peer, not read here yet
    std::string queued;    ///< the kernel had no room for it
    std::string outbound;  ///< in the kernel, the peer has not read it yet
    std::size_t room = 65'536;
    bool paused = false;
    bool shut = false;         ///< nothing more is sent
    bool closed = false;       ///< nobody here listens any more
    bool peer_closed = false;  ///< the end is behind `inbound`
    bool peer_reads = true;
    bool end_told = false;
    bool hang_up_told = false;
    bool drained = false;  ///< on_drained is due

    void send(std::string_view bytes) {
        if (!peer_reads) return;
        const std::size_t free = room - std::min(room, outbound.size());
        const std::size_t now = queued.empty() ? std::min(free, bytes.size()) : 0;
        outbound.append(bytes.substr(0, now));
        queued.append(bytes.substr(now));
    }
    /// The peer reads.
    std::string take(std::size_t count) {
        std::string taken = outbound.substr(0, count);
        outbound.erase(0, taken.size());
        refill();
        return taken;
    }
    /// This end reads.
    std::string read(std::size_t count) {
        std::string taken = inbound.substr(0, count);
        inbound.erase(0, taken.size());
        return taken;
    }
    void peer_goes(bool loses_bytes) {
        peer_closed = true;
        if (!loses_bytes) return;
        inbound.clear();
        peer_stops_reading();
    }
    void peer_stops_reading() {
        outbound.clear();
        peer_reads = false;
        refill();
    }
    bool at_end() const { return inbound.empty() && peer_closed && !end_told; }
    bool has_news() const { return !inbound.empty() || peer_closed; }
    bool readable() const { return !closed && !paused && (!inbound.empty() || at_end()); }
    bool hung_up() const { return !closed && paused && peer_closed && !hang_up_told; }

  private:
    void refill() {
        if (queued.empty()) return;
        const std::size_t free =
            peer_reads ? room - std::min(room, outbound.size()) : queued.size();
        const std::size_t now = std::min(free, queued.size());
        if (peer_reads) outbound.append(queued, 0, now);
        queued.erase(0, now);
        drained = queued.empty();
    }
};

}  // namespace schemux::simulation
