#include "daemon/server.h"

#include "config/describe.h"
#include "config/option_value.h"
#include "daemon/isolation_wiring.h"
#include "daemon/log.h"
#include "daemon/login_wiring.h"
#include "daemon/service_wiring.h"
#include "daemon/version.h"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <utility>

namespace schemux::daemon {

namespace {

constexpr auto drain_look = std::chrono::milliseconds(50);

}  // namespace

bool is_same_login(const config::Backend& left, const config::Backend& right) {
    return left.dsn == right.dsn && left.password_file == right.password_file &&
           left.password_command == right.password_command;
}

bool requires_proof(const config::Settings& settings) {
    return settings.isolation_audit == config::IsolationAudit::require;
}

Server::Server(Loaded loaded, std::function<std::optional<Loaded>()> reload)
    : backends_(loaded.backends),
      audits_(audit_jobs(loaded.settings, backends_)),
      settings_(std::move(loaded.settings)),
      reload_(std::move(reload)),
      files_(io_),
      notifier_(Notifier::from_environment()),
      timer_(io_) {
    users_ = {std::make_shared<Credentials>(std::move(loaded.secrets)), std::move(loaded.users),
              make_user_lookup(settings_)};
    if (!settings_.services_query.sql.empty()) roster_ = std::make_shared<ServiceRoster>();
    tls_ = std::move(loaded.tls);
    tls_.resize(settings_.listen.size());  // who made the settings by hand has none
    make_clusters(std::move(loaded.backends));
    std::vector<Worker*> workers;
    for (const auto& cluster : clusters_) {
        for (const auto& worker : cluster->workers())
            workers.push_back(worker.get());
    }
    acceptor_ = std::make_unique<Acceptor>(io_, process_, workers);
    memory_guard_ = std::make_unique<MemoryGuard>(io_, process_, workers);
    metrics_ = std::make_unique<Metrics>(process_, *acceptor_, clusters_, services_, reload_state_,
                                         isolation_);
    shows_ = std::make_unique<ConsoleShows>(io_, *acceptor_, clusters_, services_);
    console_ = std::make_unique<ConsoleHost>(
        io_, [this](core::ConsoleCommand command, core::ConsoleColumns columns) {
            return run_console(std::move(command), std::move(columns));
        });
    acceptor_->set_console(console_.get());
    metrics_->ask_for_answer([this] { return services_answer(); });
}

/// Who gets in, and what the pools are to give them, is known before a worker is made.
void Server::make_clusters(std::vector<LoadedBackend>&& backends) {
    engine_ = possible_engine(settings_.io_engine == config::IoEngine::epoll ? IoEngine::epoll
                                                                             : IoEngine::io_uring);
    const std::vector<const config::Backend*> all = config::all_backends(settings_);
    for (std::size_t place = 0; place < all.size(); ++place) {
        const auto first = static_cast<std::uint32_t>(place) * settings_.workers;
        clusters_.push_back(std::make_unique<Cluster>(
            io_, process_, ClusterPlace{all[place]->name, place, settings_.workers, first},
            config::connections_of(settings_, *all[place])));
    }
    process_.policy.set(make_policy(settings_, services_, clusters_, users_, roster_));
    apply_pool();
    for (std::size_t place = 0; place < all.size(); ++place) {
        for (const std::string& warning : backends[place].target.warnings)
            log_event(LogLevel::warning, "dsn_warning", warning, {});
        clusters_[place]->equip(
            make_backend_access(settings_, *all[place], std::move(backends[place].target)),
            engine_);
    }
}

Server::~Server() {
    // Threads first: nothing of what they use may go before them.
    services_query_.reset();
    for (const auto& cluster : clusters_)
        cluster->stop_workers();
    for (const auto& cluster : clusters_)
        cluster->connector().stop();
    isolation_.stop();
    if (http_) http_->stop();
}

std::optional<std::string> Server::start() {
    if (!audits_.empty() && requires_proof(settings_)) {
        if (auto verdict = isolation_.prove_now(audits_))
            return "isolation_audit is require: " + *verdict;
    }
    if (auto error = listen()) return error;
    if (auto error = serve_http()) return error;
    SignalCallbacks callbacks;
    callbacks.on_stop = [this](int, unsigned times) { on_stop(times); };
    callbacks.on_reload = [this] { on_reload(); };
    callbacks.on_pause = [this](bool pause) { on_pause(pause); };
    signals_ = std::make_unique<SignalHandler>(io_, std::move(callbacks));
    for (const auto& cluster : clusters_)
        cluster->start();
    acceptor_->start();
    shows_->start();
    watch_services();
    files_.start();
    ask_for_services(settings_);
    acceptor_->derive_keys_ahead(users_.credentials);
    memory_guard_->set_limit(settings_.limits.memory);
    if (!requires_proof(settings_)) watch_isolation();
    return {};
}

/// Whether the configuration in use keeps services apart.
void Server::watch_isolation() {
    if (audits_.empty()) {
        isolation_.forget();
    } else {
        isolation_.watch(audits_);
    }
}

std::optional<std::string> Server::listen() {
    for (std::size_t i = 0; i < settings_.listen.size(); ++i) {
        const config::Listener& listener = settings_.listen[i];
        const auto error =
            listener.is_unix()
                ? acceptor_->listen_unix(listener.unix_socket_dir, listener.port)
                : acceptor_->listen_tcp(listener.address, listener.port, std::move(tls_[i]),
                                        make_ranges(listener.proxies));
        if (error) return error;
        listening_at_.push_back(config::endpoint_of(listener));
        watch_certificates(i, listener.tls);
    }
    return {};
}

void Server::watch_certificates(std::size_t index, const config::ListenerTls& tls) {
    files_.watch("certificate " + std::to_string(index),
                 {tls.certificate, tls.key, tls.client_ca, tls.crl},
                 [this, index, tls] { renew_certificate(index, tls); });
}

/// A certificate whose key is still on its way does not fit it: the old ones stay until it came.
void Server::renew_certificate(std::size_t index, const config::ListenerTls& tls) {
    auto made = make_tls_policy(tls);
    if (const auto* wrong = std::get_if<TlsError>(&made)) {
        log_event(LogLevel::warning, "certificate_not_renewed",
                  {{"certificate", tls.certificate}, {"error", wrong->message}});
        return;
    }
    acceptor_->set_tls(index, std::get<TlsPolicy>(std::move(made)));
    log_event(LogLevel::info, "certificate_renewed", {{"certificate", tls.certificate}});
}

/// Listeners stay as they are until a restart; their certificates are renewed.
void Server::renew_tls(const config::Settings& fresh, std::vector<TlsPolicy>&& tls) {
    tls.resize(fresh.listen.size());
    for (std::size_t i = 0; i < listening_at_.size(); ++i) {
        for (std::size_t j = 0; j < fresh.listen.size(); ++j) {
            if (listening_at_[i] == config::endpoint_of(fresh.listen[j])) {
                acceptor_->set_tls(i, tls[j]);
                watch_certificates(i, fresh.listen[j].tls);
            }
        }
    }
}

void Server::run() {
    log_event(LogLevel::info, "started", "schemux is serving",
              {{"version", version},
               {"workers", settings_.workers},
               {"io_engine", name_of(engine_)},
               {"backends", clusters_.size()},
               {"max_connections", settings_.pool.max_connections},
               {"services", settings_.services.size()}});
    notifier_.ready();
    io_.run();
    log_event(LogLevel::info, "stopped", "schemux has stopped", {});
}

void Server::request_stop() {
    boost::asio::post(io_, [this] { on_stop(stops_ + 1); });
}

void Server::on_stop(unsigned times) {
    stops_ = std::max(times, stops_ + 1);
    if (stops_ > 1) {
        log_event(LogLevel::warning, "stopping_now", "second signal: stopping without draining",
                  {});
        finish();
        return;
    }
    drain();
}

void Server::drain() {
    stops_ = std::max(stops_, 1U);
    log_event(LogLevel::info, "draining", "stopping when the running transactions have ended", {});
    notifier_.stopping();
    acceptor_->stop();
    for (const auto& cluster : clusters_)
        cluster->drain();
    drain_deadline_ = std::chrono::steady_clock::now() + settings_.drain_timeout;
    check_drained();
}

/// Nobody new comes in; whoever is there is served until it goes.
void Server::stop_behind_clients() {
    if (stops_ > 0) return;  // nobody is to wait for longer than was said before
    stops_ = 1;
    log_event(LogLevel::info, "draining", "stopping when the last client has gone", {});
    notifier_.stopping();
    acceptor_->stop();
    drain_deadline_ = std::chrono::steady_clock::time_point::max();
    check_drained();
}

void Server::check_drained() {
    std::uint32_t sessions = acceptor_->logging_in();
    for (const auto& cluster : clusters_)
        sessions += cluster->session_count();
    if (sessions == 0) {
        finish();
        return;
    }
    if (std::chrono::steady_clock::now() > drain_deadline_) {
        log_event(LogLevel::warning, "drain_timeout", "transactions outlasted drain_timeout",
                  {{"clients", sessions}});
        finish();
        return;
    }
    timer_.expires_after(drain_look);
    timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) check_drained();
    });
}

