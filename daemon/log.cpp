#include "daemon/log.h"

#include "daemon/log_file.h"
#include "daemon/log_text.h"
#include "daemon/recent_events.h"

#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <spdlog/async.h>
#include <spdlog/sinks/base_sink.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>

namespace schemux::daemon {

namespace {

constexpr std::size_t queue_lines = 1024;

// Process-wide on purpose: events come from every thread, and there is one place for them.
struct Writer {
    std::atomic<LogLevel> level{LogLevel::info};
    LogFormat format = LogFormat::text;  // never automatic
    bool journal_priority = false;
    std::string path;  // of the file; empty: stderr
    LogFile file;
    std::shared_ptr<spdlog::details::thread_pool> threads;
    std::shared_ptr<spdlog::async_logger> logger;
};

Writer& writer() {
    static Writer instance;
    return instance;
}

// What is not written may still be one of the recent events.
LogLevel least_noticed() {
    return std::min(LogLevel::info, writer().level.load(std::memory_order_relaxed));
}

void write_line(std::string_view line) {
    std::string whole(line);
    whole.push_back('\n');
    if (writer().file.write(whole)) return;
    // One fwrite under stderr's own lock, so that lines of several threads do not mix.
    std::fwrite(whole.data(), 1, whole.size(), stderr);
    std::fflush(stderr);
}

// spdlog's own formatters are left out: their JSON patterns do not escape the message.
class LineSink : public spdlog::sinks::base_sink<std::mutex> {
  public:
    explicit LineSink(std::function<void(std::string_view)> write) : write_(std::move(write)) {}

  protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        write_(std::string_view(message.payload.data(), message.payload.size()));
    }
    void flush_() override {}

  private:
    std::function<void(std::string_view)> write_;
};

void emit(LogLevel level, std::string_view event, std::string_view message, LogFields fields,
          std::uint64_t suppressed) {
    Writer& out = writer();
    if (level == LogLevel::off || level < least_noticed()) return;
    const auto now = std::chrono::system_clock::now();
    if (level >= LogLevel::info)
        recent_events().add(now, level, event, message, fields, suppressed);
    if (level < out.level.load(std::memory_order_relaxed)) return;
    const std::string line = format_log_line(out.format, out.journal_priority, now, level, event,
                                             message, fields, suppressed);
    if (out.logger == nullptr) {
        write_line(line);
        return;
    }
    // Filtering is ours; to spdlog everything is of one level.
    out.logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

void append_json_text(std::string& out, std::string_view text) {
    const std::string printable = well_formed_utf8(shortened(text, max_log_value_bytes));
    out += boost::json::serialize(boost::json::string_view(printable.data(), printable.size()));
}

void append_key(std::string& out, bool json, std::string_view key) {
    if (json) {
        out += ",\"";
        out += key;
        out += "\":";
    } else {
        out += ' ';
        out += key;
        out += '=';
    }
}

void append_value(std::string& out, bool json, const LogValue& value) {
    struct Visitor {
        std::string& out;
        bool json;
        void operator()(std::string_view text) const {
            if (json) {
                append_json_text(out, text);
            } else {
                append_quoted_if_needed(out, shortened(text, max_log_value_bytes));
            }
        }
        void operator()(bool flag) const { out += flag ? "true" : "false"; }
        void operator()(std::int64_t number) const { out += std::to_string(number); }
        void operator()(std::uint64_t number) const { out += std::to_string(number); }
        void operator()(double number) const { append_number(out, number); }
    };
    std::visit(Visitor{out, json}, value.get());
}

// sd-daemon(3): the priorities of syslog, as a prefix of the line.
std::string_view journal_prefix(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return "<7>";
        case LogLevel::info:
            return "<6>";
        case LogLevel::warning:
            return "<4>";
        case LogLevel::error:
        case LogLevel::off:
            return "<3>";
    }
    return "";
}

}  // namespace

std::string_view name_of(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return "debug";
        case LogLevel::info:
            return "info";
        case LogLevel::warning:
            return "warning";
        case LogLevel::error:
            return "error";
        case LogLevel::off:
            return "off";
    }
    return "";
}

std::optional<LogLevel> parse_log_level(std::string_view name) {
    if (name == "warn") return LogLevel::warning;
    for (const LogLevel level :
         {LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error, LogLevel::off}) {
        if (name == name_of(level)) return level;
    }
    return std::nullopt;
}

