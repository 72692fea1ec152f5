"""PostgreSQL goes, comes back, is late, is full: clients get errors they can act on, and nothing
is sent twice."""

import random
import signal
import threading

import harness
import server
import wire

# What a client may be told when its backend is gone.
LOST = {"57P01", "57P02", "57P03", "08006", "08003", "08000", "53300"}


class BackendsEnd(harness.Case):
    config = {"pool": {"max_connections": 2, "acquire_timeout": "20s"}}

    def terminate(self, pid):
        self.postgres.run("SELECT pg_terminate_backend(%s)", (int(pid),))

    def no_backend_is_left(self):
        """Ends all of them, those that were still connecting too."""
        for pid in self.postgres.backends():
            self.terminate(pid)
        return self.schemux.metric("schemux_backend_connections") == 0

    def test_terminated_while_busy(self):
        client, other = self.wire(), self.wire("orders")
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.wait_until(lambda: self.postgres.run(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' "
            "AND query = 'SELECT pg_sleep(60)'"))
        pid, = self.postgres.run("SELECT pid FROM pg_stat_activity WHERE state = 'active' "
                                 "AND query = 'SELECT pg_sleep(60)'")[0]
        self.terminate(pid)
        errors = wire.errors_of(client.read_to_end())
        self.assertEqual([(one["S"], one["C"]) for one in errors], [("FATAL", "57P01")])
        self.assertEqual(other.rows("SELECT service FROM who"), [["orders"]])
        self.assertEqual(self.wire().rows("SELECT service FROM who"), [["users"]])

    def test_terminated_in_an_open_transaction(self):
        client = self.wire()
        pid = client.rows("BEGIN; SELECT pg_backend_pid()")[0][0]
        self.terminate(pid)
        errors = wire.errors_of(client.read_to_end())
        self.assertEqual([(one["S"], one["C"]) for one in errors], [("FATAL", "57P01")])
        self.assertEqual(self.wire().rows("SELECT service FROM who"), [["users"]])

    def test_terminated_while_idle_is_not_noticed_by_clients(self):
        clients = [self.wire(service) for service in harness.SERVICES]
        for _ in range(5):
            for client in clients:
                client.rows("SELECT 1")
            self.wait_until(self.no_backend_is_left, "schemux to notice")
            for service, client in zip(harness.SERVICES, clients, strict=True):
                self.assertEqual(client.rows("SELECT service FROM who"), [[service]])

    def test_prepared_statements_survive_the_backend(self):
        client = self.wire()
        client.send(wire.parse("a", "SELECT service FROM {{tables.who}}"), wire.SYNC)
        client.read_ready()
        self.wait_until(self.no_backend_is_left, "schemux to notice")
        client.send(wire.bind("", "a"), wire.execute(), wire.SYNC)
        self.assertEqual(wire.rows_of(client.read_ready()), [["users"]])

    def test_statements_are_never_sent_twice(self):
        """Backends are killed at random under INSERTs with unique numbers: what was acknowledged is
        there, nothing is there twice, and nothing is there that was not sent."""
        with self.temporary_table("client int, number int") as table:
            over = threading.Event()
            acknowledged, sent = set(), set()

            def work(number):
                sequence = 0
                while not over.is_set():
                    try:
                        client = wire.connect(self.schemux.port)
                    except wire.Closed:
                        continue
                    try:
                        while not over.is_set():
                            sequence += 1
                            sent.add((number, sequence))
                            sql = f"INSERT INTO {table} VALUES ({number}, {sequence})"
                            if sequence % 2:
                                messages = client.ask(sql)
                            else:
                                client.send(wire.parse("", sql), wire.bind(), wire.execute(),
                                            wire.SYNC)
                                messages = client.read_ready()
                            if any(one.kind == "C" for one in messages):
                                acknowledged.add((number, sequence))
                    except (wire.Closed, OSError) as error:
                        # The acknowledgement of a Query may have come before the end. Of an
                        # Execute it is not one: PostgreSQL commits at the Sync, behind it.
                        last = getattr(error, "messages", ())
                        if sequence % 2 and any(one.kind == "C" for one in last):
                            acknowledged.add((number, sequence))
                    finally:
                        client.close()

            running = [harness.Background(work, number) for number in range(6)]
            dice = random.Random(1)
            kills = 0
            while kills < 40:
                pids = self.postgres.backends()
                if pids:
                    self.terminate(dice.choice(pids))
                    kills += 1
                before = len(acknowledged)
                self.wait_until(lambda seen=before: len(acknowledged) > seen + 5,
                                "more acknowledged rows")
            over.set()
            for one in running:
                one.result()
            rows = [tuple(row) for row in self.postgres.run(f"TABLE users.{table}")]
            self.assertEqual(len(rows), len(set(rows)), "a statement ran twice")
            self.assertEqual(acknowledged - set(rows), set(), "an acknowledged row is missing")
            self.assertEqual(set(rows) - sent, set())
            self.assertGreater(len(acknowledged), 200)


