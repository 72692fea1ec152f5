// The connector's logins: from the addresses of the dsn to a session that is ready, over TLS or
// not, as sslmode says. When connects are made, and for whom: connector.cpp.
#include "core/overload.h"
#include "daemon/connector.h"
#include "daemon/deadline.h"
#include "daemon/hop.h"
#include "daemon/log.h"
#include "daemon/login_stream.h"
#include "protocol/keyed_digest.h"
#include "protocol/sqlstate.h"
#include "protocol/startup_packet.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
using asio::redirect_error;
using asio::use_awaitable;

namespace {

constexpr std::size_t cached_keys_max = 1'024;
constexpr std::size_t role_passwords_max = 10'000;

protocol::ErrorFields connection_error(std::string message) {
    return protocol::make_error(protocol::sqlstate::connection_failure, std::move(message));
}

bool is_refused(const Connector::Attempt& attempt) {
    const auto* failure = std::get_if<Connector::Failure>(&attempt);
    return failure != nullptr && failure->error.sqlstate == protocol::sqlstate::invalid_password;
}

/// The password itself goes only where nobody can listen.
core::AcceptedMethods safe_methods(const SocketAddress& address, bool verified) {
    core::AcceptedMethods methods;
    methods.password = is_local(address) || verified;
    return methods;
}

/// PostgreSQL 14 and newer report both settings; an older server counts as a writable primary.
bool suits(TargetSessionAttrs wanted, const core::Settings& parameters, bool must_be_standby) {
    const auto is_on = [&parameters](std::string_view name) {
        return std::any_of(parameters.begin(), parameters.end(), [name](const auto& pair) {
            return pair.first == name && pair.second == "on";
        });
    };
    const bool standby = is_on("in_hot_standby");
    const bool read_only = standby || is_on("default_transaction_read_only");
    switch (wanted) {
        case TargetSessionAttrs::any:
            return true;
        case TargetSessionAttrs::read_write:
            return !read_only;
        case TargetSessionAttrs::read_only:
            return read_only;
        case TargetSessionAttrs::primary:
            return !standby;
        case TargetSessionAttrs::standby:
            return standby;
        case TargetSessionAttrs::prefer_standby:
            return standby || !must_be_standby;
    }
    return true;
}

}  // namespace

asio::awaitable<std::vector<Connector::Candidate>> Connector::candidates(std::string& why_none) {
    std::vector<Candidate> all;
    // A reload may replace them meanwhile.
    const std::vector<HostPort> hosts = access_.target.hosts;
    for (const HostPort& host : hosts) {
        if (!host.is_unix()) co_await hop_to(helper_);
        auto resolved = resolve_addresses(host);
        if (!host.is_unix()) co_await hop_to(io_);
        if (const auto* error = std::get_if<DsnError>(&resolved)) {
            why_none = error->message;
            continue;
        }
        for (const SocketAddress& address : std::get<std::vector<SocketAddress>>(resolved)) {
            all.push_back({address, host});
        }
    }
    // Where the last one went: a host that is away costs time, and one pool has one server.
    std::stable_partition(all.begin(), all.end(),
                          [this](const Candidate& one) { return server_ == one.address; });
    co_return all;
}

/// A password that ended is asked for again, and tried at once if it is another one.
asio::awaitable<Connector::Attempt> Connector::try_candidates(core::BackendIdentity who) {
    if (!who.role.empty()) {
        Attempt attempt = co_await try_role(who);
        co_return attempt;
    }
    const std::optional<RoleProof> as_the_hosts;
    const bool first = !access_.password.command.empty() && !password_;
    if (first) {
        const std::optional<Failure> failure = co_await renew_password();
        if (failure) co_return *failure;
    }
    const std::optional<protocol::Secret> used = password_;
    Attempt attempt = co_await try_all(who, as_the_hosts);
    if (!is_refused(attempt) || access_.password.empty()) co_return attempt;
    const std::optional<Failure> none = co_await renew_password();
    if (none || password_ == used) co_return attempt;
    attempt = co_await try_all(who, as_the_hosts);
    co_return attempt;
}

