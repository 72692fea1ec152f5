// A connection of our own to PostgreSQL, beside the pool, for questions that are no client's: by
// libpq, on a thread that may block, with a bound on every wait. It connects when it is asked.
// It must not know what is asked.
#pragma once

#include "daemon/libpq_waits.h"
#include "daemon/password_source.h"
#include "protocol/secret.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace schemux::daemon {

struct ControlOptions {
    std::string dsn;
    std::optional<protocol::Secret> password{};  ///< in place of the dsn's
    PasswordSource source{};                     ///< in place of both, asked for each connection
    std::string name{};                          ///< application_name
    std::string database{};                      ///< in place of the dsn's; empty: that
};

/// What PostgreSQL says is wrong, in one line.
std::string error_of(const PGresult& result);

class ControlConnection {
  public:
    /// `stopped`: outlives it; true makes every call return soon, with nothing.
    ControlConnection(ControlOptions options, const std::atomic<bool>& stopped)
        : options_(std::move(options)), stopped_(stopped) {}

    struct Answer {
        PgResult result{};    ///< null: there is no connection, or not any more
        std::string why{};    ///< and why
        bool silent = false;  ///< it is connected, but says nothing
    };
    /// One statement with parameters $1 …; an error of PostgreSQL's is a result as well.
    Answer ask(const std::string& sql, const std::vector<std::string>& parameters = {});

    struct Table {
        bool complete = false;  ///< otherwise `why` it is not
        std::string why{};
        std::vector<std::string> columns{};
        std::vector<std::vector<std::optional<std::string>>> rows{};  ///< none: NULL
    };
    struct TableBounds {
        std::size_t rows = 0;
        std::size_t bytes = 0;
    };
    /// All rows of a query, as texts. Of more than the bounds nothing is kept.
    Table ask_table(const std::string& sql, const TableBounds& bounds);

    /// True: something has been notified since the last answer; false: nothing in that time, or
    /// the connection broke.
    bool wait_for_notification(std::chrono::milliseconds time);

    bool is_open() const { return connection_ != nullptr; }
    void close() { connection_.reset(); }
    /// SQL that each new connection begins with, beside the bounds. To be set before `ask`.
    void begin_with(std::string sql) { begin_with_ = std::move(sql); }

  private:
    struct Disconnect {
        void operator()(PGconn* connection) const;
    };
    std::optional<std::string> connect();
    bool begin(const std::string& sql);
    bool notified();
    WaitBound within(std::chrono::milliseconds time) const;

    const ControlOptions options_;
    const std::atomic<bool>& stopped_;
    std::unique_ptr<PGconn, Disconnect> connection_;
    std::string begin_with_;
};

}  // namespace schemux::daemon
