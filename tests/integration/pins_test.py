"""What cannot go from backend to backend: the client keeps its backend for it, in transaction mode,
and PostgreSQL says when that ends. A client of another service that has a backend afterwards finds
it as new."""

import harness
import wire

PIN = {feature: "pin" for feature in ("temp_table", "advisory_lock", "hold_cursor", "listen",
                                      "seed", "load")}
REJECT = {feature: "reject" for feature in (*PIN, "prepare", "opaque")}
SERVICES = [
    {"name": "users", "schema": "users", "session_features": PIN, "pin_budget": 2,
     "over_pin_budget": "error"},
    {"name": "orders", "schema": "orders"},
    {"name": "legacy", "session_features": REJECT},
]
# How each begins, what is asked again and again while it is there, and how it ends.
STATES = {
    "temp_table": (["CREATE TEMP TABLE kept AS SELECT 1 AS n"], "SELECT n FROM kept",
                   ["DROP TABLE kept"]),
    "temp_table by INTO": (["SELECT 2 AS n INTO TEMP kept"], "SELECT n FROM kept",
                           ["DROP TABLE kept"]),
    "temp_table of a transaction": (["BEGIN", "CREATE TEMP TABLE kept (n int)", "COMMIT"],
                                    "SELECT count(*) FROM kept",
                                    ["BEGIN", "DROP TABLE kept", "COMMIT"]),
    "temp_table of a DO": (["DO $$ BEGIN CREATE TEMP TABLE kept AS SELECT 3 AS n; END $$"],
                           "SELECT n FROM kept", ["DO $$ BEGIN DROP TABLE kept; END $$"]),
    "temp_table and DISCARD": (["CREATE TEMP TABLE kept AS SELECT 1 AS n"], "SELECT n FROM kept",
                               ["DISCARD ALL"]),
    "temp_table function": (["CREATE FUNCTION pg_temp.one() RETURNS int LANGUAGE sql AS "
                             "'SELECT 1'"], "SELECT pg_temp.one()",
                            ["DROP FUNCTION pg_temp.one()"]),
    "advisory_lock": (["SELECT pg_advisory_lock_shared(47)"],
                      "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
                      ["SELECT pg_advisory_unlock_shared(47)"]),
    "advisory_lock twice": (["SELECT pg_advisory_lock_shared(47), pg_advisory_lock_shared(47)"],
                            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
                            ["SELECT pg_advisory_unlock_shared(47)",
                             "SELECT pg_advisory_unlock_all()"]),
    "hold_cursor": (["BEGIN", "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT 7", "COMMIT"],
                    "FETCH ABSOLUTE 1 FROM c", ["CLOSE c"]),
    "listen": (["LISTEN here"], "SELECT * FROM pg_listening_channels()", ["UNLISTEN *"]),
}


