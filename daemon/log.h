// Logging as events: a stable snake_case id plus key/value fields, one line each, on stderr or in
// a file.
// Text that a client can choose is escaped by the writer, so no value can end or forge a line.
// Knows nothing of what is logged: callers decide that SQL text and passwords never get here.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace schemux::daemon {

enum class LogLevel : std::uint8_t { debug, info, warning, error, off };
enum class LogFormat : std::uint8_t { automatic, text, json };

std::string_view name_of(LogLevel level);

/// Accepts the names in the configuration: debug, info, warning (or warn), error, off.
std::optional<LogLevel> parse_log_level(std::string_view name);
/// Accepts auto, text, json.
std::optional<LogFormat> parse_log_format(std::string_view name);

/// The value of one field; text is only viewed, since an event is written before the call returns.
class LogValue {
  public:
    // NOLINTBEGIN(google-explicit-constructor): fields are written {"key", value} at call sites.
    LogValue(std::string_view text) : value_(text) {}
    LogValue(const char* text) : value_(std::string_view(text)) {}
    LogValue(const std::string& text) : value_(std::string_view(text)) {}
    LogValue(std::same_as<bool> auto flag) : value_(flag) {}
    template <std::signed_integral T>
    LogValue(T number) : value_(std::int64_t{number}) {}
    template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>) LogValue(T number) : value_(std::uint64_t{number}) {}
    LogValue(double number) : value_(number) {}
    // NOLINTEND(google-explicit-constructor)

    using Value = std::variant<std::string_view, bool, std::int64_t, std::uint64_t, double>;
    const Value& get() const { return value_; }

  private:
    Value value_;
};

struct LogField {
    std::string_view key;  ///< snake_case, chosen by us, never by a client
    LogValue value;
};

using LogFields = std::initializer_list<LogField>;

/// For fields whose names end in _s.
inline double seconds_of(std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
}

/// Longer text values are cut here, at a character boundary, and marked with "...".
inline constexpr std::size_t max_log_value_bytes = 1024;

struct LogOptions {
    LogFormat format = LogFormat::automatic;  ///< automatic: text on a terminal, else json
    std::string file{};                       ///< empty: stderr, which has what it has no room for
    LogLevel level = LogLevel::info;
    /// For tests: gets each line, without its newline, instead of stderr.
    std::function<void(std::string_view)> sink{};
};

/// Starts the writer thread; what is wrong with the file, if anything. Without it events go to
/// stderr at once, as text; that is what the short-lived commands do. The caller never waits for a
/// slow stderr: when the queue (1024 lines) is full the oldest line is dropped, and
/// `dropped_log_lines` counts it. Not thread-safe against other log calls: call it before threads
/// start.
std::optional<std::string> start_logging(const LogOptions& options);

/// The file again by its path, since it was moved away; what is wrong with it, if anything: then
/// the old one stays in use. Thread-safe.
std::optional<std::string> reopen_log_file();

/// Writes what is queued and ends the writer thread; later events go to stderr at once.
/// Not thread-safe against other log calls: call it after other threads have ended.
void stop_logging();

void set_log_level(LogLevel level);
LogLevel log_level();
std::uint64_t dropped_log_lines();

void log_event(LogLevel level, std::string_view event, LogFields fields);
/// `message` is for people and may change; `event` and the keys are what tools rely on.
void log_event(LogLevel level, std::string_view event, std::string_view message, LogFields fields);

/// Lets `burst` events through per interval, and says how many it held back since the last one.
/// One object for each call site whose events a client or a dead server can repeat. Thread-safe.
class LogLimiter {
  public:
    using Clock = std::chrono::steady_clock;

    explicit LogLimiter(Clock::duration interval = std::chrono::seconds(10),
                        std::uint32_t burst = 5);

    /// The number suppressed since the last admitted event, or nullopt: do not log this one.
    std::optional<std::uint64_t> admit(Clock::time_point now);

  private:
    std::mutex mutex_;
    Clock::duration interval_;
    std::uint32_t burst_;
    std::uint32_t admitted_ = 0;
    std::uint64_t suppressed_ = 0;
    std::optional<Clock::time_point> window_start_;
};

/// As log_event, but at most as often as the limiter allows; adds suppressed=n when n > 0.
void log_event_limited(LogLimiter& limiter, LogLevel level, std::string_view event,
                       LogFields fields);

/// One line without its newline, exactly as it would be written. For tests and for the writer.
std::string format_log_line(LogFormat format, bool journal_priority,
                            std::chrono::system_clock::time_point time, LogLevel level,
                            std::string_view event, std::string_view message, LogFields fields,
                            std::uint64_t suppressed = 0);

}  // namespace schemux::daemon
