#include "core/prepared_statements.h"

#include "protocol/messages.h"
#include "protocol/sqlstate.h"

namespace schemux::core {

Statement* ClientStatements::find(std::string_view name) const {
    if (name.empty()) return unnamed_ ? &*unnamed_ : nullptr;
    const auto found = named_.find(name);
    return found == named_.end() ? nullptr : &*found->second;
}

StatementRef ClientStatements::get(std::string_view name) const {
    if (name.empty()) return unnamed_;
    const auto found = named_.find(name);
    return found == named_.end() ? StatementRef{} : found->second;
}

StatementRef ClientStatements::define(const StatementRef& statement) {
    StatementRef before = get(statement->name);
    if (statement->name.empty()) {
        unnamed_ = statement;
    } else {
        named_.insert_or_assign(statement->name, statement);
    }
    return before;
}

StatementRef ClientStatements::remove(std::string_view name) {
    StatementRef before = get(name);
    if (name.empty()) {
        unnamed_ = StatementRef{};
    } else if (const auto found = named_.find(name); found != named_.end()) {
        named_.erase(found);
    }
    return before;
}

void ClientStatements::clear_named() {
    named_.clear();
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
