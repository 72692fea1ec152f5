// libpqxx: transactions as objects, its own pipeline of statements, streams of COPY.

#include <cstdlib>
#include <functional>
#include <iostream>
#include <numeric>
#include <pqxx/pqxx>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr int rows = 100'000;
constexpr std::size_t large = 20 * 1024 * 1024;
const std::string service = std::getenv("PGDATABASE");

template <typename Found, typename Expected>
void equal(const Found& found, const Expected& expected) {
    if (found != expected) {
        throw std::runtime_error(pqxx::to_string(found) + " in place of " +
                                 pqxx::to_string(expected));
    }
}

void fails_with(const std::string& sqlstate, const std::function<void()>& work) {
    try {
        work();
    } catch (const pqxx::sql_error& error) {
        equal(error.sqlstate(), sqlstate);
        return;
    }
    throw std::runtime_error("no error " + sqlstate);
}

void basics() {
    pqxx::connection connection;
    pqxx::work work(connection);
    equal(work.exec1("SELECT service FROM who")[0].as<std::string>(), service);
    const pqxx::row row = work.exec_params1("SELECT $1::int + 1, $2", 6, "zwölf");
    equal(row[0].as<int>(), 7);
    equal(row[1].as<std::string>(), std::string("zwölf"));
}

void prepared() {
    std::vector<std::unique_ptr<pqxx::connection>> all;
    for (int n = 0; n < 4; ++n) {
        all.push_back(std::make_unique<pqxx::connection>());
        all.back()->prepare("mine", "SELECT service, $1::int FROM who");
    }
    for (int n = 0; n < 25; ++n) {
        for (const auto& connection : all) {
            pqxx::nontransaction work(*connection);
            const pqxx::row row = work.exec_prepared1("mine", n);
            equal(row[0].as<std::string>(), service);
            equal(row[1].as<int>(), n);
        }
    }
}

int count(pqxx::connection& connection) {
    return pqxx::nontransaction(connection).exec1("SELECT count(*) FROM t_pqxx")[0].as<int>();
}

void transaction() {
    pqxx::connection connection;
    {
        pqxx::nontransaction work(connection);
        work.exec("DROP TABLE IF EXISTS t_pqxx");
        work.exec("CREATE TABLE t_pqxx (id int PRIMARY KEY, body text)");
    }
    {
        pqxx::work work(connection);
        work.exec_params("INSERT INTO t_pqxx VALUES ($1, $2)", 1, "one");
        work.commit();
    }
    {
        pqxx::transaction<pqxx::serializable> work(connection);
        work.exec("INSERT INTO t_pqxx VALUES (2, 'two')");
    }
    equal(count(connection), 1);
}

void error_inside() {
    pqxx::connection connection;
    {
        pqxx::work work(connection);
        work.exec("INSERT INTO t_pqxx VALUES (3, 'three')");
        fails_with("23505", [&work] {
            pqxx::subtransaction inner(work);
            inner.exec("INSERT INTO t_pqxx VALUES (1, 'again')");
        });
        fails_with("22012", [&work] { work.exec_params("SELECT 1 / $1::int", 0); });
        fails_with("25P02", [&work] { work.exec("SELECT 1"); });
    }
    equal(count(connection), 1);
}

void sqlstates() {
    pqxx::connection connection;
    const std::vector<std::pair<std::string, std::string>> states{
        {"SELECT * FROM nowhere", "42P01"},
        {"SELECT nothing", "42703"},
        {"SELEC", "42601"},
        {"SELECT 'x'::int", "22P02"},
        {"INSERT INTO t_pqxx VALUES (1)", "23505"},
    };
    for (const auto& entry : states) {
        pqxx::nontransaction work(connection);
        fails_with(entry.second, [&] { work.exec(entry.first); });
        fails_with(entry.second, [&] { work.exec_params(entry.first); });
    }
}

void copy() {
    pqxx::connection connection;
    pqxx::work work(connection);
    pqxx::stream_to in(work, "t_pqxx");
    for (int n = 10; n < 5010; ++n)
        in << std::make_pair(n, "row " + std::to_string(n));
    in.complete();
    pqxx::stream_from out(work, "t_pqxx");
    std::pair<int, std::string> row;
    int seen = 0;
    while (out >> row)
        ++seen;
    out.complete();
    equal(seen, 5001);
    work.commit();
}

void pipelined() {
    pqxx::connection connection;
    pqxx::work work(connection);
    pqxx::pipeline statements(work);
    std::vector<pqxx::pipeline::query_id> ids;
    for (int n = 0; n < 100; ++n)
        ids.push_back(statements.insert("SELECT " + std::to_string(n)));
    for (int n = 0; n < 100; ++n)
        equal(statements.retrieve(ids[static_cast<std::size_t>(n)])[0][0].as<int>(), n);
}

void large_result() {
    pqxx::connection connection;
    pqxx::work work(connection);
    const std::string text = "SELECT n FROM generate_series(1, " + std::to_string(rows) + ") n";
    long sum = 0;
    for (const auto& row : work.exec(text))
        sum += row[0].as<long>();
    equal(sum, rows * (rows + 1L) / 2);
    pqxx::stateless_cursor<pqxx::cursor_base::read_only, pqxx::cursor_base::owned> cursor(
        work, text, "cursor", false);
    equal(static_cast<int>(cursor.size()), rows);
    equal(cursor.retrieve(500, 510)[0][0].as<int>(), 501);
}

void large_value() {
    pqxx::connection connection;
    pqxx::nontransaction work(connection);
    const auto text = work.exec1("SELECT repeat('x', " + std::to_string(large) + ")")[0];
    equal(text.size(), large);
    equal(work.exec_params1("SELECT length($1)", text.c_str())[0].as<std::size_t>(), large);
}

void cancel() {
    pqxx::connection connection;
    for (int n = 0; n < 5; ++n) {
        pqxx::nontransaction work(connection);
        connection.cancel_query();
        equal(work.exec1("SELECT 7")[0].as<int>(), 7);
    }
}

void reconnect() {
    for (int n = 0; n < 10; ++n) {
        pqxx::connection connection;
        equal(pqxx::nontransaction(connection).exec_params1("SELECT $1::int", n)[0].as<int>(), n);
    }
}

}  // namespace

int main() {
    const std::vector<std::pair<std::string, void (*)()>> checks{
        {"basics", basics},           {"prepared", prepared},
        {"transaction", transaction}, {"error_inside", error_inside},
        {"sqlstates", sqlstates},     {"copy", copy},
        {"pipeline", pipelined},      {"large_result", large_result},
        {"large_value", large_value}, {"cancel", cancel},
        {"reconnect", reconnect},
    };
    int failed = 0;
    for (const auto& check : checks) {
        try {
            check.second();
            std::cout << "ok " << check.first << std::endl;
        } catch (const std::exception& error) {
            std::string why = error.what();
            for (char& c : why)
                if (c == '\n') c = ' ';
            std::cout << "FAIL " << check.first << ": " << why << std::endl;
            failed = 1;
        }
    }
    return failed;
}
