// What TLS needs once for many connections: a certificate with its key, whom to believe, which
// versions, as OpenSSL keeps it. Made anew by a reload; connections keep the one they began with.
// It must not know sockets, sessions or the configuration.
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>

namespace schemux::daemon {

/// The application protocol that a client may name, and must where it begins with TLS at once
/// (PostgreSQL manual, 55.2.11).
inline constexpr char postgresql_alpn[] = "\012postgresql";

/// What SCRAM binds to (RFC 5929, 4.1, tls-server-end-point): by the hash of the certificate's own
/// signature, but never by MD5 or SHA-1; empty where that has none.
std::string end_point_of(const X509* certificate);

struct TlsServerOptions {
    std::string certificate;  ///< PEM files
    std::string key;
    std::string client_ca{};  ///< empty: no certificate is asked for
    std::string crl{};
    std::string ciphers{};  ///< empty: OpenSSL's
    bool certificate_required = false;
    bool only_newest = false;  ///< TLS 1.3, else 1.2 too
};

/// Towards a server; where nothing is given nothing is verified.
struct TlsClientOptions {
    std::string
        root_certificate{};  ///< PEM file with whom to believe; empty: the server is not verified
    std::string certificate{};  ///< our own, where the server asks for one
    std::string key{};
    std::string crl{};
    bool verify_name = false;  ///< the certificate must be for the host that was meant
    bool only_newest = false;
};

struct TlsError {
    enum class Where : std::uint8_t { certificate, key, client_ca, crl, ciphers, other };
    Where where = Where::other;
    std::string message;
};

class TlsContext {
  public:
    /// Reads the files.
    static std::variant<std::shared_ptr<const TlsContext>, TlsError> for_server(
        const TlsServerOptions& options);
    static std::variant<std::shared_ptr<const TlsContext>, TlsError> for_client(
        const TlsClientOptions& options);
    ~TlsContext();
    TlsContext(const TlsContext&) = delete;
    TlsContext& operator=(const TlsContext&) = delete;

    SSL_CTX* native() const { return context_; }
    bool is_server() const { return is_server_; }
    /// The name of the other side is part of what is verified.
    bool verifies_name() const { return verifies_name_; }
    /// Server: the hash of the own certificate that SCRAM binds to (RFC 5929, 4.1); empty where its
    /// signature has no hash.
    const std::string& end_point() const { return end_point_; }
    /// When the own certificate ends, in seconds since 1970; 0: there is none.
    std::int64_t valid_until() const { return valid_until_; }
    /// A signature takes a good part of a millisecond: not on a thread that serves others.
    bool signs_slowly() const { return signs_slowly_; }

  private:
    explicit TlsContext(bool is_server);
    void set_up(bool only_newest);
    std::optional<TlsError> load(const TlsServerOptions& options);
    std::optional<TlsError> load(const TlsClientOptions& options);
    std::optional<TlsError> load_certificate(const std::string& certificate,
                                             const std::string& key);
    std::optional<TlsError> load_authorities(const std::string& file, const std::string& crl);

    SSL_CTX* context_ = nullptr;
    std::string end_point_;
    const bool is_server_;
    bool verifies_name_ = false;
    bool signs_slowly_ = false;
    std::int64_t valid_until_ = 0;
};

}  // namespace schemux::daemon
