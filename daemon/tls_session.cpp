#include "daemon/tls_session.h"

#include "daemon/certificate_names.h"

#include <arpa/inet.h>

#include <climits>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

namespace schemux::daemon {

/// OpenSSL reads from the bytes of the call and writes to its string: no socket, no copy between.
class TlsSession::Turn {
  public:
    Turn(TlsSession& session, std::string_view in, std::string& out) : session_(session) {
        ERR_clear_error();
        session_.pipe_ = {in, &out};
    }
    ~Turn() { session_.pipe_ = {}; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    static int read(BIO* bio, char* into, int size) {
        auto& pipe = *static_cast<Pipe*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        const std::size_t taken =
            std::min(pipe.in.size(), static_cast<std::size_t>(std::max(size, 0)));
        if (taken == 0) {
            BIO_set_retry_read(bio);
            return -1;
        }
        std::memcpy(into, pipe.in.data(), taken);
        pipe.in.remove_prefix(taken);
        return static_cast<int>(taken);
    }
    static int write(BIO* bio, const char* from, int size) {
        auto& pipe = *static_cast<Pipe*>(BIO_get_data(bio));
        if (size <= 0 || pipe.out == nullptr) return -1;
        pipe.out->append(from, static_cast<std::size_t>(size));
        return size;
    }
    static long control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    static const BIO_METHOD* method() {
        static BIO_METHOD* const made = [] {
            BIO_METHOD* pipe = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pipe");
            if (pipe == nullptr) throw std::bad_alloc();
            BIO_meth_set_read(pipe, read);
            BIO_meth_set_write(pipe, write);
            BIO_meth_set_ctrl(pipe, control);
            return pipe;
        }();
        return made;
    }

  private:
    TlsSession& session_;
};

TlsSession::TlsSession(std::shared_ptr<const TlsContext> context, const std::string& peer)
    : context_(std::move(context)) {
    ssl_ = SSL_new(context_->native());
    BIO* bio = BIO_new(Turn::method());
    if (ssl_ == nullptr || bio == nullptr) {
        SSL_free(ssl_);
        BIO_free(bio);
        throw std::bad_alloc();
    }
    BIO_set_data(bio, &pipe_);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl_, bio, bio);
    if (context_->is_server()) {
        SSL_set_accept_state(ssl_);
    } else {
        SSL_set_connect_state(ssl_);
        expect(peer);
    }
}

/// As libpq: an address is no name to ask for, and is looked up among the certificate's addresses.
void TlsSession::expect(const std::string& peer) {
    if (peer.empty()) return;
    std::array<unsigned char, 16> raw{};
    const bool is_address = ::inet_pton(AF_INET, peer.c_str(), raw.data()) == 1 ||
                            ::inet_pton(AF_INET6, peer.c_str(), raw.data()) == 1;
    // SSL_set_tlsext_host_name is a macro with a cast that this project has no use for.
    if (!is_address)
        SSL_ctrl(ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                 const_cast<char*>(peer.c_str()));
    if (!context_->verifies_name()) return;
    X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl_);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_address) {
        X509_VERIFY_PARAM_set1_ip_asc(wanted, peer.c_str());
    } else {
        X509_VERIFY_PARAM_set1_host(wanted, peer.c_str(), peer.size());
    }
}

TlsSession::~TlsSession() {
    SSL_free(ssl_);
}

void TlsSession::note_failure() {
    const unsigned long code = ERR_peek_error();
    const char* reason = ERR_reason_error_string(code);
    why_ = reason != nullptr ? reason : "TLS failed";
    const long verified = SSL_get_verify_result(ssl_);
    const bool verifies = SSL_get_verify_mode(ssl_) != SSL_VERIFY_NONE;
    if (verifies && verified != X509_V_OK)
        why_ += std::string(": ") + X509_verify_cert_error_string(verified);
    ERR_clear_error();
}

TlsSession::Progress TlsSession::handshake(std::string_view& bytes, std::string& out) {
    const Turn turn(*this, bytes, out);
    const int done = SSL_do_handshake(ssl_);
    bytes = pipe_.in;
    if (done == 1) return Progress::done;
    if (SSL_get_error(ssl_, done) == SSL_ERROR_WANT_READ) return Progress::needs_bytes;
    note_failure();
    return Progress::failed;
}

bool TlsSession::names_protocol() const {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_, &name, &size);
    return size > 0;
}

std::string TlsSession::server_name() const {
    const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
    std::string text(name == nullptr ? "" : name);
    for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return text;
}

core::SecureChannel TlsSession::channel() const {
    core::SecureChannel channel;
    const X509* certificate = SSL_get0_peer_certificate(ssl_);
    if (!context_->is_server()) {
        if (certificate != nullptr) channel.end_point = end_point_of(certificate);
        return channel;
    }
    channel.end_point = context_->end_point();
    if (certificate == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return channel;
    channel.has_certificate = true;
    channel.certificate_name = common_name(*certificate);
    channel.alternative_names = alternative_names(*certificate);
    return channel;
}

std::string TlsSession::cipher() const {
    return std::string(SSL_get_version(ssl_)) + '/' + SSL_get_cipher_name(ssl_);
}

TlsSession::Plain TlsSession::decrypt(std::string_view bytes, std::span<char> into,
                                      std::string& out) {
    assert(into.size() >= plain_bytes_max(bytes.size()));
    const Turn turn(*this, bytes, out);
    Plain plain;
    while (true) {
        std::size_t got = 0;
        const int outcome =
            SSL_read_ex(ssl_, into.data() + plain.size, into.size() - plain.size, &got);
        plain.size += got;
        if (outcome == 1) continue;
        switch (SSL_get_error(ssl_, outcome)) {
            case SSL_ERROR_WANT_READ:
                return plain;
            case SSL_ERROR_ZERO_RETURN:
                plain.state = State::closed;
                return plain;
            default:
                note_failure();
                plain.state = State::broken;
                return plain;
        }
    }
}

bool TlsSession::encrypt(std::string_view plain, std::string& out) {
    const Turn turn(*this, {}, out);
    while (!plain.empty()) {
        const int size = static_cast<int>(std::min<std::size_t>(plain.size(), INT_MAX));
        const int written = SSL_write(ssl_, plain.data(), size);
        if (written <= 0) {
            note_failure();
            return false;
        }
        plain.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

void TlsSession::end(std::string& out) {
    const Turn turn(*this, {}, out);
    if (why_.empty()) SSL_shutdown(ssl_);
    ERR_clear_error();
}

}  // namespace schemux::daemon
