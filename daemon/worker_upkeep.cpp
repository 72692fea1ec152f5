// The worker's part that looks after backends which no client has: it runs core::Upkeep on them
// (other settings, a reset, an audit, a look at their memory, a check that they are there) and does
// what comes of it. When one is due is decided here; what is said to PostgreSQL is core's.

#include "daemon/log.h"
#include "daemon/worker.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace schemux::daemon {

using core::Upkeep;
using core::UpkeepState;

namespace {

/// Seconds that a reset or a change of settings may take; temporary tables to drop take their time.
constexpr int upkeep_ticks_max = 30;
/// Seconds that it may need for what a client waits for: it may be gone without a word.
constexpr int before_lease_ticks_max = 3;
/// A backend that grew is found out in this time.
constexpr auto measure_interval = std::chrono::seconds(30);
/// Where PostgreSQL does not tell it is asked again, lest a GRANT needed a restart.
constexpr auto untold_interval = std::chrono::minutes(10);

}  // namespace

// ---- running it --------------------------------------------------------------------------------

void Worker::start_upkeep(BackendConnection& backend, Upkeep upkeep) {
    backend.phase = BackendPhase::upkeep;
    backend.phase_ticks = 0;
    backend.upkeep = std::move(upkeep);
    counters_.backends_upkeep.add();
    backend.streams->resume(*backend.stream);
    backend.streams->send(*backend.stream, context_.to_backend);
    context_.to_backend.clear();
}

void Worker::on_upkeep_bytes(BackendConnection& backend, std::string_view bytes) {
    const UpkeepState state =
        backend.upkeep->on_bytes(bytes, backend.state, context_.backend_carry, context_.buffers);
    if (state != UpkeepState::running) finish_upkeep(backend);
}

void Worker::finish_upkeep(BackendConnection& backend) {
    const Upkeep upkeep = *std::exchange(backend.upkeep, std::nullopt);
    counters_.backends_upkeep.subtract();
    backend.phase = BackendPhase::parked;
    if (upkeep.state() == UpkeepState::failed) {
        if (!upkeep.gone()) counters_.upkeep_failures.add();
        const bool desync = !upkeep.desync().empty();
        if (desync) {
            poison(backend, upkeep.desync());
        } else {
            close_backend(backend, upkeep.gone() ? "server_closed" : "upkeep_failed");
        }
        if (backend.has_session) {
            desync ? refuse_promised(backend.session) : requeue(backend.session);
        }
        return;
    }
    Session* waiter = backend.has_session ? session(backend.session) : nullptr;
    if (upkeep.goal() == core::UpkeepGoal::measure) note_measured(upkeep);
    if (upkeep.state() == UpkeepState::refused) {
        backend.has_session = false;
        if (waiter != nullptr && waiter->waiting()) waiter->on_acquire_failed(upkeep.error());
        make_available(backend);
        return;
    }
    if (waiter != nullptr && waiter->waiting()) {
        grants_.emplace_back(backend.session, &backend);
        return;
    }
    backend.has_session = false;
    if (quarantine(backend, upkeep)) return;
    if (policy_->max_backend_memory > 0 && upkeep.measured() > policy_->max_backend_memory) {
        counters_.backends_outgrown.add();
        return close_backend(backend, "outgrown");
    }
    const bool was_reset = upkeep.goal() == core::UpkeepGoal::reset;
    if (was_reset && audit_is_due(backend, upkeep.full())) return audit(backend);
    make_available(backend);
}

bool Worker::upkeep_is_late(BackendConnection& backend) {
    const int most = backend.upkeep->before_lease() ? before_lease_ticks_max : upkeep_ticks_max;
    return ++backend.phase_ticks > most;
}

/// It does not answer: nobody knows what became of it.
void Worker::give_up_upkeep(BackendConnection& backend) {
    if (backend.phase != BackendPhase::upkeep) return;
    counters_.upkeep_failures.add();
    const bool unreachable = backend.upkeep->before_lease();
    close_backend(backend, unreachable ? "unreachable" : "upkeep_timeout");
    if (unreachable) close_silent(backend.state.idle_since);
    if (backend.has_session) requeue(backend.session);
}

/// Where one could not be reached, the others that were silent as long need not be tried in turn.
void Worker::close_silent(core::TimePoint since) {
    std::vector<BackendConnection*> silent;
    std::copy_if(idle_.begin(), idle_.end(), std::back_inserter(silent),
                 [since](const auto* backend) { return backend->state.idle_since < since; });
    for (BackendConnection* backend : silent)
        close_backend(*backend, "unreachable");
}

// ---- audits and measures -----------------------------------------------------------------------

/// Whose client had it, for what an audit may have to say.
void Worker::note_last_service(BackendConnection& backend) {
    const Session* holder = backend.has_session ? session(backend.session) : nullptr;
    backend.last_service = holder == nullptr ? std::string() : holder->service_name();
}

/// Behind a full reset only the sampler has something to look for.
bool Worker::audit_is_due(const BackendConnection& backend, bool fully_reset) {
    if (backend.verified && !fully_reset) return true;
    return policy_->audit_sample > 0 && ++releases_ % policy_->audit_sample == 0;
}

void Worker::audit(BackendConnection& backend) {
    backend.has_session = false;
    counters_.audits.add();
    std::string sql;
    Upkeep upkeep = Upkeep::audit(backend.state, sql);
    context_.to_backend.generate([&](std::string& out) { out.append(sql); });
    start_upkeep(backend, std::move(upkeep));
}

/// A backend with state that nobody saw come goes, and it is said what it had.
bool Worker::quarantine(BackendConnection& backend, const Upkeep& upkeep) {
    if (upkeep.findings().empty()) return false;
    for (const core::AuditFinding& finding : upkeep.findings()) {
        counters_.audit_findings[static_cast<std::size_t>(finding.kind)].add();
        log_event(LogLevel::warning, "audit_finding",
                  {{"service", backend.last_service},
                   {"backend_pid", backend.state.pid},
                   {"kind", core::name_of(finding.kind)},
                   {"name", finding.name}});
    }
    close_backend(backend, "quarantined");
    return true;
}

bool Worker::measure_is_due(const BackendConnection& backend) const {
    return policy_->max_backend_memory > 0 && context_.now >= measure_after_ &&
           context_.now - backend.measured_at > measure_interval;
}

void Worker::measure(BackendConnection& backend) {
    backend.has_session = false;
    backend.measured_at = context_.now;
    std::string sql;
    Upkeep upkeep = Upkeep::measure(backend.state, sql);
    context_.to_backend.generate([&](std::string& out) { out.append(sql); });
    start_upkeep(backend, std::move(upkeep));
}

void Worker::note_measured(const Upkeep& upkeep) {
    if (upkeep.state() != UpkeepState::refused) return;
    measure_after_ = context_.now + untold_interval;
    log_event(LogLevel::warning, "backend_memory_untold",
              "pool.max_backend_memory has no effect: GRANT pg_read_all_stats to the login",
              {{"sqlstate", upkeep.error().sqlstate}, {"error", upkeep.error().message}});
}

}  // namespace schemux::daemon