class Pins(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "5s"}, "services": SERVICES}

    def setUp(self):
        # Clients of the test before are gone, but schemux may not have heard of it.
        self.wait_until(lambda: not any(self.pinned(reason) for reason in PIN), "the pins to end")

    def pinned(self, reason, service="users"):
        metrics = self.schemux.metrics()
        return metrics["schemux_pinned_backends",
                       frozenset({("service", service), ("reason", reason)})]

    def say(self, client, *texts):
        for text in texts:
            self.assertEqual(wire.errors_of(client.ask(text)), [], text)

    def assert_clean(self):
        """As many strangers as there are backends, at the same time."""
        strangers = [self.wire("orders") for _ in range(2)]
        for stranger in strangers:
            stranger.ask("BEGIN")
            for sql in ("SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
                        "SELECT objid FROM pg_locks WHERE locktype = 'advisory' "
                        "AND pid = pg_backend_pid()",
                        "SELECT name FROM pg_cursors WHERE is_holdable",
                        "SELECT * FROM pg_listening_channels()"):
                self.assertEqual(stranger.rows(sql), [], sql)
        for stranger in strangers:
            stranger.ask("COMMIT")
            stranger.close()

    def test_state_stays_until_postgres_says_that_it_is_gone(self):
        direct = wire.Wire(self.postgres.port)
        self.addCleanup(direct.close)
        direct.login("app", "app")
        for name, (begin, look, end) in STATES.items():
            with self.subTest(name):
                reason = name.split()[0]
                client = self.wire()
                self.say(client, *begin)
                self.say(direct, *begin)
                expected = direct.rows(look)
                pid = client.rows("SELECT pg_backend_pid()")
                for _ in range(3):
                    self.assert_clean()
                    self.assertEqual(client.rows(look), expected)
                    self.assertEqual(client.rows("SELECT pg_backend_pid()"), pid)
                self.wait_until(lambda: self.pinned(reason) == 1, "the pin to be counted")
                self.say(client, *end)
                self.say(direct, *end)
                self.wait_until(lambda: self.pinned(reason) == 0, "the pin to end")
                self.wait_for_idle_pool()
                self.assert_clean()
                client.close()

    def test_own_notifications_have_the_clients_pid(self):
        client = self.wire()
        self.say(client, "LISTEN here")
        own = [one for one in client.ask("NOTIFY here") if one.kind == "A"]
        self.assertEqual([int.from_bytes(one.body[:4], "big") for one in own], [client.pid])
        stranger = self.wire("orders")
        self.say(stranger, "NOTIFY here")
        self.assertNotEqual(int.from_bytes(client.read().body[:4], "big"), client.pid)

    def test_extended_protocol(self):
        client = self.wire()
        client.send(wire.parse("", "CREATE TEMP TABLE kept (n int)"), wire.bind(), wire.execute(),
                    wire.parse("", "INSERT INTO kept VALUES ($1)"), wire.bind("", "", ["7"]),
                    wire.execute(), wire.SYNC)
        self.assertEqual(wire.errors_of(client.read_ready()), [])
        for _ in range(3):
            self.assert_clean()
            client.send(wire.parse("", "SELECT n FROM kept"), wire.bind(), wire.execute(),
                        wire.SYNC)
            self.assertEqual(wire.rows_of(client.read_ready()), [["7"]])

    def test_what_ends_with_its_transaction_keeps_nothing(self):
        client = self.wire()
        for texts in (["BEGIN", "CREATE TEMP TABLE brief (n int)", "ROLLBACK"],
                      ["BEGIN", "CREATE TEMP TABLE brief (n int) ON COMMIT DROP", "COMMIT"],
                      ["BEGIN", "SELECT pg_advisory_xact_lock(48)", "COMMIT"],
                      ["SELECT pg_advisory_lock(48); SELECT pg_advisory_unlock(48)"],
                      ["SELECT pg_advisory_unlock_all()", "CLOSE ALL", "UNLISTEN *", "RESET ALL"]):
            self.say(client, *texts)
            self.wait_for_idle_pool()

    def test_client_that_goes_leaves_nothing(self):
        for way in ("close", "vanish"):
            for begin, _, _ in STATES.values():
                client = self.wire()
                self.say(client, *begin)
                getattr(client, way)()
                self.wait_for_idle_pool()
                self.assert_clean()

    def test_short_statement_timeout_harms_nobody(self):
        """It may end the client's own statements, if the machine is busy, but no question."""
        client = self.wire()
        taken = 0
        self.say(client, "SET statement_timeout = '2ms'")
        for number in range(50):
            errors = wire.sqlstates(client.ask(
                f"DO $$ BEGIN PERFORM pg_advisory_lock({number}); END $$"))
            self.assertIn(errors, ([], ["57014"]))
            taken += not errors
        self.wait_until(lambda: not wire.errors_of(client.ask("SET statement_timeout = 0")),
                        "a SET that takes less than that")
        locks = int(client.rows("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() "
                                "AND locktype = 'advisory'")[0][0])
        # One that was taken stays, though its statement was ended then.
        self.assertGreaterEqual(locks, taken)

    def test_notifications_come_to_an_idle_client(self):
        listener, other = self.wire(), self.wire("orders")
        self.say(listener, "LISTEN news")
        self.say(other, "NOTIFY news, 'one'")
        message = listener.read()
        self.assertEqual((message.kind, message.body[4:]), ("A", b"news\0one\0"))
        self.say(other, "BEGIN", "NOTIFY news, 'never'", "ROLLBACK", "NOTIFY news, 'two'")
        self.assertEqual(listener.read().body[4:], b"news\0two\0")

    def test_random_numbers_follow_their_seed(self):
        direct = wire.Wire(self.postgres.port)
        self.addCleanup(direct.close)
        direct.login("app", "app")
        client = self.wire()
        for one in (client, direct):
            self.say(one, "SELECT setseed(0.25)")
        for _ in range(5):
            self.assert_clean()
            self.assertEqual(client.rows("SELECT random()"), direct.rows("SELECT random()"))

    def test_budget(self):
        first, second, third = [self.wire() for _ in range(3)]
        self.say(first, "SELECT pg_advisory_lock(1)")
        self.say(second, "LISTEN x")
        self.assertEqual(wire.sqlstates(third.ask("CREATE TEMP TABLE kept (n int)")), ["53300"])
        self.assertEqual(third.rows("SELECT 'lives'"), [["lives"]])
        third.ask("BEGIN")
        self.assertEqual(wire.sqlstates(third.ask("LISTEN y")), ["53300"])
        self.assertEqual(wire.sqlstates(third.ask("SELECT 1")), ["25P02"])
        third.ask("ROLLBACK")
        # Where the text does not show it, it is too late for an error.
        hidden = self.wire()
        hidden.send(wire.query("DO $$ BEGIN CREATE TEMP TABLE kept (n int); END $$"))
        hidden.read_ready()
        self.assertEqual(wire.sqlstates(hidden.read_to_end()), ["53300"])
        # Its answer comes first, and then PostgreSQL is asked.
        self.say(first, "SELECT pg_advisory_unlock(1)")
        self.wait_until(lambda: self.pinned("advisory_lock") == 0, "the pin to end")
        self.say(third, "CREATE TEMP TABLE kept (n int)", "DROP TABLE kept")
        self.wait_until(lambda: self.schemux.log_count("client_pinned") >= 2, "the log")

    def test_rejected_features(self):
        client = self.wire("legacy")
        for text in ("CREATE TEMP TABLE x (n int)", "SELECT pg_advisory_lock(1)", "LISTEN x",
                     "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
                     "SELECT setseed(0.5)", "LOAD 'auto_explain'", "PREPARE p AS SELECT 1",
                     "DO $$ BEGIN END $$"):
            errors = wire.errors_of(client.ask(text))
            self.assertEqual([error["C"] for error in errors], ["0A000"], text)
            self.assertIn("session_features", errors[0]["H"])
            client.send(wire.parse("", text), wire.bind(), wire.execute(), wire.SYNC)
            refused = wire.sqlstates(client.read_ready())
            self.assertIn(refused, (["0A000"], ["42601"]), text)
        self.assertEqual(client.rows("SELECT 'lives'"), [["lives"]])

    def test_terminated_backend_ends_its_client(self):
        client = self.wire()
        self.say(client, "CREATE TEMP TABLE kept (n int)")
        pid = client.rows("SELECT pg_backend_pid()")[0][0]
        self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["57P01"])
        self.assert_clean()


