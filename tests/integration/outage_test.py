"""The server is away and comes back, is full, takes no password, hears nothing: who waits is served
within 2 s of its return, nobody storms it meanwhile, and what a client is told is so. Each fault
alone, behind support/chaos_proxy.py; all of them under load: chaos_test.py. Backends that the
server itself ends: failure_test.py. SCHEMUX_AWAY_SECONDS=60 has it away for a minute.
"""

import contextlib
import os
import signal
import threading
import time

import psycopg

import chaos_case
import chaos_proxy
import harness
import wire

# The longest back-off is 1.2 s; the rest is for connecting, and for a machine with other work.
RECOVERY_SECONDS_MAX = 2.0
SLACK_SECONDS = 1.0
# From 100 ms on each attempt waits twice as long, up to a second or so, and the first four come at
# once: 12 in the first five seconds, then one a second.
ATTEMPTS_IN_FIVE_SECONDS_MAX = 16
AWAY_SECONDS = int(os.environ.get("SCHEMUX_AWAY_SECONDS", "0"))
FAILURES = "schemux_backend_connect_failures_total"


class Returns(chaos_case.UnderChaos):

    def waiters(self, instance, count=6):
        """Clients that wait for a server that is away."""
        return [self.wire(("users", "orders")[number % 2], instance) for number in range(count)]

    def ask_all(self, clients):
        """When each had its answer."""
        def ask(client):
            self.assertEqual(client.rows("SELECT 'served'"), [["served"]])
            return time.monotonic()

        return [harness.Background(ask, client) for client in clients]

    def gone(self, proxy, instance, entry=chaos_proxy.REFUSE):
        """Away, and schemux knows."""
        proxy.away(entry)
        self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)

    def assert_recovery(self, back, asked, name, more=0.0):
        times = sorted(one.result() - back for one in asked)
        print(f"    {name}: the first client served after {times[0]:.2f} s, all "
              f"{len(times)} after {times[-1]:.2f} s")
        self.assertLess(times[-1], RECOVERY_SECONDS_MAX + SLACK_SECONDS + more)

    def test_nobody_listens_for_some_seconds(self):
        for entry in (chaos_proxy.REFUSE, chaos_proxy.HANG_UP):
            proxy = self.proxy()
            instance = self.behind(proxy, acquire_timeout=f"{30 + AWAY_SECONDS}s")
            clients = self.waiters(instance)
            for client in clients:
                client.socket.settimeout(60 + AWAY_SECONDS)
            self.gone(proxy, instance, entry)
            asked, over = self.ask_all(clients), time.monotonic() + AWAY_SECONDS
            began = instance.metric(FAILURES)
            # As many as it takes to have backed off as far as it goes.
            self.wait_until(lambda b=began: instance.metric(FAILURES) >= b + 7, "attempts to fail")
            self.wait_until(lambda end=over: time.monotonic() >= end, "the time", AWAY_SECONDS + 1)
            self.assertFalse(any(one.done() for one in asked))
            proxy.enter(chaos_proxy.OPEN)
            self.assert_recovery(time.monotonic(), asked, f"behind {entry}")
            self.assert_at_rest(instance, proxy, clients)

    def test_its_return_is_noticed_though_nobody_asks(self):
        proxy = self.proxy()
        instance = self.behind(proxy, acquire_timeout="500ms")
        client = self.wire("users", instance)
        self.gone(proxy, instance)
        client.send(wire.query("SELECT 1"))
        self.assertEqual(wire.sqlstates(client.read_ready()), ["08006"])
        self.assertEqual(instance.get("/readyz")[0], 503)
        proxy.enter(chaos_proxy.OPEN)
        self.wait_until(lambda: instance.get("/readyz")[0] == 200, "schemux to be ready")

    def test_an_attempt_that_takes_a_while_is_no_connection_yet(self):
        proxy = self.proxy()
        instance = self.behind(proxy, acquire_timeout="500ms", connect_timeout="1s")
        client = self.wire("users", instance)
        self.gone(proxy, instance, chaos_proxy.BLACK_HOLE)
        client.send(wire.query("SELECT 1"))
        self.assertEqual(wire.sqlstates(client.read_ready()), ["53300"])
        before = instance.metric(FAILURES)
        self.wait_until(lambda: instance.metric(FAILURES) > before, "an attempt to fail")
        said = set()

        def asked():
            said.add(instance.get("/readyz")[0])
            return instance.metric(FAILURES) >= before + 3

        self.wait_until(asked, "attempts to fail")
        self.assertEqual(said, {503})
        self.assertEqual(instance.metric("schemux_backend_up"), 0)

    def test_postgres_itself_is_stopped(self):
        for how in (signal.SIGINT, signal.SIGQUIT):
            proxy = self.proxy()
            instance = self.behind(proxy)
            clients = self.waiters(instance)
            self.postgres.stop(how)
            self.wait_until(lambda i=instance: i.metric("schemux_backend_connections") == 0)
            asked = self.ask_all(clients)
            try:
                self.wait_until(lambda i=instance: i.metric(FAILURES) >= 7, "attempts to fail")
            finally:
                self.postgres.start()
            self.assert_recovery(time.monotonic(), asked, f"PostgreSQL started after {how.name}")
            self.assert_at_rest(instance, proxy, clients)

    @harness.full_only
    def test_packets_that_nobody_answers(self):
        """What is under way then is given up after connect_timeout; the next attempt finds it."""
        proxy = self.proxy()
        instance = self.behind(proxy, connect_timeout="1s")
        clients = self.waiters(instance)
        self.gone(proxy, instance, chaos_proxy.BLACK_HOLE)
        asked = self.ask_all(clients)
        self.wait_until(lambda: instance.metric(FAILURES) >= 5, "attempts to fail")
        self.assertFalse(any(one.done() for one in asked))
        proxy.enter(chaos_proxy.OPEN)
        self.assert_recovery(time.monotonic(), asked, "behind a black hole", 1)
        self.assert_at_rest(instance, proxy, clients)

    def test_deadline_passes_while_it_is_away_and_the_next_one_is_served(self):
        proxy = self.proxy()
        instance = self.behind(proxy, acquire_timeout="700ms")
        client = self.wire("users", instance)
        self.gone(proxy, instance)
        began = time.monotonic()
        error, = wire.errors_of(client.ask("SELECT 1"))
        self.assertGreater(time.monotonic() - began, 0.6)
        self.assertEqual((error["S"], error["C"]), ("ERROR", "08006"))
        self.assertIn("refused", error["D"])
        proxy.enter(chaos_proxy.OPEN)
        self.wait_until(lambda: not wire.errors_of(client.ask("SELECT 1")), "the service", 3)


