"""Sharp edges that other poolers were cut by and no other module holds (tests/EDGES.md has them
all): settings changed under live statements, logins beside what the server does, counting beside
what it says unasked.
"""

import signal
import time

import psycopg

import harness
import server
import wire

LONG_PASSWORD = "long " * 1000 + "word"


class Reloading(harness.Case):
    """A new configuration under clients that work."""

    own_schemux = False

    def setUp(self):
        self.instance = self.start_schemux({
            "pool": {"max_connections": 1, "statements_per_backend": 8}})

    def reload(self, **changes):
        self.instance.config = server.merged(self.instance.config, changes)
        self.instance.write_config()
        self.instance.reload()
        self.assertEqual(self.instance.metric("schemux_config_last_reload_successful"), 1)

    def run_statements(self, client, count):
        """Each in a transaction of its own; what every one answered."""
        for number in range(count):
            client.send(wire.bind("", f"s{number}"), wire.execute(), wire.SYNC)
        return [wire.rows_of(client.read_ready()) for _ in range(count)]

    def kept(self, client):
        """How many statements there are on the only backend."""
        return int(client.rows("SELECT count(*) FROM pg_prepared_statements")[0][0])

    def end_backend(self):
        pid, = self.postgres.backends()
        self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_until(lambda: pid not in self.postgres.backends())

    def kept_anew(self, client, expected):
        """How many the next backend has when all have run on it."""
        self.end_backend()
        self.assertEqual(self.run_statements(client, len(expected)), expected)
        return self.kept(client)

    def test_bound_of_statements_moves_under_live_ones(self):
        client = self.wire("users", self.instance)
        expected = [[[f"statement {number}"]] for number in range(10)]
        for number in range(10):
            client.send(wire.parse(f"s{number}", f"SELECT 'statement {number}'"), wire.SYNC)
            client.read_ready()
        self.assertEqual(self.run_statements(client, 10), expected)
        self.assertEqual(self.kept(client), 8)
        for bound in (4, 9, 5):
            with self.subTest(bound=bound):
                self.reload(pool={"statements_per_backend": bound})
                # The backend that is there keeps its own bound, the next one has the new one.
                self.assertEqual(self.run_statements(client, 10), expected)
                # A worker looks at its settings once a second.
                self.wait_until(lambda: self.kept_anew(client, expected) == bound)

    def test_reload_without_a_change_keeps_the_backends(self):
        client = self.wire("users", self.instance)
        client.rows("SELECT 1")
        before = self.postgres.backends()
        self.reload()
        self.assertEqual(client.rows("SELECT pg_backend_pid()::text"), [[str(before[0])]])
        self.assertEqual(self.postgres.backends(), before)
        self.assertEqual(self.instance.metric("schemux_backend_connections_opened_total"), 1)


class LoggingIn(harness.Case):
    """Under SCRAM, with no backend there before somebody needs one."""

    own_schemux = False

    def setUp(self):
        self.word = self.lab.folder / f"{self._testMethodName}.password"
        self.word.write_text(LONG_PASSWORD + "\n")
        self.word.chmod(0o600)
        self.instance = self.start_schemux({
            "auth": {"method": "scram-sha-256",
                     "users": [{"name": "alice", "password_file": str(self.word)}]},
            "pool": {"max_connections": 1}})

    def refusal(self, **more):
        with self.assertRaises(psycopg.OperationalError) as caught:
            psycopg.connect(self.instance.dsn("users"), **more)
        return str(caught.exception)

    def test_password_of_thousands_of_bytes(self):
        with psycopg.connect(self.instance.dsn("users"), password=LONG_PASSWORD) as connection:
            self.assertEqual(connection.execute("SELECT 1").fetchall(), [(1,)])
        self.assertIn("password authentication failed", self.refusal(password=LONG_PASSWORD[:-1]))
        self.assertIn("password authentication failed", self.refusal(password="x" * 60_000))

    def test_settings_of_who_is_refused_are_never_run(self):
        for options in ("-c search_path=evil", "-c datestyle=nonsense", "-c role=postgres"):
            with self.subTest(options):
                self.assertIn("password authentication failed",
                              self.refusal(password="wrong", options=options))
        self.assertEqual(self.instance.metric("schemux_backend_connections_opened_total"), 0)
        # It is the password that was missing: with it the server is asked, and refuses this.
        self.assertIn("nonsense", self.refusal(password=LONG_PASSWORD,
                                               options="-c datestyle=nonsense"))
        self.assertEqual(self.instance.metric("schemux_backend_connections_opened_total"), 1)