class Waiting(harness.Case):
    """As it is by default: who would be one too many waits without a backend."""

    config = {"pool": {"max_connections": 2, "acquire_timeout": "3s"}, "services": [
        {"name": "users", "schema": "users"},
        {"name": "orders", "schema": "orders", "pin_timeout": "1s"}, {"name": "legacy"}]}

    def setUp(self):
        self.holder = self.wire()
        self.assertEqual(wire.errors_of(self.holder.ask("LISTEN here")), [])
        self.waiter = self.wire()

    def tearDown(self):
        for client in (self.holder, self.waiter):
            client.vanish()
        self.wait_until(lambda: not any(self.metric_of(name) for name in (
            "schemux_pinned_backends", "schemux_clients_waiting")), "the pins to end")
        super().tearDown()

    def metric_of(self, name):
        return sum(value for (found, _), value in self.schemux.metrics().items() if found == name)

    def wait_for_the_wait(self):
        self.wait_until(lambda: self.metric_of("schemux_clients_waiting") == 1, "a client to wait")

    def test_until_another_gives_its_backend_back(self):
        for number, wanted in enumerate((
                [wire.query("CREATE TEMP TABLE one (n int)")],
                [wire.parse("", "SELECT pg_advisory_lock($1)"), wire.bind("", "", ["7"]),
                 wire.execute(), wire.SYNC])):
            with self.subTest(number):
                self.waiter.send(*wanted)
                self.wait_for_the_wait()
                # Everybody else goes on, on the backend that is left.
                self.assertEqual(self.wire("orders").rows("SELECT 1"), [["1"]])
                self.assertEqual(wire.errors_of(self.holder.ask("UNLISTEN *")), [])
                self.assertEqual(wire.errors_of(self.waiter.read_ready()), [])
                self.assertEqual(wire.errors_of(self.waiter.ask("DISCARD ALL")), [])
                self.assertEqual(wire.errors_of(self.holder.ask("LISTEN here")), [])

    def test_in_vain(self):
        errors = wire.errors_of(self.waiter.ask("CREATE TEMP TABLE one (n int)"))
        self.assertEqual([error["C"] for error in errors], ["53300"])
        self.assertIn("pool.pin_budget", errors[0]["H"])
        self.assertEqual(self.waiter.rows("SELECT 'lives'"), [["lives"]])

    def test_cancel(self):
        self.waiter.send(wire.query("LISTEN there"))
        self.wait_for_the_wait()
        wire.send_cancel(self.schemux.port, self.waiter.pid, self.waiter.secret)
        self.assertEqual(wire.sqlstates(self.waiter.read_ready()), ["57014"])
        self.assertEqual(self.waiter.rows("SELECT 'lives'"), [["lives"]])

    def test_who_goes_takes_no_place_with_it(self):
        for end in ("vanish", "close"):
            client = self.wire()
            client.send(wire.query("LISTEN there"))
            self.wait_for_the_wait()
            getattr(client, end)()
            self.wait_until(lambda: self.metric_of("schemux_clients_waiting") == 0, "it to go")
        self.assertEqual(wire.errors_of(self.holder.ask("UNLISTEN *")), [])
        self.assertEqual(wire.errors_of(self.waiter.ask("LISTEN there")), [])

    def test_pin_timeout(self):
        self.assertEqual(wire.errors_of(self.holder.ask("UNLISTEN *")), [])
        keeper = self.wire("orders")
        self.assertEqual(wire.errors_of(keeper.ask("SELECT pg_advisory_lock(9)")), [])
        errors = wire.errors_of(keeper.read_to_end())
        self.assertEqual([(error["S"], error["C"]) for error in errors], [("FATAL", "53400")])
        self.assertEqual(wire.errors_of(self.waiter.ask("LISTEN there")), [])
