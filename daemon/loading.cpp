#include "daemon/loading.h"

#include "config/hba_file.h"
#include "config/load.h"
#include "config/login_rules.h"
#include "config/users_file.h"
#include "daemon/wiring.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

constexpr std::size_t password_file_max = 64 * 1024;
constexpr std::size_t hba_file_max = 1024 * 1024;
/// What a configuration may have.
constexpr std::size_t services_file_max = config::max_file_bytes;
constexpr std::size_t users_file_max = 16 * 1024 * 1024;

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
        Loaded loaded{std::move(*result.settings)};
        for (config::Diagnostic& wrong : add_services_file(loaded.settings, outcome_.warnings))
            outcome_.errors.push_back(std::move(wrong));
        for (const config::Backend* backend : config::all_backends(loaded.settings))
            loaded.backends.push_back(resolve_backend(*backend));
        read_tls(loaded);
        read_rules(loaded.settings);
        for (const config::User& user : loaded.settings.auth.users)
            loaded.users.push_back(user.name);
        const bool secrets_matter = config::asks_for_passwords(loaded.settings.auth);
        if (secrets_matter) read_users(loaded);
        if (!loaded.settings.auth.users_file.empty()) read_users_file(loaded, secrets_matter);
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

    std::optional<std::string> read_file(const std::string& name, std::size_t max,
                                         const std::string& path) {
        std::ifstream in(name);
        std::string text(max + 1, '\0');
        in.read(text.data(), static_cast<std::streamsize>(text.size()));
        if (!in.is_open() || in.bad()) {
            error(path, "cannot read " + name);
            return {};
        }
        text.resize(static_cast<std::size_t>(in.gcount()));
        if (text.size() <= max) return text;
        error(path, name + " is longer than " + std::to_string(max) + " bytes");
        return {};
    }

    /// The first line of a file, which must be there.
    std::optional<std::string> read_secret(const std::string& name, const std::string& path) {
        auto line = read_file(name, password_file_max, path);
        if (!line) return {};
        line->resize(std::min(line->size(), line->find('\n')));
        if (line->ends_with('\r')) line->pop_back();
        if (line->empty()) {
            error(path, "no password in the first line of " + name);
            return {};
        }
        warn_if_public(name, path);
        return line;
    }

    void line_errors(const std::vector<config::LineError>& errors, const std::string& name,
                     const std::string& path) {
        for (const config::LineError& one : errors)
            error(path, name + " line " + std::to_string(one.line) + ": " + one.message);
    }

    void read_rules(config::Settings& settings) {
        constexpr std::string_view path = "auth.hba_file";
        config::Auth& auth = settings.auth;
        if (auth.hba_file.empty()) return;
        const auto text = read_file(auth.hba_file, hba_file_max, std::string(path));
        if (!text) return;
        config::HbaFile file = config::read_hba_file(*text);
        for (const config::LoginRule& rule : file.rules) {
            for (const config::RuleProblem& wrong : config::check_login_rule(rule, settings))
                file.errors.push_back({rule.line, wrong.message});
        }
        line_errors(file.errors, auth.hba_file, std::string(path));
        auth.rules = std::move(file.rules);
        const bool any_user =
            !auth.users.empty() || !auth.users_file.empty() || !auth.query.empty();
        if (config::asks_for_passwords(auth) && !any_user)
            error(std::string(path),
                  "its methods need users with a password: auth.users, "
                  "auth.users_file or auth.query");
    }

    void read_users_file(Loaded& loaded, bool secrets_matter) {
        constexpr std::string_view path = "auth.users_file";
        const std::string& name = loaded.settings.auth.users_file;
        const auto text = read_file(name, users_file_max, std::string(path));
        if (!text) return;
        config::UsersFile file = config::read_users_file(*text);
        line_errors(file.errors, name, std::string(path));
        warn_if_public(name, std::string(path));
        const std::set<std::string> listed(loaded.users.begin(), loaded.users.end());
        for (const config::ListedUser& user : file.users) {
            // What the configuration itself says of a user wins.
            if (listed.contains(user.name)) continue;
            loaded.users.push_back(user.name);
            if (!secrets_matter || user.secret.empty()) continue;  // nobody knows it: no login
            const std::string where =
                name + " line " + std::to_string(user.line) + ": user '" + user.name + "': ";
            auto known = read_known_secret(user.secret);
            if (const auto* wrong = std::get_if<NoSecret>(&known)) {
                error(std::string(path), where + wrong->why);
                continue;
            }
            loaded.secrets.push_back({user.name, std::get<KnownSecret>(std::move(known))});
            warn_if_unusable(loaded, std::string(path), where);
        }
    }

    /// Of the last one.
    void warn_if_unusable(const Loaded& loaded, const std::string& path, const std::string& where) {
        if (!std::holds_alternative<Md5Hash>(loaded.secrets.back().secret)) return;
        if (config::takes_md5_hashes(loaded.settings.auth)) return;
        outcome_.warnings.push_back(at(path, where + "an md5 hash cannot serve a SCRAM login"));
    }

    void warn_if_public(const std::string& name, const std::string& path) {
        struct stat status {};
        if (::stat(name.c_str(), &status) != 0 || (status.st_mode & S_IROTH) == 0) return;
        outcome_.warnings.push_back(
            at(path, name + " can be read by everybody on this machine; chmod o= would end that"));
    }

    LoadedBackend resolve_backend(const config::Backend& backend) {
        LoadedBackend loaded;
        std::optional<std::string> password;
        if (!backend.password_file.empty()) {
            password = read_secret(backend.password_file, backend.path + ".password_file");
            if (!password) return loaded;
            loaded.password.emplace(*password);
        }
        auto resolved = resolve_dsn(backend.dsn, password);
        if (const auto* wrong = std::get_if<DsnError>(&resolved)) {
            error(backend.path + ".dsn", wrong->message);
        } else {
            loaded.target = std::get<BackendTarget>(std::move(resolved));
        }
        // As libpq: what may go without TLS cannot begin with it.
        if (backend.tls_negotiation == config::TlsNegotiation::direct &&
            loaded.target.sslmode < SslMode::require)
            error(backend.path + ".tls_negotiation",
                  "direct needs sslmode=require or better in the dsn");
        return loaded;
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
            } else if (!users[i].password.empty()) {
                add_user(loaded, users[i].name, users[i].password, path + ".password");
            }
        }
    }

    /// A verifier in a password's place is taken for one, as by CREATE ROLE … PASSWORD.
    void add_user(Loaded& loaded, const std::string& user, const std::string& secret,
                  const std::string& path) {
        auto known = read_known_secret(secret);
        if (const auto* wrong = std::get_if<NoSecret>(&known)) {
            error(path, wrong->why);
            return;
        }
        loaded.secrets.push_back({user, std::get<KnownSecret>(std::move(known))});
        if (std::holds_alternative<Md5Hash>(loaded.secrets.back().secret) &&
            !config::takes_md5_hashes(loaded.settings.auth))
            error(path,
                  "an md5 hash cannot serve a SCRAM login; give the password or its "
                  "SCRAM-SHA-256 verifier");
    }

    void add_verifier(Loaded& loaded, const std::string& user, const std::string& text,
                      const std::string& path) {
        if (auto verifier = protocol::read_verifier(text)) {
            loaded.secrets.push_back({user, std::move(*verifier)});
        } else {
            error(path, std::get<NoSecret>(read_known_secret("SCRAM-SHA-256$")).why);
        }
    }

    const std::string& file_;
    config::Positions positions_;
    LoadOutcome outcome_;
};

}  // namespace

std::vector<config::Diagnostic> add_services_file(config::Settings& settings,
                                                  std::vector<config::Diagnostic>& warnings) {
    const std::string& name = settings.services_file;
    settings.services_in_file = 0;
    if (name.empty()) return {};
    std::ifstream in(name, std::ios::binary);
    std::string text(services_file_max + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!in.is_open() || in.bad()) return {{name, {}, "file", "cannot be read"}};
    text.resize(static_cast<std::size_t>(in.gcount()));
    config::ServiceList list =
        config::load_services(text, name, config::process_environment(), settings);
    std::move(list.warnings.begin(), list.warnings.end(), std::back_inserter(warnings));
    settings.services_in_file = list.services.size();
    std::move(list.services.begin(), list.services.end(), std::back_inserter(settings.services));
    return std::move(list.errors);
}

LoadOutcome load_everything(const std::string& file) {
    return Loader(file).run();
}

}  // namespace schemux::daemon
