// The server's part of the admin console: what its commands do. How they come in: console_host.cpp;
// what they show: console_shows.cpp.
#include "core/template_rewriter.h"
#include "daemon/console_wiring.h"
#include "daemon/server.h"
#include "protocol/sqlstate.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace asio = boost::asio;
namespace sqlstate = protocol::sqlstate;
using core::ConsoleVerb;

namespace {

/// Between two looks whether what a command waits for has come.
constexpr auto console_look = std::chrono::milliseconds(20);
constexpr std::string_view not_in_state = sqlstate::object_not_in_prerequisite_state;
constexpr std::string_view config_file_error = "F0000";

protocol::ErrorFields refuse(std::string_view code, std::string message, std::string hint) {
    auto error = protocol::make_error(code, std::move(message));
    error.hint = std::move(hint);
    return error;
}

protocol::ErrorFields notice(std::string message) {
    return protocol::make_error("00000", std::move(message), protocol::Severity::notice);
}

bool asks_workers(core::ConsoleShow show) {
    using core::ConsoleShow;
    return show == ConsoleShow::clients || show == ConsoleShow::servers ||
           show == ConsoleShow::sockets || show == ConsoleShow::active_sockets ||
           show == ConsoleShow::labels || show == ConsoleShow::statements ||
           show == ConsoleShow::leases;
}

}  // namespace

/// What services are, and which of them the console holds back.
ConsoleView Server::console_view() const {
    ConsoleView view = make_console_view(settings_, backends_, users_.names);
    view.paused = paused();
    view.consoles = console_->sessions();
    const bool is_legacy = settings_.admin.compat == config::ConsoleCompat::legacy;
    for (ConsoleService& service : view.services) {
        service.paused = service.paused || paused_ || paused_services_.contains(service.name);
        service.disabled = process_.disabled.contains(service.name);
        // Debian's exporter labels by it, and wants no label twice.
        if (is_legacy) service.database = service.name;
    }
    return view;
}

/// Nothing: the configuration has it.
std::optional<protocol::ErrorFields> Server::check_target(const std::string& name) const {
    const auto found =
        std::find_if(settings_.services.begin(), settings_.services.end(),
                     [&name](const config::Service& service) { return service.name == name; });
    if (found == settings_.services.end())
        return refuse(sqlstate::invalid_catalog_name, "no such database: " + name,
                      "SHOW SERVICES tells which there are.");
    return {};
}

/// Tenants have shares of their own, which come and go: to hold back what they were made of would
/// hold back nobody.
std::optional<protocol::ErrorFields> Server::check_holdable(const std::string& name) const {
    if (name.empty() || share_of(name) != nullptr) return {};
    return refuse(sqlstate::feature_not_supported,
                  "\"" + name + "\" cannot be held back by itself: its clients are tenants",
                  "PAUSE without a name holds back all.");
}

std::shared_ptr<const core::Share> Server::share_of(const std::string& name) const {
    const auto service = process_.policy.get()->services.find(name);
    if (!service || service->role_of == core::RoleOf::clients) return nullptr;
    return services_.find_share(name);
}

asio::awaitable<core::ConsoleOutcome> Server::run_console(core::ConsoleCommand command,
                                                          core::ConsoleColumns columns) {
    if (command.verb == ConsoleVerb::show && asks_workers(command.show))
        co_return co_await console_list(std::move(command), std::move(columns));
    if (command.verb == ConsoleVerb::explain_rewrite) co_return explain_rewrite(command);
    if (command.verb == ConsoleVerb::show) {
        core::ConsoleResult result;
        result.table = shows_->table(command.show, std::move(columns), console_view());
        co_return result;
    }
    if (!command.target.empty()) {
        if (auto error = check_target(command.target)) co_return std::move(*error);
    }
    switch (command.verb) {
        case ConsoleVerb::pause:
            co_return co_await console_pause(command.target);
        case ConsoleVerb::resume:
            co_return console_resume(command.target);
        case ConsoleVerb::reconnect:
            co_return console_reconnect(command.target);
        case ConsoleVerb::disable:
            co_return console_disable(command.target);
        case ConsoleVerb::enable:
            co_return console_enable(command.target);
        case ConsoleVerb::kill:
            co_return co_await console_kill(command.target);
        case ConsoleVerb::kill_client:
            co_return co_await console_kill_client(command.number);
        case ConsoleVerb::wait_close:
            co_return co_await console_wait_close(command.target);
        case ConsoleVerb::reload:
            co_return co_await console_reload();
        case ConsoleVerb::shutdown:
            co_return console_shutdown(command.shutdown);
        case ConsoleVerb::nothing:
        case ConsoleVerb::show:
        case ConsoleVerb::show_setting:
        case ConsoleVerb::set_setting:
        case ConsoleVerb::begin:
        case ConsoleVerb::end:
        case ConsoleVerb::explain_rewrite:
            break;
    }
    co_return core::ConsoleResult{};
}

