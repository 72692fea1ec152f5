"""Clients whose every answer is checked, for when the server or the network fails under them: each
answer carries the client's and the query's number and the service's schema, and a ledger says of
each transaction whether it was done, failed, or ended without an answer. What is allowed to fail is
the caller's business; that nothing is wrong, lost or done twice is looked at here.
"""

import collections
import random
import threading
import time

import harness
import wire

SERVICES = {"users": "users", "orders": "orders", "legacy": "public"}
ACCOUNTS, RICHES = 4, 1000
COPIED = 200  # rows of a COPY, at most
TABLES_SQL = """
CREATE TABLE {schema}.chaos_accounts (id int PRIMARY KEY, riches bigint NOT NULL);
INSERT INTO {schema}.chaos_accounts SELECT n, {riches} FROM generate_series(1, {accounts}) AS n;
CREATE TABLE {schema}.chaos_ledger (id text NOT NULL, source int, target int, amount int);
"""
DROP_SQL = "DROP TABLE IF EXISTS {schema}.chaos_accounts, {schema}.chaos_ledger"
SETTINGS = ("application_name", "app.chaos")
# PostgreSQL's FATAL 08P01 where its side of the connection ended inside a message of a COPY.
SYNC_LOST = "protocol synchronization was lost"
# Longer than any wait that is configured: what takes longer hangs.
HANG_SECONDS = 90


class Ended(Exception):
    """The connection is over, and it was said so as it must be."""


class Client(wire.Wire):
    """Knows whether the connection ended inside a message: then nothing can be told of why."""

    def __init__(self, port):
        super().__init__(port, seconds=HANG_SECONDS)
        self.inside = False

    def read(self):
        self.inside = bool(self._buffer)
        header = self.read_exactly(5)
        self.inside = True
        body = self.read_exactly(int.from_bytes(header[1:], "big") - 4)
        self.inside = False
        return wire.Message(chr(header[0]), body)

    def read_exactly(self, size):
        try:
            return super().read_exactly(size)
        except wire.Closed:
            self.inside = self.inside or bool(self._buffer)
            raise


class Ledger:
    """What became of each transaction that writes, by its id."""

    def __init__(self):
        self.done, self.failed, self.unknown = set(), set(), set()

    def all(self):
        return self.done | self.failed | self.unknown

    def faults(self, ids):
        """How the rows that are there contradict it."""
        twice = [one for one, count in collections.Counter(ids).items() if count > 1]
        there = set(ids)
        return {name: sorted(found)[:10] for name, found in {
            "twice": twice, "lost": self.done - there, "there in spite of a failure":
            self.failed & there, "from nobody": there - self.all()}.items() if found}