void Server::finish() {
    acceptor_->stop();
    memory_guard_->stop();
    shows_->stop();
    console_->stop();
    files_.stop();
    const std::shared_ptr<const Policy> policy = process_.policy.get();
    if (policy->lookup) policy->lookup->stop();
    for (const auto& schemas : policy->schemas)
        schemas->stop();
    for (const auto& cluster : clusters_)
        cluster->connector().stop();
    isolation_.stop();
    if (status_) status_->stop();
    if (http_) http_->stop();
    if (signals_) signals_->cancel();
    for (const auto& cluster : clusters_)
        cluster->stop_workers();
    io_.stop();
}

bool Server::paused() const {
    return paused_ || settings_.pool.paused;
}

/// What the configuration says of the pools, and whether they are paused.
void Server::apply_pool() {
    const std::vector<const config::Backend*> all = config::all_backends(settings_);
    for (std::size_t place = 0; place < clusters_.size(); ++place) {
        const std::uint32_t least = config::least_connections_of(settings_, *all[place]);
        clusters_[place]->set_bounds(
            {config::connections_of(settings_, *all[place]), paused() ? 0 : least});
    }
    if (paused_services_.empty()) return share_out(clusters_, settings_, services_, paused());
    config::Settings held = settings_;
    for (config::Service& service : held.services)
        service.pool.paused = service.pool.paused || paused_services_.contains(service.name);
    share_out(clusters_, held, services_, paused());
}

