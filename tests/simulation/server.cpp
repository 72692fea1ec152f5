#include "tests/simulation/server.h"

#include "protocol/messages.h"
#include "tests/support/relay_messages.h"

namespace schemux::simulation {

namespace script = core::relay_script;

Server::Server(std::uint32_t number, Welcome welcome) : number_(number), welcome_(welcome) {
    fake_.watch([this](const std::string& statement, bool cancelled) {
        ++runs_;
        if (cancelled) {
            ++cancels_hit_;
            demand(lessee_ != nullptr && lessee_->number() == asker_,
                   "a cancel hits only who asked for it");
        }
        if (lessee_ != nullptr) lessee_->on_run(statement, cancelled);
        return cancelled;
    });
}

void Server::answer_startup() {
    logged_in_ = true;
    switch (welcome_) {
        case Welcome::good:
            stream.inbound += script::message('R', std::string(4, '\0'));
            stream.inbound += script::parameter_status("client_encoding", "UTF8");
            stream.inbound += script::parameter_status("standard_conforming_strings", "on");
            protocol::append_backend_key_data(stream.inbound, number_, std::string(4, '\7'));
            stream.inbound += script::ready();
            return;
        case Welcome::full:
            stream.inbound += script::fatal("53300", "sorry, too many clients already");
            break;
        case Welcome::refused:
            stream.inbound += script::fatal("28P01", "password authentication failed");
            break;
        case Welcome::starting:
            stream.inbound += script::fatal("57P03", "the database system is starting up");
            break;
        case Welcome::hangs_up:
            break;
        case Welcome::silent:
            hung_ = true;
            return;
    }
    stream.peer_goes(false);
}

void Server::work(std::size_t count) {
    if (!has_work()) return;
    if (!logged_in_) {
        stream.take(stream.outbound.size());
        return answer_startup();
    }
    const std::string bytes = stream.take(count);
    fake_.on_bytes(bytes, stream.inbound);
    const bool end = stream.shut && stream.outbound.empty() && stream.queued.empty();
    if (fake_.closed() || end) stream.peer_goes(false);
}

void Server::on_cancel(std::uint32_t client) {
    if (gone() || hung_) return;
    // Between statements there is nothing to cancel.
    if (stream.outbound.empty()) return;
    asker_ = client;
    fake_.on_cancel();
    work(stream.outbound.size());
    fake_.on_cancel_over();
}

void Server::die(Death death) {
    if (gone()) return;
    killed_ = true;
    if (lessee_ != nullptr) lessee_->on_backend_killed();
    switch (death) {
        case Death::fatal:
            stream.inbound +=
                script::fatal("57P01", "terminating connection due to administrator command");
            return stream.peer_goes(false);
        case Death::silent:
            return stream.peer_goes(false);
        case Death::reset:
            return stream.peer_goes(true);
        case Death::hangs:
            hung_ = true;
            return;
    }
}

}  // namespace schemux::simulation
