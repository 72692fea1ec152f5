"""The most important promise: every answer belongs to who asked.

Many clients of three services work on a pool of five. Each answer carries the service (from the
table that the schema decides), the client, its sequence number and a nonce, and is compared. At the
same time others vanish in every awkward moment, and a direct connection watches the bound.
"""

import asyncio
import random
import threading

import asyncpg
import psycopg

import harness
import server
import wire

ANSWERS_FULL = 22_000
ANSWERS_SMOKE = 5_000
SERVICES = list(harness.SERVICES)


class Wrong(AssertionError):
    """An answer that is not this client's."""


class Progress:
    """Answers checked so far, and when to end: shared by all clients of a run."""

    def __init__(self, target):
        self.target = target
        self.checked = 0
        self.over = threading.Event()
        self._lock = threading.Lock()

    def add(self, count=1):
        with self._lock:
            self.checked += count
            if self.checked >= self.target:
                self.over.set()


class Identity:
    """One client's questions and what their answers must be."""

    def __init__(self, number, progress):
        self.number = number
        self.service = SERVICES[number % len(SERVICES)]
        self.schema = harness.SERVICES[self.service]
        self.random = random.Random(number)
        self.sequence = 0
        self.progress = progress

    def ask(self):
        """The next (sequence, nonce)."""
        self.sequence += 1
        return self.sequence, f"{self.number}-{self.sequence}-{self.random.getrandbits(48):x}"

    def table(self):
        """Named by template or left to the search_path."""
        return self.random.choice(["{{tables.who}}", "<<tables.who>>", "who", "{{schema}}.who"])

    def check(self, answer, sequence, nonce):
        expected = (self.service, self.number, sequence, nonce)
        found = (answer[0], int(answer[1]), int(answer[2]), answer[3])
        if found != expected:
            raise Wrong(f"expected {expected}, got {found}")
        self.progress.add()

    def literal(self, sequence, nonce, table=None):
        return (f"SELECT service, {self.number}, {sequence}, '{nonce}' "
                f"FROM {table or self.table()}")