class Worker:
    """One client after the other, each with its number, of one service."""

    def __init__(self, load, number):
        self.load, self.number = load, number
        self.service = list(SERVICES)[number % len(SERVICES)]
        self.dice = random.Random(f"{load.seed} {number}")
        self.ledger = Ledger()
        self.states = collections.Counter()
        self.examples = {}
        self.answers = self.connects = 0
        self.complaints = []
        self._asked = 0
        self._settings = {}
        self._prepared = False
        self.client = None

    # ---- one connection after the other -----------------------------------------------------

    def run(self):
        while not self.load.over.is_set():
            try:
                self._one_connection()
            except Ended:
                pass
            except (AssertionError, ValueError, IndexError) as error:
                self.complaints.append(f"client {self.number} of {self.service}: {error!r}")
                return
            finally:
                if self.client is not None:
                    self.client.close()

    def _one_connection(self):
        self.connects += 1
        self._settings, self._prepared = {}, False
        self.client = Client(self.load.port)
        self.client.send(wire.startup({"user": f"client{self.number}", "database": self.service}))
        self._until("Z")
        ways = (self.simple, self.extended, self.prepared, self.pipeline, self.setting,
                self.transfer, self.transfer, self.insert, self.insert, self.rolled_back,
                self.copy_out, self.copy_in, self.sum_of_riches, self.vanish)
        while not self.load.over.is_set():
            self.dice.choices(ways, weights=(8,) * (len(ways) - 1) + (1,))[0]()
            time.sleep(self.load.think)
        self.client.send(wire.TERMINATE)

    def _until(self, kinds):
        """Messages up to one of `kinds`; Ended when the connection is over, honestly or not."""
        messages = []
        try:
            while not messages or messages[-1].kind not in kinds:
                messages.append(self.client.read())
        except wire.Closed:
            self._note_end(messages)
            ended = Ended()
            ended.messages = messages
            raise ended from None
        except TimeoutError:
            self.complaints.append(f"client {self.number}: no answer for {HANG_SECONDS} s")
            ended = Ended()
            ended.messages = messages
            raise ended from None
        self._note_errors(messages)
        return messages

    def _note_errors(self, messages):
        for error in wire.errors_of(messages):
            state = SYNC_LOST if error["M"].endswith(SYNC_LOST) else error["C"]
            self.states[state] += 1
            self.examples[state] = error

    def _note_end(self, messages):
        errors = wire.errors_of(messages)
        self._note_errors(messages)
        fatal = [one for one in errors if one["S"] == "FATAL"]
        if len(fatal) > 1:
            self.complaints.append(f"client {self.number}: two ends of one connection: {fatal}")
        if not fatal and not self.client.inside:
            self.complaints.append(f"client {self.number}: the connection ended without a word "
                                   f"behind {messages[-3:]}")

    # ---- asking -----------------------------------------------------------------------------

    def _nonce(self):
        self._asked += 1
        return f"{self.number}.{self._asked}.{self.load.seed}"

    def _ask(self, *parts):
        self._send(*parts)
        return self._until("Z")

    def _send(self, *parts):
        try:
            self.client.send(*parts)
        except TimeoutError:
            raise AssertionError("schemux reads nothing") from None
        except OSError:
            pass  # what it was told before is still to be read

    def _check(self, messages, *expected):
        """The one row that it must be, unless there was an error."""
        if wire.errors_of(messages):
            return False
        rows = wire.rows_of(messages)
        if rows != [list(expected)]:
            raise AssertionError(f"expected {list(expected)}, got {rows}: {messages}")
        self.answers += 1
        return True

    def simple(self):
        nonce = self._nonce()
        self._check(self._ask(wire.query(f"SELECT '{nonce}', service FROM {{{{tables.who}}}}")),
                    nonce, self.service)

    def extended(self):
        nonce = self._nonce()
        text = "SELECT $1::text, service, whose() FROM {{tables.who}}"
        self._check(self._ask(wire.parse("", text), wire.bind(parameters=[nonce]),
                              wire.describe("P"), wire.execute(), wire.SYNC),
                    nonce, self.service, self.service)

    def prepared(self):
        nonce = self._nonce()
        if not self._prepared:
            text = "SELECT service, $1::text, $2::text FROM {{tables.who}}"
            if wire.errors_of(self._ask(wire.parse("mine", text), wire.SYNC)):
                return
            self._prepared = True
        self._check(self._ask(wire.bind("", "mine", [nonce, self.number]), wire.execute(),
                              wire.SYNC), self.service, nonce, str(self.number))

    def pipeline(self):
        """Simple and extended queries in one go: the answers in their order."""
        nonces = [self._nonce() for _ in range(self.dice.randint(2, 5))]
        text = "SELECT '{}', service FROM {{{{tables.who}}}}"
        parts = []
        for place, nonce in enumerate(nonces):
            if place % 2:
                parts.append(wire.query(text.format(nonce)))
            else:
                parts += [wire.parse("", text.format(nonce)), wire.bind(), wire.execute(),
                          wire.SYNC]
        self._send(*parts)
        for nonce in nonces:
            self._check(self._until("Z"), nonce, self.service)

    def setting(self):
        name, value = self.dice.choice(SETTINGS), self._nonce()
        if not wire.errors_of(self._ask(wire.query(f"SET {name} = '{value}'"))):
            self._settings[name] = value
        for name, value in self._settings.items():
            nonce = self._nonce()
            self._check(self._ask(wire.query(f"SELECT '{nonce}', current_setting('{name}')")),
                        nonce, value)

    def sum_of_riches(self):
        nonce = self._nonce()
        self._check(self._ask(wire.query(
            f"SELECT '{nonce}', sum(riches) FROM {{{{tables.chaos_accounts}}}}")),
            nonce, str(ACCOUNTS * RICHES))

    def copy_out(self):
        nonce = self._nonce()
        messages = self._ask(wire.query(
            f"COPY (SELECT '{nonce}', service, n FROM {{{{tables.who}}}}, "
            f"generate_series(1, {COPIED}) AS n) TO STDOUT"))
        if wire.errors_of(messages):
            return
        lines = b"".join(one.body for one in messages if one.kind == "d").decode().splitlines()
        if lines != [f"{nonce}\t{self.service}\t{n}" for n in range(1, COPIED + 1)]:
            raise AssertionError(f"COPY of {nonce} gave {lines}")
        self.answers += 1

    # ---- writing ----------------------------------------------------------------------------

    def insert(self):
        """One statement: of a Query the acknowledgement comes behind the commit, of an Execute it
        is the ReadyForQuery that does."""
        number = self._nonce()
        text = f"INSERT INTO {{{{tables.chaos_ledger}}}} VALUES ('{number}', 1, 1, 0)"
        simple = self.dice.random() < 0.5
        try:
            messages = self._ask(wire.query(text)) if simple else self._ask(
                wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC)
        except Ended as end:
            done = simple and "C" in wire.kinds(end.messages)
            (self.ledger.done if done else self.ledger.unknown).add(number)
            raise
        (self.ledger.failed if wire.errors_of(messages) else self.ledger.done).add(number)

    def copy_in(self):
        numbers = {self._nonce() for _ in range(self.dice.randint(1, COPIED))}
        rows = [wire.copy_data(f"{number}\t1\t1\t0\n".encode()) for number in sorted(numbers)]
        half = len(rows) // 2
        outcome, messages = self.ledger.failed, []
        try:
            self._send(wire.query("COPY {{tables.chaos_ledger}} FROM STDIN"))
            if self._until("GZ")[-1].kind == "Z":
                return
            self._send(*rows[:half])
            time.sleep(self.load.think)
            outcome = self.ledger.unknown
            self._send(*rows[half:], wire.COPY_DONE)
            messages = self._until("Z")
            outcome = self.ledger.failed if wire.errors_of(messages) else self.ledger.done
        except Ended as end:
            if "C" in wire.kinds(end.messages):
                outcome = self.ledger.done
            raise
        finally:
            outcome.update(numbers)

    def _step(self, number, *parts):
        """One of a transaction that cannot be committed by it. False: it failed."""
        try:
            messages = self._ask(*parts)
        except Ended:
            self.ledger.failed.add(number)
            raise
        if not wire.errors_of(messages):
            return True
        self.ledger.failed.add(number)
        if messages[-1].body != b"I":
            self._ask(wire.query("ROLLBACK"))
        return False

    def _transfer(self, number):
        """All but the end of it. Rows are locked in one order, so that nobody deadlocks."""
        source, target = self.dice.sample(range(1, ACCOUNTS + 1), 2)
        amount = self.dice.randint(1, 9)
        sign = {source: -amount, target: amount}
        table = "{{tables.chaos_accounts}}"
        texts = ["BEGIN"] + [
            f"UPDATE {table} SET riches = riches + {sign[account]} WHERE id = {account}"
            for account in sorted(sign)] + [
            f"INSERT INTO {{{{tables.chaos_ledger}}}} VALUES ('{number}', {source}, {target}, "
            f"{amount})"]
        for text in texts:
            parts = [wire.query(text)] if self.dice.random() < 0.5 else [
                wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC]
            if not self._step(number, *parts):
                return False
        return True

    def transfer(self):
        number = self._nonce()
        if not self._transfer(number):
            return
        try:
            messages = self._ask(wire.query("COMMIT"))
        except Ended as end:
            done = any(one.kind == "C" for one in end.messages)
            (self.ledger.done if done else self.ledger.unknown).add(number)
            raise
        (self.ledger.failed if wire.errors_of(messages) else self.ledger.done).add(number)

    def rolled_back(self):
        number = self._nonce()
        if self._transfer(number):
            self.ledger.failed.add(number)
            self._ask(wire.query("ROLLBACK"))

    def vanish(self):
        """In the middle of a transaction, perhaps of a statement."""
        number = self._nonce()
        if not self._transfer(number):
            return
        self.ledger.failed.add(number)
        if self.dice.random() < 0.5:
            self._send(wire.query("SELECT pg_sleep(0.02)"))
        self.client.vanish() if self.dice.random() < 0.5 else self.client.close()
        raise Ended


