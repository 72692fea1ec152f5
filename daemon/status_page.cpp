#include "daemon/status_page.h"

#include "daemon/status_page_text.h"
#include "protocol/base64.h"

#include <openssl/sha.h>

#include <array>
#include <cassert>

namespace schemux::daemon {

namespace {

/// What is between the two, of which there is one each.
std::string_view part_between(std::string_view page, std::string_view begin, std::string_view end) {
    const std::size_t from = page.find(begin) + begin.size();
    const std::size_t to = page.find(end, from);
    assert(from >= begin.size() && to != std::string_view::npos);
    return page.substr(from, to - from);
}

/// A source of Content Security Policy: this text and no other.
std::string source_of(std::string_view text) {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
    SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
    const std::string_view bytes(reinterpret_cast<const char*>(digest.data()), digest.size());
    return "'sha256-" + protocol::encode_base64(bytes) + "'";
}

std::string content_policy(std::string_view page) {
    return "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
           "form-action 'none'; frame-ancestors 'none'; style-src " +
           source_of(part_between(page, "<style>", "</style>")) + "; script-src " +
           source_of(part_between(page, "<script>", "</script>"));
}

}  // namespace

HttpReply status_page() {
    static const std::string policy = content_policy(status_page_text);
    return {200,
            "text/html; charset=utf-8",
            std::string(status_page_text),
            {{"Content-Security-Policy", policy},
             {"X-Frame-Options", "DENY"},
             {"Referrer-Policy", "no-referrer"}}};
}

}  // namespace schemux::daemon
