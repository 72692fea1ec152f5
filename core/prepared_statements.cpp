#include "core/prepared_statements.h"

#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace schemux::core {

const StatementRef* ClientStatements::certain(std::string_view name) const {
    if (name.empty()) return unnamed_ ? &unnamed_ : nullptr;
    const auto found = named_.find(name);
    return found == named_.end() ? nullptr : &found->second;
}

ClientStatements::Found ClientStatements::find(std::string_view name) const {
    const Log::Change* change = log_.empty() ? nullptr : log_.last(name);
    const StatementRef* statement = certain(name);
    if (change == nullptr) return {statement == nullptr ? StatementRef{} : *statement, 0, false};
    // What goes need not be waited for if it is not there.
    const bool absent =
        !change->value && statement == nullptr && log_.last(name, change) == nullptr;
    if (absent) return {};
    return {change->value.value_or(StatementRef{}), change->request,
            change->when == When::one_of_commands};
}

void ClientStatements::define(std::uint64_t request, When when, const StatementRef& statement) {
    log_.push({request, when, statement->name, statement});
}

void ClientStatements::remove(std::uint64_t request, When when, std::string_view name) {
    log_.push({request, when, std::string(name), {}});
}

void ClientStatements::remove_all(std::uint64_t request, When when) {
    log_.push({request, when, {}, {}});
}

void ClientStatements::remove_now(std::string_view name) {
    if (name.empty()) {
        unnamed_ = StatementRef{};
    } else if (const auto found = named_.find(name); found != named_.end()) {
        named_bytes_ -= found->second->bytes();
        named_.erase(found);
    }
}

void ClientStatements::replace(const StatementRef& statement, const StatementRef& with) {
    if (statement->name.empty()) {
        if (unnamed_ == statement) unnamed_ = with;
    } else if (const auto found = named_.find(statement->name);
               found != named_.end() && found->second == statement) {
        named_bytes_ += with->bytes() - statement->bytes();
        found->second = with;
    }
    log_.each([&](Log::Change& change) {
        if (change.value == statement) change.value = with;
    });
}

void ClientStatements::apply(const Log::Change& change) {
    if (!change.key) return remove_all_now();
    if (!change.value) return remove_now(*change.key);
    if (change.key->empty()) {
        unnamed_ = *change.value;
        return;
    }
    remove_now(*change.key);
    named_bytes_ += (*change.value)->bytes();
    named_.emplace(*change.key, *change.value);
}

void ClientStatements::succeeded(std::uint64_t request) {
    log_.succeeded(request, [this](const Log::Change& change) { apply(change); });
}

void ClientStatements::failed(std::uint64_t request) {
    log_.failed(request, [this](const Log::Change& change) { apply(change); });
}

bool ClientStatements::command(std::uint64_t request) {
    return log_.command(request, [this](const Log::Change& change) { apply(change); });
}

StatementId StatementNamer::identify(std::string_view text, std::string_view types,
                                     std::string_view service, const Label& label,
                                     std::string_view private_to) const {
    std::string settings = std::to_string(epoch()) + '\0';
    for (const auto& [name, value] : label.settings()) {
        settings.append(name).push_back('\0');
        settings.append(value).push_back('\0');
    }
    return protocol::keyed_digest(key_, {text, types, service, settings, private_to});
}

StatementId StatementNamer::identify_own(std::string_view name, std::string_view private_to) const {
    return protocol::keyed_digest(key_, {"PREPARE", name, private_to});
}

protocol::ErrorFields broken_message(char type, std::string_view body) {
    return protocol::make_error(
        protocol::sqlstate::protocol_violation,
        protocol::fault_in(static_cast<protocol::FrontendMessage>(type), body));
}

protocol::ErrorFields unknown_statement(std::string_view name) {
    protocol::ErrorFields error;
    error.sqlstate = protocol::sqlstate::undefined_prepared_statement;
    error.message = name.empty()
                        ? std::string("unnamed prepared statement does not exist")
                        : "prepared statement \"" + std::string(name) + "\" does not exist";
    return error;
}

std::string_view backend_name(const StatementId& id,
                              std::array<char, backend_name_bytes>& storage) {
    constexpr std::string_view digits = "0123456789abcdef";
    storage[0] = 's';
    storage[1] = 'x';
    storage[2] = '_';
    std::size_t at = 3;
    for (const std::uint8_t byte : id) {
        storage[at++] = digits[byte >> 4];
        storage[at++] = digits[byte & 15];
    }
    return {storage.data(), storage.size()};
}

}  // namespace schemux::core