class Welcome(harness.Case):
    config = {"pool": {"max_connections": 1}}

    def test_negotiation_is_told_once_though_the_welcome_waits(self):
        """Its settings are new, so that the welcome is not known before it has the backend."""
        holder = self.wire()
        holder.ask("BEGIN")
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": "users", "_pq_.x": "1",
                                  "application_name": wire.nonce()}, wire.PROTOCOL_3_0 + 9999))
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        holder.ask("COMMIT")
        told = [one.kind for one in client.finish_login()]
        self.assertEqual((told.count("v"), told.count("R"), told.count("K")), (1, 1, 1))
        self.assertEqual(client.rows("SELECT 1"), [["1"]])


class Leaving(harness.Case):
    """Connections that come to nothing."""

    config = {"limits": {"max_clients": 4, "login_timeout": "300ms"},
              "auth": {"method": "trust", "users": [{"name": "alice"}, {"name": "bob"}]},
              "services": [{"name": "users", "schema": "users", "users": ["alice"]}]}

    def counted(self):
        return (self.schemux.metric("schemux_client_connections"),
                self.schemux.metric("schemux_logins_in_progress"))

    def test_each_failed_login_is_counted_off_once(self):
        alice = {"user": "alice", "database": "users"}
        failures = (
            ("3D000", wire.startup({**alice, "database": "nowhere"})),
            ("28000", wire.startup({"database": "users"})),
            ("28000", wire.startup({**alice, "user": "mallory"})),
            ("42501", wire.startup({**alice, "user": "bob"})),
            ("0A000", wire.startup({**alice, "replication": "true"})),
            ("0A000", wire.startup(alice, 2 << 16)),
            ("22023", wire.startup({**alice, "DateStyle": "nonsense"})),
            ("42704", wire.startup({**alice, "nonsense": "1"})),
            ("08P01", wire.startup(alice)[:-1] + b"x"),
        )
        for _ in range(3):  # more than there is room for at once
            for sqlstate, packet in failures:
                client = self.raw()
                client.send(packet)
                self.assertEqual(wire.sqlstates(client.read_to_end()), [sqlstate], packet)
        self.wait_until(lambda: self.counted() == (0, 0), "those that failed to be forgotten")
        clients = [self.wire() for _ in range(4)]
        self.assertEqual(self.counted(), (4, 0))
        fifth = self.raw()
        fifth.send(wire.startup(alice))
        self.assertEqual(wire.sqlstates(fifth.read_to_end()), ["53300"])
        for client in clients:
            client.send(wire.TERMINATE)
        self.wait_until(lambda: self.counted() == (0, 0))

    def test_probes_of_the_port_leave_no_trace_in_the_log(self):
        before = len(self.schemux.log_lines())
        for _ in range(10):
            self.raw().close()
            self.raw().vanish()
            begun = self.raw()
            begun.send(wire.SSL_REQUEST[:3])
            begun.close()
        self.assertEqual(self.raw().read_to_end(), [])  # closed after login_timeout
        self.wait_until(lambda: self.counted() == (0, 0), "the probes to be forgotten")
        # What comes behind them is logged: they have not just been slow.
        def said():
            return [line["event"] for line in self.schemux.log_lines()[before:]
                    if not line["event"].startswith("backend_")]

        self.wire().vanish()
        self.wait_until(lambda: "client_closed" in said(), "a client to be logged")
        self.assertEqual(said(), ["client_opened", "client_closed"])


class Settings(harness.Case):
    config = {"pool": {"max_connections": 1}}

    def test_other_spelling_of_a_value_is_set_once(self):
        """The server tells `ISO, MDY` of what the client wrote as `iso`."""
        client = self.wire(DateStyle="iso", TimeZone="utc", client_encoding="utf-8")
        self.assertEqual(client.rows("SHOW DateStyle"), [["ISO, MDY"]])

        def switches():
            return self.schemux.metric("schemux_label_switches_total")

        before = switches()
        for _ in range(10):
            self.assertEqual(client.rows("SELECT 1"), [["1"]])
        self.assertEqual(switches(), before)
        self.assertEqual(self.wire().rows("SELECT 1"), [["1"]])
        self.assertGreater(switches(), before)


class Minimum(harness.Case):
    config = {"pool": {"max_connections": 3, "min_connections": 2}}

    def test_backends_are_there_without_any_client(self):
        for _ in range(2):
            self.wait_until(lambda: len(self.postgres.backends()) == 2, "the minimum to be there")
            self.assertEqual(self.schemux.metric("schemux_client_connections"), 0)
            for pid in self.postgres.backends():
                self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
        clients = [self.wire(service) for service in ("users", "orders", "users")]
        for client in clients:
            client.ask("BEGIN")
        self.assertEqual(self.schemux.metric("schemux_backend_connections"), 3)


