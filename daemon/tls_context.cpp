#include "daemon/tls_context.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <ctime>
#include <memory>
#include <new>
#include <string_view>

namespace schemux::daemon {

namespace {

constexpr std::string_view session_context = "schemux";

TlsError error(TlsError::Where where, const std::string& what) {
    std::array<char, 256> text{};
    const unsigned long code = ERR_peek_last_error();
    if (code != 0) ERR_error_string_n(code, text.data(), text.size());
    ERR_clear_error();
    const char* reason = ERR_reason_error_string(code);
    std::string message = what;
    if (code != 0) message += std::string(": ") + (reason != nullptr ? reason : text.data());
    return {where, std::move(message)};
}

/// A client that names protocols must name ours, else it means another server.
int choose_protocol(SSL* /*connection*/, const unsigned char** chosen, unsigned char* size,
                    const unsigned char* offered, unsigned offered_size, void* /*unused*/) {
    const auto* ours = reinterpret_cast<const unsigned char*>(postgresql_alpn);
    constexpr unsigned ours_size = sizeof postgresql_alpn - 1;
    unsigned char* found = nullptr;
    const int outcome = SSL_select_next_proto(&found, size, ours, ours_size, offered, offered_size);
    *chosen = found;
    return outcome == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int accept_server_name(SSL* /*ssl*/, int* /*alert*/, void* /*unused*/) {
    return SSL_TLSEXT_ERR_OK;
}

}  // namespace

std::string end_point_of(const X509* certificate) {
    int digest_id = NID_undef;
    if (X509_get_signature_info(const_cast<X509*>(certificate), &digest_id, nullptr, nullptr,
                                nullptr) != 1)
        return {};
    if (digest_id == NID_md5 || digest_id == NID_sha1) digest_id = NID_sha256;
    const EVP_MD* digest = EVP_get_digestbynid(digest_id);
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned size = 0;
    if (digest == nullptr || X509_digest(certificate, digest, hash.data(), &size) != 1) return {};
    return {reinterpret_cast<const char*>(hash.data()), size};
}

TlsContext::TlsContext(bool is_server)
    : context_(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method())),
      is_server_(is_server) {
    ERR_clear_error();
    if (context_ == nullptr) throw std::bad_alloc();
}

TlsContext::~TlsContext() {
    SSL_CTX_free(context_);
}

std::variant<std::shared_ptr<const TlsContext>, TlsError> TlsContext::for_server(
    const TlsServerOptions& options) {
    const std::shared_ptr<TlsContext> made(new TlsContext(true));
    if (auto wrong = made->load(options)) return std::move(*wrong);
    return std::shared_ptr<const TlsContext>(made);
}

std::variant<std::shared_ptr<const TlsContext>, TlsError> TlsContext::for_client(
    const TlsClientOptions& options) {
    const std::shared_ptr<TlsContext> made(new TlsContext(false));
    if (auto wrong = made->load(options)) return std::move(*wrong);
    return std::shared_ptr<const TlsContext>(made);
}

void TlsContext::set_up(bool only_newest) {
    SSL_CTX_set_min_proto_version(context_, only_newest ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(context_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                      SSL_OP_CIPHER_SERVER_PREFERENCE);
    // An idle connection keeps no buffers.
    SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    // Sessions are resumed by tickets, which cost no memory here; one for each handshake.
    SSL_CTX_set_session_cache_mode(context_, SSL_SESS_CACHE_OFF);
}

std::optional<TlsError> TlsContext::load(const TlsServerOptions& options) {
    set_up(options.only_newest);
    SSL_CTX_set_num_tickets(context_, 1);
    // What the client calls us is kept with its session, to be known when that comes back.
    SSL_CTX_callback_ctrl(context_, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB,
                          reinterpret_cast<void (*)()>(accept_server_name));
    SSL_CTX_set_session_id_context(context_,
                                   reinterpret_cast<const unsigned char*>(session_context.data()),
                                   session_context.size());
    SSL_CTX_set_alpn_select_cb(context_, choose_protocol, nullptr);
    if (!options.ciphers.empty() && SSL_CTX_set_cipher_list(context_, options.ciphers.c_str()) != 1)
        return error(TlsError::Where::ciphers, "OpenSSL knows none of these ciphers");
    if (auto wrong = load_certificate(options.certificate, options.key)) return wrong;
    end_point_ = end_point_of(SSL_CTX_get0_certificate(context_));
    if (options.client_ca.empty()) return {};
    if (auto wrong = load_authorities(options.client_ca, options.crl)) return wrong;
    SSL_CTX_set_client_CA_list(context_, SSL_load_client_CA_file(options.client_ca.c_str()));
    int verify = SSL_VERIFY_PEER;
    if (options.certificate_required) verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context_, verify, nullptr);
    return {};
}

std::optional<TlsError> TlsContext::load(const TlsClientOptions& options) {
    set_up(options.only_newest);
    const auto* name = reinterpret_cast<const unsigned char*>(postgresql_alpn);
    SSL_CTX_set_alpn_protos(context_, name, sizeof postgresql_alpn - 1);
    verifies_name_ = options.verify_name;
    if (!options.certificate.empty()) {
        if (auto wrong = load_certificate(options.certificate, options.key)) return wrong;
    }
    if (options.root_certificate.empty()) return {};
    if (auto wrong = load_authorities(options.root_certificate, options.crl)) return wrong;
    SSL_CTX_set_verify(context_, SSL_VERIFY_PEER, nullptr);
    return {};
}

std::optional<TlsError> TlsContext::load_certificate(const std::string& certificate,
                                                     const std::string& key) {
    if (SSL_CTX_use_certificate_chain_file(context_, certificate.c_str()) != 1)
        return error(TlsError::Where::certificate, "cannot use " + certificate);
    if (SSL_CTX_use_PrivateKey_file(context_, key.c_str(), SSL_FILETYPE_PEM) != 1)
        return error(TlsError::Where::key, "cannot use " + key);
    tm end{};
    if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context_)), &end) == 1)
        valid_until_ = ::timegm(&end);
    signs_slowly_ = EVP_PKEY_get_base_id(SSL_CTX_get0_privatekey(context_)) == EVP_PKEY_RSA;
    return {};
}

std::optional<TlsError> TlsContext::load_authorities(const std::string& file,
                                                     const std::string& crl) {
    if (SSL_CTX_load_verify_locations(context_, file.c_str(), nullptr) != 1)
        return error(TlsError::Where::client_ca, "cannot use " + file);
    if (crl.empty()) return {};
    X509_STORE* store = SSL_CTX_get_cert_store(context_);
    if (X509_STORE_load_locations(store, crl.c_str(), nullptr) != 1)
        return error(TlsError::Where::crl, "cannot use " + crl);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return {};
}

}  // namespace schemux::daemon