class Load:
    """The clients, until `finish`."""

    def __init__(self, case, port, seed, clients=8, think=0.002):
        self.case, self.port, self.seed, self.think = case, port, seed, think
        self.over = threading.Event()
        case.addCleanup(self.over.set)
        with case.postgres.connect_as_owner() as connection:
            for schema in SERVICES.values():
                connection.execute(DROP_SQL.format(schema=schema))
                connection.execute(TABLES_SQL.format(schema=schema, riches=RICHES,
                                                     accounts=ACCOUNTS))
        self.workers = [Worker(self, number) for number in range(clients)]
        self.running = [harness.Background(one.run) for one in self.workers]

    def answers(self):
        return [one.answers for one in self.workers]

    def wait_until_all_are_served(self, seconds=80):
        before = self.answers()

        def served():
            dead = [one.complaints for one in self.workers if one.complaints]
            if dead:
                raise AssertionError(f"seed {self.seed}: {dead}")
            return all(now > then + 2 for now, then in
                       zip(self.answers(), before, strict=True))

        self.case.wait_until(served, "all clients to be served", seconds)

    def finish(self):
        """Ends the clients and looks at what they left. What they were told is in `states`."""
        self.over.set()
        for one in self.running:
            one.result(HANG_SECONDS + 30)
        self.states = sum((one.states for one in self.workers), collections.Counter())
        complaints = [text for one in self.workers for text in one.complaints]
        self.case.assertEqual(complaints, [], f"seed {self.seed}")
        # What has no client any more is rolled back before it is looked for.
        self.case.wait_until(lambda: not self.case.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'app' AND backend_xid IS NOT NULL"),
            "open transactions to end")
        for service, schema in SERVICES.items():
            self._check_schema(service, schema)

    def _check_schema(self, service, schema):
        rows = self.case.postgres.run(f"TABLE {schema}.chaos_ledger")
        ledger = Ledger()
        for one in self.workers:
            if one.service == service:
                for name in ("done", "failed", "unknown"):
                    getattr(ledger, name).update(getattr(one.ledger, name))
        self.case.assertEqual(ledger.faults([row[0] for row in rows]), {},
                              f"seed {self.seed}, service {service}")
        expected = dict.fromkeys(range(1, ACCOUNTS + 1), RICHES)
        for _, source, target, amount in rows:
            expected[source] -= amount
            expected[target] += amount
        found = dict(self.case.postgres.run(f"TABLE {schema}.chaos_accounts"))
        self.case.assertEqual(found, expected, f"seed {self.seed}, service {service}: updates "
                              "and the ledger's rows are of one transaction")

    def examples(self):
        """One error of each SQLSTATE."""
        return {state: error for one in self.workers for state, error in one.examples.items()}

    def summary(self):
        ledgers = [one.ledger for one in self.workers]
        counts = {name: sum(len(getattr(one, name)) for one in ledgers)
                  for name in ("done", "failed", "unknown")}
        return (f"{sum(self.answers())} answers, {counts}, "
                f"{sum(one.connects for one in self.workers)} connects, {dict(self.states)}")
