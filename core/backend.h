// What is known of one backend, whoever has it: its settings, its prepared statements, what it
// still owes, where its byte stream stands. Plain state; the relay moves it while it is leased, the
// upkeep while it is ours. It must not know about sockets, workers or pools.
#pragma once

#include "core/backend_statements.h"
#include "core/expected_replies.h"
#include "core/label.h"
#include "protocol/messages.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace schemux::core {

using TimePoint = std::chrono::steady_clock::time_point;

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
    bool settings = false;    ///< they may be others than the label says
    bool any() const { return full_reset || sequences || settings; }
};

struct Backend {
    Settings parameters;  ///< what it last reported by ParameterStatus, in its own order
    std::uint32_t pid = 0;
    std::string secret;

    Label label;
    BackendStatements statements;
    std::string described_types;  ///< of the statement whose description is under way
    bool description_seen = true;
    std::uint64_t last_question = 0;  ///< the number of our last Describe
    ExpectedReplies replies;
    protocol::TransactionStatus transaction = protocol::TransactionStatus::idle;
    Taint taint;
    bool saw_set = false;  ///< texts may have been analysed under others than the label's settings
    bool added_statements = false;  ///< a named statement was sent in this lease
    bool dying = false;             ///< it said FATAL, or is to be closed at release
    bool refused_to_write = false;  ///< it may be no primary any more

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
