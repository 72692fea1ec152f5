#include "daemon/worker_lines.h"

#include "daemon/ip_text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <unordered_map>
#include <utility>

namespace schemux::daemon {

namespace {

/// Clients of one step.
constexpr std::size_t step_max = 256;

struct End {
    std::string address;
    std::uint16_t port = 0;
};

End end_of(const sockaddr_storage& from) {
    if (from.ss_family == AF_INET) {
        const auto& in = reinterpret_cast<const sockaddr_in&>(from);      // NOLINT: as the kernel's
        const auto* bytes = reinterpret_cast<const char*>(&in.sin_addr);  // NOLINT
        return {ip_text({bytes, sizeof in.sin_addr}), ntohs(in.sin_port)};
    }
    if (from.ss_family == AF_INET6) {
        const auto& in = reinterpret_cast<const sockaddr_in6&>(from);      // NOLINT
        const auto* bytes = reinterpret_cast<const char*>(&in.sin6_addr);  // NOLINT
        return {ip_text({bytes, sizeof in.sin6_addr}), ntohs(in.sin6_port)};
    }
    return {"unix", 0};
}

SocketEnds ends_of(int fd) {
    sockaddr_storage storage{};
    auto* const address = reinterpret_cast<sockaddr*>(&storage);  // NOLINT
    SocketEnds ends;
    socklen_t size = sizeof storage;
    if (::getpeername(fd, address, &size) == 0) {
        End remote = end_of(storage);
        ends.address = std::move(remote.address);
        ends.port = remote.port;
    }
    size = sizeof storage;
    if (::getsockname(fd, address, &size) == 0) {
        End local = end_of(storage);
        ends.local_address = std::move(local.address);
        ends.local_port = local.port;
    }
    return ends;
}

std::string application_of(const core::Label& label) {
    const std::string* name = label.find("application_name");
    return name == nullptr ? std::string() : *name;
}

ClientLine line_of(const Session& session) {
    const core::Relay& relay = session.relay();
    const StreamFacts facts = session.stream_facts();
    ClientLine line;
    line.id = relay.identity().pid;
    line.service = relay.service().name;
    line.user = session.user();
    line.application_name = application_of(relay.label());
    line.tls = facts.tls;
    line.ends = ends_of(facts.fd);
    // Behind a proxy the socket's other end is the proxy's, and the client's port is not known.
    const std::string said = ip_text(session.address());
    if (!said.empty() && said != line.ends.address) {
        line.ends.address = said;
        line.ends.port = 0;
    }
    line.label = relay.label();
    line.waits = session.waiting();
    line.backend_pid = relay.backend() == nullptr ? 0 : relay.backend()->pid;
    line.opened = session.opened;
    line.heard = relay.heard_at();
    line.waits_since = relay.waiting_since();
    line.statements = relay.named_statements();
    line.unread = session.unread_bytes();
    return line;
}

BackendLine line_of(Worker& worker, const BackendConnection& backend) {
    const StreamFacts facts = backend.streams->facts(*backend.stream);
    BackendLine line;
    line.pid = backend.state.pid;
    line.identity = backend.sub_pool->identity();
    line.application_name = backend.state.parameter("application_name");
    line.tls = facts.tls;
    line.ends = ends_of(facts.fd);
    line.label = backend.state.label;
    line.phase = backend.phase;
    line.opened = backend.state.opened;
    line.used = backend.state.idle_since;
    line.statements = backend.state.statements.size();
    line.unsent = backend.streams->queued_bytes(*backend.stream);
    line.to_close = backend.state.dying || worker.outdated(backend);
    const Session* holder =
        backend.phase == BackendPhase::leased ? worker.session(backend.session) : nullptr;
    if (holder == nullptr) return line;
    line.service = holder->service_name();
    line.client_id = holder->relay().identity().pid;
    line.used = backend.leased_at;
    return line;
}

/// Those that are there, and of the others those that are not forgotten.
void name_clients(Worker& worker, std::vector<LeaseLine>& lines) {
    std::unordered_map<std::uint32_t, PastClient> clients;
    for (const LeaseLine& line : lines)
        clients.try_emplace(line.client.id);
    worker.history().clients().from_newest([&clients](const PastClient& client) {
        const auto wanted = clients.find(client.id);
        if (wanted != clients.end() && wanted->second.id == 0) wanted->second = client;
    });
    worker.sessions().for_each(0, worker.sessions().slots(), [&clients](const Session& session) {
        const auto wanted = clients.find(session.relay().identity().pid);
        if (wanted != clients.end()) wanted->second = past_client(session);
    });
    for (LeaseLine& line : lines) {
        const PastClient& client = clients[line.client.id];
        if (client.id != 0) line.client = client;
    }
}

}  // namespace

PastClient past_client(const Session& session) {
    return {session.relay().identity().pid, session.service_name(), session.user(),
            ip_text(session.address()), application_of(session.relay().label())};
}

bool tell_lines(Worker& worker, WorkerLines& lines) {
    lines.cluster = worker.cluster();
    lines.now = worker.context().now;
    const std::size_t last = lines.next_slot + step_max;
    worker.sessions().for_each(lines.next_slot, last, [&lines](const Session& session) {
        if (!session.closed()) lines.clients.push_back(line_of(session));
    });
    lines.next_slot = last;
    if (last < worker.sessions().slots()) return true;
    worker.backends().for_each([&](const BackendConnection& backend) {
        if (backend.phase != BackendPhase::closing && backend.stream != nullptr)
            lines.backends.push_back(line_of(worker, backend));
    });
    return false;
}

WorkerLeases tell_leases(Worker& worker, std::uint32_t backend_pid) {
    WorkerLeases told;
    told.now = worker.context().now;
    const auto wanted = [backend_pid](std::uint32_t pid) {
        return backend_pid == 0 || backend_pid == pid;
    };
    worker.backends().for_each([&](const BackendConnection& backend) {
        if (backend.phase != BackendPhase::leased || !wanted(backend.state.pid)) return;
        told.lines.push_back(
            {backend.state.pid, {.id = backend.client_id}, backend.leased_at, told.now, true});
    });
    worker.history().leases().from_newest([&](const PastLease& lease) {
        if (!wanted(lease.backend_pid) || told.lines.size() >= WorkerLeases::lines_max) return;
        told.lines.push_back(
            {lease.backend_pid, {.id = lease.client_id}, lease.began, lease.ended, false});
    });
    name_clients(worker, told.lines);
    return told;
}

}  // namespace schemux::daemon
