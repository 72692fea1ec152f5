#include "daemon/console_lists.h"

#include "daemon/log_text.h"
#include "daemon/statement_log.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace schemux::daemon {

namespace {

using core::ConsoleShow;
using core::ConsoleTable;
using core::ConsoleValue;
using Microseconds = std::chrono::microseconds;

constexpr const char* shared_name = "*shared*";
constexpr std::int64_t second_us = 1'000'000;

std::string time_text(std::chrono::system_clock::time_point when) {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(when);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    constexpr std::size_t size_max = 64;
    char text[size_max];  // NOLINT: strftime's
    const std::size_t size = std::strftime(text, size_max, "%Y-%m-%d %H:%M:%S UTC", &parts);
    return {text, size};
}

/// `when` and `now`: of the workers' clock.
std::string time_text(core::TimePoint when, core::TimePoint now) {
    if (when == core::TimePoint{}) return {};
    const auto ago = std::chrono::duration_cast<std::chrono::system_clock::duration>(now - when);
    return time_text(std::chrono::system_clock::now() - ago);
}

std::int64_t us(std::chrono::nanoseconds time) {
    return std::chrono::duration_cast<Microseconds>(time).count();
}

/// As an address in the memory of PgBouncer's looks.
std::string handle(std::uint32_t number) {
    if (number == 0) return {};
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text = "0x";
    for (int shift = 28; shift >= 0; shift -= 4)
        text += digits[(number >> static_cast<unsigned>(shift)) & 15U];
    return text;
}

void add_client(ConsoleTable& out, const ClientLine& line, core::TimePoint now) {
    const std::int64_t waited = line.waits ? us(now - line.waits_since) : 0;
    const core::TimePoint asked = std::max(line.heard, line.opened);
    out.add({{"type", "C"},
             {"user", well_formed_utf8(line.user)},
             {"database", line.service},
             {"replication", "none"},
             {"state", line.waits ? "waiting" : "active"},
             {"addr", line.ends.address},
             {"port", line.ends.port},
             {"local_addr", line.ends.local_address},
             {"local_port", line.ends.local_port},
             {"connect_time", time_text(line.opened, now)},
             {"request_time", time_text(asked, now)},
             {"wait", waited / second_us},
             {"wait_us", waited % second_us},
             {"close_needed", 0},
             {"ptr", handle(line.id)},
             {"link", handle(line.backend_pid)},
             {"remote_pid", 0},
             {"tls", line.tls},
             {"application_name", well_formed_utf8(line.application_name)},
             {"prepared_statements", line.statements},
             {"id", line.id},
             {"recv_pos", 0},
             {"pkt_pos", 0},
             {"pkt_remain", 0},
             {"send_pos", 0},
             {"send_remain", line.unread},
             {"pkt_avail", 0},
             {"send_avail", line.unread}});
}

/// PgBouncer's words for it.
const char* state_of(BackendPhase phase) {
    switch (phase) {
        case BackendPhase::upkeep:
            return "tested";
        case BackendPhase::idle:
            return "idle";
        case BackendPhase::leased:
            return "active";
        case BackendPhase::parked:
            return "being_canceled";
        case BackendPhase::closing:
            break;
    }
    return "used";
}

void add_server(ConsoleTable& out, const BackendLine& line, core::TimePoint now,
                const core::BackendIdentity& otherwise) {
    const bool is_own = !line.identity.role.empty();
    out.add({{"type", "S"},
             {"user", is_own ? line.identity.role : otherwise.role},
             {"database", line.service.empty() ? std::string(shared_name) : line.service},
             {"replication", "none"},
             {"state", state_of(line.phase)},
             {"addr", line.ends.address},
             {"port", line.ends.port},
             {"local_addr", line.ends.local_address},
             {"local_port", line.ends.local_port},
             {"connect_time", time_text(line.opened, now)},
             {"request_time", time_text(std::max(line.used, line.opened), now)},
             {"wait", 0},
             {"wait_us", 0},
             {"close_needed", line.to_close ? 1 : 0},
             {"ptr", handle(line.pid)},
             {"link", handle(line.client_id)},
             {"remote_pid", line.pid},
             {"tls", line.tls},
             {"application_name", well_formed_utf8(line.application_name)},
             {"prepared_statements", line.statements},
             {"id", line.pid},
             {"recv_pos", 0},
             {"pkt_pos", 0},
             {"pkt_remain", 0},
             {"send_pos", 0},
             {"send_remain", line.unsent},
             {"pkt_avail", 0},
             {"send_avail", line.unsent}});
}

/// Names alone where an application chose them: their values may be secrets of its own.
std::string label_text(const core::Label& label) {
    std::string text;
    for (const auto& [name, value] : label.settings()) {
        if (!text.empty()) text += ", ";
        const bool is_custom = name.find('.') != std::string::npos;
        text += name;
        if (!is_custom) text.append("=").append(value);
    }
    return text;
}

void list_labels(ConsoleTable& out, const std::vector<WorkerLines>& workers) {
    struct Uses {
        std::uint64_t clients = 0;
        std::uint64_t backends = 0;
    };
    std::map<std::string, Uses> labels;
    for (const WorkerLines& worker : workers) {
        for (const ClientLine& line : worker.clients)
            ++labels[label_text(line.label)].clients;
        for (const BackendLine& line : worker.backends)
            ++labels[label_text(line.label)].backends;
    }
    std::vector<std::pair<std::string, Uses>> rows(labels.begin(), labels.end());
    std::stable_sort(rows.begin(), rows.end(), [](const auto& left, const auto& right) {
        return left.second.clients > right.second.clients;
    });
    for (const auto& [text, uses] : rows)
        out.add({{"settings", well_formed_utf8(text)},
                 {"clients", uses.clients},
                 {"backends", uses.backends}});
}

/// What an active socket is: somebody is served, or waits for it.
bool is_active(const ClientLine& line) {
    return line.waits || line.backend_pid != 0;
}

bool is_active(const BackendLine& line) {
    return line.phase != BackendPhase::idle;
}

}  // namespace

