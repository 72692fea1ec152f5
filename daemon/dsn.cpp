#include "daemon/dsn.h"

#include <libpq-fe.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <map>
#include <memory>
#include <string_view>

namespace schemux::daemon {

namespace {

struct ConnectionDeleter {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Attempt = std::unique_ptr<PGconn, ConnectionDeleter>;

struct OptionsDeleter {
    void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, OptionsDeleter>;

using Parameters = std::vector<std::pair<std::string, std::string>>;
using Values = std::map<std::string, std::string, std::less<>>;

// libpq resolves service file, environment and passfile only as the first part of a connection
// attempt. An option value that cannot be valid stops the attempt right after that part, before
// any socket exists, and everything resolved so far can be read.
constexpr const char* impossible = "schemux only resolves";

Attempt start_and_stop(const Parameters& parameters, const char* stop_at) {
    std::vector<const char*> keywords;
    std::vector<const char*> values;
    for (const auto& [keyword, value] : parameters) {
        keywords.push_back(keyword.c_str());
        values.push_back(value.c_str());
    }
    keywords.push_back(stop_at);
    values.push_back(impossible);
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    constexpr int dbname_may_be_a_dsn = 1;
    Attempt connection(PQconnectStartParams(keywords.data(), values.data(), dbname_may_be_a_dsn));
    assert(connection == nullptr || PQstatus(connection.get()) == CONNECTION_BAD);
    return connection;
}

std::string trimmed(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' '))
        text.remove_suffix(1);
    return std::string(text);
}

// libpq quotes pieces of what it cannot parse; one of them may be (part of) the password.
std::string without_quoted_pieces(const std::string& message) {
    std::string out;
    bool inside = false;
    for (const char c : message) {
        if (c == '"') {
            out += inside ? "...\"" : "\"";
            inside = !inside;
        } else if (!inside) {
            out += c;
        }
    }
    return out;
}

std::optional<DsnError> syntax_error(const std::string& dsn) {
    char* raw = nullptr;
    const Options options(PQconninfoParse(dsn.c_str(), &raw));
    const std::unique_ptr<char, decltype(&PQfreemem)> message(raw, &PQfreemem);
    if (options != nullptr) return std::nullopt;
    std::string text = trimmed(message == nullptr ? "out of memory" : message.get());
    const bool may_hold_password =
        dsn.find("pass") != std::string::npos || dsn.find('@') != std::string::npos;
    if (may_hold_password) text = without_quoted_pieces(text);
    return DsnError{text};
}

Values values_of(PGconn* connection) {
    Values values;
    const Options options(PQconninfo(connection));
    if (options == nullptr) return values;
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
        if (option->val != nullptr && *option->val != '\0') values[option->keyword] = option->val;
    }
    return values;
}

std::string value_or_empty(const Values& values, std::string_view keyword) {
    const auto found = values.find(keyword);
    return found == values.end() ? std::string() : found->second;
}

std::vector<std::string> split_at_commas(const std::string& list) {
    std::vector<std::string> parts(1);
    for (const char c : list) {
        if (c == ',') {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto result = std::from_chars(text.data(), end, port);
    if (result.ec != std::errc() || result.ptr != end || port == 0) return std::nullopt;
    return port;
}

// Everything libpq resolves, or its own error. Two attempts, because each hides one option.
std::variant<Values, DsnError> resolve_values(const Parameters& parameters) {
    const Attempt first = start_and_stop(parameters, "target_session_attrs");
    if (first == nullptr) return DsnError{"out of memory"};
    const std::string message = PQerrorMessage(first.get());
    if (message.find(impossible) == std::string::npos) return DsnError{trimmed(message)};
    Values values = values_of(first.get());
    const Attempt second = start_and_stop(parameters, "channel_binding");
    if (second == nullptr) return DsnError{"out of memory"};
    values["target_session_attrs"] =
        value_or_empty(values_of(second.get()), "target_session_attrs");
    return values;
}

// One host as libpq sees it: default folder, default port and the passfile's line for it.
// Each list is given twice the same element, because a list of one empty element would count as
// "not given" and fall back to the whole list.
std::variant<HostPort, DsnError> resolve_host(Parameters parameters, const std::string* host,
                                              const std::string* hostaddr,
                                              const std::string& port) {
    if (host != nullptr) parameters.emplace_back("host", *host + "," + *host);
    if (hostaddr != nullptr) parameters.emplace_back("hostaddr", *hostaddr + "," + *hostaddr);
    parameters.emplace_back("port", port + "," + port);
    const Attempt connection = start_and_stop(parameters, "channel_binding");
    if (connection == nullptr) return DsnError{"out of memory"};
    const auto text = [](const char* value) { return std::string(value == nullptr ? "" : value); };
    HostPort result;
    result.host = text(PQhost(connection.get()));
    result.address = hostaddr != nullptr && !hostaddr->empty() ? *hostaddr : result.host;
    result.password = text(PQpass(connection.get()));
    const std::string resolved_port = text(PQport(connection.get()));
    const auto number = parse_port(resolved_port.empty() ? "5432" : resolved_port);
    if (result.address.empty()) return DsnError{"no host to connect to"};
    if (!number) return DsnError{"invalid port number: \"" + resolved_port + "\""};
    result.port = *number;
    return result;
}

std::optional<DsnError> resolve_hosts(const Parameters& parameters, const Values& values,
                                      std::vector<HostPort>& out) {
    const auto hosts = split_at_commas(value_or_empty(values, "host"));
    const auto addresses = split_at_commas(value_or_empty(values, "hostaddr"));
    const auto ports = split_at_commas(value_or_empty(values, "port"));
    const bool has_hosts = values.contains("host");
    const bool has_addresses = values.contains("hostaddr");
    // libpq has checked that the lengths agree.
    const std::size_t count = has_addresses ? addresses.size() : hosts.size();
    if (count > max_backend_hosts) {
        return DsnError{"more than " + std::to_string(max_backend_hosts) + " hosts"};
    }
    for (std::size_t i = 0; i < count; ++i) {
        auto host = resolve_host(parameters, has_hosts ? &hosts[i] : nullptr,
                                 has_addresses ? &addresses[i] : nullptr,
                                 ports.size() == 1 ? ports[0] : ports[i]);
        if (auto* error = std::get_if<DsnError>(&host)) return std::move(*error);
        out.push_back(std::get<HostPort>(std::move(host)));
    }
    return std::nullopt;
}

bool leaves_the_machine(const HostPort& host) {
    return !host.is_unix() && host.address != "localhost" && host.address != "::1" &&
           !host.address.starts_with("127.");
}

std::optional<SslMode> parse_sslmode(std::string_view name) {
    if (name == "disable") return SslMode::disable;
    if (name == "allow") return SslMode::allow;
    if (name.empty() || name == "prefer") return SslMode::prefer;
    if (name == "require") return SslMode::require;
    if (name == "verify-ca") return SslMode::verify_ca;
    if (name == "verify-full") return SslMode::verify_full;
    return std::nullopt;
}

std::optional<core::ChannelBinding> parse_channel_binding(std::string_view name) {
    if (name == "disable") return core::ChannelBinding::never;
    if (name.empty() || name == "prefer") return core::ChannelBinding::if_possible;
    if (name == "require") return core::ChannelBinding::required;
    return std::nullopt;
}

/// The files that the dsn names, and no others: a daemon's home folder says nothing of its server.
/// As libpq, sslmode=require with a root certificate verifies it.
std::variant<TlsClientOptions, DsnError> tls_options(const Values& values, SslMode mode) {
    TlsClientOptions options;
    options.root_certificate = value_or_empty(values, "sslrootcert");
    options.certificate = value_or_empty(values, "sslcert");
    options.key = value_or_empty(values, "sslkey");
    options.crl = value_or_empty(values, "sslcrl");
    options.verify_name = mode == SslMode::verify_full;
    const std::string oldest = value_or_empty(values, "ssl_min_protocol_version");
    options.only_newest = oldest == "TLSv1.3";
    if (mode >= SslMode::verify_ca && options.root_certificate.empty())
        return DsnError{"sslmode=" + value_or_empty(values, "sslmode") +
                        " needs sslrootcert: the file with whom to believe"};
    if (mode < SslMode::require) options.root_certificate.clear();
    if (options.certificate.empty() != options.key.empty())
        return DsnError{"sslcert and sslkey belong together"};
    if (!options.crl.empty() && options.root_certificate.empty())
        return DsnError{"sslcrl is of use only where sslrootcert is verified"};
    return options;
}

/// Somebody on the way could be taken for the server.
void warn_unverified(const TlsClientOptions& options, BackendTarget& target) {
    const bool remote = std::any_of(target.hosts.begin(), target.hosts.end(), leaves_the_machine);
    if (!remote || !options.root_certificate.empty()) return;
    target.warnings.push_back(
        "the server's certificate is not verified; sslmode=verify-full and sslrootcert in the dsn "
        "would see to that");
}

std::optional<DsnError> read_tls(const Values& values, BackendTarget& target) {
    const auto mode = parse_sslmode(value_or_empty(values, "sslmode"));
    const auto binding = parse_channel_binding(value_or_empty(values, "channel_binding"));
    if (!mode || !binding) return DsnError{"invalid sslmode or channel_binding value"};
    target.sslmode = *mode;
    target.channel_binding = *binding;
    target.sni = value_or_empty(values, "sslsni") != "0";
    if (*mode == SslMode::disable) {
        if (*binding == core::ChannelBinding::required)
            return DsnError{"channel_binding=require needs TLS: sslmode is disable"};
        return {};
    }
    auto options = tls_options(values, *mode);
    if (auto* error = std::get_if<DsnError>(&options)) return std::move(*error);
    warn_unverified(std::get<TlsClientOptions>(options), target);
    auto made = TlsContext::for_client(std::get<TlsClientOptions>(options));
    if (auto* wrong = std::get_if<TlsError>(&made)) return DsnError{wrong->message};
    target.tls = std::get<std::shared_ptr<const TlsContext>>(std::move(made));
    return {};
}

/// Options that promise security which is not there must not be ignored.
std::optional<DsnError> check_security(const Values& values) {
    if (value_or_empty(values, "gssencmode") == "require")
        return DsnError{"gssencmode=require is not supported"};
    for (const char* keyword : {"requirepeer", "require_auth", "replication", "sslcrldir",
                                "sslpassword", "ssl_max_protocol_version"}) {
        if (values.contains(keyword)) return DsnError{std::string(keyword) + " is not supported"};
    }
    return std::nullopt;
}

std::optional<TargetSessionAttrs> parse_attrs(std::string_view name) {
    if (name.empty() || name == "any") return TargetSessionAttrs::any;
    if (name == "read-write") return TargetSessionAttrs::read_write;
    if (name == "read-only") return TargetSessionAttrs::read_only;
    if (name == "primary") return TargetSessionAttrs::primary;
    if (name == "standby") return TargetSessionAttrs::standby;
    if (name == "prefer-standby") return TargetSessionAttrs::prefer_standby;
    return std::nullopt;
}

std::optional<DsnError> read_number(const Values& values, const char* keyword, int& out) {
    const std::string text = value_or_empty(values, keyword);
    if (text.empty()) return {};
    const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
    if (result.ec == std::errc() && result.ptr == text.data() + text.size()) return {};
    return DsnError{"invalid integer value \"" + text + "\" for connection option \"" + keyword +
                    '"'};
}

std::optional<DsnError> read_keep_alive(const Values& values, KeepAlive& keep_alive) {
    int on = 1;
    auto error = read_number(values, "keepalives", on);
    if (!error) error = read_number(values, "keepalives_idle", keep_alive.idle_s);
    if (!error) error = read_number(values, "keepalives_interval", keep_alive.interval_s);
    if (!error) error = read_number(values, "keepalives_count", keep_alive.count);
    if (!error) error = read_number(values, "tcp_user_timeout", keep_alive.user_timeout_ms);
    keep_alive.on = on != 0;
    return error;
}

std::optional<DsnError> read_plain_values(const Values& values, BackendTarget& target) {
    target.dbname = value_or_empty(values, "dbname");
    target.user = value_or_empty(values, "user");
    if (target.dbname.empty()) target.dbname = target.user;
    const std::string attrs = value_or_empty(values, "target_session_attrs");
    const auto parsed = parse_attrs(attrs);
    if (!parsed) return DsnError{"invalid target_session_attrs value: \"" + attrs + "\""};
    target.target_session_attrs = *parsed;

    std::string application_name = value_or_empty(values, "application_name");
    if (application_name.empty()) {
        application_name = value_or_empty(values, "fallback_application_name");
    }
    const std::string client_encoding = value_or_empty(values, "client_encoding");
    if (!application_name.empty()) {
        target.settings.emplace_back("application_name", application_name);
    }
    if (const auto options = value_or_empty(values, "options"); !options.empty()) {
        target.settings.emplace_back("options", options);
    }
    // "auto" means the encoding of a terminal's locale; a daemon has none.
    if (!client_encoding.empty() && client_encoding != "auto") {
        target.settings.emplace_back("client_encoding", client_encoding);
    }

    if (const auto text = value_or_empty(values, "connect_timeout"); !text.empty()) {
        int seconds = 0;
        const auto end = text.data() + text.size();
        const auto result = std::from_chars(text.data(), end, seconds);
        if (result.ec != std::errc() || result.ptr != end) {
            return DsnError{"invalid connect_timeout: \"" + text + "\""};
        }
        // libpq: zero and negative wait for ever, and 1 is taken as 2.
        if (seconds > 0) {
            target.connect_timeout_s = static_cast<std::uint32_t>(std::max(seconds, 2));
        }
    }
    return std::nullopt;
}

}  // namespace

std::variant<BackendTarget, DsnError> resolve_dsn(const std::string& dsn,
                                                  const std::optional<std::string>& password) {
    if (auto error = syntax_error(dsn)) return std::move(*error);
    Parameters parameters;
    parameters.emplace_back("dbname", dsn);
    if (password) parameters.emplace_back("password", *password);
    auto resolved = resolve_values(parameters);
    if (auto* error = std::get_if<DsnError>(&resolved)) return std::move(*error);
    const Values& values = std::get<Values>(resolved);
    BackendTarget target;
    auto error = read_plain_values(values, target);
    if (!error) error = resolve_hosts(parameters, values, target.hosts);
    if (!error) error = read_keep_alive(values, target.keep_alive);
    if (!error) error = check_security(values);
    if (!error) error = read_tls(values, target);
    if (error) return std::move(*error);
    return target;
}

}  // namespace schemux::daemon
