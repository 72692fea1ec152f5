#include "daemon/isolation_report.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <string_view>

namespace schemux::daemon {

namespace {

namespace json = boost::json;

std::string padded(std::string text, std::size_t width) {
    text.resize(std::max(width, text.size()), ' ');
    return text;
}

std::string_view to_string(Severity severity) {
    return severity == Severity::hole ? "hole" : "note";
}

std::string counted(std::size_t number, const std::string& what) {
    return std::to_string(number) + ' ' + what + (number == 1 ? "" : "s");
}

std::string matrix_text(const IsolationReport& report) {
    constexpr std::size_t narrowest = 6;
    std::size_t first = 0;
    for (const IsolatedService& service : report.services)
        first = std::max(first, service.name.size());
    std::string text = padded("", first + 2);
    for (const IsolatedService& to : report.services)
        text += padded(to.name, narrowest) + "  ";
    text += '\n';
    for (const IsolatedService& from : report.services) {
        text += padded(from.name, first + 2);
        for (const IsolatedService& to : report.services)
            text += padded(std::string(to_string(report.between(from, to))),
                           std::max(to.name.size(), narrowest)) +
                    "  ";
        text += '\n';
    }
    // The last column's blanks are nobody's.
    std::string trimmed;
    for (const char c : text) {
        if (c == '\n') trimmed.erase(trimmed.find_last_not_of(' ') + 1);
        trimmed += c;
    }
    return trimmed;
}

std::string findings_text(const IsolationReport& report, Severity severity) {
    std::string text;
    for (const Finding& finding : report.findings) {
        if (finding.severity != severity) continue;
        text += std::string(severity == Severity::hole ? "HOLE" : "note") + "  " +
                finding.database + ": " + finding.message + " (" + finding.kind + ")\n";
        if (!finding.fix.empty()) text += "      " + finding.fix + '\n';
    }
    return text;
}

json::object to_object(const IsolatedService& service) {
    return {{"name", service.name},
            {"isolation", daemon::to_string(service.level)},
            {"role", service.role},
            {"schema", service.schema},
            {"database", service.database}};
}

json::object to_object(const IsolationReport& report, const Finding& finding) {
    json::array pairs;
    if (finding.severity == Severity::hole) {
        for (const IsolatedService& from : report.services) {
            for (const IsolatedService& to : report.services) {
                const bool both = from.has_role() && to.has_role() && from.name != to.name;
                if (both && finding.concerns(from, to))
                    pairs.push_back(json::array{from.name, to.name});
            }
        }
    }
    return {{"severity", to_string(finding.severity)},
            {"kind", finding.kind},
            {"database", finding.database},
            {"role", finding.role},
            {"object", finding.object},
            {"message", finding.message},
            {"sql", finding.fix},
            {"pairs", std::move(pairs)}};
}

}  // namespace

std::string_view to_string(Separation separation) {
    switch (separation) {
        case Separation::same:
            return "-";
        case Separation::ok:
            return "ok";
        case Separation::hole:
            return "HOLE";
        case Separation::shared:
            return "shared";
    }
    return "HOLE";
}

Separation IsolationReport::between(const IsolatedService& from, const IsolatedService& to) const {
    if (from.name == to.name) return Separation::same;
    if (!from.has_role() || !to.has_role()) return Separation::shared;
    const bool open = std::any_of(findings.begin(), findings.end(), [&](const Finding& finding) {
        return finding.severity == Severity::hole && finding.concerns(from, to);
    });
    return open ? Separation::hole : Separation::ok;
}

std::size_t IsolationReport::count(Severity severity) const {
    return static_cast<std::size_t>(
        std::count_if(findings.begin(), findings.end(),
                      [&](const Finding& finding) { return finding.severity == severity; }));
}

std::string to_text(const IsolationReport& report) {
    std::string text =
        "May the sessions of a service (row) get at what is another one's (column)?\n\n" +
        matrix_text(report) + '\n';
    for (const std::string& pattern : report.patterns)
        text +=
            "note  " + pattern + " is a pattern: --service NAME adds a service that it matches\n";
    for (const std::string& name : report.of_clients)
        text += "note  " + name +
                " has its clients' own roles: what they may do is not proved pair by pair\n";
    text += findings_text(report, Severity::hole) + findings_text(report, Severity::note);
    const bool proved = std::any_of(report.services.begin(), report.services.end(),
                                    [](const auto& service) { return service.has_role(); });
    if (!proved) return text + "no service has a role: there is nothing to prove\n";
    return text + counted(report.count(Severity::hole), "hole") + ", " +
           counted(report.count(Severity::note), "note") + '\n';
}

std::string to_json(const IsolationReport& report) {
    json::array services;
    json::object matrix;
    for (const IsolatedService& from : report.services) {
        services.push_back(to_object(from));
        json::object row;
        for (const IsolatedService& to : report.services)
            row[to.name] = to_string(report.between(from, to));
        matrix[from.name] = std::move(row);
    }
    json::array findings;
    for (const Finding& finding : report.findings)
        findings.push_back(to_object(report, finding));
    const json::object all{
        {"ok", report.count(Severity::hole) == 0},
        {"holes", report.count(Severity::hole)},
        {"notes", report.count(Severity::note)},
        {"login", report.login},
        {"services", std::move(services)},
        {"patterns", json::array(report.patterns.begin(), report.patterns.end())},
        {"client_roles", json::array(report.of_clients.begin(), report.of_clients.end())},
        {"matrix", std::move(matrix)},
        {"findings", std::move(findings)}};
    return json::serialize(all) + '\n';
}

std::string to_json(const AuditFailure& failure) {
    return json::serialize(
               json::object{{"ok", false}, {"error", failure.why}, {"hint", failure.hint}}) +
           '\n';
}

}  // namespace schemux::daemon
