"""pg8000: every statement is prepared under a name, and Flush stands between the messages."""

import io

import pg8000
from checklist import (CONNECTIONS, HOST, LARGE, PORT, ROUNDS, ROWS, SERVICE, USER, equal,
                       fails_with, run)


def connect():
    return pg8000.connect(user=USER, host=HOST, port=PORT, database=SERVICE)


def sqlstate(error):
    return error.args[2]


def ask(connection, sql, *values):
    cursor = connection.cursor()
    cursor.execute(sql, values)
    return [tuple(row) for row in cursor.fetchall()] if cursor.description else cursor.rowcount


def check_connect():
    connection = connect()
    equal(ask(connection, "SELECT service FROM who"), [(SERVICE,)])
    connection.close()


def check_parameters():
    connection = connect()
    equal(ask(connection, "SELECT CAST(%s AS int) + 1, CAST(%s AS text)", 6, "zwölf"),
          [(7, "zwölf")])
    connection.rollback()


def check_prepared():
    connections = [connect() for _ in range(CONNECTIONS)]
    for number in range(ROUNDS):
        for connection in connections:
            equal(ask(connection, "SELECT service, CAST(%s AS int) FROM who", number),
                  [(SERVICE, number)])
            connection.commit()
    for connection in connections:
        connection.close()


def check_transaction():
    connection, other = connect(), connect()
    ask(connection, "DROP TABLE IF EXISTS t_pg8000")
    ask(connection, "CREATE TABLE t_pg8000 (id int PRIMARY KEY, body text)")
    ask(connection, "INSERT INTO t_pg8000 VALUES (%s, %s)", 1, "one")
    connection.commit()
    equal(ask(other, "SELECT * FROM t_pg8000"), [(1, "one")])
    other.rollback()
    ask(connection, "INSERT INTO t_pg8000 VALUES (%s, %s)", 2, "two")
    connection.rollback()
    equal(ask(other, "SELECT count(*) FROM t_pg8000"), [(1,)])
    other.rollback()


def check_error_inside():
    connection = connect()
    ask(connection, "INSERT INTO t_pg8000 VALUES (3, 'three')")
    with fails_with("22012", sqlstate, pg8000.Error):
        ask(connection, "SELECT 1 / CAST(%s AS int)", 0)
    with fails_with("25P02", sqlstate, pg8000.Error):
        ask(connection, "SELECT 1")
    connection.rollback()
    equal(ask(connection, "SELECT count(*) FROM t_pg8000"), [(1,)])
    connection.rollback()


def check_sqlstates():
    connection = connect()
    for text, state in [("SELECT * FROM nowhere", "42P01"), ("SELECT nothing", "42703"),
                        ("SELEC", "42601"), ("INSERT INTO t_pg8000 VALUES (1)", "23505"),
                        ("SELECT CAST('x' AS int)", "22P02")]:
        with fails_with(state, sqlstate, pg8000.Error):
            ask(connection, text)
        connection.rollback()


def check_copy():
    connection = connect()
    connection.cursor().execute("COPY t_pg8000 FROM STDIN",
                                stream=io.BytesIO(b"".join(b"%d\tx\n" % n
                                                           for n in range(10, 5010))))
    connection.commit()
    out = io.BytesIO()
    connection.cursor().execute("COPY (SELECT id FROM t_pg8000 WHERE id >= 10 ORDER BY 1) "
                                "TO STDOUT", stream=out)
    connection.rollback()
    equal(out.getvalue(), b"".join(b"%d\n" % n for n in range(10, 5010)))


def check_batch():
    connection = connect()
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO t_pg8000 VALUES (%s, %s)",
                       [(n, f"row {n}") for n in range(6000, 6200)])
    connection.commit()
    equal(ask(connection, "SELECT count(*) FROM t_pg8000 WHERE id >= 6000"), [(200,)])
    connection.rollback()


def check_large_result():
    connection = connect()
    equal(sum(n for n, in ask(connection, f"SELECT n FROM generate_series(1, {ROWS}) n")),
          ROWS * (ROWS + 1) // 2)
    connection.rollback()


def check_large_value():
    connection = connect()
    equal(len(ask(connection, f"SELECT repeat('x', {LARGE})")[0][0]), LARGE)
    equal(ask(connection, "SELECT length(CAST(%s AS text))", "x" * LARGE), [(LARGE,)])
    connection.rollback()


def check_reconnect():
    for number in range(10):
        connection = connect()
        equal(ask(connection, "SELECT CAST(%s AS int)", number), [(number,)])
        connection.close()


run(globals())
