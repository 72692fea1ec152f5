// The acceptor's logins: one coroutine for each new connection, on its worker's thread, from the
// first byte until a session takes over. Listening and counting: acceptor.cpp.
#include "core/overload.h"
#include "daemon/acceptor.h"
#include "daemon/admission.h"
#include "daemon/deadline.h"
#include "daemon/hop.h"
#include "daemon/ip_text.h"
#include "daemon/log.h"
#include "daemon/login_stream.h"
#include "protocol/keyed_digest.h"
#include "protocol/messages.h"
#include "protocol/proxy_header.h"
#include "protocol/sqlstate.h"

#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
namespace sqlstate = protocol::sqlstate;
using asio::redirect_error;
using asio::use_awaitable;

namespace {

/// Beyond limits.max_clients, to ask for a cancel.
constexpr auto beyond_patience = std::chrono::milliseconds(2'000);
/// How long a CancelRequest's connection waits until the worker has acted on it.
constexpr auto cancel_patience = std::chrono::seconds(5);
constexpr std::size_t user_name_bytes_max = 4096;
constexpr std::size_t md5_salt_bytes = 4;
/// Logins that wait for auth.query at a time.
constexpr std::uint32_t lookups_waiting_max = 1'000;

protocol::ErrorFields fatal(std::string_view code, std::string message) {
    return protocol::make_error(code, std::move(message), protocol::Severity::fatal);
}

/// As PostgreSQL, which reads the first packet before it says that it is full: a cancel is heard.
bool heard_beyond(const core::FrontendLogin::Action& action) {
    using Login = core::FrontendLogin;
    return std::holds_alternative<Login::NeedBytes>(action) ||
           std::holds_alternative<Login::Reply>(action) ||
           std::holds_alternative<Login::StartTls>(action) ||
           std::holds_alternative<Login::Cancel>(action) ||
           std::holds_alternative<Login::Close>(action);
}

/// What it asks for, as far as it has said so.
const std::string& database_of(const core::FrontendLogin::Action& action,
                               const core::FrontendLogin& login) {
    const auto* accepted = std::get_if<core::FrontendLogin::Accepted>(&action);
    return accepted == nullptr ? login.database() : accepted->parameters.database;
}

/// The system's name of the process at the other end of a unix socket.
std::optional<std::string> peer_of(int fd) {
    ucred who{};
    socklen_t size = sizeof who;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return {};
    std::array<char, user_name_bytes_max> room{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(who.uid, &entry, room.data(), room.size(), &found) != 0) return {};
    if (found == nullptr) return {};
    return std::string(found->pw_name);
}

void log_tls_failure(const std::string& from, const std::string& why) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::info, "tls_failed", {{"address", from}, {"error", why}});
}

/// Strangers can repeat it as often as they like.
void log_refusal(const protocol::ErrorFields& error, const std::string& from) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::info, "login_refused",
                      {{"address", from}, {"sqlstate", error.sqlstate}, {"error", error.message}});
}

/// Nor do those who can log in get more lines of it.
void log_not_admitted(const protocol::StartupParameters& asked, const protocol::ErrorFields& error,
                      const std::string& from) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::info, "login_refused",
                      {{"service", asked.database},
                       {"user", asked.user},
                       {"address", from},
                       {"sqlstate", error.sqlstate},
                       {"error", error.message}});
}

void log_proxy_fault(const std::string& address, std::string_view what) {
    static LogLimiter limiter;
    log_event_limited(limiter, LogLevel::warning, "proxy_header_refused",
                      {{"address", ip_text(address)}, {"error", std::string(what)}});
}

/// Of whichever user: whether there is one of the name is not known.
protocol::ErrorFields no_secret_now() {
    return fatal(sqlstate::connection_failure, "the user's password cannot be looked up now");
}

std::string make_md5_salt() {
    std::string salt(md5_salt_bytes, '\0');
    protocol::random_bytes(salt.data(), salt.size());
    return salt;
}

