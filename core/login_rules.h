// Which way a client must prove who it is: ordered rules over how it came, from where, as whom and
// for which service; the first that fits decides. And the maps from the names that certificates and
// the operating system know to users. PostgreSQL's pg_hba.conf and pg_ident.conf are the model
// (manual, 21.1 and 21.2).
// It must not know files, their syntax, sockets or secrets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace schemux::core {

/// How a client proves who it is.
enum class ClientAuthentication : std::uint8_t {
    trust,
    scram_sha_256,
    password,
    certificate,
    peer,
    md5,
    reject
};

/// Addresses that begin with the same bits.
struct AddressRange {
    std::string bytes;  ///< 4 or 16, network order
    unsigned prefix = 0;

    /// An IPv4 address that is written as IPv6 (::ffff:a.b.c.d) is not the IPv4 one, as by
    /// PostgreSQL.
    bool contains(std::string_view address) const;
    /// All of its addresses are this machine itself.
    bool is_loopback() const;

    friend bool operator==(const AddressRange&, const AddressRange&) = default;
};

/// What a client must show beside what the method asks for.
enum class CertificateNeed : std::uint8_t {
    none,
    verified,  ///< a certificate that one of the listener's authorities signed
    of_user,   ///< and it is for the user
};

struct LoginRule {
    enum class Kind : std::uint8_t { any, local, host, hostssl, hostnossl };

    Kind kind = Kind::any;
    std::vector<AddressRange> addresses;  ///< empty: any
    std::vector<std::string> services;    ///< empty: any
    bool service_is_user = false;         ///< the service has the user's name ("sameuser")
    std::vector<std::string> users;       ///< empty: any
    ClientAuthentication method = ClientAuthentication::reject;
    CertificateNeed certificate = CertificateNeed::none;
    std::string map;  ///< of identities; empty: the name must be the user's

    friend bool operator==(const LoginRule&, const LoginRule&) = default;
};

/// Who comes, as far as that is known before anything is proved.
struct Newcomer {
    bool is_local = false;  ///< by a unix socket
    bool is_encrypted = false;
    std::string_view address;  ///< 4 or 16 bytes; empty: a unix socket's
    std::string_view service;
    std::string_view user;
};

/// One line of a map. `*` in `identity`, at most once, is any text, which stands for `*` in `user`.
struct IdentityRule {
    std::string map;
    std::string identity;
    std::string user;

    friend bool operator==(const IdentityRule&, const IdentityRule&) = default;
};

class LoginRuleList {
  public:
    LoginRuleList() = default;
    LoginRuleList(std::vector<LoginRule> rules, std::vector<IdentityRule> identities)
        : rules_(std::move(rules)), identities_(std::move(identities)) {}

    /// Null: no rule fits, and the client is refused.
    const LoginRule* find(const Newcomer& who) const;
    /// Whether somebody whom others know as `identity` may be `user` by this map.
    bool maps(std::string_view map, std::string_view identity, std::string_view user) const;

    bool uses(ClientAuthentication method) const;

  private:
    std::vector<LoginRule> rules_;
    std::vector<IdentityRule> identities_;
};

}  // namespace schemux::core