/// The same for a role of its own. The password of the dsn is never sent for it.
asio::awaitable<Connector::Attempt> Connector::try_role(core::BackendIdentity who) {
    const RoleSecret listed = shared_.role_secrets->find(who.role);
    const bool is_listed = listed.password || !listed.file.empty();
    const auto of_client = shared_.client_secrets->find(who.role);
    if (is_listed || !of_client) {
        Attempt attempt = co_await try_listed(who);
        // It may be of a configuration of before.
        if (!of_client || !is_refused(attempt)) co_return attempt;
    }
    Attempt attempt = co_await try_client(who, *of_client);
    co_return attempt;
}

/// With what the configuration has of the role.
asio::awaitable<Connector::Attempt> Connector::try_listed(core::BackendIdentity who) {
    const bool has_file = !shared_.role_secrets->find(who.role).file.empty();
    if (has_file && !role_passwords_.contains(who.role)) {
        const std::optional<Failure> failure = co_await renew_role_password(who.role);
        if (failure) co_return *failure;
    }
    const protocol::Secret used = password_of_role(who.role);
    const std::optional<RoleProof> proof = RoleProof{used};
    Attempt attempt = co_await try_all(who, proof);
    if (!is_refused(attempt) || !has_file) co_return attempt;
    const std::optional<Failure> none = co_await renew_role_password(who.role);
    const std::optional<RoleProof> renewed = RoleProof{password_of_role(who.role)};
    if (none || renewed->password == used) co_return attempt;
    attempt = co_await try_all(who, renewed);
    co_return attempt;
}

/// As the client itself, with what its login has proved; a later login may prove something else.
asio::awaitable<Connector::Attempt> Connector::try_client(core::BackendIdentity who,
                                                          ClientSecret secret) {
    std::optional<RoleProof> proof = RoleProof{secret.password, secret.keys};
    Attempt attempt = co_await try_all(who, proof);
    const auto newest = shared_.client_secrets->find(who.role);
    if (is_refused(attempt) && newest && newest->version != secret.version) {
        secret = *newest;
        proof = RoleProof{secret.password, secret.keys};
        attempt = co_await try_all(who, proof);
    }
    if (!is_refused(attempt)) co_return attempt;
    auto& error = std::get<Failure>(attempt).error;
    if (error.hint.empty()) error.hint = hint_for(secret, who.role);
    co_return attempt;
}

protocol::Secret Connector::password_of_role(const std::string& role) const {
    const auto read = role_passwords_.find(role);
    if (read != role_passwords_.end()) return read->second;
    const RoleSecret known = shared_.role_secrets->find(role);
    return known.password ? *known.password : protocol::Secret();
}

asio::awaitable<std::optional<Connector::Failure>> Connector::renew_role_password(
    std::string role) {
    const PasswordSource source{{}, shared_.role_secrets->find(role).file};
    co_await hop_to(helper_);
    auto read = read_password(source);
    co_await hop_to(io_);
    if (const auto* none = std::get_if<NoPassword>(&read)) {
        log_event(LogLevel::warning, "no_backend_password", {{"role", role}, {"error", none->why}});
        // As if PostgreSQL had said it: others are let in.
        co_return Failure{protocol::make_error(protocol::sqlstate::invalid_password,
                                               "no password for role \"" + role + '"'),
                          false};
    }
    if (role_passwords_.size() >= role_passwords_max) role_passwords_.clear();
    role_passwords_.insert_or_assign(role, std::get<protocol::Secret>(std::move(read)));
    co_return std::nullopt;
}

/// What keeps us from having one, if anything does.
asio::awaitable<std::optional<Connector::Failure>> Connector::renew_password() {
    const PasswordSource source = access_.password;
    co_await hop_to(helper_);
    auto read = read_password(source);
    co_await hop_to(io_);
    if (!(source == access_.password)) co_return std::nullopt;  // a reload came meanwhile
    if (const auto* none = std::get_if<NoPassword>(&read)) {
        log_event(LogLevel::warning, "no_backend_password", {{"error", none->why}});
        co_return Failure{connection_error("no password for the backend: " + none->why), true};
    }
    password_ = std::get<protocol::Secret>(std::move(read));
    for (HostPort& host : access_.target.hosts)
        host.password = password_->view();
    co_return std::nullopt;
}

