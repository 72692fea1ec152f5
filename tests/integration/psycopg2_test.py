"""psycopg2: simple queries only, implicit BEGIN, COPY, and its reset()."""

import io

import psycopg2
import psycopg2.errors
import psycopg2.extras
import psycopg2.pool

import harness


class Psycopg2(harness.Case):
    config = {"pool": {"max_connections": 2, "acquire_timeout": "30s"}}

    def connect(self, service="users", **more):
        connection = psycopg2.connect(self.schemux.dsn(service), **more)
        self.addCleanup(connection.close)
        return connection

    def one(self, connection, sql, parameters=None):
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()

    def test_services_and_parameters(self):
        for service in harness.SERVICES:
            connection = self.connect(service)
            row = self.one(connection, "SELECT service, %s, %s FROM {{tables.who}}", (7, "it's"))
            connection.rollback()
            self.assertEqual(row, (service, 7, "it's"))

    def test_commit_and_rollback(self):
        with self.temporary_table("x int") as table:
            connection = self.connect()
            for end, expected in (("rollback", 0), ("commit", 1)):
                with connection.cursor() as cursor:
                    cursor.execute(f"INSERT INTO {{{{tables.{table}}}}} VALUES (1)")
                getattr(connection, end)()
                count = self.one(connection, f"SELECT count(*) FROM {table}")
                connection.rollback()
                self.assertEqual(count, (expected,))

    def test_errors_carry_sqlstate_and_position(self):
        connection = self.connect()
        with self.assertRaises(psycopg2.errors.UndefinedColumn) as caught:
            self.one(connection, "SELECT nothing FROM {{tables.who}}")
        self.assertEqual(caught.exception.diag.statement_position, "8")
        connection.rollback()
        self.assertEqual(self.one(connection, "SELECT 1"), (1,))

    def test_copy_expert(self):
        with self.temporary_table("x int, y text", "orders") as table:
            connection = self.connect("orders")
            with connection.cursor() as cursor:
                data = "".join(f"{n}\ty{n}\n" for n in range(2000))
                cursor.copy_expert(f"COPY {{{{tables.{table}}}}} FROM STDIN", io.StringIO(data))
                back = io.StringIO()
                cursor.copy_expert(f"COPY (SELECT * FROM {table} ORDER BY x) TO STDOUT", back)
            connection.rollback()
            self.assertEqual(back.getvalue(), data)

    def test_execute_values_and_batch(self):
        with self.temporary_table("x int, y text") as table:
            connection = self.connect()
            with connection.cursor() as cursor:
                psycopg2.extras.execute_values(
                    cursor, f"INSERT INTO {{{{tables.{table}}}}} VALUES %s",
                    [(n, "v") for n in range(500)])
                psycopg2.extras.execute_batch(
                    cursor, f"INSERT INTO {{{{tables.{table}}}}} VALUES (%s, %s)",
                    [(n, "b") for n in range(500)])
            count = self.one(connection, f"SELECT count(*) FROM {table}")
            connection.rollback()
            self.assertEqual(count, (1000,))

    def test_named_cursor(self):
        connection = self.connect()
        with connection.cursor("reader") as cursor:
            cursor.itersize = 50
            cursor.execute("SELECT n FROM generate_series(1, 500) n")
            self.assertEqual([n for n, in cursor], list(range(1, 501)))

    def test_reset_and_client_encoding(self):
        connection = self.connect(client_encoding="latin1")
        self.assertEqual(self.one(connection, "SELECT 'ä'"), ("ä",))
        connection.rollback()
        connection.reset()
        self.assertEqual(self.one(connection, "SELECT service FROM {{tables.who}}"), ("users",))

    def test_startup_options(self):
        connection = self.connect(options="-c statement_timeout=77s -c search_path=orders,public")
        self.assertEqual(self.one(connection, "SHOW statement_timeout"), ("77s",))
        self.assertEqual(self.one(connection, "SELECT service FROM who"), ("orders",))

    def test_cancel(self):
        connection = self.connect()
        running = harness.Background(self.one, connection, "SELECT pg_sleep(60) AS psycopg2")
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            "AND query LIKE '%AS psycopg2'"))
        connection.cancel()
        with self.assertRaises(psycopg2.errors.QueryCanceled):
            running.result()

    def test_threaded_pool(self):
        pool = psycopg2.pool.ThreadedConnectionPool(6, 6, self.schemux.dsn("orders"))
        self.addCleanup(pool.closeall)

        def work(number):
            for turn in range(30):
                connection = pool.getconn()
                try:
                    row = self.one(connection, "SELECT service, %s, %s FROM {{tables.who}}",
                                   (number, turn))
                    if row != ("orders", number, turn):
                        raise AssertionError(row)
                    connection.commit()
                finally:
                    pool.putconn(connection)

        for running in [harness.Background(work, n) for n in range(6)]:
            running.result()

    def test_lobject_function_calls(self):
        connection = self.connect()
        large = connection.lobject(0, "wb")
        large.write(b"content")
        large.seek(0)
        oid = large.oid
        large.close()
        again = connection.lobject(oid, "rb")
        self.assertEqual(again.read(), b"content")
        again.unlink()
        connection.commit()


Psycopg2InSessionMode = harness.in_session_mode(Psycopg2)
