// One prepared statement as a client defined it, and the pool it is recycled through.
// A statement is shared between the client's map and the expected replies that may have to undo or
// explain something; counted by hand, since all of it lives on one worker thread.
// It must not know about backends: which of them has a copy is BackendStatements' business.
#pragma once

#include "core/fingerprint.h"
#include "core/limits.h"
#include "core/literal_settings.h"
#include "core/name_references.h"
#include "core/position_map.h"
#include "core/statement_effects.h"
#include "core/statement_shape.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace schemux::core {

/// The identity of a named statement on a backend. Of one that was made with Parse: a keyed digest
/// of everything that parse analysis depends on; of one of SQL's PREPARE: of its client and its
/// name.
using StatementId = std::array<std::uint8_t, 16>;
inline constexpr StatementId unnamed_statement{};

enum class Origin : std::uint8_t { parse, sql_prepare };

/// A name of a statement in a text, and the one that stands for it on backends.
struct SpelledName {
    NameReference reference;
    StatementId id{};
};

class StatementPool;

struct Statement {
    std::string name;   ///< the client's; empty for the unnamed statement
    std::string text;   ///< rewritten, as PostgreSQL gets it
    std::string types;  ///< the raw tail of the Parse: parameter type ids
    StatementId id = unnamed_statement;
    Origin origin = Origin::parse;
    std::uint64_t epoch = 0;  ///< of the namer that gave the id
    std::uint64_t identified_under =
        0;                      ///< the version of its client's label that is part of the id
    std::uint64_t version = 0;  ///< tells one statement from the next; never 0 in use
    PositionMap positions;      ///< from the text with templates expanded back to the client's
    StatementEffects effects{};
    StatementShape shape;  ///< what the client was told of it; may stay unknown
    std::shared_ptr<const LiteralSettings> read_under;  ///< when it was prepared first; of some

    FingerprintRef fingerprint;  ///< of the client's text; null: nobody wants to know
    std::string client_text;     ///< its beginning, where the log is to have that

    // Of a text that speaks of prepared statements (relay_names.cpp).
    std::string unspelled;           ///< the text with the client's names
    std::vector<SpelledName> names;  ///< in the order of the text
    PositionMap spelled_positions;   ///< from `text` to `unspelled`

    /// What it takes here, about.
    std::size_t bytes() const {
        return sizeof(Statement) + name.size() + text.size() + types.size() + unspelled.size() +
               client_text.size() + names.size() * sizeof(SpelledName);
    }
    /// What a copy takes of a backend's memory, about.
    std::size_t server_bytes() const {
        return limits::server_bytes_per_statement +
               limits::server_bytes_per_text_byte * text.size();
    }
    /// Tells its copies on a backend from those of others under the same id.
    std::uint64_t copy_version() const {
        return id == unnamed_statement || origin == Origin::sql_prepare ? version : 0;
    }

    void clear() {
        name.clear();
        text.clear();
        types.clear();
        id = unnamed_statement;
        origin = Origin::parse;
        identified_under = 0;
        version = 0;
        positions = {};
        effects = {};
        shape.clear();
        read_under.reset();
        fingerprint = {};
        client_text.clear();
        unspelled.clear();
        names.clear();
        spelled_positions = {};
    }

  private:
    friend class StatementPool;
    friend class StatementRef;
    StatementPool* pool_ = nullptr;
    std::uint32_t references_ = 0;
};

class StatementRef {
  public:
    StatementRef() = default;
    explicit StatementRef(Statement* statement) : statement_(statement) { retain(); }
    StatementRef(const StatementRef& other) : statement_(other.statement_) { retain(); }
    StatementRef(StatementRef&& other) noexcept : statement_(std::exchange(other.statement_, {})) {}
    StatementRef& operator=(StatementRef other) noexcept {
        std::swap(statement_, other.statement_);
        return *this;
    }
    ~StatementRef() { release(); }

    Statement* operator->() const { return statement_; }
    Statement& operator*() const { return *statement_; }
    explicit operator bool() const { return statement_ != nullptr; }
    friend bool operator==(const StatementRef&, const StatementRef&) = default;

  private:
    void retain() {
        if (statement_ != nullptr) ++statement_->references_;
    }
    inline void release();

    Statement* statement_ = nullptr;
};

class StatementPool {
  public:
    StatementRef make() {
        Statement* statement = nullptr;
        if (free_.empty()) {
            statement = new Statement;
            statement->pool_ = this;
        } else {
            statement = free_.back().release();
            free_.pop_back();
        }
        return StatementRef(statement);
    }

  private:
    friend class StatementRef;
    void recycle(Statement* statement) {
        std::unique_ptr<Statement> owned(statement);
        if (free_.size() == limits::pooled_statements_max) return;
        if (owned->text.capacity() > limits::pooled_buffer_capacity_max) return;
        owned->clear();
        free_.push_back(std::move(owned));
    }

    std::vector<std::unique_ptr<Statement>> free_;
};

void StatementRef::release() {
    if (statement_ != nullptr && --statement_->references_ == 0) {
        statement_->pool_->recycle(statement_);
    }
}

}  // namespace schemux::core