/// `proof`: of the role, in place of the hosts' password.
asio::awaitable<Connector::Attempt> Connector::try_all(core::BackendIdentity who,
                                                       std::optional<RoleProof> proof) {
    std::string why_none = "no host to connect to";
    const std::uint64_t epoch = shared_.backend_epoch.load();
    std::vector<Candidate> all = co_await candidates(why_none);
    for (Candidate& candidate : all) {
        candidate.identity = who;
        candidate.proof = proof;
    }
    Attempt last = Failure{connection_error(why_none), true};
    const bool two_passes =
        access_.target.target_session_attrs == TargetSessionAttrs::prefer_standby;
    for (int pass = two_passes ? 0 : 1; pass < 2; ++pass) {
        for (const Candidate& candidate : all) {
            last = co_await try_candidate(candidate, pass == 0);
            if (auto* backend = std::get_if<NewBackend>(&last)) {
                backend->epoch = epoch;
                co_return last;
            }
            // A wrong password is wrong on the next host too, but another host may have another.
        }
    }
    co_return last;
}

/// As libpq: `allow` and `prefer` have a second way where the first is no way in.
std::vector<Connector::Way> Connector::ways_to(const Candidate& candidate) const {
    if (candidate.host.is_unix()) return {Way::plain};
    switch (access_.target.sslmode) {
        case SslMode::disable:
            return {Way::plain};
        case SslMode::allow:
            return {Way::plain, Way::encrypted};
        case SslMode::prefer:
            return {Way::encrypted, Way::plain};
        case SslMode::require:
        case SslMode::verify_ca:
        case SslMode::verify_full:
            return {Way::encrypted};
    }
    return {Way::encrypted};
}

asio::awaitable<Connector::Attempt> Connector::try_candidate(Candidate candidate,
                                                             bool must_be_standby) {
    Attempt attempt = Failure{connection_error("no way to connect"), true};
    for (const Way way : ways_to(candidate)) {
        attempt = co_await try_way(candidate, must_be_standby, way);
        const auto* failure = std::get_if<Failure>(&attempt);
        if (failure == nullptr || !failure->another_way_may_do) break;
    }
    co_return attempt;
}

/// Protocol 3.2 has longer cancel keys. PostgreSQL that is older negotiates; others may refuse.
asio::awaitable<Connector::Attempt> Connector::try_way(Candidate candidate, bool must_be_standby,
                                                       Way way) {
    const std::string where = candidate.host.to_string();
    const bool old = old_servers_.contains(where);
    Attempt attempt =
        co_await try_version(candidate, must_be_standby, way, old ? 0 : protocol::long_key_minor);
    const auto* failure = std::get_if<Failure>(&attempt);
    if (failure == nullptr || !failure->version_refused) co_return attempt;
    const std::string said = failure->error.message;
    const bool closed = failure->error.sqlstate == protocol::sqlstate::connection_failure;
    attempt = co_await try_version(candidate, must_be_standby, way, 0);
    // One that merely closed may have had another reason.
    if (std::holds_alternative<NewBackend>(attempt) && !closed) {
        old_servers_.insert(where);
        log_event(LogLevel::info, "server_speaks_protocol_3_0", {{"host", where}, {"error", said}});
    }
    co_return attempt;
}

