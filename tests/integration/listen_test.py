"""LISTEN in transaction mode with `listen: share`: one session beyond the pool listens for all, and
no client keeps a backend. What a client gets is what it would get on a connection of its own."""

import struct
import time

import harness
import wire

CHANNELS = ["a", "b", "Q q", "\u00fc"]
# Each begins where the one before has ended.
STEPS = [
    ("LISTEN a",), ("LISTEN a",), ("NOTIFY a, 'own'",), ("LISTEN b",), ("UNLISTEN a",),
    ('LISTEN "Q q"; LISTEN "\u00fc"',), ("BEGIN", "LISTEN a", "ROLLBACK"),
    ("BEGIN", "LISTEN a", "COMMIT"), ("BEGIN", "UNLISTEN a", "ROLLBACK"),
    ("BEGIN", "UNLISTEN *", "LISTEN b", "COMMIT"),
    ("BEGIN", "SAVEPOINT s", "LISTEN a", "ROLLBACK TO s", "COMMIT"),
    ("BEGIN", "LISTEN a", "SELECT 1/0", "COMMIT"), ("LISTEN a; SELECT 1/0",),
    ("DO $$ BEGIN EXECUTE 'LISTEN a'; END $$",), ("DO $$ BEGIN EXECUTE 'UNLISTEN b'; END $$",),
    ("UNLISTEN nobody",), ("UNLISTEN *",), ("LISTEN A; LISTEN B",), ("DISCARD ALL",),
    ("LISTEN a",), ("RESET ALL",),
    ("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",),
    ("LISTEN b",), ("SET statement_timeout = 3000",), ("UNLISTEN *; SELECT 1",), ("LISTEN b",),
    ("SELECT set_config('statement_timeout', '0', false)",), ("DISCARD ALL",),
]


def told(messages):
    """The notifications among them, without whose they are."""
    return [tuple(message.body[4:-1].decode().split("\0")) for message in messages
            if message.kind == "A"]


def pids(messages):
    return [struct.unpack("!I", message.body[:4])[0] for message in messages
            if message.kind == "A"]


def extended(sql):
    return wire.parse("", sql) + wire.bind() + wire.execute() + wire.SYNC


class Sharing(harness.Case):
    config = {"pool": {"max_connections": 2, "acquire_timeout": "5s"}, "services": [
        {"name": "users", "schema": "users", "session_features": {"listen": "share"}},
        {"name": "orders", "schema": "orders", "session_features": {"listen": "share"}},
        {"name": "legacy"}]}

    def setUp(self):
        self.direct = wire.Wire(self.postgres.port)
        self.addCleanup(self.direct.close)
        self.direct.login("app", "app")

    def metric(self, name, **labels):
        return self.schemux.metrics()[name, frozenset(labels.items())]

    def notified(self, client, mark):
        """What comes up to a mark, which all listen on when they are asked for that."""
        messages = []
        while ("mark", mark) not in told(messages):
            messages.append(client.read())
        return [one for one in told(messages) if one[0] != "mark"]

    def notify_all(self, mark):
        with_names = "".join(f"NOTIFY {name}, '{mark}';" for name in
                             ("a", "b", '"Q q"', '"\u00fc"'))
        self.postgres.run(f"{with_names} NOTIFY mark, '{mark}'")