class Storm(chaos_case.UnderChaos):
    """Clients come and come, and wait, while the server is away."""

    def busy_while_away(self, instance, proxy, entry, seconds):
        """Attempts to connect in that time, as schemux counts them."""
        over = threading.Event()
        clients = [self.wire(("users", "orders")[number % 2], instance) for number in range(20)]
        self.wait_for_idle_pool(instance)
        proxy.away(entry)
        self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)
        began, failed = time.monotonic(), instance.metric(FAILURES)
        for client in clients:
            client.send(wire.query("SELECT 'served'"))

        def come_and_go():
            while not over.is_set():
                with contextlib.suppress(OSError, wire.Closed), \
                        contextlib.closing(wire.Wire(instance.port)) as visitor:
                    visitor.login("users")
                    visitor.send(wire.query("SELECT 'served'"))
                    over.wait(0.02)

        visitors = [harness.Background(come_and_go) for _ in range(3)]
        try:
            self.wait_until(lambda: time.monotonic() - began > seconds, "the time to pass", 30)
            tried = instance.metric(FAILURES) - failed
        finally:
            over.set()
            proxy.calm()
        for one in visitors:
            one.result()
        for client in clients:
            self.assertEqual(wire.rows_of(client.read_ready()), [["served"]])
        return began, tried, clients

    def test_two_attempts_that_fail_together_do_not_end_the_back_off(self):
        """The smallest case: two clients wait, nobody comes or goes. The refusals come late enough
        that the second attempt has begun before the first has failed."""
        proxy = self.proxy()
        instance = self.behind(proxy)
        clients = [self.wire("users", instance) for _ in range(2)]
        self.wait_for_idle_pool(instance)
        proxy.hang_up_after = 0.02
        proxy.away(chaos_proxy.HANG_UP)
        self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)
        began, failed = time.monotonic(), instance.metric(FAILURES)
        for client in clients:
            client.send(wire.query("SELECT 'served'"))
        self.wait_until(lambda: time.monotonic() - began > 5, "the time to pass")
        tried = instance.metric(FAILURES) - failed
        proxy.calm()
        print(f"    two clients wait for 5 s: {tried:.0f} attempts")
        self.assertLessEqual(tried, ATTEMPTS_IN_FIVE_SECONDS_MAX)
        for client in clients:
            self.assertEqual(wire.rows_of(client.read_ready()), [["served"]])

    def test_attempts_are_few_and_apart_while_nobody_listens(self):
        proxy = self.proxy()
        instance = self.behind(proxy)
        _, tried, clients = self.busy_while_away(instance, proxy, chaos_proxy.REFUSE, 5)
        print(f"    nobody listens for 5 s: {tried:.0f} attempts, {tried / 5:.1f} a second")
        self.assertGreater(tried, 3)
        self.assertLessEqual(tried, ATTEMPTS_IN_FIVE_SECONDS_MAX)
        self.assert_at_rest(instance, proxy, clients)

    def test_one_prober_with_jitter_while_it_hangs_up(self):
        """An attempt that is hung up on is tried once more at once, with an older protocol."""
        proxy = self.proxy()
        proxy.hang_up_after = 0.02
        instance = self.behind(proxy)
        began, tried, clients = self.busy_while_away(instance, proxy, chaos_proxy.HANG_UP, 8)
        times = [one for one in proxy.attempts_since(began) if one < began + 8]
        late = [one for one in times if one > began + 3]
        gaps = [b - a for a, b in zip(late, late[1:]) if b - a > 0.2]
        print(f"    hung up for 8 s: {len(times)} connections of {tried:.0f} attempts, at most "
              f"{proxy.most_attempts_in(1.0, began)} in a second, in the end "
              f"{[round(gap, 2) for gap in gaps]} s apart")
        self.assertLessEqual(len(times), 2 * (ATTEMPTS_IN_FIVE_SECONDS_MAX + 4))
        self.assertLessEqual(len(late), 2 * 9)
        self.assertGreaterEqual(len(gaps), 3)
        self.assertGreater(max(gaps) - min(gaps), 0.01, "no jitter")
        self.assert_at_rest(instance, proxy, clients)