/// For services whose role is their clients' own; there may be such.
protocol::Secret known_password(const Credentials& credentials, const std::string& user,
                                const Policy& policy) {
    return policy.tenants ? credentials.password_of(user) : protocol::Secret();
}

/// Whom we know, but do not serve.
core::FrontendLogin::Refuse refuse_known(core::FrontendLogin::Accepted accepted,
                                         protocol::ErrorFields error) {
    core::FrontendLogin::Refuse refused{std::move(accepted.reply), std::move(error)};
    protocol::append_authentication_ok(refused.bytes);
    protocol::append_error(refused.bytes, refused.error);
    return refused;
}

/// What was remembered of the user may be outdated.
void note_failure(const core::FrontendLogin::Action& action, const Policy& policy,
                  const std::string& user) {
    const auto* refused = std::get_if<core::FrontendLogin::Refuse>(&action);
    if (refused == nullptr || !policy.lookup) return;
    if (refused->error.sqlstate == sqlstate::invalid_password) policy.lookup->doubt(user);
}

}  // namespace

std::string Acceptor::address_of(const Door& door) {
    return door.is_unix ? "[local]" : ip_text(door.address);
}

/// False: it is no client of the console, or it may not use it.
bool Acceptor::open_console(const core::FrontendLogin::Accepted& accepted, const Policy& policy,
                            LoginStream& stream, std::string_view rest) {
    const protocol::StartupParameters& asked = accepted.parameters;
    if (console_ == nullptr || !asks_for_console(policy, asked.database)) return false;
    const auto rights = console_rights(policy, asked.user);
    if (!rights || (policy.users && !policy.users->contains(asked.user))) return false;
    core::ConsoleSession::Start start;
    start.profile = policy.console.profile;
    start.rights = *rights;
    start.user = asked.user;
    console_->enter(stream.release(), std::move(start), accepted.reply, std::string(rest));
    return true;
}

/// Acts on one step of a login. `rest`: what the client sent behind the packet.
Acceptor::Answer Acceptor::act(const core::FrontendLogin::Action& action, const Policy& policy,
                               LoginStream& stream, std::string_view rest, Worker& worker,
                               ClientPlaces& places, const std::string& from) {
    using Login = core::FrontendLogin;
    const auto accept = [&](const Login::Accepted& accepted) -> Answer {
        if (open_console(accepted, policy, stream, rest)) return {{}, LoginState::in_console};
        auto outcome = admit(policy, process_, accepted);
        if (auto* session = std::get_if<NewSession>(&outcome)) {
            session->first_bytes = rest;
            session->user = accepted.parameters.user;
            session->address = from;
            std::move(places.begin(), places.end(), std::back_inserter(session->places));
            places.clear();
            session->connection = stream.release();
            Worker& serving = server_of(*session->service, worker);
            if (&serving == &worker) {
                worker.open_session(std::move(*session));
            } else {
                serving.post_session(std::move(*session));
            }
            return {{}, LoginState::admitted};
        }
        const auto& refusal = std::get<protocol::ErrorFields>(outcome);
        note_refusal(refusal);
        log_not_admitted(accepted.parameters, refusal, from);
        std::string reply = accepted.reply;
        protocol::append_authentication_ok(reply);
        protocol::append_error(reply, refusal);
        return {std::move(reply), LoginState::over};
    };
    const auto over = [](const auto&) -> Answer { return {{}, LoginState::over}; };
    const auto refuse = [this, &from](const Login::Refuse& refused) -> Answer {
        note_refusal(refused.error);
        log_refusal(refused.error, from);
        return {refused.bytes, LoginState::over};
    };
    const auto reply = [](const Login::Reply& said) -> Answer {
        return {said.bytes, LoginState::goes_on};
    };
    const auto wait = [](const Login::NeedBytes&) -> Answer {
        return {{}, LoginState::needs_bytes};
    };
    // The others were acted on before: what came of them is here, or the login is over.
    return std::visit(core::Overload{accept, refuse, reply, wait, over}, action);
}

