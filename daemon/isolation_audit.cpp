#include "daemon/isolation_audit.h"

#include "daemon/isolation_queries.h"
#include "daemon/libpq_waits.h"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

struct Disconnect {
    void operator()(PGconn* connection) const { PQfinish(connection); }
};
using Connection = std::unique_ptr<PGconn, Disconnect>;

using Clock = std::chrono::steady_clock;

/// Of one host.
constexpr auto connect_timeout = std::chrono::seconds(10);
constexpr std::chrono::milliseconds statement_timeout = std::chrono::minutes(5);
/// What the server ends itself need not be given up here.
constexpr auto answer_slack = std::chrono::seconds(2);
// Names come out with their schema whatever the login's own search_path is; nothing is waited for
// for ever, and nothing can be changed. Views of the catalogs are PostgreSQL's own.
constexpr const char* begin =
    "SET search_path = pg_catalog; SET lock_timeout = '10s';"
    "SET client_encoding = 'UTF8'; SET quote_all_identifiers = off; BEGIN READ ONLY";
// Who is gone has no use for the rest. Not every platform's server can look.
constexpr const char* end_with_us = "SET client_connection_check_interval = '1s'";

/// libpq's messages have lines and tabs.
std::string one_line(std::string_view text) {
    std::string line;
    for (const char c : text) {
        const bool blank = c == '\n' || c == '\t' || c == ' ';
        if (!blank) line += c;
        if (blank && !line.empty() && line.back() != ' ') line += ' ';
    }
    if (line.ends_with(' ')) line.pop_back();
    return line;
}

/// The text of an array of texts.
std::string array_text(const std::vector<std::string>& values) {
    std::string text = "{";
    for (const std::string& value : values) {
        if (text.size() > 1) text += ',';
        text += '"';
        for (const char c : value) {
            if (c == '"' || c == '\\') text += '\\';
            text += c;
        }
        text += '"';
    }
    return text + '}';
}

using Parameters = std::array<std::string, isolation_parameters>;

bool shares_schema(const IsolatedService& x, const IsolatedService& y) {
    return !x.schema.empty() && x.schema == y.schema && x.database == y.database;
}

/// A role that has the schema as its own, whichever of its services it is for.
bool role_has_schema(const std::vector<IsolatedService>& services, const std::string& role,
                     const IsolatedService& owner) {
    return std::any_of(services.begin(), services.end(), [&](const IsolatedService& one) {
        return one.has_role() && one.role == role && shares_schema(one, owner);
    });
}

Parameters make_parameters(const std::vector<IsolatedService>& services,
                           const std::string& database, const std::string& login) {
    std::vector<std::string> from;
    std::vector<std::string> schemas;
    std::vector<std::string> owners;
    std::vector<std::string> all_schemas;
    std::vector<std::string> all_owners;
    std::set<std::array<std::string, 3>> seen;
    std::set<std::string> roles;
    std::set<std::string> guarded;
    for (const IsolatedService& y : services) {
        if (!y.has_role() || y.database != database) continue;
        roles.insert(y.role);
        if (y.level == core::Isolation::guarded) guarded.insert(y.role);
        if (!y.schema.empty()) {
            all_schemas.push_back(y.schema);
            all_owners.push_back(y.role);
        }
        for (const IsolatedService& x : services) {
            if (!x.has_role() || x.role == y.role || role_has_schema(services, x.role, y)) continue;
            if (!seen.insert({x.role, y.schema, y.role}).second) continue;
            from.push_back(x.role);
            schemas.push_back(y.schema);
            owners.push_back(y.role);
        }
    }
    return {array_text(from),
            array_text(schemas),
            array_text(owners),
            array_text(all_schemas),
            array_text(all_owners),
            array_text({roles.begin(), roles.end()}),
            login,
            array_text({guarded.begin(), guarded.end()})};
}