/// Answered when the last transaction has ended, or when it was resumed meanwhile.
asio::awaitable<core::ConsoleOutcome> Server::console_pause(std::string service) {
    if (auto error = check_holdable(service)) co_return std::move(*error);
    const bool is_new = service.empty() ? !paused_ : paused_services_.insert(service).second;
    if (!is_new) co_return refuse(not_in_state, "already paused", "RESUME lets its clients go on.");
    if (service.empty()) {
        on_pause(true);
    } else {
        apply_pool();
    }
    asio::steady_timer timer(io_);
    while (is_held(service) && holds_backends(service)) {
        timer.expires_after(console_look);
        boost::system::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return core::ConsoleResult{};
}

/// Whether the console's PAUSE of it is still in force.
bool Server::is_held(const std::string& service) const {
    return service.empty() ? paused_ : paused_services_.contains(service);
}

/// Any connection that there is, or any that clients of the service have.
bool Server::holds_backends(const std::string& service) const {
    if (!service.empty()) {
        const auto share = share_of(service);
        return share && share->uses() > 0;
    }
    return std::any_of(clusters_.begin(), clusters_.end(),
                       [](const auto& cluster) { return cluster->shared().pool.open() > 0; });
}

core::ConsoleOutcome Server::console_resume(const std::string& service) {
    const bool was_held = is_held(service);
    core::ConsoleResult result;
    if (service.empty()) {
        const bool any = was_held || !paused_services_.empty();
        paused_services_.clear();
        if (!any)
            return refuse(not_in_state, "nothing is paused",
                          "SHOW STATE tells, and SHOW SERVICES.");
        if (was_held) on_pause(false);
        apply_pool();
        for (const auto& cluster : clusters_)
            cluster->look_again();
        if (settings_.pool.paused)
            result.notice = notice("the configuration says pool.paused: nobody is served yet");
        return result;
    }
    if (!was_held)
        return refuse(not_in_state, "database " + service + " is not paused",
                      "SHOW SERVICES tells which are.");
    paused_services_.erase(service);
    apply_pool();
    for (const auto& cluster : clusters_)
        cluster->look_again();
    if (paused()) result.notice = notice("all services are paused still");
    return result;
}

core::ConsoleOutcome Server::console_disable(const std::string& service) {
    if (auto error = check_holdable(service)) return std::move(*error);
    if (!process_.disabled.add(service))
        return refuse(not_in_state, "database " + service + " is disabled already",
                      "ENABLE lets new clients in.");
    return core::ConsoleResult{};
}

core::ConsoleOutcome Server::console_enable(const std::string& service) {
    if (!process_.disabled.remove(service))
        return refuse(not_in_state, "database " + service + " is not disabled",
                      "SHOW SERVICES tells which are.");
    return core::ConsoleResult{};
}

/// For a client with UTF-8 and standard_conforming_strings.
core::ConsoleOutcome Server::explain_rewrite(const core::ConsoleCommand& command) const {
    const std::shared_ptr<const Policy> policy = process_.policy.get();
    auto service = policy->services.find(command.target);
    if (!service && policy->tenants) service = policy->tenants->find(command.target);
    if (!service)
        return refuse(sqlstate::invalid_catalog_name, "no such database: " + command.target,
                      "SHOW SERVICES tells which there are.");
    std::string rewritten;
    core::RewriteResult outcome =
        core::rewrite_templates(command.text, core::template_context_of(*service), rewritten, {});
    if (outcome.error) return std::move(*outcome.error);
    if (outcome.outcome == core::RewriteResult::Outcome::unchanged) rewritten = command.text;
    core::ConsoleResult result{core::ConsoleTable({{"rewritten", core::ColumnType::text}}), {}};
    result.table.add({{"rewritten", std::move(rewritten)}});
    return result;
}

/// Services share backends: those of its cluster are closed as they come free.
core::ConsoleOutcome Server::console_reconnect(const std::string& service) {
    const auto known = process_.policy.get()->services.find(service);
    for (std::size_t place = 0; place < clusters_.size(); ++place) {
        if (known && known->cluster != place) continue;
        clusters_[place]->connector().renew();
        clusters_[place]->look_again();
    }
    return core::ConsoleResult{};
}

asio::awaitable<core::ConsoleOutcome> Server::console_reload() {
    on_reload();
    const std::uint64_t number = reloads_;
    asio::steady_timer timer(io_);
    // The proof of isolation, where it is required, takes its time.
    while (unproved_ && number == reloads_) {
        timer.expires_after(console_look);
        boost::system::error_code ignored;
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (reload_state_.successful) co_return core::ConsoleResult{};
    co_return refuse(config_file_error, "the configuration was not taken: the old one stays in use",
                     "The log says why; so does schemux check-config.");
}

/// Behind the answer.
core::ConsoleOutcome Server::console_shutdown(core::ShutdownMode mode) {
    switch (mode) {
        case core::ShutdownMode::immediate:
            asio::post(io_, [this] { on_stop(stops_ + 2); });
            break;
        case core::ShutdownMode::wait_for_servers:
            asio::post(io_, [this] { drain(); });
            break;
        case core::ShutdownMode::wait_for_clients:
            asio::post(io_, [this] { stop_behind_clients(); });
            break;
    }
    return core::ConsoleResult{};
}

}  // namespace schemux::daemon