void list_connections(ConsoleTable& out, ConsoleShow show, const std::vector<WorkerLines>& workers,
                      const DefaultIdentities& identities) {
    if (show == ConsoleShow::labels) return list_labels(out, workers);
    const bool active_only = show == ConsoleShow::active_sockets;
    for (const WorkerLines& worker : workers) {
        if (show == ConsoleShow::servers) continue;
        for (const ClientLine& line : worker.clients) {
            if (!active_only || is_active(line)) add_client(out, line, worker.now);
        }
    }
    for (const WorkerLines& worker : workers) {
        if (show == ConsoleShow::clients) continue;
        for (const BackendLine& line : worker.backends) {
            if (!active_only || is_active(line))
                add_server(out, line, worker.now, identities[worker.cluster]);
        }
    }
}

void list_leases(ConsoleTable& out, const std::vector<WorkerLeases>& workers) {
    std::vector<std::pair<const LeaseLine*, core::TimePoint>> rows;
    for (const WorkerLeases& worker : workers) {
        for (const LeaseLine& line : worker.lines)
            rows.emplace_back(&line, worker.now);
    }
    std::stable_sort(rows.begin(), rows.end(), [](const auto& left, const auto& right) {
        return left.first->ended > right.first->ended;
    });
    if (rows.size() > WorkerLeases::lines_max) rows.resize(WorkerLeases::lines_max);
    const auto known = [](const std::string& text, const PastClient& client) {
        return client.user.empty() && client.service.empty() ? ConsoleValue()
                                                             : well_formed_utf8(text);
    };
    for (const auto& [line, now] : rows) {
        const PastClient& client = line->client;
        const std::string address = client.address.empty() ? "unix" : client.address;
        out.add({{"backend_pid", line->backend_pid},
                 {"service", known(client.service, client)},
                 {"user", known(client.user, client)},
                 {"addr", known(address, client)},
                 {"client_id", client.id},
                 {"application_name", known(client.application_name, client)},
                 {"began", time_text(line->began, now)},
                 {"ended", line->lasts ? ConsoleValue() : time_text(line->ended, now)},
                 {"held_us", us(line->ended - line->began)}});
    }
}

void list_statements(ConsoleTable& out, const std::vector<core::StatementLine>& lines) {
    for (const core::StatementLine& line : lines) {
        const core::StatementFigures& figures = line.figures;
        const auto calls = static_cast<std::int64_t>(std::max<std::uint64_t>(1, figures.calls));
        out.add({{"service", line.service},
                 {"fingerprint", fingerprint_text(line.id)},
                 {"calls", figures.calls},
                 {"errors", figures.errors},
                 {"rows", figures.rows},
                 {"total_time_us", us(figures.total)},
                 {"avg_time_us", us(figures.total) / calls},
                 {"max_time_us", us(figures.longest)},
                 {"wait_time_us", us(figures.wait)},
                 {"statement", well_formed_utf8(line.text)}});
    }
}

void list_events(ConsoleTable& out, const std::vector<RecentEvent>& events) {
    for (auto event = events.rbegin(); event != events.rend(); ++event) {
        std::string fields;
        for (const auto& [name, value] : event->fields) {
            if (!fields.empty()) fields += ' ';
            fields.append(name).append("=").append(value);
        }
        out.add({{"number", event->number},
                 {"time", time_text(event->time)},
                 {"level", std::string(name_of(event->level))},
                 {"event", event->id},
                 {"message", event->message},
                 {"fields", fields}});
    }
}

}  // namespace schemux::daemon