class PostgresAway(harness.Case):
    own_schemux = False

    def test_immediate_restart_under_load(self):
        instance = self.start_schemux({"pool": {"acquire_timeout": "30s"}})
        over = threading.Event()
        answers, states = [0] * 8, set()

        def work(number):
            while not over.is_set():
                client = wire.Wire(instance.port)
                try:
                    client.login(list(harness.SERVICES)[number % 3])
                    while not over.is_set():
                        messages = client.ask("SELECT service FROM {{tables.who}}")
                        errors = wire.sqlstates(messages)
                        states.update(errors)
                        if not errors:
                            expected = [[list(harness.SERVICES)[number % 3]]]
                            if wire.rows_of(messages) != expected:
                                raise AssertionError(f"wrong answer {messages}")
                            answers[number] += 1
                except (wire.Closed, OSError) as error:
                    states.update(wire.sqlstates(getattr(error, "messages", [])))
                finally:
                    client.close()

        running = [harness.Background(work, number) for number in range(8)]
        self.wait_until(lambda: min(answers) > 20, "the load to run")
        for how in (signal.SIGQUIT, signal.SIGINT):
            # The others may all be between two queries just then.
            holder = self.wire("users", instance)
            holder.rows("BEGIN; SELECT 1")
            self.postgres.stop(how)
            error, = wire.errors_of(holder.read_to_end())
            self.assertEqual(error["S"], "FATAL")
            self.assertIn(error["C"], LOST)
            self.postgres.start()
            before = list(answers)
            self.wait_until(lambda seen=before: all(
                now > then + 20 for now, then in zip(answers, seen, strict=True)),
                "all clients to work again", seconds=40)
        over.set()
        for one in running:
            one.result()
        self.assertLessEqual(states, LOST)
        self.assertLessEqual(len(self.postgres.backends()), 5)

    def test_down_at_the_start_then_up(self):
        self.postgres.stop()
        try:
            instance = self.start_schemux({"pool": {"acquire_timeout": "30s"}})
            client = self.raw(instance)
            client.send(wire.startup({"user": "alice", "database": "orders"}))
            self.wait_until(
                lambda: instance.metric("schemux_backend_connect_failures_total") >= 1)
        finally:
            self.postgres.start()
        client.finish_login()
        self.assertEqual(client.rows("SELECT service FROM who"), [["orders"]])

    def test_down_for_longer_than_acquire_timeout(self):
        port = server.free_port()
        instance = self.start_schemux({
            "backend": {"dsn": f"host=127.0.0.1 port={port} dbname=app user=app"},
            "pool": {"acquire_timeout": "300ms"}})
        client = self.raw(instance)
        client.send(wire.startup({"user": "alice", "database": "users"}))
        error, = wire.errors_of(client.read_to_end())
        self.assertEqual(error["S"], "FATAL")
        self.assertIn(error["C"], ("08006", "53300"))
        self.assertIn("H", error)

    def test_goes_away_for_a_client_that_is_logged_in(self):
        instance = self.start_schemux({"pool": {"acquire_timeout": "500ms"}})
        client = self.wire("users", instance)
        client.rows("SELECT 1")
        self.postgres.stop()
        try:
            self.wait_until(lambda: instance.metric("schemux_backend_connections") == 0)
            messages = client.ask("SELECT 1")
            error, = wire.errors_of(messages)
            self.assertEqual(error["S"], "ERROR")
            self.assertIn(error["C"], ("08006", "53300"))
            self.assertIn("H", error)
        finally:
            self.postgres.start()
        self.wait_until(lambda: not wire.errors_of(client.ask("SELECT 1")), "the service to return")

    def test_database_that_does_not_exist_is_told_with_its_own_sqlstate(self):
        instance = self.start_schemux({"backend": {"dsn": self.postgres.dsn(dbname="missing")}})
        client = self.raw(instance)
        client.send(wire.startup({"user": "alice", "database": "users"}))
        self.assertEqual(wire.sqlstates(client.read_to_end()), ["3D000"])


