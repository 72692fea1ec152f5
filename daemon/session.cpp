#include "daemon/session.h"

#include "daemon/backend_connection.h"
#include "daemon/log.h"
#include "daemon/statement_log.h"
#include "daemon/worker.h"
#include "protocol/message_header.h"

#include <algorithm>
#include <utility>

namespace schemux::daemon {

using core::CloseReason;
using core::Disposal;
using core::Next;
using core::Step;

namespace {

constexpr std::string_view terminate("X\0\0\0\4", protocol::header_bytes);

}  // namespace

Session::Session(Worker& worker, core::SessionId id, std::unique_ptr<core::Relay> relay)
    : worker_(worker), id_(id), relay_(std::move(relay)) {}

void Session::start(Connection connection, std::string_view first_bytes) {
    streams_ = &worker_.streams_for(connection);
    stream_ = streams_->add(std::move(connection), *this);
    if (stream_ == nullptr) {
        worker_.note_closed(*this, "no_room");
        worker_.forget(*this);
        return;
    }
    const std::shared_ptr<const core::Settings> welcome =
        worker_.welcomes().find(worker_.sub_pool_of(relay_->service()).id(), relay_->label());
    perform(relay_->start(welcome.get()));
    remember_tail(first_bytes);
    if (!closed() && !first_bytes.empty()) perform(relay_->on_frontend_bytes(first_bytes));
}

void Session::on_bytes(std::string_view bytes) {
    remember_tail(bytes);
    perform(relay_->on_frontend_bytes(bytes));
    worker_.settle();
}

void Session::on_drained() {
    apply_backpressure();
    worker_.settle();
}

/// A client that goes while it waits needs no backend any more; unless it has said goodbye:
/// PostgreSQL runs what comes before a Terminate.
void Session::on_hang_up() {
    if (waiting() && !said_terminate()) close(CloseReason::client_disconnected);
    worker_.settle();
}

void Session::on_end(int /*error*/) {
    close(CloseReason::client_disconnected);
    worker_.settle();
}

void Session::on_backend_bytes(std::string_view bytes) {
    const Step step = relay_->on_backend_bytes(bytes);
    tell_pins();
    if (relay_->has_slow_calls()) log_slow_calls(*relay_);
    perform(step);
}

/// Once for each reason: what a client does in every transaction is no news.
void Session::tell_pins() {
    core::FeatureSet news = relay_->pinned();
    news.remove(told_pins_);
    told_pins_.add(news);
    news.each([this](core::SessionFeature feature) {
        log_event(LogLevel::info, "client_pinned",
                  {{"service", service_name()},
                   {"conn_id", conn_id()},
                   {"reason", core::name_of(feature)}});
    });
}

void Session::on_granted(BackendConnection& backend) {
    perform(begin_lease(backend));
}

Step Session::begin_lease(BackendConnection& backend) {
    backend_ = &backend;
    if (relay_->expects_welcome()) {
        worker_.welcomes().add(backend.sub_pool->id(), relay_->label(), backend.state.parameters);
    }
    return relay_->on_granted(backend.state);
}

void Session::on_acquire_failed(protocol::ErrorFields error) {
    perform(relay_->on_acquire_failed(std::move(error)));
}

void Session::on_backend_lost() {
    backend_ = nullptr;
    const Step step = relay_->on_backend_lost();
    if (relay_->has_slow_calls()) log_slow_calls(*relay_);
    perform(step);
}

bool Session::on_cancel() {
    Step step;
    switch (relay_->on_cancel(step)) {
        case core::CancelOutcome::nothing:
            return false;
        case core::CancelOutcome::forward:
            worker_.cancel_backend(*backend_);
            return true;
        case core::CancelOutcome::answered:
            worker_.stop_waiting(*this);
            perform(step);
            return false;
    }
    return false;
}

void Session::on_cancel_end(bool again) {
    if (again && backend_->state.replies.empty()) perform(relay_->hear_until_cancel());
    const bool running = backend_ != nullptr && !backend_->state.replies.empty();
    if (again && running) {
        worker_.cancel_backend(*backend_);
    } else if (!closed()) {
        perform(relay_->on_cancel_end());
    }
}

void Session::on_drain() {
    perform(relay_->on_drain());
}

void Session::on_subscribed(std::uint64_t number, bool late) {
    perform(relay_->on_subscribed(number, late));
}

void Session::on_notification(std::string_view message) {
    if (closed()) return;
    perform(relay_->on_notification(message, streams_->queued_bytes(*stream_)));
}

void Session::on_missed() {
    if (closed()) return;
    relay_->on_missed();
    perform({});
}

void Session::on_deadline() {
    const core::Deadline due = relay_->deadline();
    if (closed() || due.when > worker_.context().now) return;
    switch (due.what) {
        case core::Overdue::nothing:
            return;
        case core::Overdue::backend:
            return worker_.refuse_waiter(*this);
        case core::Overdue::query:
            relay_->on_overdue(due.what);
            if (on_cancel()) relay_->counters().query_timeouts.add();
            return;
        case core::Overdue::unheeded:
        case core::Overdue::notice:
        case core::Overdue::pin:
        case core::Overdue::transaction:
        case core::Overdue::idle_in_transaction:
        case core::Overdue::client:
            return perform(relay_->on_overdue(due.what));
    }
}

std::size_t Session::kept_bytes() const {
    if (closed()) return 0;
    return relay_->kept_bytes() + streams_->queued_bytes(*stream_);
}

void Session::end_out_of_memory() {
    perform(relay_->end_out_of_memory());
}

void Session::kill() {
    if (!closed()) perform(relay_->end_killed());
}

const std::string& Session::counted_as(CountedBy what) const {
    static const std::string nobody;
    const auto place = std::find_if(places.begin(), places.end(),
                                    [what](const auto& one) { return one.by() == what; });
    return place == places.end() ? nobody : place->key();
}

void Session::on_backend_drained() {
    apply_backpressure();
}

void Session::abandon() {
    relay_->abandon();
    flush();
}

void Session::give_up() {
    backend_ = nullptr;
    perform(relay_->on_backend_lost());
}

void Session::flush() {
    core::WorkerContext& context = worker_.context();
    if (backend_ != nullptr && !context.to_backend.empty()) {
        backend_->streams->send(*backend_->stream, context.to_backend);
    }
    if (stream_ != nullptr && !context.to_frontend.empty()) {
        relay_->counters().sent_bytes.add(context.to_frontend.size());
        streams_->send(*stream_, context.to_frontend);
    }
    context.settle();
}

void Session::perform(Step step) {
    while (true) {
        flush();
        switch (step.next) {
            case Next::proceed:
                worker_.tell_channels(*this);
                worker_.watch_deadline(*this);
                apply_backpressure();
                return;
            case Next::acquire: {
                BackendConnection* granted = worker_.acquire(*this);
                if (granted == nullptr) {
                    worker_.watch_deadline(*this);
                    apply_backpressure();
                    return;
                }
                step = begin_lease(*granted);
                break;
            }
            case Next::release: {
                BackendConnection& backend = *std::exchange(backend_, nullptr);
                worker_.release(backend);
                if (closed()) {
                    worker_.forget(*this);
                    return;
                }
                step = relay_->resume();
                break;
            }
            case Next::close:
                close(step.reason);
                return;
            case Next::poison:
                if (backend_ != nullptr) {
                    worker_.poison(*std::exchange(backend_, nullptr), relay_->desync());
                }
                relay_->on_backend_poisoned();
                close(step.reason);
                return;
        }
    }
}

void Session::remember_tail(std::string_view bytes) {
    if (bytes.size() < terminate.size()) {
        tail_.append(bytes);
    } else {
        tail_ = bytes.substr(bytes.size() - terminate.size());
    }
    if (tail_.size() > terminate.size()) tail_.erase(0, tail_.size() - terminate.size());
}

/// By its last bytes, heard or not. If they are of some other message, it waits in vain, no more.
bool Session::said_terminate() const {
    const std::string end = tail_ + streams_->unread_tail(*stream_, terminate.size());
    return end.ends_with(terminate);
}

/// Reading stops on the side whose bytes could not be passed on.
void Session::apply_backpressure() {
    const bool frontend_full = stream_ != nullptr && streams_->queued_bytes(*stream_) > 0;
    if (frontend_full) worker_.watch_reading(*this);
    bool backend_full = false;
    if (backend_ != nullptr) {
        Streams& streams = *backend_->streams;
        backend_full = streams.queued_bytes(*backend_->stream) > 0;
        frontend_full ? streams.pause(*backend_->stream) : streams.resume(*backend_->stream);
    }
    if (stream_ == nullptr) return;
    // A client that does not read its answers is not asked for more work, as by PostgreSQL.
    const bool read = relay_->wants_frontend_bytes() && !backend_full && !frontend_full;
    read ? streams_->resume(*stream_) : streams_->pause(*stream_);
}

void Session::close(CloseReason reason) {
    if (stream_ == nullptr) {
        // It lingered without its client, and now its backend is gone too.
        worker_.forget(*this);
        return;
    }
    streams_->close(std::exchange(stream_, nullptr));
    leave(core::name_of(reason));
}

/// What waits for a client that does not read would keep its backend, and memory, for ever.
void Session::end_stalled() {
    relay_->counters().stall_timeouts.add();
    streams_->drop(std::exchange(stream_, nullptr));
    leave("client_stalled");
}

void Session::begin_reading(core::TimePoint now) {
    last_progress_ = now;
    progress_ = streams_->progress(*stream_);
}

Session::Reading Session::reading(core::TimePoint now, std::chrono::milliseconds limit) {
    if (stream_ == nullptr || streams_->queued_bytes(*stream_) == 0) return Reading::all;
    const std::uint64_t progress = streams_->progress(*stream_);
    if (progress != std::exchange(progress_, progress)) last_progress_ = now;
    const bool stalled = limit.count() > 0 && now - last_progress_ >= limit;
    return stalled ? Reading::nothing : Reading::some;
}

/// Its stream is closed; `why` is for the log.
void Session::leave(std::string_view why) {
    worker_.stop_waiting(*this);
    worker_.note_closed(*this, why);
    BackendConnection* backend = backend_;
    switch (relay_->on_frontend_closed()) {
        case Disposal::none:
            break;
        case Disposal::linger:
            // The relay goes on without its client until the backend has finished.
            flush();
            backend->streams->resume(*backend->stream);
            worker_.begin_linger(*backend, relay_->abandoned());
            return;
        case Disposal::release:
        case Disposal::reset:
            worker_.release(*backend);
            break;
        case Disposal::abort:
            worker_.abort(*backend);
            break;
    }
    backend_ = nullptr;
    worker_.forget(*this);
}

}  // namespace schemux::daemon