/// Nor does the query for a user's secret.
asio::awaitable<std::shared_ptr<Credentials>> Acceptor::credentials_of(const std::string& user,
                                                                       const Policy& policy,
                                                                       Worker& worker) {
    if (!policy.lookup || policy.credentials->knows(user)) co_return policy.credentials;
    const std::shared_ptr<UserLookup> lookup = policy.lookup;
    auto found = lookup->remembered(user);
    if (found) co_return found;
    if (lookups_waiting_.fetch_add(1) < lookups_waiting_max) {
        co_await hop_to(lookup_helper_);
        found = lookup->ask(user);
        co_await hop_to(worker.io());
    }
    (found ? lookups_answered_ : lookups_failed_).fetch_add(1, std::memory_order_relaxed);
    lookups_waiting_.fetch_sub(1);
    co_return found;
}

/// Nobody's key derivation runs on a worker's thread.
asio::awaitable<core::FrontendLogin::Action> Acceptor::prove(
    core::FrontendLogin& login, core::FrontendLogin::NeedVerifier asked, const Policy& policy,
    Worker& worker) {
    const auto credentials = co_await credentials_of(asked.user, policy, worker);
    if (!credentials) co_return login.on_no_answer(no_secret_now());
    protocol::Secret known = known_password(*credentials, asked.user, policy);
    if (asked.md5_may_be_used) {
        auto hash = credentials->find_md5_hash(asked.user, process_.mock_secret);
        if (hash) co_return login.on_md5_hash(*hash, make_md5_salt(), std::move(known));
    }
    auto verifier = credentials->find(asked.user, process_.mock_secret);
    if (!verifier) {
        co_await hop_to(helper_);
        credentials->derive(asked.user);
        co_await hop_to(worker.io());
        verifier = credentials->find(asked.user, process_.mock_secret);
    }
    co_return login.on_verifier(std::move(*verifier), protocol::make_scram_nonce(),
                                std::move(known));
}

asio::awaitable<core::FrontendLogin::Action> Acceptor::check_password(
    core::FrontendLogin& login, core::FrontendLogin::CheckPassword asked, const Policy& policy,
    Worker& worker) {
    const auto credentials = co_await credentials_of(asked.user, policy, worker);
    if (!credentials) co_return login.on_no_answer(no_secret_now());
    co_await hop_to(helper_);
    const bool right =
        credentials->matches(asked.user, asked.password.view(), process_.mock_secret);
    co_await hop_to(worker.io());
    co_return login.on_password_checked(right, std::move(asked.password));
}

/// Who may have a service whose schema is not there gets it, or a refusal.
asio::awaitable<core::FrontendLogin::Action> Acceptor::keep_schema(
    core::FrontendLogin::Accepted accepted, const Policy& policy, Worker& worker) {
    const auto chosen = choose_service(policy, accepted.parameters);
    const auto* service = std::get_if<ServicePointer>(&chosen);
    const auto wanted = service != nullptr ? schema_of(**service) : std::nullopt;
    if (!wanted) co_return accepted;
    const std::shared_ptr<SchemaKeeper> schemas = policy.schemas[(*service)->cluster];
    auto state = schemas->remembered(*wanted);
    if (!state) {
        state.emplace();
        if (lookups_waiting_.fetch_add(1) < lookups_waiting_max) {
            co_await hop_to(lookup_helper_);
            state = schemas->ask(*wanted);
            co_await hop_to(worker.io());
        }
        lookups_waiting_.fetch_sub(1);
    }
    auto error = refuse_for_schema(*wanted, *state, accepted.parameters.database);
    if (!error) co_return accepted;
    co_return refuse_known(std::move(accepted), std::move(*error));
}

