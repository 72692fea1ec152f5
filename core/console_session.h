// One session of the admin console, sans-I/O: the frontend's bytes in, commands to be run and bytes
// for the frontend out; the simple and the extended protocol. One command at a time: what comes
// behind it waits, within a bound.
// It must not know what commands do: the caller runs them, and says what came of it.
// Source: PostgreSQL manual, 55.2 "Message Flow".
#pragma once

#include "core/console_columns.h"
#include "core/console_command.h"
#include "core/console_table.h"
#include "protocol/error_response.h"
#include "protocol/messages.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace schemux::core {

/// `stats`: SHOW alone.
enum class ConsoleRights : std::uint8_t { stats, admin };

struct ConsoleResult {
    ConsoleTable table{};
    std::optional<protocol::ErrorFields> notice{};
};
using ConsoleOutcome = std::variant<ConsoleResult, protocol::ErrorFields>;

class ConsoleSession {
  public:
    /// Offer more of what the frontend sends.
    struct NeedBytes {};
    /// Run it, and call `on_outcome`.
    struct Run {
        ConsoleCommand command;
    };
    /// The session is over; what is to be sent goes out first.
    struct Close {};
    using Step = std::variant<NeedBytes, Run, Close>;

    struct Start {
        ConsoleProfile profile = ConsoleProfile::v1_26;
        ConsoleRights rights = ConsoleRights::stats;
        std::string version{};  ///< of schemux
        std::uint32_t pid = 0;  ///< of the cancel key
        std::string secret{};
        std::string user{};  ///< for the log
    };

    explicit ConsoleSession(Start start) : start_(std::move(start)) {}

    /// What follows AuthenticationOk.
    void welcome();
    void on_bytes(std::string_view bytes);
    /// To be called until it wants bytes, a command to be run, or the end.
    Step next();
    void on_outcome(const ConsoleOutcome& outcome);
    /// What is to be sent now.
    std::string take_output() { return std::exchange(output_, {}); }
    const std::string& user() const { return start_.user; }
    /// The columns of a command that gives rows.
    ConsoleColumns columns_of(const ConsoleCommand& command) const;

    /// Of one message, and of those that wait.
    static constexpr std::size_t message_bytes_max = 16 * 1024;
    static constexpr std::size_t names_max = 64;  ///< statements, and portals

  private:
    struct Portal {
        ConsoleCommand command;
        std::vector<bool> binary{};  ///< by column
        std::optional<ConsoleResult> result{};
        std::size_t sent = 0;  ///< rows
    };
    enum class Reading : std::uint8_t { ready, skips_to_sync, over };
    enum class Running : std::uint8_t { nothing, query, portal };

    Step on_message(char type, std::string_view body);
    Step on_query(std::string_view body);
    Step on_execute(std::string_view body);
    void on_parse(std::string_view body);
    void on_bind(std::string_view body);
    void on_describe(std::string_view body);
    void on_close(std::string_view body);
    Step over(std::string_view what);
    Step run(const ConsoleCommand& command, Running how);
    std::optional<ConsoleOutcome> answer_here(const ConsoleCommand& command);
    std::variant<ConsoleCommand, protocol::ErrorFields> read(std::string_view text) const;
    bool is_allowed(const ConsoleCommand& command) const;
    std::optional<protocol::ErrorFields> read_bind(std::string_view body, std::string& name,
                                                   Portal& portal) const;
    void finish_query(const ConsoleOutcome& outcome);
    void finish_portal(const ConsoleOutcome& outcome);
    void send_rows(Portal& portal);
    void fail(const protocol::ErrorFields& error);
    void ready();
    void describe(const ConsoleCommand& command, const std::vector<bool>& binary);

    Start start_;
    std::string input_;
    std::string output_;
    Reading reading_ = Reading::ready;
    Running running_ = Running::nothing;
    ConsoleCommand command_;  ///< that is run
    std::string portal_;      ///< whose it is
    std::uint32_t rows_max_ = 0;
    protocol::TransactionStatus status_ = protocol::TransactionStatus::idle;
    std::map<std::string, ConsoleCommand, std::less<>> statements_;
    std::map<std::string, Portal, std::less<>> portals_;
};

}  // namespace schemux::core