/// What no permission could keep apart.
void add_conflicts(const std::vector<IsolatedService>& services, std::vector<Finding>& findings) {
    for (std::size_t i = 0; i < services.size(); ++i) {
        for (std::size_t j = i + 1; j < services.size(); ++j) {
            const IsolatedService& x = services[i];
            const IsolatedService& y = services[j];
            if (!x.has_role() || !y.has_role()) continue;
            Finding finding;
            finding.database = x.database;
            if (x.role == y.role) {
                finding.kind = "same role";
                finding.role = finding.target = finding.object = x.role;
            } else if (shares_schema(x, y)) {
                finding.kind = "same schema";
                finding.schema = finding.object = x.schema;
            } else {
                continue;
            }
            finding.message = "services " + x.name + " and " + y.name + " have the " +
                              finding.kind + ' ' + finding.object +
                              ": nothing keeps them apart; the configuration would have to";
            findings.push_back(std::move(finding));
        }
    }
}

std::string column(const PGresult* rows, int row, FindingColumn which) {
    return PQgetvalue(rows, row, static_cast<int>(which));
}

/// One database, looked at once.
class Audit {
  public:
    Audit(const AuditOptions& options, const std::vector<IsolatedService>& services,
          std::string database, Clock::time_point until)
        : options_(options),
          until_(until),
          database_(std::move(database)),
          parameters_(make_parameters(services, database_, options.login)) {}

    std::optional<AuditFailure> connect() {
        // libpq goes to the next host only when the one before says no: one that is silent must
        // not be waited for alone.
        const auto tried = [this](const HostPort& host) { return connect_to(&host); };
        const bool there = options_.hosts.empty()
                               ? connect_to(nullptr)
                               : std::any_of(options_.hosts.begin(), options_.hosts.end(), tried);
        if (!there)
            return AuditFailure{"cannot connect to database " + database_ + ": " + last_error(),
                                "backend.dsn says where to; --dsn DSN is another login, such as an "
                                "administrator's"};
        PQsetnonblocking(connection_.get(), 1);
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            std::clamp<Clock::duration>(until_ - Clock::now(), answer_slack, statement_timeout));
        const std::string bounded =
            "SET statement_timeout = " + std::to_string(left.count()) + ';' + begin;
        execute(end_with_us);
        const PgResult done = execute(bounded.c_str());
        if (PQresultStatus(done.get()) != PGRES_COMMAND_OK)
            return AuditFailure{"database " + database_ + ": " + last_error(), ""};
        return {};
    }

    std::optional<AuditFailure> run(std::vector<Finding>& findings) {
        for (const auto& queries : {isolation_role_queries(), isolation_object_queries()}) {
            for (const std::string& query : queries) {
                if (auto failure = ask(query, findings)) return failure;
            }
        }
        return {};
    }

    std::optional<AuditFailure> prove(std::vector<Finding>& proof) {
        return ask(isolation_proof_query(), proof);
    }

  private:
    /// Null: where the dsn says.
    bool connect_to(const HostPort* host) {
        if (options_.stopped != nullptr && *options_.stopped) return false;
        // The last one of a name wins: the service says which database, not the dsn.
        std::vector<const char*> keys{"fallback_application_name", "dbname", "dbname"};
        std::vector<const char*> values{"schemux isolation audit", options_.dsn.c_str(),
                                        database_.c_str()};
        const auto add = [&](const char* key, const std::string& value) {
            keys.push_back(key);
            values.push_back(value.c_str());
        };
        const std::string password(options_.password ? options_.password->view() : "");
        if (options_.password) add("password", password);
        const std::string port = std::to_string(host != nullptr ? host->port : 0);
        const std::string none;
        if (host != nullptr) {
            add("host", host->host);
            add("hostaddr", host->address == host->host ? none : host->address);
            add("port", port);
        }
        keys.push_back(nullptr);
        values.push_back(nullptr);
        connection_.reset(PQconnectStartParams(keys.data(), values.data(), 1));
        return finish_connecting(connection_.get(), bound(connect_timeout));
    }

    /// Without a word of libpq's it was us who waited no longer.
    std::string last_error() const {
        std::string why = one_line(PQerrorMessage(connection_.get()));
        return why.empty() ? "no answer in time" : why;
    }

    WaitBound bound(Clock::duration longest) const {
        return {std::min(until_, Clock::now() + longest), options_.stopped};
    }

    PgResult execute(const char* sql) {
        if (PQsendQuery(connection_.get(), sql) == 0) return {};
        return answer();
    }

    PgResult answer() {
        return read_one(connection_.get(), bound(statement_timeout + answer_slack)).result;
    }

    std::optional<AuditFailure> ask(const std::string& query, std::vector<Finding>& findings) {
        constexpr Oid text = 25;
        constexpr Oid texts = 1009;
        constexpr std::array<Oid, isolation_parameters> types{texts, texts, texts, texts,
                                                              texts, texts, text,  texts};
        std::array<const char*, isolation_parameters> values{};
        std::transform(parameters_.begin(), parameters_.end(), values.begin(),
                       [](const std::string& value) { return value.c_str(); });
        PgResult rows;
        if (PQsendQueryParams(connection_.get(), query.c_str(), isolation_parameters, types.data(),
                              values.data(), nullptr, nullptr, 0) == 1)
            rows = answer();
        if (PQresultStatus(rows.get()) != PGRES_TUPLES_OK)
            return AuditFailure{"database " + database_ + ": " + last_error(),
                                "--dsn DSN is another login, such as an administrator's"};
        for (int row = 0; row < PQntuples(rows.get()); ++row)
            findings.push_back(read(rows.get(), row));
        return {};
    }

    Finding read(const PGresult* rows, int row) const {
        Finding finding;
        finding.severity =
            column(rows, row, FindingColumn::severity) == "note" ? Severity::note : Severity::hole;
        finding.database = database_;
        finding.kind = column(rows, row, FindingColumn::kind);
        finding.role = column(rows, row, FindingColumn::role);
        finding.schema = column(rows, row, FindingColumn::schema);
        finding.target = column(rows, row, FindingColumn::target);
        finding.object = column(rows, row, FindingColumn::object);
        finding.message = column(rows, row, FindingColumn::message);
        finding.fix = column(rows, row, FindingColumn::fix);
        return finding;
    }

    const AuditOptions& options_;
    const Clock::time_point until_;
    const std::string database_;
    const Parameters parameters_;
    Connection connection_;
};

