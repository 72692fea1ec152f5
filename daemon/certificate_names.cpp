#include "daemon/certificate_names.h"

#include <openssl/asn1.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <utility>

namespace schemux::daemon {

namespace {

struct FreeNames {
    void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
};

/// "ann\0.example" is nobody's name (CVE-2009-4034).
bool is_name(const std::string& text) {
    return !text.empty() && text.find('\0') == std::string::npos;
}

}  // namespace

std::optional<std::string> common_name(const X509& certificate) {
    const X509_NAME* subject = X509_get_subject_name(&certificate);
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) return {};
    const ASN1_STRING* text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    unsigned char* utf8 = nullptr;
    const int size = ASN1_STRING_to_UTF8(&utf8, text);
    if (size < 0) return {};
    std::string name(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
    OPENSSL_free(utf8);
    if (!is_name(name)) return {};
    return name;
}

std::vector<std::string> alternative_names(const X509& certificate) {
    std::vector<std::string> names;
    const std::unique_ptr<GENERAL_NAMES, FreeNames> all(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
    if (!all) return names;
    for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
        if (names.size() == alternative_names_max) break;
        int type = 0;
        const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all.get(), i), &type);
        if (type != GEN_DNS && type != GEN_EMAIL && type != GEN_URI) continue;
        const auto* text = static_cast<const ASN1_IA5STRING*>(value);
        std::string name(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                         static_cast<std::size_t>(ASN1_STRING_length(text)));
        if (is_name(name)) names.push_back(std::move(name));
    }
    return names;
}

}  // namespace schemux::daemon
