"""The pools of drivers, each with its own way to prepare and to reset a connection, for three
services at once over three backends: settings hold where they were made and nowhere else."""

import asyncio
import random

import asyncpg
import psycopg2.pool
import psycopg_pool

import harness

ZONES = {"users": "Asia/Tokyo", "orders": "Europe/Paris", "legacy": "America/New_York"}
SEEN = ("SELECT (SELECT service FROM who), current_setting('TimeZone'), "
        "current_setting('work_mem'), coalesce(current_setting('app.tenant', true), ''), "
        "coalesce(current_setting('app.mark', true), ''), current_user")
UNITS = 40  # of work, for each service and thread


def expected(service, tenant, left=""):
    return (service, ZONES[service], "4MB", tenant, left, "app")


class Pools(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "30s"}}

    def in_threads(self, work, per_service=2):
        """`work(service, random)` in threads of each service; raises what any of them raised."""
        running = [harness.Background(work, service, random.Random(f"{service} {number}"))
                   for service in harness.SERVICES for number in range(per_service)]
        for one in running:
            one.result(120)

    def test_psycopg_pool(self):
        """`configure` runs once for each connection, `reset` when it comes back."""
        def configure(connection):
            connection.execute("SET app.tenant = 'configured'")
            connection.execute("SELECT set_config('app.tenant', %s, false)",
                               [connection.info.dbname])
            connection.commit()

        def reset(connection):
            connection.execute("RESET app.mark; RESET ROLE")
            connection.commit()

        pools = {service: psycopg_pool.ConnectionPool(
            self.schemux.dsn(service), min_size=2, max_size=4, configure=configure, reset=reset,
            kwargs={"options": f"-c TimeZone={ZONES[service]}"}) for service in harness.SERVICES}

        def work(service, choice):
            for number in range(UNITS):
                with pools[service].connection() as connection:
                    connection.prepare_threshold = 2
                    seen = connection.execute(SEEN).fetchone()
                    self.assertEqual(seen, expected(service, service))
                    connection.execute(f"SET app.mark = '{service} {number}'")
                    if choice.random() < 0.3:
                        connection.commit()
                        connection.execute("SET work_mem = '9MB'; SET LOCAL TimeZone = 'UTC'")
                        connection.execute("SET ROLE app_reader")
                        connection.rollback()
                    if choice.random() < 0.3:
                        connection.execute("SET ROLE app_reader")
                        connection.commit()
                        user, = connection.execute("SELECT current_user").fetchone()
                        self.assertEqual(user, "app_reader")
                        connection.execute("SET ROLE NONE")
                    seen = connection.execute(SEEN).fetchone()
                    self.assertIn(seen[4], (f"{service} {number}", ""))

        try:
            self.in_threads(work)
        finally:
            for pool in pools.values():
                pool.close()

    def test_psycopg2_pool(self):
        """A connection that comes back is rolled back; `reset()` is the driver's own reset."""
        pools = {service: psycopg2.pool.ThreadedConnectionPool(
            3, 6, self.schemux.dsn(service, options=f"-c TimeZone={ZONES[service]}"))
            for service in harness.SERVICES}

        def work(service, choice):
            for number in range(UNITS):
                connection = pools[service].getconn()
                with connection.cursor() as cursor:
                    cursor.execute(SEEN)
                    self.assertEqual(cursor.fetchone(), expected(service, ""))
                    cursor.execute("SELECT set_config('app.tenant', %s, false)", [service])
                    cursor.execute("SET app.mark = 'x'")
                    connection.commit()
                    cursor.execute(SEEN)
                    self.assertEqual(cursor.fetchone(), expected(service, service, "x"))
                    connection.rollback()
                    if choice.random() < 0.3:
                        connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
                        cursor.execute("SHOW transaction_isolation")
                        self.assertEqual(cursor.fetchone(), ("serializable",))
                        connection.rollback()
                connection.reset()
                pools[service].putconn(connection)

        try:
            self.in_threads(work)
        finally:
            for pool in pools.values():
                pool.closeall()

    def test_asyncpg_pool(self):
        """`setup` runs whenever a connection is handed out; RESET ALL when it comes back."""
        async def setup(connection):
            await connection.execute("SET app.tenant = 'set up'")

        async def work(pool, service, choice):
            for number in range(UNITS):
                async with pool.acquire() as connection:
                    self.assertEqual(tuple(await connection.fetchrow(SEEN)),
                                     expected(service, "set up"))
                    await connection.execute(f"SET app.mark = '{number}'; SET geqo = off")
                    await connection.execute("SELECT set_config('app.tenant', $1, false)", service)
                    if choice.random() < 0.3:
                        transaction = connection.transaction()
                        await transaction.start()
                        await connection.execute("SET LOCAL work_mem = '9MB'")
                        await connection.execute("SET app.tenant = 'undone'")
                        await transaction.rollback()
                    if choice.random() < 0.3:
                        async with connection.transaction(isolation="serializable", readonly=True):
                            value = await connection.fetchval("SHOW transaction_isolation")
                            self.assertEqual(value, "serializable")
                    self.assertEqual(tuple(await connection.fetchrow(SEEN)),
                                     expected(service, service, str(number)))

        async def run():
            pools = {}
            for service, zone in ZONES.items():
                pools[service] = await asyncpg.create_pool(
                    host="127.0.0.1", port=self.schemux.port, user="alice", database=service,
                    ssl=False, min_size=2, max_size=4, setup=setup,
                    server_settings={"TimeZone": zone, "jit": "off", "statement_timeout": "60s"})
            await asyncio.gather(*[
                work(pools[service], service, random.Random(f"{service} {number}"))
                for service in ZONES for number in range(3)])
            for pool in pools.values():
                await pool.close()

        asyncio.run(asyncio.wait_for(run(), 120))


