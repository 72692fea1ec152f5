"""psqlODBC by pyodbc: several statements in one Query, BEGIN glued to the first of them."""

import os

import pyodbc
from checklist import (CONNECTIONS, HOST, LARGE, PORT, ROUNDS, ROWS, SERVICE, USER, equal,
                       fails_with, run)

DRIVER = os.environ["SCHEMUX_ODBC_DRIVER"]


def connect(autocommit=True, more=""):
    return pyodbc.connect(f"DRIVER={DRIVER};SERVER={HOST};PORT={PORT};UID={USER};"
                          f"DATABASE={SERVICE};MaxVarcharSize=255;{more}", autocommit=autocommit)


def sqlstate(error):
    return error.args[0]


def ask(connection, sql, *values):
    cursor = connection.execute(sql, *values)
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else cursor.rowcount


def check_connect():
    equal(ask(connect(), "SELECT service FROM who"), [(SERVICE,)])


def check_parameters():
    for more in ("UseServerSidePrepare=1;", "UseServerSidePrepare=0;"):
        equal(ask(connect(more=more), "SELECT CAST(? AS int) + 1, CAST(? AS text)", 6, "zwölf"),
              [(7, "zwölf")])


def check_prepared():
    connections = [connect() for _ in range(CONNECTIONS)]
    cursors = [connection.cursor() for connection in connections]
    for number in range(ROUNDS):
        for cursor in cursors:
            cursor.execute("SELECT service, CAST(? AS int) FROM who", number)
            equal([tuple(row) for row in cursor.fetchall()], [(SERVICE, number)])


def check_transaction():
    connection, other = connect(autocommit=False), connect()
    ask(other, "DROP TABLE IF EXISTS t_odbc")
    ask(other, "CREATE TABLE t_odbc (id int PRIMARY KEY, body text)")
    ask(connection, "INSERT INTO t_odbc VALUES (?, ?)", 1, "one")
    connection.commit()
    equal(ask(other, "SELECT * FROM t_odbc"), [(1, "one")])
    ask(connection, "INSERT INTO t_odbc VALUES (2, 'two')")
    connection.rollback()
    equal(ask(other, "SELECT count(*) FROM t_odbc"), [(1,)])


def check_error_inside():
    """Rolled back by the driver to the savepoint of the statement, or the transaction's begin."""
    for protocol in ("Protocol=7.4-0;", "Protocol=7.4-1;", "Protocol=7.4-2;"):
        connection = connect(autocommit=False, more=protocol)
        ask(connection, "INSERT INTO t_odbc VALUES (3, 'three')")
        with fails_with("22012", sqlstate, pyodbc.Error):
            ask(connection, "SELECT 1 / CAST(? AS int)", 0)
        connection.rollback()
        equal(ask(connection, "SELECT count(*) FROM t_odbc"), [(1,)])
        connection.rollback()


def check_sqlstates():
    connection = connect()
    for text, state in [("SELECT * FROM nowhere", "42P01"), ("SELECT nothing", "42703"),
                        ("SELEC", "42601"), ("INSERT INTO t_odbc VALUES (1)", "23505"),
                        ("SELECT CAST('x' AS int)", "22P02")]:
        with fails_with(state, sqlstate, pyodbc.Error):
            ask(connection, text)


def check_batch():
    connection = connect(autocommit=False)
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO t_odbc VALUES (?, ?)",
                       [(n, f"row {n}") for n in range(6000, 6200)])
    connection.commit()
    equal(ask(connection, "SELECT count(*) FROM t_odbc WHERE id >= 6000"), [(200,)])
    connection.rollback()


def check_declare_fetch():
    """A cursor of the server's: it lives as long as its transaction."""
    connection = connect(autocommit=False, more="UseDeclareFetch=1;Fetch=100;")
    equal(sum(n for n, in ask(connection, "SELECT n FROM generate_series(1, 5000) n")), 12502500)
    connection.rollback()


def check_catalog():
    tables = [row.table_name for row in connect().cursor().tables(table="t_odbc")]
    equal("t_odbc" in tables, True)
    columns = [row.column_name for row in connect().cursor().columns(table="t_odbc",
                                                                     schema="%")]
    equal(columns[:2], ["id", "body"])


def check_large_result():
    equal(sum(n for n, in ask(connect(), f"SELECT n FROM generate_series(1, {ROWS}) n")),
          ROWS * (ROWS + 1) // 2)


def check_large_value():
    equal(len(ask(connect(), f"SELECT repeat('x', {LARGE})")[0][0]), LARGE)


def check_reconnect():
    for number in range(10):
        connection = connect()
        equal(ask(connection, "SELECT CAST(? AS int)", number), [(number,)])
        connection.close()


run(globals())
