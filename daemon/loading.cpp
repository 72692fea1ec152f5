#include "daemon/loading.h"

#include "config/load.h"
#include "daemon/wiring.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

constexpr std::size_t password_file_max = 64 * 1024;
constexpr std::string_view verifier_prefix = "SCRAM-SHA-256$";

/// As PostgreSQL tells them from passwords.
bool is_md5_hash(std::string_view secret) {
    constexpr std::size_t md5_hash_bytes = 35;
    return secret.size() == md5_hash_bytes && secret.starts_with("md5") &&
           secret.find_first_not_of("0123456789abcdef", 3) == std::string_view::npos;
}

bool asks_for_passwords(config::AuthMethod method) {
    return method == config::AuthMethod::scram_sha_256 || method == config::AuthMethod::password;
}

std::string_view key_of(TlsError::Where where) {
    switch (where) {
        case TlsError::Where::certificate:
            return ".certificate";
        case TlsError::Where::key:
            return ".key";
        case TlsError::Where::client_ca:
            return ".client_ca";
        case TlsError::Where::crl:
            return ".crl";
        case TlsError::Where::ciphers:
            return ".ciphers";
        case TlsError::Where::other:
            return "";
    }
    return "";
}

class Loader {
  public:
    explicit Loader(const std::string& file) : file_(file) {}

    LoadOutcome run() {
        config::LoadResult result = config::load_file(file_, config::process_environment());
        outcome_.errors = std::move(result.errors);
        outcome_.warnings = std::move(result.warnings);
        positions_ = std::move(result.positions);
        if (!result.settings) return std::move(outcome_);
        Loaded loaded{std::move(*result.settings), {}};
        resolve_backend(loaded);
        read_tls(loaded);
        if (asks_for_passwords(loaded.settings.auth.method)) read_users(loaded);
        if (outcome_.errors.empty()) outcome_.loaded = std::move(loaded);
        return std::move(outcome_);
    }

  private:
    config::Diagnostic at(const std::string& path, std::string message) const {
        return {file_, config::nearest_position(positions_, path), path, std::move(message)};
    }
    void error(const std::string& path, std::string message) {
        outcome_.errors.push_back(at(path, std::move(message)));
    }

    /// The first line of a file, which must be there.
    std::optional<std::string> read_secret(const std::string& name, const std::string& path) {
        std::ifstream in(name);
        std::string line(password_file_max, '\0');
        in.read(line.data(), static_cast<std::streamsize>(line.size()));
        if (!in.is_open() || in.bad()) {
            error(path, "cannot read " + name);
            return {};
        }
        line.resize(static_cast<std::size_t>(in.gcount()));
        line.resize(std::min(line.size(), line.find('\n')));
        if (line.ends_with('\r')) line.pop_back();
        if (line.empty()) {
            error(path, "no password in the first line of " + name);
            return {};
        }
        warn_if_public(name, path);
        return line;
    }

    void warn_if_public(const std::string& name, const std::string& path) {
        struct stat status {};
        if (::stat(name.c_str(), &status) != 0 || (status.st_mode & S_IROTH) == 0) return;
        outcome_.warnings.push_back(
            at(path, name + " can be read by everybody on this machine; chmod o= would end that"));
    }

    void resolve_backend(Loaded& loaded) {
        const config::Backend& backend = loaded.settings.backend;
        std::optional<std::string> password;
        if (!backend.password_file.empty()) {
            password = read_secret(backend.password_file, "backend.password_file");
            if (!password) return;
        }
        auto resolved = resolve_dsn(backend.dsn, password);
        if (const auto* wrong = std::get_if<DsnError>(&resolved)) {
            error("backend.dsn", wrong->message);
        } else {
            loaded.target = std::get<BackendTarget>(std::move(resolved));
        }
    }

    void read_tls(Loaded& loaded) {
        const std::vector<config::Listener>& listeners = loaded.settings.listen;
        for (std::size_t i = 0; i < listeners.size(); ++i) {
            const std::string path = "listen[" + std::to_string(i) + "].tls";
            auto made = make_tls_policy(listeners[i].tls);
            if (const auto* wrong = std::get_if<TlsError>(&made)) {
                error(path + std::string(key_of(wrong->where)), wrong->message);
                continue;
            }
            loaded.tls.push_back(std::get<TlsPolicy>(std::move(made)));
            if (loaded.tls.back().context) warn_if_public(listeners[i].tls.key, path + ".key");
        }
    }

    void read_users(Loaded& loaded) {
        const std::vector<config::User>& users = loaded.settings.auth.users;
        for (std::size_t i = 0; i < users.size(); ++i) {
            const std::string path = "auth.users[" + std::to_string(i) + "]";
            if (!users[i].password_file.empty()) {
                const auto secret = read_secret(users[i].password_file, path + ".password_file");
                if (secret) add_user(loaded, users[i].name, *secret, path + ".password_file");
            } else if (!users[i].scram_verifier.empty()) {
                add_verifier(loaded, users[i].name, users[i].scram_verifier,
                             path + ".scram_verifier");
            } else {
                add_user(loaded, users[i].name, users[i].password, path + ".password");
            }
        }
    }

    /// A verifier in a password's place is taken for one, as by CREATE ROLE … PASSWORD.
    void add_user(Loaded& loaded, const std::string& user, const std::string& secret,
                  const std::string& path) {
        if (secret.starts_with(verifier_prefix)) {
            add_verifier(loaded, user, secret, path);
        } else if (is_md5_hash(secret)) {
            error(path,
                  "an md5 hash cannot serve a SCRAM login; give the password or its "
                  "SCRAM-SHA-256 verifier");
        } else if (secret.find('\0') != std::string::npos) {
            error(path, "the password has a zero byte");
        } else {
            loaded.secrets.push_back({user, secret});
        }
    }

    void add_verifier(Loaded& loaded, const std::string& user, const std::string& text,
                      const std::string& path) {
        if (auto verifier = protocol::read_verifier(text)) {
            loaded.secrets.push_back({user, std::move(*verifier)});
        } else {
            error(path,
                  "not a verifier of the form "
                  "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>");
        }
    }

    const std::string& file_;
    config::Positions positions_;
    LoadOutcome outcome_;
};

}  // namespace

LoadOutcome load_everything(const std::string& file) {
    return Loader(file).run();
}

}  // namespace schemux::daemon
