// Whom certificates are for, made for the purpose.
#include "daemon/certificate_names.h"

#include <gtest/gtest.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::daemon {
namespace {

using namespace std::string_view_literals;
using Names = std::vector<std::string>;

struct Free {
    void operator()(X509* certificate) const { X509_free(certificate); }
};

/// Unsigned: only its names matter.
class Certificate {
  public:
    Certificate() : x509_(X509_new()) {}

    void add_common_name(std::string_view name, int type = MBSTRING_UTF8) {
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x509_.get()), "CN", type,
                                   reinterpret_cast<const unsigned char*>(name.data()),
                                   static_cast<int>(name.size()), -1, 0);
    }
    void add_alternatives(const std::vector<std::pair<int, std::string>>& names) {
        GENERAL_NAMES* all = GENERAL_NAMES_new();
        for (const auto& [type, text] : names) {
            GENERAL_NAME* name = GENERAL_NAME_new();
            ASN1_STRING* value = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
            ASN1_STRING_set(value, text.data(), static_cast<int>(text.size()));
            GENERAL_NAME_set0_value(name, type, value);
            sk_GENERAL_NAME_push(all, name);
        }
        X509_add1_ext_i2d(x509_.get(), NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT);
        GENERAL_NAMES_free(all);
    }
    const X509& get() const { return *x509_; }

  private:
    std::unique_ptr<X509, Free> x509_;
};

TEST(CertificateNames, TheCommonName) {
    Certificate none;
    EXPECT_EQ(common_name(none.get()), std::nullopt);
    Certificate one;
    one.add_common_name("änn");
    EXPECT_EQ(common_name(one.get()), "änn");
    Certificate latin;
    latin.add_common_name("\xe4nn", MBSTRING_ASC);
    EXPECT_EQ(common_name(latin.get()), "änn");
    Certificate two;
    two.add_common_name("first");
    two.add_common_name("second");
    EXPECT_EQ(common_name(two.get()), "first");
}

TEST(CertificateNames, AZeroByteIsInNobodysName) {
    Certificate common;
    common.add_common_name("ann\0.example"sv);
    EXPECT_EQ(common_name(common.get()), std::nullopt);
    Certificate other;
    other.add_alternatives({{GEN_DNS, std::string("ann\0.example"sv)}, {GEN_DNS, "bob"}});
    EXPECT_EQ(alternative_names(other.get()), Names{"bob"});
}

TEST(CertificateNames, NamesMailAndUris) {
    Certificate one;
    EXPECT_EQ(alternative_names(one.get()), Names{});
    one.add_alternatives({{GEN_DNS, "db7.machines.example"},
                          {GEN_IPADD, "\x7f\x01\x01\x01"},
                          {GEN_EMAIL, "ann@example"},
                          {GEN_URI, "spiffe://x/ann"},
                          {GEN_DNS, ""}});
    EXPECT_EQ(alternative_names(one.get()),
              (Names{"db7.machines.example", "ann@example", "spiffe://x/ann"}));
}

TEST(CertificateNames, ThereIsAnEndToThem) {
    Certificate one;
    one.add_alternatives(std::vector<std::pair<int, std::string>>(alternative_names_max + 5,
                                                                  {GEN_DNS, "a.example"}));
    EXPECT_EQ(alternative_names(one.get()).size(), alternative_names_max);
}

}  // namespace
}  // namespace schemux::daemon