class PoolExhausted(harness.Case):
    config = {"pool": {"max_connections": 2, "acquire_timeout": "300ms"}}

    def test_waiting_too_long_is_53300_and_the_connection_survives(self):
        holders = [self.wire(), self.wire()]
        clients = simple, extended = self.wire("orders"), self.wire("orders")
        for holder in holders:
            holder.ask("BEGIN")
        messages = simple.ask("SELECT 1")
        self.assertEqual(wire.kinds(messages), "EZ")
        error, = wire.errors_of(messages)
        self.assertEqual((error["S"], error["C"]), ("ERROR", "53300"))
        self.assertIn("H", error)
        extended.send(wire.parse("", "SELECT 1"), wire.bind(), wire.execute(), wire.SYNC)
        messages = extended.read_ready()
        self.assertEqual((wire.kinds(messages), wire.sqlstates(messages)), ("EZ", ["53300"]))
        self.assertEqual(self.schemux.metric("schemux_acquire_timeouts_total", service="orders"), 2)
        for holder in holders:
            holder.ask("COMMIT")
        for client in clients:
            self.assertEqual(client.rows("SELECT service FROM who"), [["orders"]])

    def test_waiters_are_served_in_their_order(self):
        slow = self.start_schemux({"pool": {"max_connections": 1, "acquire_timeout": "20s"}})
        self.postgres.run("DELETE FROM users.ledger")
        holder = self.wire("users", slow)
        waiters = [self.wire("users", slow) for _ in range(6)]
        holder.ask("BEGIN")
        for number, waiter in enumerate(waiters):
            waiter.send(wire.query(f"INSERT INTO {{{{tables.ledger}}}} VALUES ('{number}')"))
            self.wait_until(lambda n=number: slow.metric("schemux_clients_waiting") == n + 1)
        holder.ask("COMMIT")
        for waiter in waiters:
            waiter.read_ready()
        order = self.postgres.run("SELECT nonce FROM users.ledger ORDER BY ctid")
        self.postgres.run("DELETE FROM users.ledger")
        self.assertEqual([nonce for nonce, in order], [str(n) for n in range(6)])

    def test_server_that_is_full_is_retried_while_clients_wait(self):
        self.postgres.run("ALTER ROLE app CONNECTION LIMIT 1")
        try:
            self.wait_until(lambda: self.schemux.metric("schemux_backend_connections") <= 2)
            instance = self.start_schemux({"pool": {"max_connections": 5,
                                                    "acquire_timeout": "20s"}})
            for pid in self.postgres.backends():
                self.postgres.run("SELECT pg_terminate_backend(%s)", (pid,))
            clients = [self.wire("users", instance) for _ in range(4)]
            running = [harness.Background(client.rows, "SELECT 'served', pg_sleep(0.05)")
                       for client in clients]
            for one in running:
                self.assertEqual(one.result()[0][0], "served")
        finally:
            self.postgres.run("ALTER ROLE app CONNECTION LIMIT -1")