class Listening(Sharing):
    config = {**Sharing.config, "workers": 2}

    def compare(self, ask):
        own = wire.Wire(self.postgres.port)
        self.addCleanup(own.close)
        own.login("app", "app")
        client = self.wire()
        for number, step in enumerate(STEPS):
            with self.subTest(step=step):
                before = []
                for session in (own, client):
                    messages = [one for text in step for one in ask(session, text)]
                    messages += session.ask("LISTEN mark")
                    before.append((wire.sqlstates(messages), told(messages)))
                self.assertEqual(before[0][0], before[1][0])
                self.notify_all(f"m{number}")
                # Each hears the other, too, at its own time.
                wanted = before[0][1] + self.notified(own, f"m{number}")
                got = before[1][1] + self.notified(client, f"m{number}")
                self.assertEqual(got, wanted)
        self.assertEqual(self.metric("schemux_pinned_backends", service="users", reason="listen"),
                         0)

    def test_simple_protocol(self):
        self.compare(lambda session, text: session.ask(text))

    def test_extended_protocol(self):
        def ask(session, text):
            if ";" in text and "$$" not in text:
                return session.ask(text)
            session.send(extended(text))
            return session.read_ready()
        self.compare(ask)

    def test_nobody_keeps_a_backend(self):
        clients = [self.wire("users" if number % 2 else "orders") for number in range(20)]
        for client in clients:
            self.assertEqual(wire.errors_of(client.ask("LISTEN a")), [])
        self.wait_for_idle_pool()
        self.postgres.run("NOTIFY a, 'all'")
        for client in clients:
            self.assertEqual(told([client.read()]), [("a", "all")])
        self.assertEqual(self.metric("schemux_listener_channels"), 1)
        for client in clients:
            client.close()
        self.wait_until(lambda: self.metric("schemux_listener_channels") == 0, "them to go")

    def test_who_ends_it_and_goes_is_forgotten(self):
        for last in ("DISCARD ALL", "UNLISTEN *", "UNLISTEN a", "SELECT 1"):
            with self.subTest(last):
                client = self.wire()
                client.ask("LISTEN a")
                client.send(wire.query(last), wire.TERMINATE)
                client.read_to_end()
                self.wait_until(lambda: self.metric("schemux_listener_channels") == 0, "it to go")

    def test_order_and_atomicity(self):
        listening = self.wire("orders")
        listening.ask("LISTEN a")
        notifying = self.wire()
        for number in range(300):
            end = "ROLLBACK" if number % 3 == 2 else "COMMIT"
            for text in ("BEGIN", f"NOTIFY a, '{number}.1'", f"NOTIFY a, '{number}.2'", end):
                self.assertEqual(wire.errors_of(notifying.ask(text)), [])
        wanted = [("a", f"{number}.{part}") for number in range(300) if number % 3 != 2
                  for part in (1, 2)]
        self.assertEqual([told([listening.read()])[0] for _ in wanted], wanted)

    def test_nothing_is_missed_behind_the_answer(self):
        for number in range(100):
            client = self.wire()
            client.ask(f"LISTEN n{number % 7}")
            self.direct.ask(f"NOTIFY n{number % 7}, '{number}'")
            self.assertEqual(told([client.read()]), [(f"n{number % 7}", str(number))])
            client.close()

    def test_pipelined_behind_it(self):
        client = self.wire()
        client.send(wire.query("LISTEN a"), wire.query("SELECT 1"), extended("SELECT 2"),
                    wire.query("NOTIFY a, 'x'"))
        messages = [message for _ in range(4) for message in client.read_ready()]
        kinds = "".join(message.kind for message in messages if message.kind in "CAZ")
        self.assertEqual(kinds, "CZ" * 3 + "CAZ")
        self.assertEqual(told(messages), [("a", "x")])

    def test_own_notifications_come_ahead_of_the_answers_end(self):
        clients = [self.wire(), self.wire("orders")]
        for client in clients:
            client.ask("LISTEN a")
        for number in range(60):
            own, other = clients[number % 2], clients[1 - number % 2]
            text = f"NOTIFY a, '{number}'" if number % 3 else f"SELECT pg_notify('a', '{number}')"
            messages = own.ask(text)
            self.assertEqual(told(messages), [("a", str(number))])
            self.assertEqual(pids(messages), [own.pid])
            message = other.read()
            self.assertEqual(told([message]), [("a", str(number))])
            self.assertNotEqual(pids([message]), [other.pid])
        client.ask("BEGIN")
        client.ask("NOTIFY a, 'y'")
        messages = client.ask("COMMIT")
        self.assertEqual((told(messages), pids(messages)), ([("a", "y")], [client.pid]))

    def test_own_notification_of_the_transaction(self):
        client = self.wire()
        for text in ("BEGIN", "LISTEN a", "NOTIFY a, 'x'", "NOTIFY b"):
            client.ask(text)
        self.assertEqual(told(client.ask("COMMIT")), [("a", "x")])

    def test_not_in_a_transaction(self):
        client = self.wire()
        client.ask("LISTEN a")
        client.ask("BEGIN")
        self.direct.ask("NOTIFY a, 'meanwhile'")
        time.sleep(0.1)
        self.assertEqual(told(client.ask("SELECT 1")), [])
        self.assertEqual(told([*client.ask("COMMIT"), client.read()]), [("a", "meanwhile")])

    def test_too_many_wait(self):
        client = self.wire()
        client.ask("LISTEN a")
        client.ask("BEGIN")
        self.direct.ask("SELECT pg_notify('a', n || repeat('x', 7000)) "
                        "FROM generate_series(1, 200) AS n")
        errors = wire.errors_of(client.read_to_end())
        self.assertEqual([(error["S"], error["C"]) for error in errors], [("FATAL", "53400")])

    def test_who_does_not_read(self):
        client = self.wire()
        client.ask("LISTEN a")
        other = self.wire("orders")
        other.ask("LISTEN a")
        for _ in range(60):
            self.direct.ask("SELECT pg_notify('a', n || repeat('x', 7000)) "
                            "FROM generate_series(1, 40) AS n")
            while told([other.read()])[0][1][:2] != "40":
                pass
        messages = client.read_to_end()
        self.assertEqual([(error["S"], error["C"]) for error in wire.errors_of(messages)],
                         [("FATAL", "53400")])
        self.assertLess(len(told(messages)), 60 * 40)

    def test_lost_listener(self):
        client = self.wire()
        client.ask("LISTEN a")
        lost = self.metric("schemux_listener_lost_total")
        pids = self.postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                 "WHERE query LIKE '%LISTEN \"a\"%' "
                                 "AND pid <> pg_backend_pid()")
        self.assertEqual(len(pids), 1)
        notice = client.read()
        self.assertEqual((notice.kind, notice.error["S"], notice.error["C"]),
                         ("N", "WARNING", "01000"))
        self.assertEqual(self.metric("schemux_listener_lost_total"), lost + 1)
        self.direct.ask("NOTIFY a, 'again'")
        self.assertEqual(told([client.read()]), [("a", "again")])

    def test_other_encodings_keep_their_backend(self):
        client = self.wire(client_encoding="LATIN1")
        client.ask("LISTEN a")
        self.wait_until(lambda: self.metric("schemux_pinned_backends", service="users",
                                            reason="listen") == 1, "the pin")
        self.direct.ask("NOTIFY a, '\u00fc'")
        message = client.read()
        self.assertEqual(message.body[4:], b"a\0\xfc\0")
        client.ask("UNLISTEN *")

    def test_too_many_channels(self):
        client = self.wire()
        self.assertEqual(wire.errors_of(client.ask(";".join(
            f"LISTEN c{number}" for number in range(300)))), [])
        self.wait_until(lambda: self.metric("schemux_pinned_backends", service="users",
                                            reason="listen") == 1, "the pin")
        self.direct.ask("NOTIFY c299, 'x'")
        self.assertEqual(told([client.read()]), [("c299", "x")])
        self.assertEqual(wire.errors_of(client.ask("UNLISTEN *; LISTEN c1")), [])
        self.wait_until(lambda: self.metric("schemux_pinned_backends", service="users",
                                            reason="listen") == 0, "the pin to end")
        self.direct.ask("NOTIFY c2; NOTIFY c1, 'y'")
        self.assertEqual(told([client.read()]), [("c1", "y")])


class NoDatabase(Sharing):
    def test_listener_that_cannot_connect(self):
        """The clients are told so, and served when it can."""
        client = self.wire()
        client.ask("SELECT 1")
        self.postgres.run("ALTER ROLE app CONNECTION LIMIT 0")
        try:
            messages = client.ask("LISTEN a")
        finally:
            self.postgres.run("ALTER ROLE app CONNECTION LIMIT -1")
        self.assertEqual(wire.errors_of(messages), [])
        self.assertEqual([one.error["C"] for one in messages if one.kind == "N"], ["01000"])
        # … and again when it listens at last.
        self.assertEqual(client.read().error["C"], "01000")
        self.direct.ask("NOTIFY a, 'x'")
        self.assertEqual(told([client.read()]), [("a", "x")])