asio::awaitable<Connector::Attempt> Connector::try_version(Candidate candidate,
                                                           bool must_be_standby, Way way,
                                                           std::uint16_t minor) {
    const auto socket = std::make_shared<Socket>(io_);
    const Deadline deadline(socket, access_.connect_timeout);
    boost::system::error_code error;
    const asio::generic::stream_protocol::endpoint endpoint(candidate.address.get(),
                                                            candidate.address.length);
    const std::string where = candidate.host.to_string();
    co_await socket->async_connect(endpoint, redirect_error(use_awaitable, error));
    if (error) {
        co_return Failure{
            connection_error("connection to " + where + " failed: " +
                             (deadline.passed() ? "timeout expired" : error.message())),
            true};
    }
    set_data_socket_options(socket->native_handle(), candidate.address.family(),
                            access_.target.keep_alive);
    LoginStream stream(socket);
    // No co_await inside a larger expression here: GCC 12 destroys its temporaries twice.
    std::optional<Failure> refused;
    if (way == Way::encrypted) refused = co_await encrypt(stream, candidate);
    std::variant<core::BackendStartup, Failure> outcome = Failure{};
    if (refused) {
        outcome = std::move(*refused);
    } else {
        outcome = co_await log_in(stream, candidate, minor);
    }
    if (auto* failure = std::get_if<Failure>(&outcome)) {
        if (deadline.passed()) {
            failure->error = connection_error("login at " + where + " timed out");
            failure->transient = true;
            failure->another_way_may_do = false;
        }
        co_return std::move(*failure);
    }
    const auto& startup = std::get<core::BackendStartup>(outcome);
    if (!suits(access_.target.target_session_attrs, startup.parameters(), must_be_standby)) {
        Failure failure{connection_error(where + " does not suit target_session_attrs")};
        failure.unsuitable = true;
        co_return failure;
    }
    socket->native_non_blocking(true, error);
    NewBackend backend;
    backend.address = candidate.address;
    backend.host = where;
    backend.parameters = startup.parameters();
    backend.pid = startup.key().pid;
    backend.secret = startup.key().secret;
    remember_name(candidate);
    backend.connection = stream.release();
    co_return backend;
}

/// Whether the server speaks TLS; false: it does not, which is fine.
asio::awaitable<std::variant<bool, Connector::Failure>> Connector::ask_for_tls(LoginStream& stream,
                                                                               std::string where) {
    const bool required = access_.target.sslmode >= SslMode::require;
    const auto fail = [&where](const std::string& why, bool transient) {
        return Failure{connection_error(where + why), transient};
    };
    std::string request;
    protocol::append_ssl_request(request);
    const bool sent = co_await stream.write(request);
    if (!sent) co_return fail(" closed the connection when asked for TLS", true);
    const auto answer = co_await stream.read();
    if (!answer) co_return fail(" closed the connection when asked for TLS", true);
    // Whoever is in between could add to it, to have it taken for the server's own
    // (CVE-2021-23222).
    if (answer->size() != 1) co_return fail(" sent unencrypted bytes in front of TLS", true);
    if (*answer == "S") co_return true;
    if (*answer != "N") co_return fail(" does not know what TLS is", true);
    if (required) co_return fail(" does not speak TLS, but sslmode asks for it", false);
    co_return false;
}

/// nullopt: TLS is there, or the server has none and that is fine.
asio::awaitable<std::optional<Connector::Failure>> Connector::encrypt(LoginStream& stream,
                                                                      Candidate candidate) {
    const std::shared_ptr<const TlsContext> context = access_.target.tls;
    const bool required = access_.target.sslmode >= SslMode::require;
    const std::string where = candidate.host.to_string();
    const auto closed = [&where] {
        return Failure{connection_error(where + " closed the connection when asked for TLS"), true};
    };
    const bool direct = access_.direct_tls && required;
    if (!direct) {
        std::variant<bool, Failure> answer = co_await ask_for_tls(stream, where);
        if (auto* failure = std::get_if<Failure>(&answer)) co_return std::move(*failure);
        if (!std::get<bool>(answer)) co_return std::nullopt;
    }
    const std::string name =
        access_.target.sni || context->verifies_name() ? candidate.host.name() : std::string();
    const auto secured = co_await stream.secure(std::make_unique<TlsSession>(context, name), {},
                                                context->signs_slowly(), helper_, io_);
    // As libpq: who does not name PostgreSQL's protocol could be any other server.
    const bool named =
        !direct || secured != LoginStream::Secured::yes || stream.tls()->names_protocol();
    if (!named)
        co_return Failure{connection_error(where + " did not name PostgreSQL's protocol (ALPN)"),
                          false};
    if (secured == LoginStream::Secured::yes) co_return std::nullopt;
    Failure failure = closed();
    if (secured == LoginStream::Secured::no) {
        failure.error = connection_error("TLS with " + where + " failed: " + stream.why());
        failure.transient = false;
    }
    failure.another_way_may_do = true;
    co_return failure;
}

