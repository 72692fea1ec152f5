// The rows of TLS. Only words and accessors, as in option_rows.cpp.
#include "config/option_row.h"
#include "config/option_rows.h"

namespace schemux::config {

namespace {

template <std::string ListenerTls::*member>
Option file(std::string_view path, std::string_view example, std::string_view sentence) {
    return row(path, OptionType::path, sentence)
        .optional(example)
        .on_reload(Reload::new_connections)
        .at([](const Scope& s) -> Field { return &(s.listener->tls.*member); });
}

}  // namespace

void add_listener_tls_rows(std::vector<Option>& rows) {
    rows.insert(
        rows.end(),
        {
            row("listen[].tls", OptionType::section,
                "TLS for the frontends of an address; without it none. A reload reads the files "
                "again.")
                .optional("")
                .on_reload(Reload::new_connections)
                .done(),
            row("listen[].tls.mode", OptionType::choice,
                "off; allow or prefer: as the frontend likes; require: no frontend without it; "
                "verify-ca: none without a certificate of client_ca either; verify-full: whose "
                "common name is the user, too.")
                .required("require")
                .choices({"off", "allow", "prefer", "require", "verify-ca", "verify-full"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.listener->tls.mode; }),
            file<&ListenerTls::certificate>(
                "listen[].tls.certificate", "server.crt",
                "PEM file with the server's certificate and those between it and its root."),
            file<&ListenerTls::key>("listen[].tls.key", "server.key",
                                    "PEM file with the certificate's private key, unencrypted."),
            file<&ListenerTls::client_ca>(
                "listen[].tls.client_ca", "ca.crt",
                "PEM file with the authorities that frontends' certificates may come from; with "
                "it a frontend is asked for one."),
            file<&ListenerTls::crl>("listen[].tls.crl", "ca.crl",
                                    "PEM file with the frontends' certificates that are revoked."),
            row("listen[].tls.min_version", OptionType::choice, "The oldest TLS that is spoken.")
                .by_default("1.2")
                .choices({"1.2", "1.3"})
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.listener->tls.min_version; }),
            row("listen[].tls.ciphers", OptionType::text,
                "OpenSSL's list of ciphers for TLS 1.2; without it OpenSSL's own.")
                .optional("ECDHE+AESGCM")
                .on_reload(Reload::new_connections)
                .at([](const Scope& s) -> Field { return &s.listener->tls.ciphers; }),
        });
}

}  // namespace schemux::config
