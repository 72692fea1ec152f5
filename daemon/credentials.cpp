#include "daemon/credentials.h"

#include "core/overload.h"
#include "protocol/keyed_digest.h"
#include "protocol/md5_password.h"

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace {

constexpr std::size_t salt_bytes = 16;  // PostgreSQL's SCRAM_DEFAULT_SALT_LEN

}  // namespace

MockSecret::MockSecret() {
    protocol::random_bytes(bytes_.data(), bytes_.size());
}

std::string_view MockSecret::bytes() const {
    return {bytes_.data(), bytes_.size()};
}

std::variant<KnownSecret, NoSecret> read_known_secret(std::string_view text) {
    constexpr std::string_view verifier_prefix = "SCRAM-SHA-256$";
    if (text.empty()) return NoSecret{"the password is empty"};
    if (text.find('\0') != std::string_view::npos) return NoSecret{"the password has a zero byte"};
    if (protocol::is_md5_hash(text)) return KnownSecret(Md5Hash{std::string(text)});
    if (!text.starts_with(verifier_prefix)) return KnownSecret(protocol::Secret(text));
    if (auto verifier = protocol::read_verifier(text)) return KnownSecret(std::move(*verifier));
    return NoSecret{
        "not a verifier of the form SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>"};
}

Credentials::Credentials(std::vector<UserSecret> secrets, const Credentials* before) {
    std::size_t md5_users = 0;
    for (UserSecret& secret : secrets) {
        Entry entry;
        std::visit(
            core::Overload{
                [&](protocol::Secret& password) { entry.password = std::move(password); },
                [&](protocol::ScramVerifier& verifier) { entry.verifier = std::move(verifier); },
                [&](Md5Hash& hash) { entry.md5_hash = std::move(hash.text); }},
            secret.secret);
        if (entry.has_md5()) ++md5_users;
        entries_.insert_or_assign(std::move(secret.user), std::move(entry));
    }
    mostly_md5_ = 2 * md5_users > entries_.size();
    mock_iterations_ = usual_iterations();
    if (before == nullptr) return;
    const std::lock_guard lock(before->mutex_);
    for (auto& [user, entry] : entries_) {
        if (entry.verifier) continue;
        const auto known = before->entries_.find(user);
        if (known != before->entries_.end() && known->second.password == entry.password)
            entry.verifier = known->second.verifier;
    }
}

/// What most users' verifiers have: a stand-in must not stick out.
std::uint32_t Credentials::usual_iterations() const {
    std::map<std::uint32_t, std::size_t> counts;
    for (const auto& [user, entry] : entries_)
        ++counts[entry.verifier ? entry.verifier->iterations : protocol::scram_iterations_default];
    const auto most =
        std::max_element(counts.begin(), counts.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == counts.end() ? protocol::scram_iterations_default : most->first;
}

std::shared_ptr<Credentials> Credentials::nobody() const {
    auto made = std::make_shared<Credentials>();
    made->mostly_md5_ = mostly_md5_;
    made->mock_iterations_ = mock_iterations_;
    return made;
}

std::optional<protocol::ScramVerifier> Credentials::find(std::string_view user,
                                                         const MockSecret& mock) const {
    // Made for everybody: the time must not tell for whom it was needed.
    auto stand_in = protocol::mock_verifier(mock.bytes(), user, mock_iterations_);
    const auto found = entries_.find(user);
    if (found == entries_.end() || !found->second.md5_hash.empty()) return stand_in;
    const std::lock_guard lock(mutex_);
    return found->second.verifier;
}

protocol::Secret Credentials::password_of(std::string_view user) const {
    const auto found = entries_.find(user);
    return found == entries_.end() ? protocol::Secret() : found->second.password;
}

void Credentials::derive(std::string_view user) {
    const auto found = entries_.find(user);
    if (found == entries_.end() || !found->second.md5_hash.empty()) return;
    {
        const std::lock_guard lock(mutex_);
        if (found->second.verifier) return;
    }
    std::array<char, salt_bytes> salt{};
    protocol::random_bytes(salt.data(), salt.size());
    const std::string_view salt_text(salt.data(), salt.size());
    const auto keys = protocol::derive_keys(found->second.password.view(), salt_text,
                                            protocol::scram_iterations_default);
    protocol::ScramVerifier verifier;
    if (keys) {
        verifier = protocol::make_verifier(*keys, salt_text, protocol::scram_iterations_default);
    } else {
        // OpenSSL refuses, as a FIPS policy may: this user cannot log in, the others can.
        verifier = protocol::mock_verifier(salt_text, user, protocol::scram_iterations_default);
    }
    const std::lock_guard lock(mutex_);
    if (!found->second.verifier) found->second.verifier = std::move(verifier);
}

bool Credentials::matches(std::string_view user, std::string_view password,
                          const MockSecret& mock) {
    derive(user);
    const auto verifier = find(user, mock);
    if (!verifier) return false;
    const auto keys = protocol::derive_keys(password, verifier->salt, verifier->iterations);
    // The comparison is made for a mock verifier too: both take the same time.
    const bool right = keys && protocol::equal(keys->stored, verifier->stored) && !verifier->doomed;
    const auto found = entries_.find(user);
    if (found == entries_.end() || found->second.md5_hash.empty()) return right;
    const auto hash = protocol::md5_hash(user, password);
    return hash && protocol::equal_in_constant_time(*hash, found->second.md5_hash);
}

std::optional<std::string> Credentials::find_md5_hash(std::string_view user,
                                                      const MockSecret& mock) const {
    const auto found = entries_.find(user);
    if (found == entries_.end()) {
        if (!mostly_md5_) return {};
        return protocol::md5_hash(user, mock.bytes());
    }
    const Entry& entry = found->second;
    if (!entry.has_md5()) return {};
    return entry.md5_hash.empty() ? protocol::md5_hash(user, entry.password.view())
                                  : entry.md5_hash;
}

std::optional<std::string> Credentials::next_to_derive() const {
    const std::lock_guard lock(mutex_);
    for (const auto& [user, entry] : entries_) {
        if (!entry.verifier && entry.md5_hash.empty()) return user;
    }
    return {};
}

}  // namespace schemux::daemon
