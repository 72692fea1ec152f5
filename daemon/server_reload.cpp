// The server's reloads: a new configuration is read, proved where that is asked for, and takes the
// place of the old one as a whole, or not at all. Starting and stopping: server.cpp.
#include "config/describe.h"
#include "daemon/isolation_wiring.h"
#include "daemon/log.h"
#include "daemon/login_wiring.h"
#include "daemon/server.h"
#include "daemon/service_wiring.h"

#include <boost/asio/post.hpp>

#include <utility>

namespace schemux::daemon {

namespace {

/// What `start` reads once; a reload that changes it says that a restart is needed.
std::vector<std::string> restart_only(const std::vector<std::string>& changes) {
    std::vector<std::string> needed;
    for (const std::string& change : changes) {
        if (change.find("(restart)") != std::string::npos) needed.push_back(change);
    }
    return needed;
}

/// logrotate has moved the old one away.
void follow_log_file() {
    if (const auto error = reopen_log_file())
        log_event(LogLevel::error, "log_not_reopened", "the old file stays in use",
                  {{"error", *error}});
}

}  // namespace

void Server::on_reload() {
    notifier_.reloading();
    follow_log_file();  // whatever becomes of the configuration
    std::optional<Loaded> loaded = reload_ ? reload_() : std::nullopt;
    ++reloads_;
    unproved_.reset();
    if (!loaded || !put_in_order(*loaded)) {
        refuse_reload();
        return;
    }
    auto audits = audit_jobs(loaded->settings, loaded->backends);
    if (audits.empty() || !requires_proof(loaded->settings)) {
        apply_reload(std::move(*loaded));
        watch_isolation();
        return;
    }
    unproved_ = std::move(loaded);
    isolation_.prove(
        std::move(audits), [this, number = reloads_](const IsolationWatch::Verdict& verdict) {
            boost::asio::post(io_, [this, number, verdict] { on_proved(number, verdict); });
        });
}

/// Clients are served meanwhile. What was read again since then is audited by itself.
void Server::on_proved(std::uint64_t reload, const IsolationWatch::Verdict& verdict) {
    if (reload != reloads_ || !unproved_) return;
    Loaded loaded = std::move(*unproved_);
    unproved_.reset();
    if (!verdict) {
        apply_reload(std::move(loaded));
        return;
    }
    log_event(LogLevel::error, "isolation_not_proved", "isolation_audit is require",
              {{"error", *verdict}});
    refuse_reload();
}

/// What was audited last, or was about to be, may have been the configuration that is not taken.
void Server::refuse_reload() {
    reload_state_.successful = false;
    log_event(LogLevel::error, "reload_failed", "the old configuration stays in use", {});
    watch_isolation();
    notifier_.ready();
}

/// Clusters come and go with a restart only: those that there are keep their places.
bool Server::put_in_order(Loaded& loaded) const {
    std::vector<config::Backend>& fresh = loaded.settings.backends;
    bool same = fresh.size() + 1 == clusters_.size() &&
                loaded.settings.backend.name == clusters_[0]->name();
    for (std::size_t place = 1; same && place < clusters_.size(); ++place) {
        const std::size_t found =
            config::find_backend(loaded.settings, clusters_[place]->name()).value_or(0);
        same = found >= place;
        if (!same) break;
        std::swap(fresh[place - 1], fresh[found - 1]);
        std::swap(loaded.backends[place], loaded.backends[found]);
    }
    if (!same)
        log_event(LogLevel::error, "restart_needed",
                  "backends came, went or have another name: that takes a restart", {});
    return same;
}

void Server::renew_clusters(const config::Settings& fresh, std::vector<LoadedBackend>&& backends) {
    const bool pauses = fresh.pool.paused && !settings_.pool.paused;
    const std::vector<const config::Backend*> before = config::all_backends(settings_);
    const std::vector<const config::Backend*> all = config::all_backends(fresh);
    for (std::size_t place = 0; place < clusters_.size(); ++place) {
        Cluster& cluster = *clusters_[place];
        cluster.set_access(
            make_backend_access(fresh, *all[place], std::move(backends[place].target)));
        if (pauses || !is_same_login(*all[place], *before[place])) cluster.connector().renew();
    }
}

void Server::apply_reload(Loaded&& loaded) {
    reload_state_.successful = true;
    backends_ = loaded.backends;
    audits_ = audit_jobs(loaded.settings, backends_);
    config::Settings& fresh = loaded.settings;
    const std::vector<std::string> changes = config::describe_changes(settings_, fresh);
    for (const std::string& change : changes) {
        log_event(LogLevel::info, "setting_changed", change, {});
    }
    for (const std::string& change : restart_only(changes)) {
        log_event(LogLevel::warning, "restart_needed", change, {});
    }
    reload_state_.last_success = std::chrono::system_clock::now();
    renew_clusters(fresh, std::move(loaded.backends));
    renew_tls(fresh, std::move(loaded.tls));
    users_ = {std::make_shared<Credentials>(std::move(loaded.secrets), users_.credentials.get()),
              std::move(loaded.users), make_user_lookup(fresh)};
    ask_for_services(fresh);
    set_log_level(make_log_level(fresh.log.level));
    take_settings(std::move(fresh));
    watch_services();
    acceptor_->derive_keys_ahead(users_.credentials);
    log_event(LogLevel::info, "reloaded", "the configuration was read again",
              {{"changes", changes.size()}});
    notifier_.ready();
}

}  // namespace schemux::daemon
