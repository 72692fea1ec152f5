#include "daemon/control_connection.h"

#include <poll.h>

#include <utility>
#include <variant>

namespace schemux::daemon {

namespace {

using Clock = std::chrono::steady_clock;

/// PostgreSQL itself ends what takes longer; who hears nothing at all for the second time is cut.
constexpr const char* bound_statement = "SET statement_timeout = '4s'";
constexpr auto answer_timeout = std::chrono::seconds(6);
constexpr auto connect_timeout = std::chrono::seconds(5);

std::string without_newline(std::string text) {
    while (text.ends_with('\n'))
        text.pop_back();
    return text;
}

/// Their bytes.
std::size_t append_rows(const PGresult& part, ControlConnection::Table& table) {
    const int columns = PQnfields(&part);
    if (table.columns.empty()) {
        for (int column = 0; column < columns; ++column)
            table.columns.emplace_back(PQfname(&part, column));
    }
    std::size_t bytes = 0;
    for (int row = 0; row < PQntuples(&part); ++row) {
        auto& values = table.rows.emplace_back();
        for (int column = 0; column < columns; ++column) {
            if (PQgetisnull(&part, row, column) == 1) {
                values.emplace_back();
                continue;
            }
            const auto length = static_cast<std::size_t>(PQgetlength(&part, row, column));
            values.emplace_back(std::in_place, PQgetvalue(&part, row, column), length);
            bytes += length;
        }
    }
    return bytes;
}

}  // namespace

void ControlConnection::Disconnect::operator()(PGconn* connection) const {
    PQfinish(connection);
}

std::string error_of(const PGresult& result) {
    return without_newline(PQresultErrorMessage(&result));
}

WaitBound ControlConnection::within(std::chrono::milliseconds time) const {
    return {Clock::now() + time, &stopped_};
}

bool ControlConnection::begin(const std::string& sql) {
    const bool sent = PQsendQuery(connection_.get(), sql.c_str()) == 1;
    if (!sent) return false;
    const OneResult one = read_one(connection_.get(), within(answer_timeout));
    return one.result && PQresultStatus(one.result.get()) == PGRES_COMMAND_OK;
}

/// What went wrong, if anything.
std::optional<std::string> ControlConnection::connect() {
    std::vector<const char*> keys{"dbname", "application_name"};
    std::vector<const char*> values{options_.dsn.c_str(), options_.name.c_str()};
    std::string password(options_.password ? options_.password->view() : "");
    if (!options_.source.empty()) {
        const auto read = read_password(options_.source, &stopped_);
        if (const auto* wrong = std::get_if<NoPassword>(&read)) return wrong->why;
        password = std::get<protocol::Secret>(read).view();
    }
    if (options_.password || !options_.source.empty()) {
        keys.push_back("password");
        values.push_back(password.c_str());
    }
    // The last one of a key counts; only the first is read as a connection string.
    if (!options_.database.empty()) {
        keys.push_back("dbname");
        values.push_back(options_.database.c_str());
    }
    keys.push_back(nullptr);
    values.push_back(nullptr);
    connection_.reset(PQconnectStartParams(keys.data(), values.data(), 1));
    const bool connected =
        connection_ && finish_connecting(connection_.get(), within(connect_timeout));
    const bool begun =
        connected && begin(bound_statement) && (begin_with_.empty() || begin(begin_with_));
    if (begun) return {};
    std::string why = without_newline(PQerrorMessage(connection_.get()));
    connection_.reset();
    return why.empty() ? options_.name + " got no connection in time" : why;
}

ControlConnection::Answer ControlConnection::ask(const std::string& sql,
                                                 const std::vector<std::string>& parameters) {
    if (!connection_) {
        if (auto why = connect()) return {nullptr, std::move(*why)};
    }
    const auto broken = [this](std::string why, bool silent = false) -> Answer {
        connection_.reset();
        return {nullptr, std::move(why), silent};
    };
    std::vector<const char*> values;
    values.reserve(parameters.size());
    for (const std::string& parameter : parameters)
        values.push_back(parameter.c_str());
    if (PQsendQueryParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr,
                          values.data(), nullptr, nullptr, 0) == 0)
        return broken(without_newline(PQerrorMessage(connection_.get())));
    OneResult one = read_one(connection_.get(), within(answer_timeout));
    if (one.too_long) return broken("no answer to " + options_.name + " in time", true);
    if (!one.result) return broken("the connection of " + options_.name + " broke");
    return {std::move(one.result)};
}

ControlConnection::Table ControlConnection::ask_table(const std::string& sql,
                                                      const TableBounds& bounds) {
    Table table;
    if (!connection_) {
        if (auto why = connect()) {
            table.why = std::move(*why);
            return table;
        }
    }
    const auto give_up = [this](std::string why) {
        connection_.reset();
        Table nothing;
        nothing.why = std::move(why);
        return nothing;
    };
    PGconn* const connection = connection_.get();
    if (PQsendQuery(connection, sql.c_str()) == 0 || PQsetSingleRowMode(connection) == 0)
        return give_up(without_newline(PQerrorMessage(connection)));
    const WaitBound bound = within(answer_timeout);
    std::size_t bytes = 0;
    while (true) {
        const NextResult next = next_result(connection, bound);
        if (next.state == Wait::too_long)
            return give_up("no answer to " + options_.name + " in time");
        if (next.state == Wait::broken)
            return give_up("the connection of " + options_.name + " broke");
        if (!next.result) return table;
        const PGresult& part = *next.result;
        const ExecStatusType status = PQresultStatus(&part);
        const bool is_rows = status == PGRES_SINGLE_TUPLE || status == PGRES_TUPLES_OK;
        if (!is_rows && status != PGRES_COMMAND_OK) table.why = error_of(part);
        table.complete = status == PGRES_TUPLES_OK;
        if (status == PGRES_COMMAND_OK) table.why = "it gives no rows";
        if (is_rows) bytes += append_rows(part, table);
        if (table.rows.size() > bounds.rows)
            return give_up("it gives more than " + std::to_string(bounds.rows) + " rows");
        if (bytes > bounds.bytes)
            return give_up("it gives more than " + std::to_string(bounds.bytes) + " bytes");
    }
}

bool ControlConnection::wait_for_notification(std::chrono::milliseconds time) {
    if (!connection_) return false;
    if (notified()) return true;  // it came with the answer
    if (wait_for(connection_.get(), POLLIN, within(time)) != Wait::there) return false;
    if (PQconsumeInput(connection_.get()) == 0) {
        connection_.reset();
        return false;
    }
    return notified();
}

bool ControlConnection::notified() {
    bool any = false;
    while (PGnotify* one = PQnotifies(connection_.get())) {
        PQfreemem(one);
        any = true;
    }
    return any;
}

}  // namespace schemux::daemon