class ObjectMappers(harness.Case):
    """SQLAlchemy's pool, and Django's connections, of which each thread keeps one."""

    config = Pools.config
    in_threads = Pools.in_threads

    def test_sqlalchemy(self):
        import sqlalchemy
        from sqlalchemy import event, text

        def engine(service):
            made = sqlalchemy.create_engine(
                f"postgresql+psycopg2://alice@127.0.0.1:{self.schemux.port}/{service}",
                pool_size=2, max_overflow=2, pool_pre_ping=True)

            @event.listens_for(made, "connect")
            def connected(connection, _record):
                with connection.cursor() as cursor:
                    cursor.execute(f"SET TimeZone = '{ZONES[service]}'")
                    cursor.execute("SET app.tenant = 'connected'")
                connection.commit()

            return made

        engines = {service: engine(service) for service in harness.SERVICES}

        def work(service, choice):
            for number in range(UNITS):
                with engines[service].connect() as connection:
                    seen = tuple(connection.execute(text(SEEN)).one())
                    self.assertEqual(seen, expected(service, "connected"))
                with engines[service].begin() as connection:
                    connection.execute(text("SET LOCAL app.mark = 'local'"))
                    nested = connection.begin_nested()
                    connection.execute(text("SET app.tenant = 'undone'"))
                    nested.rollback()
                    seen = tuple(connection.execute(text(SEEN)).one())
                    self.assertEqual(seen, expected(service, "connected", "local"))
                if choice.random() < 0.3:
                    with engines[service].connect().execution_options(
                            isolation_level="SERIALIZABLE") as connection:
                        level = connection.execute(text("SHOW transaction_isolation")).scalar()
                        self.assertEqual(level, "serializable")
                rows = engines[service].connect().execution_options(stream_results=True)
                with rows, rows.begin():
                    found = [row[0] for row in rows.execute(text(
                        "SELECT current_setting('app.tenant') FROM generate_series(1, 50)"))]
                    self.assertEqual(set(found), {"connected"}, number)

        try:
            self.in_threads(work)
        finally:
            for one in engines.values():
                one.dispose()

    def test_django(self):
        """Its connections set TimeZone and the isolation level themselves."""
        from django.conf import settings
        from django.db import connections, transaction

        databases = {name: {
            "ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1",
            "PORT": self.schemux.port, "USER": "alice", "NAME": service,
            "TIME_ZONE": ZONES[service], "CONN_MAX_AGE": None,
            "OPTIONS": {"options": "-c app.tenant=django"}}
            for name, service in [("default", "legacy"), *zip(harness.SERVICES, harness.SERVICES)]}
        settings.configure(DATABASES=databases, USE_TZ=True)

        def work(service, choice):
            connection = connections[service]  # one for each thread
            for number in range(UNITS):
                with connection.cursor() as cursor:
                    cursor.execute(SEEN)
                    self.assertEqual(cursor.fetchone(), expected(service, "django", str(number - 1)
                                                                 if number else ""))
                    cursor.execute("SELECT set_config('app.mark', %s, false)", [str(number)])
                with transaction.atomic(using=service), connection.chunked_cursor() as cursor:
                    # A cursor of the server's.
                    cursor.execute("SELECT current_setting('app.mark'), service FROM who, "
                                   "generate_series(1, 50)")
                    self.assertEqual(set(cursor.fetchall()), {(str(number), service)})
                if choice.random() < 0.5:
                    with self.assertRaises(ZeroDivisionError), transaction.atomic(using=service):
                        with connection.cursor() as cursor:
                            cursor.execute("SET app.mark = 'undone'; SET TimeZone = 'UTC'")
                        raise ZeroDivisionError
            connection.close()

        self.in_threads(work)
