#include "daemon/backend_connection.h"

#include "core/message_walker.h"
#include "daemon/session.h"
#include "daemon/worker.h"
#include "protocol/message_type.h"

#include <utility>

namespace schemux::daemon {

using protocol::BackendMessage;

BackendConnection::BackendConnection(Worker& worker, NewBackend&& from)
    : address(from.address), pending_fd(from.fd), epoch(from.epoch), worker_(&worker) {
    state.parameters = std::move(from.parameters);
    state.pid = from.pid;
    state.secret = std::move(from.secret);
    lifetime_jitter_percent = from.pid % 10;
}

BackendConnection::BackendConnection(Worker& worker, BackendConnection&& other, int fd)
    : state(std::move(other.state)),
      address(other.address),
      pending_fd(fd),
      lifetime_jitter_percent(other.lifetime_jitter_percent),
      epoch(other.epoch),
      worker_(&worker) {}

void BackendConnection::on_bytes(std::string_view bytes) {
    switch (phase) {
        case BackendPhase::leased:
            if (Session* holder = worker_->session(session)) holder->on_backend_bytes(bytes);
            break;
        case BackendPhase::upkeep:
            worker_->on_upkeep_bytes(*this, bytes);
            break;
        case BackendPhase::idle:
        case BackendPhase::parked:
            on_idle_bytes(bytes);
            break;
        case BackendPhase::closing:
            break;
    }
    worker_->settle();
}

/// Between leases a server may report a changed setting or say that it goes away.
void BackendConnection::on_idle_bytes(std::string_view bytes) {
    core::WorkerContext& context = worker_->context();
    bool unusable = false;
    const auto visit = [&](const core::MessageInHand& message) {
        const auto type = static_cast<BackendMessage>(message.header.type);
        const bool expected = type == BackendMessage::parameter_status ||
                              type == BackendMessage::notice_response ||
                              type == BackendMessage::notification_response;
        if (!expected || message.header.length > core::limits::inspected_message_max) {
            unusable = true;
            return core::Take::stop;
        }
        if (!message.complete()) return core::Take::need_more;
        if (type == BackendMessage::parameter_status) {
            // The server's configuration was read again: what clients are told must follow.
            const auto status = protocol::read_parameter_status(message.body());
            if (status) state.note_parameter(status->name, status->value);
            worker_->welcomes().clear();
        }
        return core::Take::consumed;
    };
    const std::string_view in = context.backend_carry.begin(bytes, state.held, context.buffers);
    const std::size_t consumed =
        core::walk_messages(in, state.stream, visit, [](std::string_view) {});
    context.backend_carry.finish(in, consumed, state.held, context.buffers);
    context.settle();
    if (unusable) worker_->close_backend(*this, "server_closed");
}

void BackendConnection::on_drained() {
    if (phase == BackendPhase::leased) {
        if (Session* holder = worker_->session(session)) holder->on_backend_drained();
    }
    worker_->settle();
}

void BackendConnection::on_end(int /*error*/) {
    worker_->on_backend_end(*this);
    worker_->settle();
}

}  // namespace schemux::daemon