class WireClient:
    """Raw messages: pipelines of simple, unnamed and named extended queries with errors between."""

    def __init__(self, identity, port):
        self.identity = identity
        self.wire = wire.connect(port, identity.service)
        self.named = 0

    def run(self):
        moves = [self.simple, self.unnamed, self.named_statement, self.pipeline, self.several,
                 self.failing, self.transaction, self.copy]
        try:
            # Everybody has a turn, however late it started.
            while not (self.identity.progress.over.is_set() and self.identity.sequence):
                self.identity.random.choice(moves)()
        finally:
            self.wire.close()

    def extended(self, name=""):
        """An extended query without its Sync, and how to check its answer."""
        me = self.identity
        sequence, nonce = me.ask()
        text = f"SELECT service, $1::int, $2::int, $3::text FROM {me.table()}"
        parts = b"" if name else wire.parse("", text)
        parts += wire.bind("", name, [me.number, sequence, nonce]) + wire.execute()
        return parts, (sequence, nonce)

    def simple(self):
        sequence, nonce = self.identity.ask()
        rows = self.wire.rows(self.identity.literal(sequence, nonce))
        self.identity.check(rows[0], sequence, nonce)

    def unnamed(self):
        parts, asked = self.extended()
        self.wire.send(parts, wire.SYNC)
        self.identity.check(wire.rows_of(self.wire.read_ready())[0], *asked)

    def named_statement(self):
        # Everybody uses the same names, for other texts.
        name = f"s{self.named % 7}"
        if self.named >= 7:
            self.wire.send(wire.close("S", name))
        self.named += 1
        text = f"SELECT service, $1::int, $2::int, $3::text FROM {self.identity.table()}"
        self.wire.send(wire.parse(name, text), wire.describe("S", name), wire.SYNC)
        if wire.errors_of(self.wire.read_ready()):
            raise Wrong("a Parse failed")
        for _ in range(3):
            parts, asked = self.extended(name)
            self.wire.send(parts, wire.SYNC)
            self.identity.check(wire.rows_of(self.wire.read_ready())[0], *asked)

    def pipeline(self):
        batch, asked = b"", []
        for _ in range(self.identity.random.randint(2, 20)):
            parts, one = self.extended()
            batch += parts + wire.SYNC
            asked.append(one)
        self.wire.send(batch)
        for one in asked:
            self.identity.check(wire.rows_of(self.wire.read_ready())[0], *one)

    def several(self):
        asked = [self.identity.ask() for _ in range(3)]
        rows = self.wire.rows("; ".join(self.identity.literal(*one) for one in asked))
        for row, one in zip(rows, asked, strict=True):
            self.identity.check(row, *one)

    def failing(self):
        sequence, nonce = self.identity.ask()
        messages = self.wire.ask(f"SELECT '{nonce}'::int FROM {self.identity.table()}")
        if wire.sqlstates(messages) != ["22P02"] or nonce not in wire.errors_of(messages)[0]["M"]:
            raise Wrong(f"not this client's error: {messages}")
        parts, asked = self.extended()
        bad = wire.parse("", f"SELECT '{nonce}' FROM {{{{tables.missing_{self.identity.number}}}}}")
        self.wire.send(bad, parts, wire.SYNC, parts, wire.SYNC)
        messages = self.wire.read_ready()
        name = f"missing_{self.identity.number}"
        if wire.kinds(messages) != "EZ" or name not in wire.errors_of(messages)[0]["M"]:
            raise Wrong(f"not this client's error: {messages}")
        self.identity.check(wire.rows_of(self.wire.read_ready())[0], *asked)
        self.identity.progress.add(2)

    def transaction(self):
        nonce = self.identity.ask()[1]
        self.wire.rows("BEGIN")
        self.wire.rows(f"INSERT INTO {{{{tables.ledger}}}} VALUES ('{nonce}')")
        self.wire.rows("SAVEPOINT a")
        self.wire.ask("SELECT 1/0")
        self.wire.rows("ROLLBACK TO a")
        parts, asked = self.extended()
        self.wire.send(parts, wire.SYNC)
        self.identity.check(wire.rows_of(self.wire.read_ready())[0], *asked)
        rows = self.wire.rows(f"DELETE FROM ledger WHERE nonce = '{nonce}' RETURNING service")
        self.wire.rows("COMMIT")
        if rows != [[self.identity.service]]:
            raise Wrong(f"another ledger: {rows}")
        self.identity.progress.add()

    def copy(self):
        number = self.identity.number
        nonce = self.identity.ask()[1]
        self.wire.rows("BEGIN")
        self.wire.send(wire.query("COPY {{tables.loaded}} FROM STDIN"),
                       wire.copy_data(f"{number}\t{nonce}\n".encode() * 3), wire.COPY_DONE)
        if wire.kinds(self.wire.read_ready()) != "GCZ":
            raise Wrong("COPY failed")
        rows = self.wire.rows(f"SELECT count(*) FROM {self.identity.schema}.loaded "
                              f"WHERE body = '{nonce}' AND number = {number}")
        self.wire.rows("ROLLBACK")
        if rows != [["3"]]:
            raise Wrong(f"COPY went elsewhere: {rows}")
        self.identity.progress.add()