std::optional<LogFormat> parse_log_format(std::string_view name) {
    if (name == "auto") return LogFormat::automatic;
    if (name == "text") return LogFormat::text;
    if (name == "json") return LogFormat::json;
    return std::nullopt;
}

std::string format_log_line(LogFormat format, bool journal_priority,
                            std::chrono::system_clock::time_point time, LogLevel level,
                            std::string_view event, std::string_view message, LogFields fields,
                            std::uint64_t suppressed) {
    assert(format != LogFormat::automatic);
    const bool json = format == LogFormat::json;
    std::string line;
    line.reserve(256);
    if (json) {
        line += "{\"ts\":\"";
        append_rfc3339(line, time);
        line += "\",\"level\":\"";
        line += name_of(level);
        line += "\",\"event\":\"";
        line += event;
        line += '"';
        if (!message.empty()) {
            append_key(line, json, "msg");
            append_json_text(line, message);
        }
    } else {
        // The journal keeps time and level itself.
        if (journal_priority) {
            line += journal_prefix(level);
        } else {
            append_rfc3339(line, time);
            line += ' ';
            line += name_of(level);
            line += ' ';
        }
        line += event;
        if (!message.empty()) {
            line += ": ";
            append_escaped(line, shortened(message, max_log_value_bytes));
        }
    }
    for (const LogField& field : fields) {
        append_key(line, json, field.key);
        append_value(line, json, field.value);
    }
    if (suppressed > 0) {
        append_key(line, json, "suppressed");
        line += std::to_string(suppressed);
    }
    if (json) line += '}';
    return line;
}

std::optional<std::string> start_logging(const LogOptions& options) {
    stop_logging();
    Writer& out = writer();
    out.path = options.file;
    if (auto error = reopen_log_file()) return error;
    const bool to_stderr = out.path.empty();
    out.level = options.level;
    out.format = options.format;
    if (out.format == LogFormat::automatic) {
        const bool terminal = to_stderr && isatty(STDERR_FILENO) != 0;
        out.format = terminal ? LogFormat::text : LogFormat::json;
    }
    out.journal_priority =
        to_stderr && out.format == LogFormat::text && std::getenv("JOURNAL_STREAM") != nullptr;
    out.threads = std::make_shared<spdlog::details::thread_pool>(queue_lines, 1);
    out.logger = std::make_shared<spdlog::async_logger>(
        "schemux", std::make_shared<LineSink>(options.sink ? options.sink : write_line),
        out.threads, spdlog::async_overflow_policy::overrun_oldest);
    return {};
}

std::optional<std::string> reopen_log_file() {
    Writer& out = writer();
    if (out.path.empty()) return {};
    return out.file.open(out.path);
}

void stop_logging() {
    Writer& out = writer();
    // Writes the rest of the queue and ends the thread, which must not outlive the logger's sinks.
    out.threads.reset();
    out.logger.reset();
    out.path.clear();
    out.file.close();
    out.format = LogFormat::text;
    out.journal_priority = false;
}

void set_log_level(LogLevel level) {
    writer().level.store(level, std::memory_order_relaxed);
}

LogLevel log_level() {
    return writer().level.load(std::memory_order_relaxed);
}

std::uint64_t dropped_log_lines() {
    const auto& threads = writer().threads;
    return threads == nullptr ? 0 : threads->overrun_counter();
}

void log_event(LogLevel level, std::string_view event, LogFields fields) {
    emit(level, event, {}, fields, 0);
}

void log_event(LogLevel level, std::string_view event, std::string_view message, LogFields fields) {
    emit(level, event, message, fields, 0);
}

LogLimiter::LogLimiter(Clock::duration interval, std::uint32_t burst)
    : interval_(interval), burst_(burst) {
    assert(burst > 0);
}

std::optional<std::uint64_t> LogLimiter::admit(Clock::time_point now) {
    const std::lock_guard lock(mutex_);
    if (!window_start_ || now - *window_start_ >= interval_) {
        window_start_ = now;
        admitted_ = 0;
    }
    if (admitted_ == burst_) {
        ++suppressed_;
        return std::nullopt;
    }
    ++admitted_;
    return std::exchange(suppressed_, 0);
}

void log_event_limited(LogLimiter& limiter, LogLevel level, std::string_view event,
                       LogFields fields) {
    if (level < least_noticed()) return;
    const auto suppressed = limiter.admit(LogLimiter::Clock::now());
    if (suppressed) emit(level, event, {}, fields, *suppressed);
}

}  // namespace schemux::daemon