/// What the action needs that takes a while; what came of it, to be acted on.
asio::awaitable<core::FrontendLogin::Action> Acceptor::settle(core::FrontendLogin::Action action,
                                                              core::FrontendLogin& login,
                                                              const Policy& policy,
                                                              Worker& worker) {
    using Login = core::FrontendLogin;
    if (const auto* request = std::get_if<Login::Cancel>(&action))
        co_await cancel(*request, worker);
    if (auto* asked = std::get_if<Login::NeedVerifier>(&action))
        co_return co_await prove(login, std::move(*asked), policy, worker);
    if (auto* asked = std::get_if<Login::CheckPassword>(&action))
        action = co_await check_password(login, std::move(*asked), policy, worker);
    auto* accepted = std::get_if<Login::Accepted>(&action);
    if (accepted == nullptr) co_return action;
    if (auto refusal = hand_over_secret(policy, *accepted))
        co_return refuse_known(std::move(*accepted), std::move(*refusal));
    if (!policy.schemas.empty())
        co_return co_await keep_schema(std::move(*accepted), policy, worker);
    co_return action;
}

/// `received` begins the handshake. False: there is no TLS, and nothing more to be said.
asio::awaitable<bool> Acceptor::start_tls(core::FrontendLogin::StartTls start, std::string received,
                                          LoginStream& stream, const Door& door,
                                          core::FrontendLogin& login, const Policy& policy,
                                          Worker& worker) {
    if (!start.bytes.empty() && !co_await stream.write(start.bytes)) co_return false;
    const bool slow = door.tls.context->signs_slowly();
    const auto secured = co_await stream.secure(std::make_unique<TlsSession>(door.tls.context),
                                                std::move(received), slow, helper_, worker.io());
    std::string why = secured == LoginStream::Secured::yes ? "" : stream.why();
    if (secured == LoginStream::Secured::gone) why = "the client went";
    if (why.empty() && start.direct && !stream.tls()->names_protocol())
        why = "direct TLS without ALPN";
    if (!why.empty()) {
        not_encrypted_.fetch_add(1, std::memory_order_relaxed);
        log_tls_failure(address_of(door), why);
        co_await stream.say_goodbye();
        co_return false;
    }
    encrypted_.fetch_add(1, std::memory_order_relaxed);
    core::SecureChannel channel = stream.tls()->channel();
    channel.service = policy.server_names.find(stream.tls()->server_name());
    login.on_encrypted(std::move(channel));
    co_return true;
}

/// One at a time, so that a login that cannot wait gets its turn in between.
void Acceptor::derive_keys_ahead(std::weak_ptr<Credentials> credentials) {
    asio::post(helper_, [this, credentials = std::move(credentials)] {
        const std::shared_ptr<Credentials> held = credentials.lock();
        const auto user = held ? held->next_to_derive() : std::nullopt;
        if (!user) return;
        held->derive(*user);
        derive_keys_ahead(held);
    });
}

/// The client that waits for the end of this connection, as libpq does, knows then that nothing it
/// sends from there on is hit: so the worker acts first.
asio::awaitable<void> Acceptor::cancel(core::FrontendLogin::Cancel request, Worker& worker) {
    const auto where = process_.cancels.find(request.pid, request.secret);
    if (!where) co_return;
    const auto acted = std::make_shared<asio::steady_timer>(worker.io(), cancel_patience);
    // On the target's thread nothing but its place is known of a timer that is not its own.
    const auto wake = [&io = worker.io(), weak = std::weak_ptr(acted)] {
        asio::post(io, [weak] {
            if (const auto timer = weak.lock()) timer->cancel();
        });
    };
    workers_[where->worker]->post_cancel(where->session, wake);
    boost::system::error_code ignored;
    co_await acted->async_wait(redirect_error(use_awaitable, ignored));
}

/// The client's address is what the proxy says. False: the connection is to be closed.
asio::awaitable<bool> Acceptor::take_proxy_header(LoginStream& stream, Door& door,
                                                  std::string& behind, const Policy& policy,
                                                  ClientPlaces& places) {
    std::string bytes;
    while (true) {
        const auto received = co_await stream.read();
        if (!received) co_return false;
        bytes += *received;
        const auto read = protocol::read_proxy_header(bytes);
        if (const auto* fault = std::get_if<protocol::ProxyHeaderFault>(&read)) {
            refused_.fetch_add(1, std::memory_order_relaxed);
            log_proxy_fault(door.address, fault->what);
            co_return false;
        }
        const auto* header = std::get_if<protocol::ProxyHeader>(&read);
        if (header == nullptr) continue;
        behind = bytes.substr(header->bytes);
        if (header->address.empty()) co_return true;  // the proxy itself, to see whether we live
        door.address = header->address;
        break;
    }
    auto place = process_.client_counts.enter(CountedBy::address, door.address,
                                              policy.max_clients_per_address);
    if (place) {
        places.push_back(std::move(*place));
        co_return true;
    }
    refused_.fetch_add(1, std::memory_order_relaxed);
    const std::string refused = refusal(Room::none_for_address).bytes;
    co_await stream.write(refused);
    co_await stream.say_goodbye();
    co_return false;
}