def run_psycopg(identity, dsn):
    """A driver with automatic preparation, transactions and the driver's own pipelines."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.prepare_threshold = 2
        while not (identity.progress.over.is_set() and identity.sequence):
            text = f"SELECT service, %s::int, %s::int, %s::text FROM {identity.table()}"
            asked = [identity.ask() for _ in range(4)]
            with connection.transaction():
                for sequence, nonce in asked[:2]:
                    row = connection.execute(text, (identity.number, sequence, nonce)).fetchone()
                    identity.check(row, sequence, nonce)
            with connection.pipeline():
                cursors = [connection.execute(text, (identity.number, *one)) for one in asked[2:]]
            for cursor, one in zip(cursors, asked[2:], strict=True):
                identity.check(cursor.fetchone(), *one)
            sequence, nonce = identity.ask()
            identity.check(connection.execute(identity.literal(sequence, nonce)).fetchone(),
                           sequence, nonce)


async def run_asyncpg(identity, port):
    connection = await asyncpg.connect(
        host="127.0.0.1", port=port, user="alice", database=identity.service, ssl=False,
        statement_cache_size=identity.random.choice([0, 3, 100]))
    try:
        while not (identity.progress.over.is_set() and identity.sequence):
            sequence, nonce = identity.ask()
            text = f"SELECT service, $1::int, $2::int, $3::text FROM {identity.table()}"
            if identity.random.random() < 0.3:
                async with connection.transaction():
                    row = await connection.fetchrow(text, identity.number, sequence, nonce)
            else:
                row = await connection.fetchrow(text, identity.number, sequence, nonce)
            identity.check(tuple(row), sequence, nonce)
    finally:
        await asyncio.wait_for(connection.close(), 20)


def run_asyncpg_group(identities, port):
    async def everybody():
        await asyncio.gather(*(run_asyncpg(one, port) for one in identities))

    asyncio.run(everybody())


def run_vanishing(number, port, over):
    """Clients that leave in the middle of everything, one after the other."""
    dice = random.Random(1000 + number)
    service = SERVICES[number % len(SERVICES)]
    count = 0
    while not over.is_set():
        client = wire.connect(port, service)
        big = wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        half = wire.query("SELECT service FROM {{tables.who}}")
        endings = [
            lambda: client.send(half[:dice.randint(1, len(half) - 1)]),
            lambda: (client.send(big), client.read()),
            lambda: (client.ask("BEGIN"), client.ask("INSERT INTO ledger VALUES ('gone')")),
            lambda: (client.ask("BEGIN"), client.ask("SELECT 1/0")),
            lambda: client.send(wire.parse("", "SELECT 1")),
            lambda: client.send(wire.parse("x", "SELECT 1"), wire.bind("", "x"), wire.FLUSH),
            lambda: client.send(wire.bind("", "", ["y" * 100_000])[:50_000]),
            lambda: (client.send(wire.query("COPY {{tables.loaded}} FROM STDIN")), client.read(),
                     client.send(wire.copy_data(b"1\tgone\n"))),
            lambda: (client.send(wire.query("COPY {{tables.loaded}} FROM STDIN")), client.read(),
                     client.send(wire.copy_data(b"1\tgone\n" * 1000)[:3000])),
            lambda: client.send(half * 30),
            lambda: client.send(half * 3, wire.TERMINATE),
            lambda: (client.ask("SET work_mem = '13MB'"),
                     client.ask("CREATE TEMP TABLE who (x int)")),
            lambda: client.send(wire.query("SELECT pg_sleep(0.02)")),
        ]
        dice.choice(endings)()
        client.vanish() if dice.random() < 0.5 else client.close()
        count += 1
    return count


class Watch:
    """Counts the backends of the login role, over and over, past schemux."""

    def __init__(self, postgres, over):
        self.most = 0
        self.looks = 0
        self._over = over
        self._connection = postgres.connect()
        self._running = harness.Background(self._run)

    def _run(self):
        with self._connection as connection:
            while not self._over.is_set():
                count, = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'").fetchone()
                self.most = max(self.most, count)
                self.looks += 1

    def result(self):
        self._running.result()
        return self.most


class Ownership(harness.Case):
    own_schemux = False

    def run_everybody(self, workers, bound, share, clients=42):
        """All kinds of clients at once until enough answers are checked."""
        total = ANSWERS_SMOKE if self.lab.smoke else ANSWERS_FULL
        server.wait_until(lambda: not self.postgres.backends(), what="earlier backends to end")
        instance = self.start_schemux({
            "workers": workers, "log": {"level": "warning"},
            "pool": {"max_connections": bound, "acquire_timeout": "60s"}})
        progress = Progress(int(total * share))
        watch = Watch(self.postgres, progress.over)
        identities = [Identity(number, progress) for number in range(clients)]
        running = []
        try:
            groups = identities[0::3], identities[1::3], identities[2::3]
            for identity in groups[0]:
                running.append(harness.Background(WireClient(identity, instance.port).run))
            for identity in groups[1]:
                running.append(harness.Background(
                    run_psycopg, identity, instance.dsn(identity.service)))
            running.append(harness.Background(run_asyncpg_group, groups[2], instance.port))
            vanishing = [harness.Background(run_vanishing, n, instance.port, progress.over)
                         for n in range(3)]
            self.wait_until(lambda: progress.over.is_set() or any(one.done() for one in running),
                            "all answers", seconds=150)
        finally:
            progress.over.set()
        for one in running:
            one.result()
        gone = sum(one.result() for one in vanishing)
        self.assertGreaterEqual(progress.checked, progress.target)
        self.assertTrue(all(one.sequence for one in identities), "a client got no turn")
        self.assertGreater(gone, 5)
        self.assertLessEqual(watch.result(), bound, "more backends than the bound")
        self.assertGreater(watch.looks, 10)
        self.assertEqual(instance.metric("schemux_desync_total"), 0)
        self.wait_for_idle_pool(instance)
        self.assertLessEqual(len(self.postgres.backends()), bound)
        self.assertEqual(self.postgres.run(
            "SELECT count(*) FROM (TABLE users.ledger UNION ALL TABLE orders.ledger "
            "UNION ALL TABLE public.ledger) AS l"), [(0,)], "a lost transaction was committed")
        self.assertEqual(instance.stop(), 0)
        print(f"    {progress.checked} answers, {gone} clients vanished, at most {watch.most} "
              f"backends of {bound}, {workers} workers", flush=True)

    def test_one_worker(self):
        self.run_everybody(workers=1, bound=5, share=0.5)

    def test_three_workers(self):
        self.run_everybody(workers=3, bound=5, share=0.4)

    def test_pool_of_one(self):
        self.run_everybody(workers=1, bound=1, share=0.05)

    def test_pool_of_one_and_two_workers(self):
        self.run_everybody(workers=2, bound=1, share=0.05)


class Vanishing(harness.Case):
    """Each way to leave, alone, on the only backend: the next client finds it as new."""

    config = {"pool": {"max_connections": 1, "acquire_timeout": "20s"}}

    def next_client_is_served(self, *, rows=0):
        client = self.wire("orders")
        self.assertEqual(client.rows("SELECT service FROM who"), [["orders"]])
        self.assertEqual(client.ask("SELECT 1")[-1].body, b"I")
        self.assertEqual(self.postgres.run("SELECT count(*) FROM users.ledger"), [(rows,)])
        self.assertEqual(self.postgres.run("SELECT count(*) FROM users.loaded"), [(0,)])
        client.close()

    def test_mid_message(self):
        data = wire.query("SELECT service FROM {{tables.who}}")
        for cut in (1, 3, 5, 6, len(data) - 1):
            client = self.wire()
            client.send(data[:cut])
            client.vanish()
            self.next_client_is_served()

    def test_mid_message_of_a_streamed_bind(self):
        client = self.wire()
        client.send(wire.parse("", "SELECT $1::text"))
        client.send(wire.bind("", "", ["y" * 500_000])[:200_000])
        self.wait_until(lambda: self.schemux.metric("schemux_leases", service="users") == 1)
        client.vanish()
        self.next_client_is_served()

    def test_mid_result(self):
        client = self.wire()
        client.send(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
        client.read()
        client.vanish()
        self.next_client_is_served()

    def test_mid_transaction(self):
        for text in ("SELECT 1", "SELECT 1/0", "SET LOCAL work_mem = '13MB'"):
            client = self.wire()
            client.ask("BEGIN")
            client.ask("INSERT INTO {{tables.ledger}} VALUES ('gone')")
            client.ask(text)
            client.vanish()
            self.next_client_is_served()

    def test_between_parse_and_sync(self):
        for parts in ((wire.parse("", "SELECT 1"),), (wire.parse("a", "SELECT 1"), wire.FLUSH),
                      (wire.parse("", "SELECT 1"), wire.bind(), wire.execute()),
                      (wire.parse("", "SELEC"), wire.bind(), wire.FLUSH)):
            client = self.wire()
            client.send(*parts)
            self.wait_until(lambda: self.schemux.metric("schemux_leases", service="users") == 1)
            client.vanish()
            self.next_client_is_served()

    def test_in_copy_in(self):
        for data in (b"", b"1\tgone\n"):
            client = self.wire()
            client.send(wire.query("COPY {{tables.loaded}} FROM STDIN"))
            self.assertEqual(client.read().kind, "G")
            if data:
                client.send(wire.copy_data(data))
            client.vanish()
            self.next_client_is_served()

    def test_in_copy_out(self):
        client = self.wire()
        client.send(wire.query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) "
                               "TO STDOUT"))
        self.assertEqual(client.read().kind, "H")
        client.vanish()
        self.next_client_is_served()

    def test_while_waiting_for_a_backend(self):
        holder = self.wire()
        holder.ask("BEGIN")
        waiter = self.wire()
        waiter.send(wire.query("INSERT INTO {{tables.ledger}} VALUES ('never asked')"))
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        waiter.vanish()
        self.addCleanup(self.postgres.run, "DELETE FROM users.ledger")
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 0)
        holder.ask("COMMIT")
        self.next_client_is_served()

    def test_while_a_statement_runs_it_is_cancelled(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' "
            "AND state = 'active'"), "the statement to run")
        client.vanish()
        self.next_client_is_served()

    def test_slow_reader_does_not_block_others_for_ever(self):
        with self.temporary_table("x int"):
            slow = self.wire()
            slow.send(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 50000)"))
            waiting = harness.Background(self.wire("orders").rows, "SELECT service FROM who")
            self.assertEqual(sum(one.kind == "D" for one in slow.read_ready()), 50_000)
            self.assertEqual(waiting.result(), [["orders"]])
