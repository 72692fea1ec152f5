// A client's prepared statements by its own names, and the names under which backends know them.
// It must not know which backend has which: that is BackendStatements in backend.h.
#pragma once

#include "core/label.h"
#include "core/statement.h"
#include "protocol/error_response.h"
#include "protocol/keyed_digest.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include <atomic>
#include <string>
#include <string_view>

namespace schemux::core {

struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
        return std::hash<std::string_view>{}(text);
    }
};

/// The names a client has defined. The unnamed statement (name "") is kept like any other.
class ClientStatements {
  public:
    Statement* find(std::string_view name) const;
    StatementRef get(std::string_view name) const;
    bool full() const { return named_.size() >= limits::client_statements_max; }

    /// Defines `statement` under its own name; returns what had that name before.
    StatementRef define(const StatementRef& statement);
    /// Takes the name away; returns what had it.
    StatementRef remove(std::string_view name);
    /// Takes all named statements away, as DEALLOCATE ALL does; the unnamed one stays.
    void clear_named();

  private:
    boost::unordered_flat_map<std::string, StatementRef, TextHash, std::equal_to<>> named_;
    StatementRef unnamed_;
};

/// Gives named statements their identity on backends. One per process; its key is random, so that
/// no client can guess the names.
class StatementNamer {
  public:
    StatementNamer() { protocol::random_bytes(key_.data(), key_.size()); }

    /// The key of sharing: text, parameter types, service, and the settings that parse analysis
    /// reads. The whole label is taken for those: equal labels are equal in all of them.
    /// `private_to`: empty, or what makes the statement one client's own.
    StatementId identify(std::string_view text, std::string_view types, std::string_view service,
                         const Label& label, std::string_view private_to) const;

    /// After a change of the tables beneath them, statements of `epoch` are stale on every backend:
    /// what is identified from now on is another statement. Once an epoch, whoever asks.
    void renew(std::uint64_t epoch) const { epoch_.compare_exchange_strong(epoch, epoch + 1); }
    std::uint64_t epoch() const { return epoch_.load(std::memory_order_relaxed); }

  private:
    mutable std::atomic<std::uint64_t> epoch_{1};
    protocol::Digest128 key_{};
};

/// The name of a statement on a backend: "sx_" and the identity in hex.
inline constexpr std::size_t backend_name_bytes = 35;
std::string_view backend_name(const StatementId& id, std::array<char, backend_name_bytes>& storage);

/// The error of a name that is not defined, in PostgreSQL's words (26000).
protocol::ErrorFields unknown_statement(std::string_view name);
/// 08P01: a message of `type` whose fields do not fit its length, in PostgreSQL's words.
protocol::ErrorFields broken_message(char type, std::string_view body);

}  // namespace schemux::core