/// For cancels: a certificate is for a name, not for an address.
void Connector::remember_name(const Candidate& candidate) {
    constexpr std::size_t names_max = 64;
    const auto* bytes = reinterpret_cast<const char*>(&candidate.address.storage);
    if (hosts_.size() >= names_max) hosts_.clear();
    hosts_.insert_or_assign(std::string(bytes, candidate.address.length), candidate.host);
}

asio::awaitable<std::variant<core::BackendStartup, Connector::Failure>> Connector::log_in(
    LoginStream& stream, const Candidate& candidate, std::uint16_t minor) {
    const bool verified = stream.tls() != nullptr && access_.target.sslmode >= SslMode::verify_ca;
    core::BackendLogin login;
    login.protocol_minor = minor;
    login.methods = access_.methods.value_or(safe_methods(candidate.address, verified));
    const core::BackendIdentity& who = candidate.identity;
    login.user = who.role.empty() ? access_.target.user : who.role;
    login.database = who.database.empty() ? access_.target.dbname : who.database;
    login.settings = access_.target.settings;
    // A hidden RESET ends up here, in nobody's schema (DESIGN: labels).
    login.settings.emplace_back("search_path", "pg_catalog");
    const RoleProof proof =
        candidate.proof ? *candidate.proof : RoleProof{protocol::Secret(candidate.host.password)};
    if (!proof.password.empty()) login.password = proof.password;
    login.keys = proof.keys;
    login.scram_nonce = protocol::make_scram_nonce();
    login.channel_binding = access_.target.channel_binding;
    if (stream.tls() != nullptr) login.end_point = stream.tls()->channel().end_point;
    login.on_connect = access_.on_connect;
    core::BackendStartup startup(std::move(login));
    core::BackendStartup::Action action = startup.start();
    while (true) {
        if (const auto* send = std::get_if<core::BackendStartup::Send>(&action)) {
            const std::string bytes = send->bytes;
            const bool sent = co_await stream.write(bytes);
            action = sent ? startup.on_bytes({}) : startup.on_closed();
        } else if (const auto* derive = std::get_if<core::BackendStartup::DeriveKeys>(&action)) {
            const auto keys = co_await keys_for(proof.password, derive->salt, derive->iterations);
            if (!keys)
                co_return Failure{connection_error("SCRAM keys could not be derived"), false};
            action = startup.on_keys(*keys);
        } else if (std::holds_alternative<core::BackendStartup::Done>(action)) {
            co_return std::move(startup);
        } else if (auto* failed = std::get_if<core::BackendStartup::Failed>(&action)) {
            Failure failure{std::move(failed->error), failed->transient, failed->version_refused};
            // pg_hba.conf may have a line for the other kind of connection only.
            failure.another_way_may_do =
                failure.error.sqlstate == protocol::sqlstate::invalid_authorization_specification;
            co_return failure;
        } else {
            const auto received = co_await stream.read();
            action = received ? startup.on_bytes(*received) : startup.on_closed();
        }
    }
}

/// Derived once per salt: a login never pays for PBKDF2 again while the server's verifier stays.
/// A hostile server may ask for a third of a second's work: none of it on the control thread.
asio::awaitable<std::optional<protocol::ScramKeys>> Connector::keys_for(protocol::Secret password,
                                                                        std::string salt,
                                                                        std::uint32_t iterations) {
    const protocol::ScramKey key = protocol::hmac_sha_256(salt, password.view());
    if (const auto found = keys_.find(key); found != keys_.end()) {
        const protocol::ScramKeys* known = found->second.keys_for(salt, iterations);
        if (known != nullptr) co_return *known;
    }
    co_await hop_to(helper_);
    const auto derived = protocol::derive_keys(password.view(), salt, iterations);
    co_await hop_to(io_);
    if (!derived) co_return derived;
    if (keys_.size() >= cached_keys_max) keys_.clear();
    keys_.insert_or_assign(key, protocol::ScramSecret(*derived, salt, iterations));
    co_return derived;
}

}  // namespace schemux::daemon