core::LoginRules Acceptor::rules_for(const Door& door, const Policy& policy, int fd) {
    core::LoginRules rules;
    rules.method = policy.authentication;
    rules.tls = door.tls.use;
    rules.certificate_is_user = door.tls.certificate_is_user;
    rules.is_local = door.is_unix;
    rules.rules = policy.rules;
    rules.address = door.address;
    rules.address_text = ip_text(door.address);
    const auto peer = core::ClientAuthentication::peer;
    const bool peer_matters = rules.method == peer || (policy.rules && policy.rules->uses(peer));
    if (door.is_unix && peer_matters) rules.peer = peer_of(fd);
    return rules;
}

asio::awaitable<void> Acceptor::log_in(Protocol::socket accepted, Worker& worker, Door door,
                                       Room room, ClientPlaces places) {
    using Login = core::FrontendLogin;
    const bool beyond = room != Room::enough;
    LoginState state = LoginState::needs_bytes;
    struct Counted {
        Acceptor& acceptor;
        Worker& worker;
        const LoginState& state;
        const bool beyond;
        ~Counted() {
            acceptor.logging_in_.fetch_sub(1, std::memory_order_relaxed);
            worker.end_errand();
            // An admitted connection counts until its session ends.
            if (beyond) {
                acceptor.beyond_.fetch_sub(1);
            } else if (state != LoginState::admitted) {
                acceptor.process_.connections.fetch_sub(1);
            }
        }
    } counted{*this, worker, state, beyond};
    const std::shared_ptr<const Policy> policy = process_.policy.get();
    const auto socket = std::make_shared<Protocol::socket>(std::move(accepted));
    const Deadline deadline(
        socket, beyond ? std::min(policy->login_timeout, beyond_patience) : policy->login_timeout);
    LoginStream stream(socket);
    std::string behind;  // a proxy's header came the client's first bytes
    if (door.proxied) {
        const bool taken = co_await take_proxy_header(stream, door, behind, *policy, places);
        if (!taken) co_return;
    }
    const std::string from = address_of(door);
    Login login(rules_for(door, *policy, socket->native_handle()));
    while (state == LoginState::needs_bytes || state == LoginState::goes_on) {
        const std::string first = std::exchange(behind, {});
        std::string_view rest = first;
        if (rest.empty()) {
            const auto received = co_await stream.read();
            if (!received) co_return;
            rest = *received;
        }
        do {
            Login::Step step = login.on_bytes(rest);
            rest.remove_prefix(step.consumed);
            // Who steers must get in when all places are taken.
            if (beyond && !heard_beyond(step.action) &&
                !asks_for_console(*policy, database_of(step.action, login))) {
                refused_.fetch_add(1, std::memory_order_relaxed);
                step.action = refusal(room);
            }
            if (const auto* start = std::get_if<Login::StartTls>(&step.action)) {
                if (!co_await start_tls(*start, std::string(rest), stream, door, login, *policy,
                                        worker))
                    co_return;
                break;
            }
            step.action = co_await settle(std::move(step.action), login, *policy, worker);
            note_failure(step.action, *policy, login.user());
            const Answer answer = act(step.action, *policy, stream, rest, worker, places, from);
            state = answer.state;
            // Before the next packet: who is admitted takes the socket along.
            if (answer.bytes.empty()) continue;
            if (!co_await stream.write(answer.bytes)) co_return;
        } while (state == LoginState::goes_on && !rest.empty());
    }
}

}  // namespace schemux::daemon
