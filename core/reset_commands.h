// Texts that only end what a session has: DISCARD ALL and what the pools of drivers send between
// two of their users. Where there is nothing to end the answers are known, and no backend is
// needed. It must not know what a session has.
#pragma once

#include "core/limits.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace schemux::core {

enum class ResetCommand : std::uint8_t {
    discard_all,
    discard_plans,
    discard_sequences,
    discard_temp,
    reset_all,
    reset_authorization,  ///< RESET ROLE, RESET SESSION AUTHORIZATION
    set_authorization,    ///< SET SESSION AUTHORIZATION DEFAULT
    deallocate_all,
    close_all,
    unlisten_all,
    unlock_all,  ///< SELECT pg_advisory_unlock_all()
};

/// The commands of one Query.
class ResetCommands {
  public:
    /// None if the text has any other command, or too many, or DISCARD ALL beside others: in the
    /// transaction of a Query PostgreSQL refuses it.
    static ResetCommands of(std::string_view text, bool standard_conforming_strings);

    std::span<const ResetCommand> all() const& { return {commands_.data(), count_}; }
    std::span<const ResetCommand> all() && = delete;  ///< they would be gone
    bool any() const { return count_ > 0; }
    bool has(ResetCommand command) const;

  private:
    std::array<ResetCommand, limits::reset_commands_max> commands_{};
    std::size_t count_ = 0;
};

/// What PostgreSQL answers where there is nothing to end, without ReadyForQuery.
void append_answer(std::string& out, ResetCommand command);

}  // namespace schemux::core
