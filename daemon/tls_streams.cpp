#include "daemon/tls_streams.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace schemux::daemon {

namespace {

/// Parts of an output that are together no longer than this become one record.
constexpr std::size_t record_bytes = 16 * 1024;
constexpr std::size_t first_batch_bytes = 64 * 1024;
constexpr std::size_t kept_capacity_max = 256 * 1024;

void forget(std::string& scratch) {
    scratch.clear();
    if (scratch.capacity() > kept_capacity_max) scratch.shrink_to_fit();
}

}  // namespace

struct TlsStreams::TlsStream final : Stream, StreamHandler {
    TlsStreams* owner = nullptr;
    Stream* carrier = nullptr;         ///< null: closed
    StreamHandler* handler = nullptr;  ///< null: closed
    std::unique_ptr<TlsSession> tls;
    std::size_t index = 0;  ///< in TlsStreams::streams_
    std::string ahead;      ///< decrypted while reading was paused
    std::size_t skip = 0;   ///< received bytes that were decrypted so, to come once more
    bool ended = false;     ///< the handler knows

    void on_bytes(std::string_view bytes) override { owner->receive(*this, bytes); }
    void on_drained() override {
        ++owner->depth_;
        handler->on_drained();
        --owner->depth_;
        owner->bury();
    }
    void on_hang_up() override {
        ++owner->depth_;
        handler->on_hang_up();
        --owner->depth_;
        owner->bury();
    }
    void on_end(int error) override { owner->finish(*this, error); }
};

TlsStreams::TlsStreams(Streams& carrier)
    : carrier_(carrier), plain_(TlsSession::plain_bytes_max(first_batch_bytes)) {}

TlsStreams::~TlsStreams() = default;

Stream* TlsStreams::add(Connection connection, StreamHandler& handler) {
    auto stream = std::make_unique<TlsStream>();
    stream->owner = this;
    stream->handler = &handler;
    stream->tls = std::move(connection.tls);
    stream->index = streams_.size();
    stream->carrier = carrier_.add({connection.fd}, *stream);
    if (stream->carrier == nullptr) return nullptr;
    streams_.push_back(std::move(stream));
    return streams_.back().get();
}

void TlsStreams::receive(TlsStream& stream, std::string_view bytes) {
    const std::size_t skipped = std::min(stream.skip, bytes.size());
    stream.skip -= skipped;
    bytes.remove_prefix(skipped);
    const std::size_t room = TlsSession::plain_bytes_max(bytes.size());
    if (plain_.size() < room) plain_.resize(room);
    const TlsSession::Plain plain = stream.tls->decrypt(bytes, plain_, cipher_);
    send_cipher(stream);
    if (stream.ended) return;
    ++depth_;
    if (!stream.ahead.empty()) {
        const std::string ahead = std::exchange(stream.ahead, {});
        stream.handler->on_bytes(ahead);
    }
    if (plain.size > 0 && stream.handler != nullptr)
        stream.handler->on_bytes({plain_.data(), plain.size});
    if (plain.state != TlsSession::State::open)
        finish(stream, plain.state == TlsSession::State::closed ? 0 : EPROTO);
    --depth_;
    bury();
}

/// By the peer's word or by the socket's end, whichever comes first.
void TlsStreams::finish(TlsStream& stream, int error) {
    if (stream.handler == nullptr || std::exchange(stream.ended, true)) return;
    ++depth_;
    if (!stream.ahead.empty()) {
        const std::string ahead = std::exchange(stream.ahead, {});
        stream.handler->on_bytes(ahead);
    }
    if (stream.handler != nullptr) stream.handler->on_end(error);
    --depth_;
    bury();
}

bool TlsStreams::send(Stream& of, const core::Output& output) {
    auto& stream = static_cast<TlsStream&>(of);
    if (output.empty()) return true;
    bool sound = true;
    if (output.count() > 1 && output.size() <= record_bytes) {
        for (std::size_t at = 0; at < output.count(); ++at)
            gathered_.append(output.segment(at));
        sound = stream.tls->encrypt(gathered_, cipher_);
        forget(gathered_);
    } else {
        for (std::size_t at = 0; sound && at < output.count(); ++at)
            sound = stream.tls->encrypt(output.segment(at), cipher_);
    }
    // A broken connection shows itself on the reading side.
    return send_cipher(stream) || !sound;
}

