"""asyncpg: always prepared, everything binary, its own pool with a reset text at each release."""

import asyncio

import asyncpg

import harness


class Asyncpg(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "30s"}}

    def address(self, service, **more):
        return {"host": "127.0.0.1", "port": self.schemux.port, "user": "alice",
                "database": service, "ssl": False, **more}

    def with_connection(self, service, work, **more):
        """Runs the coroutine function `work` on a connection of its own."""

        async def run():
            connection = await asyncpg.connect(**self.address(service, **more))
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(asyncio.wait_for(run(), 60))

    def test_fetch_in_every_service(self):
        async def work(connection):
            return await connection.fetchrow("SELECT service, $1::int FROM {{tables.who}}", 5)

        for service in harness.SERVICES:
            self.assertEqual(tuple(self.with_connection(service, work)), (service, 5))

    def test_without_statement_cache(self):
        async def work(connection):
            for number in range(20):
                value = await connection.fetchval("SELECT $1::int + 1", number)
                self.assertEqual(value, number + 1)
                statement = await connection.prepare("SELECT service, $1::int FROM {{tables.who}}")
                self.assertEqual(tuple(await statement.fetchrow(number)), ("users", number))

        self.with_connection("users", work, statement_cache_size=0)

    def test_statement_cache_evicts(self):
        async def work(connection):
            for turn in range(2):
                for number in range(15):
                    value = await connection.fetchval(f"SELECT {number} + $1::int", turn)
                    self.assertEqual(value, number + turn)

        self.with_connection("users", work, statement_cache_size=4)

    def test_pool_acquire_and_release_many_times(self):
        async def run():
            async with asyncpg.create_pool(**self.address("users"), min_size=2,
                                           max_size=10) as pool:
                async def one(number):
                    async with pool.acquire() as connection:
                        async with connection.transaction():
                            row = await connection.fetchrow(
                                "SELECT service, $1::int FROM {{tables.who}}", number)
                        return tuple(row)

                return await asyncio.gather(*(one(n) for n in range(400)))

        answers = asyncio.run(asyncio.wait_for(run(), 60))
        self.assertEqual(answers, [("users", n) for n in range(400)])

    def test_release_text_of_the_pool(self):
        async def work(connection):
            await connection.execute(
                "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;")
            row = await connection.fetchrow("SELECT service, current_schema() FROM who")
            return tuple(row)

        self.assertEqual(self.with_connection("orders", work), ("orders", "orders"))

    def test_executemany_and_copy(self):
        with self.temporary_table("x int, y text", "orders") as table:
            async def work(connection):
                await connection.executemany(
                    f"INSERT INTO {{{{tables.{table}}}}} VALUES ($1, $2)",
                    [(n, str(n)) for n in range(5000)])
                await connection.copy_records_to_table(
                    table, records=[(n, "copied") for n in range(5000)])
                return await connection.fetchval(f"SELECT count(*) FROM {table}")

            self.assertEqual(self.with_connection("orders", work), 10_000)

    def test_executemany_with_an_error_undoes_all_of_it(self):
        with self.temporary_table("x int PRIMARY KEY") as table:
            async def work(connection):
                with self.assertRaises(asyncpg.UniqueViolationError):
                    await connection.executemany(f"INSERT INTO {table} VALUES ($1)",
                                                 [(n % 3000,) for n in range(5000)])
                return await connection.fetchval(f"SELECT count(*) FROM {table}")

            self.assertEqual(self.with_connection("users", work), 0)

    def test_timeout_cancels_the_statement(self):
        async def work(connection):
            for _ in range(3):
                with self.assertRaises(asyncio.TimeoutError):
                    await connection.fetch("SELECT pg_sleep(60)", timeout=0.05)
                self.assertEqual(await connection.fetchval("SELECT 7"), 7)

        self.with_connection("users", work)
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' "
            "AND state = 'active'")[0][0] == 0, "the statements to be cancelled")

    def test_server_settings_hold(self):
        wanted = {"jit": "off", "search_path": "orders, public", "statement_timeout": "54321",
                  "application_name": "service of asyncpg"}

        async def work(connection):
            for _ in range(5):
                for name, value in wanted.items():
                    found = await connection.fetchval("SELECT current_setting($1)", name)
                    self.assertEqual(found, "54321ms" if name == "statement_timeout" else value)
                self.assertEqual(await connection.fetchval("SELECT service FROM who"), "orders")
            return connection.get_settings()

        settings = self.with_connection("users", work, server_settings=wanted)
        self.assertEqual(settings.client_encoding, "UTF8")
        self.assertEqual(settings.application_name, "service of asyncpg")

    def test_cursor_in_a_transaction(self):
        async def work(connection):
            async with connection.transaction():
                return [row["n"] async for row in connection.cursor(
                    "SELECT n FROM generate_series(1, 777) n", prefetch=50)]

        self.assertEqual(self.with_connection("users", work), list(range(1, 778)))

    def test_nested_transactions(self):
        with self.temporary_table("x int") as table:
            async def work(connection):
                async with connection.transaction():
                    await connection.execute(f"INSERT INTO {table} VALUES (1)")
                    with self.assertRaises(asyncpg.DivisionByZeroError):
                        async with connection.transaction():
                            await connection.execute(f"INSERT INTO {table} VALUES (2)")
                            await connection.fetch("SELECT 1/(random() * 0)::int")
                rows = await connection.fetch(f"SELECT x FROM {table}")
                return [row["x"] for row in rows]

            self.assertEqual(self.with_connection("users", work), [1])

    def test_types_that_need_introspection(self):
        name = f"mood_{id(self)}"
        with self.postgres.connect_as_owner() as direct:
            direct.execute(f"CREATE TYPE users.{name} AS ENUM ('sad', 'glad')")

            async def work(connection):
                return await connection.fetchval(f"SELECT ARRAY['glad', 'sad']::users.{name}[]")

            try:
                self.assertEqual(self.with_connection("users", work), ["glad", "sad"])
            finally:
                direct.execute(f"DROP TYPE users.{name}")

    def test_changed_table_under_a_cached_statement(self):
        with self.temporary_table("x int") as table:
            async def work(connection):
                await connection.fetch(f"SELECT * FROM {table}")
                self.postgres.run(f"ALTER TABLE users.{table} ADD COLUMN y text DEFAULT 'new'")
                self.postgres.run(f"INSERT INTO users.{table} VALUES (1)")
                return [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")]

            self.assertEqual(self.with_connection("users", work), [(1, "new")])


AsyncpgInSessionMode = harness.in_session_mode(Asyncpg)
