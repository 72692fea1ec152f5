// A client's prepared statements by its own names, and the names under which backends know them.
// It must not know which backend has which: that is BackendStatements.
#pragma once

#include "core/change_log.h"
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

/// The names a client has defined, or will have when what it sent has run. The unnamed statement
/// (name "") is one of them.
class ClientStatements {
  public:
    /// `request`: the number of one whose answer will tell whether it is so; 0 if that is certain.
    struct Found {
        StatementRef statement;  ///< null: the name is free
        std::uint64_t request = 0;
        bool in_query = false;  ///< that request is a Query, which may fail in the middle
    };
    Found find(std::string_view name) const;
    /// What the name meant before all that is under way; or null.
    const StatementRef* certain(std::string_view name) const;
    std::size_t named() const { return named_.size(); }
    std::size_t named_bytes() const { return named_bytes_; }
    /// No more named ones are to be defined.
    bool full() const {
        return named_.size() >= limits::client_statements_max ||
               named_bytes_ >= limits::client_statement_bytes_max;
    }

    /// `statement` is to have its own name.
    void define(std::uint64_t request, When when, const StatementRef& statement);
    void remove(std::uint64_t request, When when, std::string_view name);
    void remove_all(std::uint64_t request, When when);
    /// What needs no backend happens at once; nothing may be under way then.
    void remove_now(std::string_view name);
    /// DEALLOCATE ALL ran: only names defined behind it remain, and the unnamed statement.
    void remove_all_now() {
        named_.clear();
        named_bytes_ = 0;
    }
    /// The same statement, spelled otherwise.
    void replace(const StatementRef& statement, const StatementRef& with);

    void succeeded(std::uint64_t request);
    void failed(std::uint64_t request);
    void skipped(std::uint64_t request) { log_.skipped(request); }
    bool command(std::uint64_t request);
    /// Changes that wait for answers.
    std::size_t open_changes() const { return log_.size(); }
    /// What is under way will not be answered.
    void forget_changes() { log_.clear(); }

  private:
    using Log = ChangeLog<std::string, StatementRef>;
    void apply(const Log::Change& change);

    boost::unordered_flat_map<std::string, StatementRef, TextHash, std::equal_to<>> named_;
    std::size_t named_bytes_ = 0;
    StatementRef unnamed_;
    Log log_;
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

    /// For a name that a client gives with SQL's PREPARE.
    StatementId identify_own(std::string_view name, std::string_view private_to) const;

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