/// What follows from a finding is no finding of its own.
bool explained(const Finding& proof, const std::vector<Finding>& findings,
               const std::vector<IsolatedService>& services) {
    for (const IsolatedService& x : services) {
        for (const IsolatedService& y : services) {
            if (!x.has_role() || !y.has_role() || !proof.concerns(x, y)) continue;
            const bool known =
                std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) {
                    return finding.severity == Severity::hole && finding.concerns(x, y);
                });
            if (!known) return false;
        }
    }
    return true;
}

}  // namespace

bool Finding::concerns(const IsolatedService& from, const IsolatedService& to) const {
    if (!role.empty() && from.role != role) return false;
    if (!target.empty() && to.role != target) return false;
    // Only those sessions begin as the login.
    if (kind == "login" && from.level != core::Isolation::guarded) return false;
    // Of the kinds that are about an object; what a role is, it is in each database.
    const bool everywhere = kind == "role attribute" || kind == "predefined role" ||
                            kind == "missing role" || kind == "same role" || !target.empty();
    if (!everywhere && to.database != database) return false;
    return schema.empty() || to.schema == schema;
}

AuditOutcome audit_isolation(const AuditOptions& options,
                             const std::vector<IsolatedService>& services) {
    const auto until = Clock::now() + options.within;
    std::set<std::string> databases;
    for (const IsolatedService& service : services) {
        if (service.has_role()) databases.insert(service.database);
    }
    std::vector<Finding> findings;
    std::vector<Finding> proofs;
    add_conflicts(services, findings);
    for (const std::string& database : databases) {
        Audit audit(options, services, database, until);
        if (auto failure = audit.connect()) return std::move(*failure);
        if (auto failure = audit.run(findings)) return std::move(*failure);
        if (auto failure = audit.prove(proofs)) return std::move(*failure);
    }
    for (Finding& proof : proofs) {
        if (!explained(proof, findings, services)) findings.push_back(std::move(proof));
    }
    return findings;
}

}  // namespace schemux::daemon
