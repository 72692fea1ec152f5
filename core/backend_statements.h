// Which prepared statements one backend has, or will have when it reads what it was sent; the
// least recently used first to go. The unnamed statement is one of them, under `unnamed_statement`,
// and counts for nothing. It must not know whose statements they are.
#pragma once

#include "core/change_log.h"
#include "core/limits.h"
#include "core/statement.h"
#include "core/statement_shape.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include <cstdint>
#include <cstring>
#include <optional>

namespace schemux::core {

struct StatementIdHash {
    std::size_t operator()(const StatementId& id) const {
        std::size_t hash = 0;  // the id is a keyed digest: any part of it is a good hash
        std::memcpy(&hash, id.data(), sizeof hash);
        return hash;
    }
};

class BackendStatements {
  public:
    /// What is under an id, as far as it is known. `request`: the number of one whose answer will
    /// tell whether it is so; 0 if that is certain.
    struct Found {
        bool there = false;
        std::uint64_t version = 0;  ///< Statement::copy_version() of what was prepared
        std::uint64_t made = 0;     ///< the number of the request that made it
        std::uint64_t request = 0;
        bool in_query = false;  ///< that request is a Query, which may fail in the middle
    };
    Found find(const StatementId& id) const;

    /// It counts as used just now.
    void touch(const StatementId& id);
    /// `bytes`: what it takes of the backend's memory (Statement::server_bytes()).
    void add(std::uint64_t request, When when, const StatementId& id, std::uint64_t version,
             std::size_t bytes);
    void remove(std::uint64_t request, When when, const StatementId& id);
    void remove_all(std::uint64_t request, When when);
    /// It was found to be missing.
    void remove_now(const StatementId& id);
    /// DEALLOCATE ALL ran: only what was sent behind it will be there.
    void remove_all_now();
    /// A Query of our own dropped it, or the reset did, while nothing was under way.
    void forget_unnamed() { unnamed_.version = 0; }
    void clear();

    void succeeded(std::uint64_t request);
    void failed(std::uint64_t request);
    void skipped(std::uint64_t request) { log_.skipped(request); }
    bool command(std::uint64_t request);

    /// What PostgreSQL said of the copy; null if there is none, or none yet.
    StatementShape* shape_of(const StatementId& id);
    /// Named ones that are there for certain.
    std::size_t size() const { return used_.size(); }
    /// What PostgreSQL should say of them.
    struct Census {
        std::size_t all = 0;
        std::size_t by_sql = 0;  ///< of these by PREPARE, and not by Parse
    };
    Census census() const;
    /// Changes that wait for answers.
    std::size_t open_changes() const { return log_.size(); }
    /// How many named ones, and the bytes that they take of the backend's memory together.
    struct Bounds {
        std::size_t statements = limits::backend_statements_max;
        std::size_t bytes = limits::backend_statement_bytes_max;
    };
    /// For a backend that has none yet.
    void set_bounds(const Bounds& bounds) { bounds_ = bounds; }
    /// The one to close before another that takes `bytes` is added, if the backend is full; none of
    /// those that were used behind `mark()`. To be asked again until there is none.
    std::optional<StatementId> victim(std::uint64_t mark, std::size_t bytes);
    std::uint64_t mark() const { return clock_; }

  private:
    struct Use {
        std::uint64_t version = 0;
        std::uint64_t made = 0;
        std::uint64_t used = 0;
        std::size_t bytes = 0;
        StatementShape shape;
    };
    struct Added {
        std::uint64_t version = 0;
        std::uint64_t used = 0;
        std::size_t bytes = 0;
    };
    using Log = ChangeLog<StatementId, Added>;
    void apply(const Log::Change& change);
    const Use* certain(const StatementId& id) const;
    bool look_ahead(std::size_t bytes);

    boost::unordered_flat_map<StatementId, Use, StatementIdHash> used_;
    std::size_t used_bytes_ = 0;
    Use unnamed_;  ///< version 0: none
    Log log_;
    std::uint64_t clock_ = 0;
    Bounds bounds_;
    /// Scratch: what the log makes of the statements that it speaks of.
    boost::unordered_flat_map<StatementId, std::optional<Added>, StatementIdHash> ahead_;
    bool none_stays_ = false;  ///< of those that are not in `ahead_`
};

}  // namespace schemux::core