class Draining(harness.Case):
    own_schemux = False

    def test_reload_does_not_end_the_drain(self):
        instance = self.start_schemux({"drain_timeout": "20s"})
        busy, idle = self.wire("users", instance), self.wire("orders", instance)
        busy.ask("BEGIN")
        instance.signal(signal.SIGTERM)
        self.assertEqual(wire.sqlstates(idle.read_to_end()), ["57P01"])
        instance.signal(signal.SIGHUP)
        # The transaction is heard to its end, and then schemux goes.
        self.assertEqual(busy.rows("SELECT service FROM who"), [["users"]])
        self.assertIsNone(instance.process.poll())
        self.assertEqual(wire.kinds(busy.ask("COMMIT")), "CZ")
        self.assertEqual(wire.sqlstates(busy.read_to_end()), ["57P01"])
        self.assertEqual(instance.wait(), 0)


class Returning(harness.Case):
    """Logins at the server, again and again."""

    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgres.run("GRANT app TO secret_app")

    def test_backend_logs_in_by_scram_anew_after_the_server_was_away(self):
        word = self.lab.folder / "again.password"
        word.write_text("pool secret\n")
        word.chmod(0o600)
        instance = self.start_schemux({
            "backend": {"dsn": self.postgres.dsn("secret_app"), "password_file": str(word),
                        "require_auth": ["scram-sha-256"]},
            "pool": {"max_connections": 1, "acquire_timeout": "20s"}})
        client = self.wire("orders", instance)
        for _ in range(3):
            pid, = self.postgres.backends("secret_app")
            self.assertEqual(client.rows("SELECT pg_backend_pid()::text"), [[str(pid)]])
            self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
            self.wait_until(lambda gone=pid: gone not in self.postgres.backends("secret_app"))
            self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)
            self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [["orders"]])


class Counting(harness.Case):
    """What is counted and timed is what was asked, whenever it is answered."""

    config = {"pool": {"mode": "session", "max_connections": 2}}

    def counted(self):
        """Queries by protocol, durations, their sum."""
        metrics = {(name, dict(labels).get("protocol")): value
                   for (name, labels), value in self.schemux.metrics().items()
                   if dict(labels).get("service") == "users"}
        return (metrics["schemux_queries_total", "simple"],
                metrics["schemux_queries_total", "extended"],
                metrics["schemux_query_duration_seconds_count", None],
                metrics["schemux_query_duration_seconds_sum", None])

    def test_what_the_server_says_unasked_is_no_query(self):
        client = self.wire()
        client.ask("LISTEN edge")
        before = self.counted()
        began = time.monotonic()
        for number in range(5):
            self.postgres.run(f"NOTIFY edge, '{number}'")
            self.assertEqual(client.read().kind, "A")
        self.assertEqual(self.counted(), before)
        self.assertEqual(client.rows("SELECT 1"), [["1"]])
        elapsed = time.monotonic() - began
        simple, extended, count, seconds = self.counted()
        self.assertEqual((simple, extended, count), (before[0] + 1, before[1], before[2] + 1))
        self.assertTrue(before[3] <= seconds <= before[3] + elapsed, seconds)

    def waits(self):
        metrics = {name: value for (name, labels), value in self.schemux.metrics().items()
                   if dict(labels).get("service") == "users"}
        return (metrics["schemux_wait_duration_seconds_count"],
                metrics["schemux_wait_duration_seconds_sum"])

    def test_wait_is_measured_from_its_begin_in_the_login_too(self):
        holders = [self.wire("orders"), self.wire("orders")]
        for holder in holders:
            holder.ask("BEGIN")
        new = self.raw()
        for waiter in (self.wire(), new):
            count, seconds = self.waits()
            if waiter is new:  # what it is to be told of its settings is not known yet
                waiter.send(wire.startup({"user": "alice", "database": "users",
                                          "application_name": wire.nonce()}))
            else:
                waiter.send(wire.query("SELECT 1"))
            self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
            began = time.monotonic()
            self.wait_until(lambda at=began: time.monotonic() - at > 0.2)
            waited = time.monotonic() - began
            holders.pop().send(wire.TERMINATE)
            waiter.read_ready()
            self.wait_until(lambda before=count: self.waits()[0] > before)
            self.assertEqual(self.waits()[0], count + 1)
            self.assertGreaterEqual(self.waits()[1], seconds + waited)

    def test_pipelined_queries_are_timed_one_by_one(self):
        client = self.wire()
        before = self.counted()
        began = time.monotonic()
        batch = [wire.parse("", "SELECT 1"), wire.bind(), wire.execute(), wire.FLUSH,
                 wire.bind(), wire.execute(), wire.SYNC, wire.SYNC]
        client.send(*[wire.query("SELECT 1")] * 100, *batch * 50)
        for _ in range(200):
            client.read_ready()
        elapsed = time.monotonic() - began
        simple, extended, count, seconds = self.counted()
        self.assertEqual((simple, extended, count),
                         (before[0] + 100, before[1] + 100, before[2] + 200))
        self.assertTrue(before[3] < seconds <= before[3] + 200 * elapsed, seconds)
