// Sessions: what daemon/session.cpp does.
#include "tests/simulation/worker.h"

#include <utility>

namespace schemux::simulation {

using core::CloseReason;
using core::Disposal;
using core::Next;
using core::Step;

Session::Session(Worker& worker, core::SessionId id, Client& client,
                 std::unique_ptr<core::Relay> relay)
    : worker_(worker), id_(id), client_(client), relay_(std::move(relay)) {}

void Session::start() {
    const auto& welcomes = worker_.shared().welcomes;
    const auto known = welcomes.find(relay_->label().hash());
    perform(relay_->start(known == welcomes.end() ? nullptr : &known->second));
}

void Session::read(std::size_t count) {
    Stream& stream = client_.stream;
    if (!stream.readable()) return;
    if (stream.at_end()) {
        stream.end_told = true;
        close(CloseReason::client_disconnected);
    } else {
        const std::string bytes = stream.read(count);
        delivered_ += bytes.size();
        perform(relay_->on_frontend_bytes(bytes));
    }
    worker_.settle();
}

void Session::on_drained() {
    client_.stream.drained = false;
    apply_backpressure();
    worker_.settle();
}

void Session::on_hang_up() {
    client_.stream.hang_up_told = true;
    if (waiting()) close(CloseReason::client_disconnected);
    worker_.settle();
}

void Session::on_backend_bytes(std::string_view bytes) {
    perform(relay_->on_backend_bytes(bytes));
}

void Session::on_granted(Backend& backend) {
    perform(begin_lease(backend));
}

Step Session::begin_lease(Backend& backend) {
    backend_ = &backend;
    demand_clean(backend, relay_->label());
    client_.check_settings(relay_->label());
    demand(!closed(), "a client that is gone gets no backend");
    backend.server->lend(&client_);
    ++worker_.shared().counts.leases;
    if (relay_->expects_welcome()) {
        worker_.shared().welcomes.emplace(relay_->label().hash(), backend.state.parameters);
    }
    return relay_->on_granted(backend.state);
}

/// The message that asked for the backend is the first one that is held.
void Session::refused_with(const protocol::ErrorFields& error) {
    ++worker_.shared().counts.refusals;
    if (!relay_->expects_welcome()) {
        client_.on_refused(delivered_ - relay_->held_bytes(), error);
    }
}

void Session::on_acquire_failed(protocol::ErrorFields error) {
    refused_with(error);
    perform(relay_->on_acquire_failed(std::move(error)));
}

void Session::on_backend_lost() {
    backend_ = nullptr;
    perform(relay_->on_backend_lost());
}

void Session::on_cancel() {
    Step step;
    const bool waited = waiting();
    const std::size_t offset = delivered_ - relay_->held_bytes();
    switch (relay_->on_cancel(step)) {
        case core::CancelOutcome::nothing:
            return;
        case core::CancelOutcome::forward:
            worker_.cancel_backend(*backend_);
            return;
        case core::CancelOutcome::answered:
            demand(waited, "only who waits is answered at once");
            client_.on_refused(offset, protocol::make_error("57014",
                                                            "canceling statement due to user "
                                                            "request"));
            worker_.stop_waiting(*this);
            perform(step);
            return;
    }
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

void Session::on_backend_drained() {
    apply_backpressure();
}

void Session::note_consumed() {
    if (closed()) return;
    client_.on_consumed(delivered_ - relay_->held_bytes());
}

void Session::flush() {
    core::WorkerContext& context = worker_.context();
    const std::string to_backend = context.to_backend.str();
    const std::string to_frontend = context.to_frontend.str();
    demand(to_backend.size() == context.to_backend.size() &&
               to_frontend.size() == context.to_frontend.size(),
           "an output has the bytes that it counts");
    demand(to_backend.empty() || backend_ != nullptr, "bytes go to a backend that one has");
    context.settle();
    if (backend_ != nullptr) backend_->server->stream.send(to_backend);
    if (closed()) return;
    client_.stream.send(to_frontend);
    client_.on_told(to_frontend);
}

void Session::perform(Step step) {
    while (true) {
        flush();
        switch (step.next) {
            case Next::proceed:
                note_consumed();
                return apply_backpressure();
            case Next::acquire: {
                note_consumed();
                Backend* granted = worker_.acquire(*this);
                if (granted == nullptr) return apply_backpressure();
                step = begin_lease(*granted);
                break;
            }
            case Next::release: {
                note_consumed();
                Backend& backend = *std::exchange(backend_, nullptr);
                worker_.release(backend);
                if (closed()) return worker_.forget(*this);
                step = relay_->resume();
                break;
            }
            case Next::close:
                note_consumed();
                return close(step.reason);
            case Next::poison:
                demand(false, "an honest server never answers what nobody asked");
        }
    }
}

void Session::apply_backpressure() {
    if (closed() && backend_ == nullptr) return;
    const bool frontend_full = !closed() && !client_.stream.queued.empty();
    const bool backend_full = backend_ != nullptr && !backend_->server->stream.queued.empty();
    if (backend_ != nullptr) backend_->server->stream.paused = frontend_full;
    client_.stream.paused = !relay_->wants_frontend_bytes() || backend_full || frontend_full;
}

void Session::close(CloseReason reason) {
    if (closed()) return worker_.forget(*this);
    worker_.stop_waiting(*this);
    client_.on_closed(reason);
    client_.stream.closed = true;
    Backend* backend = backend_;
    const bool owed = backend != nullptr && !backend->state.replies.empty();
    const Disposal disposal = relay_->on_frontend_closed();
    const bool hurried =
        disposal == Disposal::abort || (disposal == Disposal::linger && relay_->abandoned());
    demand(!owed || !hurried || client_.may_be_cut_off(), "a Terminate cuts off nothing before it");
    switch (disposal) {
        case Disposal::none:
            demand(backend == nullptr || reason == CloseReason::backend_lost,
                   "no backend is forgotten");
            break;
        case Disposal::linger:
            flush();
            backend->server->stream.paused = false;
            if (relay_->abandoned() && !backend->state.replies.empty()) {
                worker_.cancel_backend(*backend);
            }
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

}  // namespace schemux::simulation
