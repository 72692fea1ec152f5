// The relay's part that tells a client of errors and notices: schemux's own, and PostgreSQL's with
// the positions and names of the text that the client wrote. It must not decide what an error ends.

#include "core/relay.h"
#include "protocol/messages.h"
#include "protocol/wire_writer.h"

#include <array>

namespace schemux::core {

using protocol::ErrorFields;

void Relay::emit_error(const ErrorFields& error) {
    worker_.to_frontend.generate([&](std::string& out) { protocol::append_error(out, error); });
}

namespace {

/// PostgreSQL's words with the client's name for a statement in the place of ours; empty if they
/// do not have that.
std::string with_clients_name(std::string_view body, const StatementId& id, std::string_view name) {
    std::array<char, backend_name_bytes> storage{};
    const std::string_view ours = backend_name(id, storage);
    const std::size_t at = id == unnamed_statement ? body.npos : body.find(ours);
    if (at == body.npos) return {};
    std::string changed(body.substr(0, at));
    return changed.append(name).append(body.substr(at + ours.size()));
}

/// The same for whatever name of ours is there.
std::string with_name_in_place_of_ours(std::string_view body, std::string_view name) {
    const std::size_t at = body.find("sx_");
    const std::string_view ours = body.substr(at, backend_name_bytes);
    const bool whole = ours.size() == backend_name_bytes &&
                       ours.substr(3).find_first_not_of("0123456789abcdef") == ours.npos;
    if (!whole) return {};
    std::string changed(body.substr(0, at));
    return changed.append(name).append(body.substr(at + ours.size()));
}

std::string with_clients_names(std::string_view body, const Statement& statement,
                               const ClientStatements& known) {
    if (body.find("sx_") == body.npos) return {};
    std::string changed = with_clients_name(body, statement.id, statement.name);
    const auto look_in = [&](const Statement& text) {
        for (const SpelledName& spelled : text.names) {
            if (!changed.empty()) return;
            changed = with_clients_name(body, spelled.id, spelled.reference.name);
        }
    };
    look_in(statement);
    // An EXECUTE of an EXECUTE may fail for what that one names.
    for (const SpelledName& spelled : statement.names) {
        if (!changed.empty()) break;
        const StatementRef named = known.find(spelled.reference.name).statement;
        if (named) look_in(*named);
        // The same text may deallocate it further on.
        const StatementRef* before = known.certain(spelled.reference.name);
        if (before != nullptr) look_in(**before);
        // And what it names may be another statement by now than when it was spelled.
        const bool single = changed.empty() && named && named->names.size() == 1;
        if (single) changed = with_name_in_place_of_ours(body, named->names[0].reference.name);
    }
    return changed;
}

}  // namespace

/// An ErrorResponse or NoticeResponse: a position in the rewritten text becomes one in the
/// client's, and our name for a statement becomes the client's.
void Relay::emit_diagnostic(const MessageInHand& message) {
    const auto error = protocol::read_error(message.body());
    const Statement* statement = nullptr;
    if (!backend_->replies.empty() && backend_->replies.front().statement) {
        statement = &*backend_->replies.front().statement;
    }
    if (statement != nullptr) {
        const std::string named = with_clients_names(message.body(), *statement, statements_);
        if (!named.empty()) {
            worker_.to_frontend.generate([&](std::string& out) {
                protocol::WireWriter(out)
                    .begin_message(message.header.type)
                    .bytes(named)
                    .end_message();
            });
            return;
        }
    }
    const bool mapped = statement != nullptr &&
                        !(statement->positions.empty() && statement->spelled_positions.empty());
    if (!error || !error->position || !mapped) {
        worker_.to_frontend.forward(message.bytes);
        return;
    }
    const std::uint32_t position = statement->positions.to_original(
        statement->spelled_positions.to_original(*error->position));
    worker_.to_frontend.generate([&](std::string& out) {
        protocol::append_with_position(out, message.header.type, message.body(), position);
    });
}

}  // namespace schemux::core
