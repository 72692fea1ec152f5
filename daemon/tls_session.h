// TLS of one connection, sans-I/O: received bytes in, plain bytes out, and the other way round. It
// must not know sockets, PostgreSQL's protocol or whose connection it is. Not thread-safe; it may
// move to another thread between two calls.
#pragma once

#include "core/frontend_login.h"
#include "core/output.h"
#include "daemon/tls_context.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace schemux::daemon {

class TlsSession {
  public:
    enum class Progress : std::uint8_t { needs_bytes, done, failed };
    enum class State : std::uint8_t { open, closed, broken };

    struct Plain {
        std::size_t size = 0;
        State state = State::open;
    };

    /// The context says which side it is. `peer`: the name or address that a client means (for
    /// SNI, and where the context verifies names). Throws std::bad_alloc.
    explicit TlsSession(std::shared_ptr<const TlsContext> context, const std::string& peer = {});
    ~TlsSession();
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;

    /// Takes from the front of `bytes`; what is to be sent (also of a failure) is appended to
    /// `out`. Behind `done` the rest of the bytes belongs to `decrypt`.
    Progress handshake(std::string_view& bytes, std::string& out);
    /// What the handshake has shown; behind its end.
    core::SecureChannel channel() const;
    /// Version and cipher; behind the handshake.
    std::string cipher() const;
    /// The name that the client called (SNI), in lower case; empty: none.
    std::string server_name() const;
    /// The client named PostgreSQL's protocol.
    bool names_protocol() const;

    /// All of `bytes`; a record that is not complete is kept. `into` has at least
    /// `plain_bytes_max(bytes.size())`. An answer of TLS itself is appended to `out`.
    Plain decrypt(std::string_view bytes, std::span<char> into, std::string& out);
    static constexpr std::size_t plain_bytes_max(std::size_t cipher_bytes) {
        return cipher_bytes + record_max;
    }
    /// Appended to `out`. False: the connection is broken.
    bool encrypt(std::string_view plain, std::string& out);
    /// Says that nothing more will come.
    void end(std::string& out);
    /// Why it failed, as OpenSSL says it.
    const std::string& why() const { return why_; }

  private:
    static constexpr std::size_t record_max = 17 * 1024;  ///< a record may be kept from before

    struct Pipe {
        std::string_view in{};
        std::string* out = nullptr;
    };
    class Turn;
    void expect(const std::string& peer);
    void note_failure();

    std::shared_ptr<const TlsContext> context_;
    Pipe pipe_;
    SSL* ssl_ = nullptr;
    std::string why_;
};

}  // namespace schemux::daemon
