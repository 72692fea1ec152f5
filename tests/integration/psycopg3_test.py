"""psycopg 3 and its pool: automatic prepared statements, pipelines, cursors, COPY, cancel."""

import asyncio
import threading

import psycopg
import psycopg_pool
from psycopg import errors
from psycopg.rows import dict_row

import harness


class Psycopg3(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "30s"}}

    def test_parameters_and_types(self):
        connection = self.psycopg("orders")
        row = connection.execute(
            "SELECT service, %s::int, %s::text, %s::jsonb, %s::int[] FROM {{tables.who}}",
            (1, "zwölf", '{"a": 1}', [1, 2])).fetchone()
        self.assertEqual(row, ("orders", 1, "zwölf", {"a": 1}, [1, 2]))

    def test_binary_results(self):
        connection = self.psycopg("users")
        cursor = connection.cursor(binary=True, row_factory=dict_row)
        row = cursor.execute("SELECT id, name FROM {{tables.items}} WHERE id = %s", (3,)).fetchone()
        self.assertEqual(row, {"id": 3, "name": "users item 3"})

    def test_automatic_preparation_on_changing_backends(self):
        first, second = self.psycopg("users"), self.psycopg("orders")
        for connection in (first, second):
            connection.prepare_threshold = 1
        for number in range(1, 11):
            for service, connection in (("users", first), ("orders", second)):
                name, = connection.execute("SELECT name FROM {{tables.items}} WHERE id = %s",
                                           (number,)).fetchone()
                self.assertEqual(name, f"{service} item {number}")

    def test_eviction_of_prepared_statements(self):
        connection = self.psycopg("users")
        connection.prepare_threshold, connection.prepared_max = 0, 5
        for number in range(30):
            value, = connection.execute(f"SELECT {number} + %s", (number,)).fetchone()
            self.assertEqual(value, 2 * number)
        for number in range(30):
            value, = connection.execute(f"SELECT {number} + %s", (number,)).fetchone()
            self.assertEqual(value, 2 * number)

    def test_transactions_and_savepoints(self):
        connection = self.psycopg("users")
        with self.temporary_table("x int") as table:
            with connection.transaction():
                connection.execute(f"INSERT INTO {table} VALUES (1)")
                with self.assertRaises(errors.DivisionByZero), connection.transaction():
                    connection.execute(f"INSERT INTO {table} VALUES (2)")
                    connection.execute("SELECT 1/0")
                connection.execute(f"INSERT INTO {table} VALUES (%s)", (3,))
            rows = connection.execute(f"SELECT x FROM {table} ORDER BY x").fetchall()
            self.assertEqual(rows, [(1,), (3,)])

    def test_rollback_when_the_connection_closes(self):
        with self.temporary_table("x int") as table:
            connection = self.psycopg("users", autocommit=False)
            connection.execute(f"INSERT INTO {table} VALUES (1)")
            connection.close()
            self.assertEqual(self.psycopg().execute(f"SELECT * FROM {table}").fetchall(), [])

    def test_pipeline_mode(self):
        connection = self.psycopg("users")
        with connection.pipeline():
            cursors = [connection.execute("SELECT %s::int, service FROM {{tables.who}}", (n,))
                       for n in range(500)]
        self.assertEqual([one.fetchone() for one in cursors], [(n, "users") for n in range(500)])

    def test_pipeline_with_an_error_in_the_middle(self):
        connection = self.psycopg("users")
        with self.assertRaises(errors.UndefinedTable), connection.pipeline() as pipeline:
            good = connection.execute("SELECT 1")
            pipeline.sync()
            connection.execute("SELECT * FROM {{tables.missing}}")
            connection.execute("SELECT 2")
            pipeline.sync()
        self.assertEqual(good.fetchone(), (1,))
        self.assertEqual(connection.execute("SELECT 3").fetchone(), (3,))

    def test_executemany(self):
        with self.temporary_table("x int, y text", "orders") as table:
            connection = self.psycopg("orders")
            connection.cursor().executemany(f"INSERT INTO {{{{tables.{table}}}}} VALUES (%s, %s)",
                                            [(n, str(n)) for n in range(1000)])
            count = connection.execute(f"SELECT count(*), sum(x) FROM {table}").fetchone()
            self.assertEqual(count, (1000, 499500))

    def test_server_side_cursor_in_a_transaction(self):
        connection = self.psycopg("users", autocommit=False)
        with connection.cursor("reader") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT n, service FROM {{tables.who}}, generate_series(1, 1000) n")
            self.assertEqual([row for row in cursor], [(n, "users") for n in range(1, 1001)])
        connection.rollback()

    def test_copy_both_ways(self):
        with self.temporary_table("x int, y text") as table:
            connection = self.psycopg("users")
            cursor = connection.cursor()
            with cursor.copy(f"COPY {{{{tables.{table}}}}} FROM STDIN") as copy:
                for number in range(3000):
                    copy.write_row((number, f"row {number}"))
            with cursor.copy(f"COPY (SELECT * FROM {table} ORDER BY x) TO STDOUT") as copy:
                copy.set_types(["int4", "text"])
                self.assertEqual(list(copy.rows()), [(n, f"row {n}") for n in range(3000)])
            with self.assertRaises(errors.InvalidTextRepresentation):
                with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                    copy.write("no\tnumber\n")
            self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_cancel_from_another_thread(self):
        connection = self.psycopg("users")
        running = harness.Background(connection.execute, "SELECT pg_sleep(60) AS psycopg3")
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            "AND query LIKE '%AS psycopg3'"))
        connection.cancel()
        with self.assertRaises(errors.QueryCanceled):
            running.result()
        self.assertEqual(connection.execute("SELECT 1").fetchone(), (1,))

    def test_error_fields(self):
        connection = self.psycopg("users")
        text = "SELECT nothing FROM {{tables.who}}"
        with self.assertRaises(errors.UndefinedColumn) as caught:
            connection.execute(text)
        self.assertEqual(int(caught.exception.diag.statement_position), text.index("nothing") + 1)

    def test_unknown_service_and_its_error(self):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(self.schemux.dsn("nobody"))
        self.assertIn('database "nobody" does not exist', str(caught.exception))

    def test_notices_reach_their_handler(self):
        connection = self.psycopg("users")
        heard = []
        connection.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_primary))
        connection.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE NOTICE 'two'; END $$")
        self.assertEqual(heard, ["one", "two"])

    def test_pool_of_connections_under_threads(self):
        with psycopg_pool.ConnectionPool(self.schemux.dsn("orders"), min_size=4, max_size=12,
                                         kwargs={"prepare_threshold": 0}) as pool:
            wrong = []

            def work(number):
                for turn in range(30):
                    with pool.connection() as connection:
                        row = connection.execute(
                            "SELECT service, %s::int, %s::int FROM {{tables.who}}",
                            (number, turn)).fetchone()
                        if row != ("orders", number, turn):
                            wrong.append(row)

            threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])

    def test_async_connections(self):
        async def one(service, number):
            async with await psycopg.AsyncConnection.connect(
                    self.schemux.dsn(service), autocommit=True) as connection:
                cursor = await connection.execute(
                    "SELECT service, %s::int FROM {{tables.who}}", (number,))
                return await cursor.fetchone()

        async def everything():
            return await asyncio.gather(*(one(service, n) for n in range(10)
                                          for service in harness.SERVICES))

        answers = asyncio.run(everything())
        self.assertEqual(answers, [(service, n) for n in range(10) for service in harness.SERVICES])


Psycopg3InSessionMode = harness.in_session_mode(Psycopg3)
