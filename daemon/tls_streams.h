// Streams with TLS over the streams of an engine: the same contract, of plain bytes. Per batch of
// received bytes one `on_bytes`, per output one send, as without it.
// It must not know the protocol or the sockets.
#pragma once

#include "daemon/stream_engine.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace schemux::daemon {

class TlsStreams final : public Streams {
  public:
    /// Lives as long as this.
    explicit TlsStreams(Streams& carrier);
    ~TlsStreams() override;
    TlsStreams(const TlsStreams&) = delete;
    TlsStreams& operator=(const TlsStreams&) = delete;

    /// The connection has a TLS session whose handshake is over.
    Stream* add(Connection connection, StreamHandler& handler) override;
    bool send(Stream& of, const core::Output& output) override;
    std::size_t queued_bytes(const Stream& of) const override;
    StreamFacts facts(const Stream& of) const override;
    bool has_unsent(const Stream& of) const override;
    std::uint64_t progress(const Stream& of) const override;
    void pause(Stream& of) override;
    void resume(Stream& of) override;
    void shut_down(Stream& of) override;
    void close(Stream* of) override;
    void drop(Stream* of) override;
    Connection release(Stream* of) override;
    bool has_news(const Stream& of) const override;
    std::string unread_tail(Stream& of, std::size_t size) override;

  private:
    struct TlsStream;
    void receive(TlsStream& stream, std::string_view bytes);
    void finish(TlsStream& stream, int error);
    bool send_cipher(TlsStream& stream);
    void retire(TlsStream& stream);
    void bury();

    Streams& carrier_;
    std::vector<char> plain_;  ///< of one batch
    std::string cipher_;       ///< of one output
    std::string gathered_;     ///< an output of several parts
    core::Output wire_;
    std::vector<std::unique_ptr<TlsStream>> streams_;
    std::vector<std::unique_ptr<TlsStream>> retired_;  ///< until nothing on the stack is theirs
    int depth_ = 0;                                    ///< handlers of ours on the stack
};

}  // namespace schemux::daemon
