// What is done to a backend while no client has it: putting it under another label before a lease,
// resetting it after one that may have left something behind, looking whether one did, or whether
// it answers. Each is one Query (or Sync) of ours, whose answer is read here to the end; a client's
// bytes never share it. It fails closed: a backend whose reset failed is closed. And what a backend
// may say while it rests. It must not know who waits for the backend.
#pragma once

#include "core/audit.h"
#include "core/backend.h"
#include "core/message_walker.h"
#include "protocol/error_response.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace schemux::core {

enum class UpkeepGoal : std::uint8_t {
    relabel,  ///< the settings of the client that gets the backend next
    reset,    ///< back to a session without anybody's state
    audit,    ///< look whether it has any
    measure,  ///< how much memory it has taken
    check,    ///< whether it answers at all, before it is given to who would have to find out
};

enum class UpkeepState : std::uint8_t {
    running,
    done,
    refused,  ///< PostgreSQL refused a setting, or to tell; the backend is as it was and usable
    failed,   ///< the backend must be closed
};

class Upkeep {
  public:
    /// Appends the Query; nothing is appended, and the state is `done`, if there is nothing to do.
    static Upkeep relabel(Backend& backend, const Label& target, std::string& out);
    static Upkeep reset(Backend& backend, std::string& out);
    static Upkeep audit(Backend& backend, std::string& out);
    /// PostgreSQL tells only members of pg_read_all_stats, and superusers: others are `refused`.
    static Upkeep measure(Backend& backend, std::string& out);
    static Upkeep check(std::string& out);

    /// True when `reset` has work to do for a backend that comes back from a lease.
    static bool reset_needed(const Backend& backend);

    UpkeepState on_bytes(std::string_view bytes, Backend& backend, Carry& carry, BufferPool& pool);

    UpkeepState state() const { return state_; }
    UpkeepGoal goal() const { return goal_; }
    /// It is for the client that gets the backend next.
    bool before_lease() const { return goal_ == UpkeepGoal::relabel || goal_ == UpkeepGoal::check; }
    /// A reset of the whole session, and not only of what currval() gives.
    bool full() const { return full_; }
    /// What an audit that is done has found: whoever gets the backend next would have that.
    const std::vector<AuditFinding>& findings() const { return findings_; }
    /// Bytes, when a measure is done.
    std::uint64_t measured() const { return measured_; }
    /// Why it was refused.
    const protocol::ErrorFields& error() const { return error_; }
    /// When it failed since the backend broke the protocol: what it sent, as a fixed text.
    std::string_view desync() const { return desync_; }
    /// When it failed since the backend said that it goes away.
    bool gone() const { return gone_; }

  private:
    explicit Upkeep(UpkeepGoal goal) : goal_(goal) {}
    Take visit(const MessageInHand& message, Backend& backend);
    Take fail(std::string_view why);
    Take on_error(const MessageInHand& message);
    Take on_finding(const MessageInHand& message);
    Take on_measured(const MessageInHand& message);
    Take on_ready(char status, Backend& backend);

    UpkeepGoal goal_;
    UpkeepState state_ = UpkeepState::running;
    AnswerStage stage_ = AnswerStage::begun;
    bool full_ = false;
    bool gone_ = false;
    Label target_;
    std::vector<AuditFinding> findings_;
    std::uint64_t measured_ = 0;
    protocol::ErrorFields error_;
    std::string_view desync_;
};

/// What came of bytes from a backend that nobody has.
struct IdleNews {
    enum class Kind : std::uint8_t {
        nothing,     ///< notices, notifications, part of a message
        parameters,  ///< it reported a setting: what new clients are told must follow
        gone,        ///< it says that it goes away
        desync,      ///< it answers what nobody asked, or breaks the protocol
    };
    Kind kind = Kind::nothing;
    std::string_view desync;  ///< what it sent, as a fixed text
};
IdleNews read_idle(std::string_view bytes, Backend& backend, Carry& carry, BufferPool& pool);

}  // namespace schemux::core
