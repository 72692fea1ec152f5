// Certificates and clients for the TLS tests, made by OpenSSL in this process.
#pragma once

#include "daemon/tls_context.h"

#include <unistd.h>

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace schemux::daemon::testing {

/// A certificate that its own key has signed, and the key, as files of a folder that goes with it.
class SelfSigned {
  public:
    explicit SelfSigned(const char* common_name = "localhost") {
        std::string name = std::filesystem::temp_directory_path() / "schemux-tls-XXXXXX";
        folder_ = ::mkdtemp(name.data());
        EVP_PKEY* key = EVP_EC_gen("P-256");
        X509* made = X509_new();
        X509_set_version(made, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
        X509_gmtime_adj(X509_getm_notBefore(made), -60);
        X509_gmtime_adj(X509_getm_notAfter(made), 3600);
        X509_NAME* subject = X509_get_subject_name(made);
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(common_name), -1, -1, 0);
        X509_set_issuer_name(made, subject);
        X509_set_pubkey(made, key);
        X509_sign(made, key, EVP_sha256());
        write(certificate(), [&](FILE* file) { PEM_write_X509(file, made); });
        write(this->key(), [&](FILE* file) {
            PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
        });
        X509_free(made);
        EVP_PKEY_free(key);
    }
    ~SelfSigned() { std::filesystem::remove_all(folder_); }
    SelfSigned(const SelfSigned&) = delete;
    SelfSigned& operator=(const SelfSigned&) = delete;

    std::string certificate() const { return folder_ / "server.crt"; }
    std::string key() const { return folder_ / "server.key"; }

    std::shared_ptr<const TlsContext> context() const {
        TlsServerOptions options;
        options.certificate = certificate();
        options.key = key();
        auto made = TlsContext::for_server(options);
        if (const auto* wrong = std::get_if<TlsError>(&made)) {
            ADD_FAILURE() << wrong->message;
            return nullptr;
        }
        return std::get<std::shared_ptr<const TlsContext>>(made);
    }

  private:
    template <typename Write>
    static void write(const std::string& path, Write&& into) {
        FILE* file = std::fopen(path.c_str(), "wb");
        ASSERT_NE(file, nullptr);
        into(file);
        std::fclose(file);
    }

    std::filesystem::path folder_;
};

/// The client's side over two buffers, with OpenSSL's own plumbing.
class TlsClient {
  public:
    explicit TlsClient(int version = TLS1_3_VERSION) : context_(SSL_CTX_new(TLS_client_method())) {
        SSL_CTX_set_max_proto_version(context_, version);
        ssl_ = SSL_new(context_);
        in_ = BIO_new(BIO_s_mem());
        out_ = BIO_new(BIO_s_mem());
        SSL_set_bio(ssl_, in_, out_);
        SSL_set_connect_state(ssl_);
    }
    ~TlsClient() {
        SSL_free(ssl_);
        SSL_CTX_free(context_);
    }
    TlsClient(const TlsClient&) = delete;
    TlsClient& operator=(const TlsClient&) = delete;

    bool handshake() { return SSL_do_handshake(ssl_) == 1; }
    void receive(std::string_view cipher) {
        BIO_write(in_, cipher.data(), static_cast<int>(cipher.size()));
    }
    /// What is to be sent.
    std::string take() {
        std::string bytes;
        std::array<char, 4096> part{};
        int got = 0;
        while ((got = BIO_read(out_, part.data(), static_cast<int>(part.size()))) > 0)
            bytes.append(part.data(), static_cast<std::size_t>(got));
        return bytes;
    }
    void write(std::string_view plain) {
        if (!plain.empty()) SSL_write(ssl_, plain.data(), static_cast<int>(plain.size()));
    }
    std::string read() {
        std::string bytes;
        std::array<char, 4096> part{};
        int got = 0;
        while ((got = SSL_read(ssl_, part.data(), static_cast<int>(part.size()))) > 0)
            bytes.append(part.data(), static_cast<std::size_t>(got));
        closed_ = SSL_get_error(ssl_, got) == SSL_ERROR_ZERO_RETURN;
        return bytes;
    }
    /// TLS 1.3: with the next bytes that it sends; the other side has to answer.
    void ask_for_new_keys() { SSL_key_update(ssl_, SSL_KEY_UPDATE_REQUESTED); }
    void end() { SSL_shutdown(ssl_); }
    /// The last `read` found the other side's goodbye.
    bool closed() const { return closed_; }

  private:
    SSL_CTX* context_;
    SSL* ssl_;
    BIO* in_;
    BIO* out_;
    bool closed_ = false;
};

}  // namespace schemux::daemon::testing