class Refusals(chaos_case.UnderChaos):
    """PostgreSQL answers, but lets nobody in."""

    def test_full_server_is_waited_for(self):
        proxy = self.proxy()
        instance = self.behind(proxy)
        clients = [self.wire("users", instance) for _ in range(6)]
        held = []
        self.addCleanup(lambda: [one.close() for one in held])
        self.wait_for_idle_pool(instance)
        for pid in self.postgres.backends():
            self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)
        with self.assertRaises(psycopg.OperationalError):
            while True:
                held.append(self.postgres.connect(user="app"))
        for client in clients:
            client.send(wire.query("SELECT 'served'"))
        self.wait_until(lambda: instance.metric(FAILURES) >= 3, "attempts to be refused")
        self.assertEqual(instance.metric("schemux_clients_waiting"), 6)
        began = time.monotonic()
        for one in held:
            one.close()
        for client in clients:
            self.assertEqual(wire.rows_of(client.read_ready()), [["served"]])
        took = time.monotonic() - began
        print(f"    a full server had room again: all served after {took:.2f} s")
        self.assertLess(took, RECOVERY_SECONDS_MAX + SLACK_SECONDS)
        self.assert_at_rest(instance, proxy, clients)

    def test_deadline_at_a_full_server_tells_why(self):
        self.postgres.run("ALTER ROLE app CONNECTION LIMIT 0")
        try:
            instance = self.behind(self.proxy(), acquire_timeout="500ms")
            client = self.raw(instance)
            client.send(wire.startup({"user": "alice", "database": "users"}))
            error, = wire.errors_of(client.read_to_end())
        finally:
            self.postgres.run("ALTER ROLE app CONNECTION LIMIT -1")
        self.assertEqual((error["S"], error["C"]), ("FATAL", "08006"))
        self.assertIn("too many connections for role", error["D"])
        self.assertEqual(self.wire("users", instance).rows("SELECT 'served'"), [["served"]])

    def test_password_that_is_wrong_after_rotation(self):
        """Who has a backend keeps it; who needs a new one is told what PostgreSQL says, and is
        served when file and server agree again, whichever of them was changed."""
        instance = self.start_schemux(start=False)
        secret = instance.folder / "password"
        secret.write_text("pool secret\n")
        instance.config["backend"] = {"dsn": self.postgres.dsn(user="secret_app"),
                                      "password_file": str(secret)}
        instance.config["pool"]["acquire_timeout"] = "20s"
        instance.write_config()
        instance.start()
        self.addCleanup(self.postgres.run, "ALTER ROLE secret_app PASSWORD 'pool secret'")
        holder, client = self.wire("users", instance), self.wire("users", instance)
        holder.rows("BEGIN; SELECT 1")
        for number, mend in enumerate((self.change_file, self.change_role)):
            with self.subTest(mend.__name__):
                self.postgres.run(f"ALTER ROLE secret_app PASSWORD 'new {number}'")
                self.assertEqual(holder.rows("SELECT 'kept'"), [["kept"]])
                self.end_others(instance, holder)
                began = time.monotonic()
                error, = wire.errors_of(client.ask("SELECT 1"))
                self.assertEqual((error["S"], error["C"]), ("ERROR", "28P01"))
                self.assertLess(time.monotonic() - began, 10)
                newcomer = self.raw(instance)
                newcomer.send(wire.startup({"user": "alice", "database": "legacy"}))
                mend(instance, secret, number)
                began = time.monotonic()
                self.wait_until(lambda: not wire.errors_of(client.ask("SELECT 1")), "service", 10)
                took = time.monotonic() - began
                print(f"    the password is right again: served after {took:.2f} s")
                self.assertLess(took, RECOVERY_SECONDS_MAX + SLACK_SECONDS)
                self.assertEqual(holder.rows("SELECT 'kept'"), [["kept"]])

    def end_others(self, instance, holder):
        mine = int(holder.rows("SELECT pg_backend_pid()")[0][0])
        for pid in self.postgres.backends("secret_app"):
            if pid != mine:
                self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
        self.wait_until(lambda: instance.metric("schemux_backend_connections") == 1)

    def change_file(self, instance, secret, number):
        secret.write_text(f"new {number}\n")
        instance.reload()

    def change_role(self, _instance, _secret, number):
        self.postgres.run(f"ALTER ROLE secret_app PASSWORD 'new {number - 1}'")