void Server::on_pause(bool pause) {
    if (std::exchange(paused_, pause) == pause) return;
    if (pause) {
        log_event(LogLevel::warning, "paused", "no client is given a backend until SIGUSR2", {});
    } else {
        log_event(LogLevel::info, "resumed", "clients are given backends again",
                  {{"paused_by_configuration", settings_.pool.paused}});
    }
    apply_pool();
    for (const auto& cluster : clusters_) {
        if (pause) cluster->connector().renew();
        cluster->look_again();
    }
}

/// Services, and what the pool gives them.
void Server::take_settings(config::Settings fresh) {
    process_.policy.set(make_policy(fresh, services_, clusters_, users_, roster_));
    settings_ = std::move(fresh);
    apply_pool();
    memory_guard_->set_limit(settings_.limits.memory);
    renew_http();
    for (const auto& cluster : clusters_)
        cluster->look_again();
}

void Server::watch_services() {
    files_.watch("services", {settings_.services_file}, [this] { on_services_file(); });
}

void Server::on_services_file() {
    config::Settings fresh = settings_;
    fresh.services.resize(fresh.services.size() - fresh.services_in_file);
    std::vector<config::Diagnostic> warnings;
    const auto errors = add_services_file(fresh, warnings);
    for (const config::Diagnostic& warning : warnings)
        log_event(LogLevel::warning, "services_file_warning", config::to_string(warning), {});
    for (const config::Diagnostic& error : errors)
        log_event(LogLevel::error, "services_file_error", config::to_string(error), {});
    reload_state_.successful = errors.empty();
    if (!errors.empty()) {
        log_event(LogLevel::error, "services_not_read", "the services stay as they were",
                  {{"file", settings_.services_file}});
        return;
    }
    const std::vector<std::string> changes = config::describe_changes(settings_, fresh);
    for (const std::string& change : changes)
        log_event(LogLevel::info, "setting_changed", change, {});
    reload_state_.last_success = std::chrono::system_clock::now();
    take_settings(std::move(fresh));
    audits_ = audit_jobs(settings_, backends_);
    if (!unproved_) watch_isolation();  // whose verdict must come
    log_event(LogLevel::info, "services_read",
              {{"file", settings_.services_file}, {"changes", changes.size()}});
}

/// What is asked already goes on being asked, and what it said holds.
void Server::ask_for_services(const config::Settings& settings) {
    const bool same = services_query_ && settings.services_query == settings_.services_query &&
                      is_same_login(settings.backend, settings_.backend);
    if (same) return;
    services_query_.reset();
    const config::ServicesQuery& query = settings.services_query;
    if (query.sql.empty()) {
        roster_.reset();
        return;
    }
    if (!roster_) roster_ = std::make_shared<ServiceRoster>();
    ServicesQueryOptions options;
    options.access = make_control_options(settings.backend, "schemux services_query");
    options.sql = query.sql;
    options.interval = query.interval;
    options.channel = query.channel;
    options.rows_max = config::max_services;
    services_query_ = std::make_unique<ServicesQuery>(
        std::move(options), [this, number = ++services_queries_](ServicesQuery::Table table) {
            boost::asio::post(io_, [this, number, table = std::move(table)] {
                // One that was on its way may be of a query that is asked no more.
                if (number == services_queries_ && roster_) on_services(table);
            });
        });
    services_query_->start();
}

std::optional<ServicesAnswer> Server::services_answer() const {
    if (!services_query_ || !roster_) return {};
    const auto list = roster_->get();
    return ServicesAnswer{list ? list->size() : 0, services_query_->answered_at(),
                          services_query_->failures()};
}

void Server::on_services(const ServicesQuery::Table& table) {
    config::RowServices read = config::read_service_rows({table.columns, table.rows}, settings_);
    for (const config::Diagnostic& error : read.errors)
        log_event(LogLevel::warning, "services_query_row", config::to_string(error), {});
    if (!read.services) {
        log_event(LogLevel::error, "services_query_refused", "the services stay as they were", {});
        return;
    }
    const std::size_t count = read.services->size();
    const auto changed =
        roster_->set(std::make_shared<const config::ListedServices>(std::move(*read.services)));
    const std::shared_ptr<Tenants> tenants = process_.policy.get()->tenants;
    if (tenants) {
        tenants->forget(changed);
        tenants->set_complete();
    }
    log_event(LogLevel::info, "services_query_answered",
              {{"services", count}, {"changed", changed.size()}});
}

}  // namespace schemux::daemon
