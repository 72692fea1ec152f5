// The names of a certificate. Input: the certificate as DER.
#include "daemon/certificate_names.h"

#include "tests/fuzz/input.h"

#include <openssl/x509.h>

#include <memory>
#include <string>

namespace schemux::fuzz {
namespace {

struct Free {
    void operator()(X509* certificate) const { X509_free(certificate); }
};

bool is_name(const std::string& text) {
    return !text.empty() && text.find('\0') == std::string::npos;
}

void check(const std::uint8_t* data, std::size_t size) {
    const std::unique_ptr<X509, Free> certificate(
        d2i_X509(nullptr, &data, static_cast<long>(size)));
    if (!certificate) return;
    const auto name = daemon::common_name(*certificate);
    demand(!name || is_name(*name), "a common name is a name");
    const auto others = daemon::alternative_names(*certificate);
    demand(others.size() <= daemon::alternative_names_max, "there is an end to them");
    for (const std::string& other : others)
        demand(is_name(other), "an alternative name is a name");
}

}  // namespace
}  // namespace schemux::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    schemux::fuzz::check(data, size);
    return 0;
}
