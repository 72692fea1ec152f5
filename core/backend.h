// What is known of one backend, whoever has it: its settings, its prepared statements, what it
// still owes, where its byte stream stands. Plain state; the relay moves it while it is leased, the
// upkeep while it is ours. It must not know about sockets, workers or pools.
#pragma once

#include "core/expected_replies.h"
#include "core/label.h"
#include "core/statement.h"
#include "protocol/messages.h"

#include <boost/unordered/unordered_flat_map.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace schemux::core {

using TimePoint = std::chrono::steady_clock::time_point;

struct StatementIdHash {
    std::size_t operator()(const StatementId& id) const {
        std::size_t hash = 0;  // the id is a keyed digest: any part of it is a good hash
        std::memcpy(&hash, id.data(), sizeof hash);
        return hash;
    }
};

/// Which statements a backend has, the least recently used first to go.
class BackendStatements {
  public:
    /// True if the backend has it; it then counts as used just now.
    bool touch(const StatementId& id) {
        const auto found = used_.find(id);
        if (found == used_.end()) return false;
        found->second.used = ++clock_;
        return true;
    }
    /// `request`: the number of the Parse in ExpectedReplies.
    void add(const StatementId& id, std::uint64_t request) {
        used_.insert_or_assign(id, Use{++clock_, request, {}});
    }
    /// What the copy takes and gives; null if the backend has none such.
    StatementShape* shape_of(const StatementId& id) {
        const auto found = used_.find(id);
        return found == used_.end() ? nullptr : &found->second.shape;
    }
    /// The number of the Parse that made it; 0 if the backend has none such.
    std::uint64_t request_of(const StatementId& id) const {
        const auto found = used_.find(id);
        return found == used_.end() ? 0 : found->second.request;
    }
    void remove(const StatementId& id) { used_.erase(id); }
    void clear() { used_.clear(); }
    std::size_t size() const { return used_.size(); }
    /// For a backend that has none yet.
    void set_maximum(std::size_t statements) { maximum_ = statements; }

    /// The one to close before another is added, if the backend is full.
    std::optional<StatementId> victim() const {
        if (used_.size() < maximum_) return {};
        const auto* oldest = &*used_.begin();
        for (const auto& entry : used_) {
            if (entry.second.used < oldest->second.used) oldest = &entry;
        }
        return oldest->first;
    }

  private:
    struct Use {
        std::uint64_t used = 0;
        std::uint64_t request = 0;
        StatementShape shape;
    };
    boost::unordered_flat_map<StatementId, Use, StatementIdHash> used_;
    std::uint64_t clock_ = 0;
    std::size_t maximum_ = limits::backend_statements_max;
};

/// Where a byte stream stands between two reads.
struct StreamPosition {
    enum class Mode : std::uint8_t { forward, discard };
    std::size_t body_left = 0;  ///< of a streamed message whose header has passed
    Mode mode = Mode::forward;
};

/// How a backend's session differs from its label, gathered while it is leased.
struct Taint {
    bool full_reset = false;  ///< anything that only the full reset undoes
    bool sequences = false;   ///< lastval/currval might answer: DISCARD SEQUENCES is enough
    bool any() const { return full_reset || sequences; }
};

struct Backend {
    Settings parameters;  ///< what it last reported by ParameterStatus, in its own order
    std::uint32_t pid = 0;
    std::string secret;

    Label label;
    BackendStatements statements;
    std::uint64_t unnamed_version = 0;  ///< whose unnamed statement it holds; 0: none
    std::uint64_t unnamed_request = 0;  ///< the number of the Parse that made it
    StatementShape unnamed_shape;
    std::string described_types;  ///< of the statement whose description is under way
    bool description_seen = true;
    std::uint64_t last_question = 0;    ///< the number of our last Describe
    std::uint64_t last_fabricated = 0;  ///< the number of the last Parse that was not sent
    std::uint64_t last_eviction = 0;    ///< the number of our last Close
    ExpectedReplies replies;
    protocol::TransactionStatus transaction = protocol::TransactionStatus::idle;
    Taint taint;
    bool saw_set = false;           ///< a SET of any kind ran in this lease
    bool added_statements = false;  ///< a named statement was sent in this lease
    bool dying = false;             ///< it said FATAL, or is to be closed at release

    StreamPosition stream;
    std::string held;  ///< a message that is not complete yet

    int cancels_in_flight = 0;  ///< sent, and the server has not yet closed the connection of it
    TimePoint opened{};
    TimePoint idle_since{};

    /// False when no PostgreSQL would report that, or so much; nothing is noted then.
    bool note_parameter(std::string_view name, std::string_view value) {
        if (name.empty()) return false;
        std::size_t bytes = name.size() + value.size();
        std::string* same = nullptr;
        for (auto& [known, current] : parameters) {
            if (known == name) {
                same = &current;
            } else {
                bytes += known.size() + current.size();
            }
        }
        const bool grows = same == nullptr || value.size() > same->size();
        if (grows && bytes > limits::reported_parameter_bytes_max) return false;
        if (same != nullptr) {
            *same = value;
            return true;
        }
        if (parameters.size() >= limits::reported_parameters_max) return false;
        parameters.emplace_back(name, value);
        return true;
    }
    std::string_view parameter(std::string_view name) const {
        for (const auto& [known, value] : parameters) {
            if (known == name) return value;
        }
        return {};
    }
    /// Every answer was read, and it is not in the middle of a message.
    bool owes_nothing() const { return replies.empty() && stream.body_left == 0 && held.empty(); }
    /// Owing nothing, and no transaction open.
    bool at_rest() const {
        return owes_nothing() && transaction == protocol::TransactionStatus::idle;
    }
};

}  // namespace schemux::core