bool TlsStreams::send_cipher(TlsStream& stream) {
    if (cipher_.empty() || stream.carrier == nullptr) {
        forget(cipher_);
        return true;
    }
    wire_.forward(cipher_);
    const bool all = carrier_.send(*stream.carrier, wire_);
    wire_.clear();
    forget(cipher_);
    return all;
}

std::size_t TlsStreams::queued_bytes(const Stream& of) const {
    return carrier_.queued_bytes(*static_cast<const TlsStream&>(of).carrier);
}

StreamFacts TlsStreams::facts(const Stream& of) const {
    const auto& stream = static_cast<const TlsStream&>(of);
    return {carrier_.facts(*stream.carrier).fd, stream.tls->cipher()};
}

bool TlsStreams::has_unsent(const Stream& of) const {
    return carrier_.has_unsent(*static_cast<const TlsStream&>(of).carrier);
}

std::uint64_t TlsStreams::progress(const Stream& of) const {
    return carrier_.progress(*static_cast<const TlsStream&>(of).carrier);
}

void TlsStreams::pause(Stream& of) {
    carrier_.pause(*static_cast<TlsStream&>(of).carrier);
}

void TlsStreams::resume(Stream& of) {
    carrier_.resume(*static_cast<TlsStream&>(of).carrier);
}

void TlsStreams::shut_down(Stream& of) {
    auto& stream = static_cast<TlsStream&>(of);
    stream.tls->end(cipher_);
    send_cipher(stream);
    carrier_.shut_down(*stream.carrier);
}

void TlsStreams::close(Stream* of) {
    auto& stream = static_cast<TlsStream&>(*of);
    stream.tls->end(cipher_);
    send_cipher(stream);
    carrier_.close(stream.carrier);
    retire(stream);
}

void TlsStreams::drop(Stream* of) {
    auto& stream = static_cast<TlsStream&>(*of);
    carrier_.drop(stream.carrier);
    retire(stream);
}

Connection TlsStreams::release(Stream* of) {
    auto& stream = static_cast<TlsStream&>(*of);
    Connection connection = carrier_.release(stream.carrier);
    connection.tls = std::move(stream.tls);
    retire(stream);
    return connection;
}

bool TlsStreams::has_news(const Stream& of) const {
    const auto& stream = static_cast<const TlsStream&>(of);
    return stream.ended || !stream.ahead.empty() || carrier_.has_news(*stream.carrier);
}

/// What is unread can only be read by decrypting it, once: it is kept, and not decrypted again when
/// it comes.
std::string TlsStreams::unread_tail(Stream& of, std::size_t size) {
    auto& stream = static_cast<TlsStream&>(of);
    const std::string unread =
        carrier_.unread_tail(*stream.carrier, std::numeric_limits<std::size_t>::max());
    if (unread.size() > stream.skip && !stream.ended) {
        const std::string_view fresh = std::string_view(unread).substr(stream.skip);
        std::string text(TlsSession::plain_bytes_max(fresh.size()), '\0');
        const TlsSession::Plain plain = stream.tls->decrypt(fresh, text, cipher_);
        send_cipher(stream);
        stream.ahead.append(text, 0, plain.size);
        stream.skip = unread.size();
    }
    return stream.ahead.substr(stream.ahead.size() - std::min(stream.ahead.size(), size));
}

void TlsStreams::retire(TlsStream& stream) {
    stream.carrier = nullptr;
    stream.handler = nullptr;
    const std::size_t index = stream.index;
    retired_.push_back(std::move(streams_[index]));
    if (index + 1 != streams_.size()) {
        streams_[index] = std::move(streams_.back());
        streams_[index]->index = index;
    }
    streams_.pop_back();
    bury();
}

void TlsStreams::bury() {
    if (depth_ == 0) retired_.clear();
}

}  // namespace schemux::daemon
