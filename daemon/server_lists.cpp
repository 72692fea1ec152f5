// The server's part of the admin console and the status page that has to ask the workers, or to end
// what they have: single clients, backends, leases, statements. What is asked: worker_lines.h; what
// becomes of it: console_lists.h.
#include "daemon/ask_workers.h"
#include "daemon/console_lists.h"
#include "daemon/server.h"
#include "daemon/worker_lines.h"
#include "protocol/sqlstate.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
using core::ConsoleShow;

namespace {

constexpr std::size_t console_statements_max = 500;
/// Between two looks whether backends have gone.
constexpr auto close_look = std::chrono::milliseconds(100);

struct Killed {
    std::size_t clients = 0;
};

/// Of one cluster's workers.
struct Outdated {
    std::size_t cluster = 0;
    std::size_t backends = 0;
};

bool count_outdated(Worker& worker, Outdated& found) {
    found.cluster = worker.cluster();
    worker.backends().for_each([&](const BackendConnection& backend) {
        if (backend.phase != BackendPhase::closing && worker.outdated(backend)) ++found.backends;
    });
    return false;
}

}  // namespace

asio::awaitable<std::vector<core::StatementLine>> Server::top_statements(std::size_t most,
                                                                         std::string service) {
    using Lines = std::vector<core::StatementLine>;
    WorkerQuestion<Lines> question = [most, service](Worker& worker, Lines& lines) {
        lines = worker.statements().top(most, service);
        return false;
    };
    std::vector<Lines> workers = co_await ask_workers<Lines>(io_, clusters_, std::move(question));
    co_return core::merge(std::move(workers), most);
}

/// For the status page; one after the other.
asio::awaitable<void> Server::feed_statements() {
    if (std::exchange(feeds_statements_, true)) co_return;
    std::vector<core::StatementLine> lines =
        co_await top_statements(StatusFeed::statements_max, {});
    feeds_statements_ = false;
    if (status_) status_->take_statements(std::move(lines));
}

asio::awaitable<core::ConsoleOutcome> Server::console_list(core::ConsoleCommand command,
                                                           core::ConsoleColumns columns) {
    core::ConsoleResult result;
    result.table = core::ConsoleTable(std::move(columns));
    if (command.show == ConsoleShow::statements) {
        const std::vector<core::StatementLine> lines =
            co_await top_statements(console_statements_max, {});
        list_statements(result.table, lines);
        co_return result;
    }
    if (command.show == ConsoleShow::leases) {
        WorkerQuestion<WorkerLeases> question = [pid = command.number](Worker& worker,
                                                                       WorkerLeases& leases) {
            leases = tell_leases(worker, pid);
            return false;
        };
        const std::vector<WorkerLeases> workers =
            co_await ask_workers<WorkerLeases>(io_, clusters_, std::move(question));
        list_leases(result.table, workers);
        co_return result;
    }
    WorkerQuestion<WorkerLines> question = tell_lines;
    const std::vector<WorkerLines> workers =
        co_await ask_workers<WorkerLines>(io_, clusters_, std::move(question));
    list_connections(result.table, command.show, workers, console_view().identities);
    co_return result;
}

/// As PgBouncer's: who comes from now on waits for RESUME.
asio::awaitable<core::ConsoleOutcome> Server::console_kill(std::string service) {
    if (auto error = check_holdable(service)) co_return std::move(*error);
    if (service.empty() && !paused_) on_pause(true);
    if (!service.empty() && paused_services_.insert(service).second) apply_pool();
    WorkerQuestion<Killed> question = [service](Worker& worker, Killed& killed) {
        killed.clients = worker.kill_if([&service](const Session& session) {
            return service.empty() || session.service_name() == service;
        });
        return false;
    };
    co_await ask_workers<Killed>(io_, clusters_, std::move(question));
    co_return core::ConsoleResult{};
}

asio::awaitable<core::ConsoleOutcome> Server::console_kill_client(std::uint32_t id) {
    WorkerQuestion<Killed> question = [id](Worker& worker, Killed& killed) {
        killed.clients = worker.kill_if(
            [id](const Session& session) { return session.relay().identity().pid == id; });
        return false;
    };
    const std::vector<Killed> workers =
        co_await ask_workers<Killed>(io_, clusters_, std::move(question));
    const bool found = std::any_of(workers.begin(), workers.end(),
                                   [](const Killed& killed) { return killed.clients > 0; });
    if (found) co_return core::ConsoleResult{};
    auto error = protocol::make_error(protocol::sqlstate::undefined_object,
                                      "no such client: " + std::to_string(id));
    error.hint = "SHOW CLIENTS tells the ids of those that there are.";
    co_return error;
}

/// Answered when no backend is left of those that RECONNECT or a reload has made unfit.
asio::awaitable<core::ConsoleOutcome> Server::console_wait_close(std::string service) {
    const auto known = process_.policy.get()->services.find(service);
    asio::steady_timer timer(io_);
    while (stops_ == 0) {
        WorkerQuestion<Outdated> question = count_outdated;
        const std::vector<Outdated> workers =
            co_await ask_workers<Outdated>(io_, clusters_, std::move(question));
        const bool waits =
            std::any_of(workers.begin(), workers.end(), [&known](const Outdated& one) {
                return one.backends > 0 && (!known || known->cluster == one.cluster);
            });
        if (!waits) break;
        timer.expires_after(close_look);
        boost::system::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return core::ConsoleResult{};
}

}  // namespace schemux::daemon
