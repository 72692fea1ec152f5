"""Clients that go in the middle of something: what runs is cancelled, what is open rolled back, and
the backend serves the next one. A connection to PostgreSQL is not lost by it.
"""

import contextlib
import os
import random
import signal
import time

import harness
import wire

# From the client's end to its backend's next client; most of it is the server's own work.
REUSE_SECONDS_MAX = 5
BIG_RESULT = "SELECT n, repeat('x', 1000) FROM generate_series(1, 100000) AS n"


class Gone(harness.Case):
    config = {"pool": {"max_connections": 1, "acquire_timeout": "20s"}}

    def setUp(self):
        super().setUp()
        self.watcher = self.wire("orders")
        self.pid = self.watcher.rows("SELECT pg_backend_pid()")

    def wait_for(self, text, state="active"):
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = %s "
            "AND query LIKE %s", (state, f"%{text}%"))[0][0] == 1, f"{text} to be {state}")

    def assert_reused(self):
        began = time.monotonic()
        self.assertEqual(self.watcher.rows("SELECT pg_backend_pid()"), self.pid)
        self.assertLess(time.monotonic() - began, REUSE_SECONDS_MAX)
        self.assertEqual(self.watcher.rows("SELECT service FROM who"), [["orders"]])

    def ways(self):
        """How a client goes."""
        return (wire.Wire.close, wire.Wire.vanish)

    def test_while_a_statement_runs(self):
        for way in self.ways():
            with self.temporary_table("n int") as table:
                client = self.wire()
                client.ask("BEGIN")
                client.ask(f"INSERT INTO {table} VALUES (1)")
                client.send(wire.query("SELECT pg_sleep(60)"))
                self.wait_for("pg_sleep(60)")
                way(client)
                self.assert_reused()
                self.assertEqual(self.postgres.run(f"SELECT * FROM users.{table}"), [])

    def test_in_an_idle_transaction(self):
        for way in (*self.ways(), lambda client: client.send(wire.TERMINATE)):
            with self.temporary_table("n int") as table:
                client = self.wire()
                client.ask("BEGIN")
                client.ask(f"INSERT INTO {table} VALUES (1)")
                way(client)
                self.assert_reused()
                self.assertEqual(self.postgres.run(f"SELECT * FROM users.{table}"), [])

    def test_in_the_middle_of_a_result_that_it_does_not_read(self):
        for way in self.ways():
            client = self.wire()
            client.send(wire.query(BIG_RESULT))
            client.read_exactly(1000)
            way(client)
            self.assert_reused()

    def test_in_the_middle_of_copy_out(self):
        for way in self.ways():
            client = self.wire()
            client.send(wire.query(f"COPY ({BIG_RESULT}) TO STDOUT"))
            client.read_exactly(1000)
            way(client)
            self.assert_reused()

    def test_between_execute_and_sync_nothing_is_committed(self):
        for way in (*self.ways(), lambda client: client.send(wire.TERMINATE)):
            for answered in (False, True):
                with self.temporary_table("n int") as table:
                    client = self.wire()
                    client.send(wire.parse("", f"INSERT INTO {table} VALUES (1)"), wire.bind(),
                                wire.execute())
                    if answered:
                        client.send(wire.FLUSH)
                        client.read_until("C")
                    way(client)
                    self.assert_reused()
                    self.assertEqual(self.postgres.run(f"SELECT * FROM users.{table}"), [])

    def test_in_the_middle_of_a_bind(self):
        for way in self.ways():
            client = self.wire()
            client.send(wire.parse("", "SELECT $1::text"), wire.FLUSH)
            client.read_until("1")
            client.send(wire.bind(parameters=["x" * 50_000])[:20_000])
            way(client)
            self.assert_reused()

    def test_in_copy_from_stdin(self):
        data = wire.copy_data(b"1\tone\n" * 100)
        for way in self.ways():
            for sent in (b"", data, data + data[:50], wire.message("d", b"2\ttwo\n")[:4]):
                client = self.wire()
                client.send(wire.query("COPY loaded FROM STDIN"))
                client.read_until("G")
                client.send(sent)
                way(client)
                self.assert_reused()
                self.assertEqual(self.postgres.run("SELECT * FROM users.loaded"), [])

    def test_in_copy_from_stdin_of_the_extended_protocol(self):
        for way in self.ways():
            client = self.wire()
            client.send(wire.parse("", "COPY loaded FROM STDIN"), wire.bind(), wire.execute(),
                        wire.FLUSH)
            client.read_until("G")
            client.send(wire.copy_data(b"1\tone\n"))
            way(client)
            self.assert_reused()
            self.assertEqual(self.postgres.run("SELECT * FROM users.loaded"), [])

    def test_behind_a_pipeline_of_slow_statements(self):
        client = self.wire()
        client.send(*[wire.query(f"SELECT pg_sleep(30 + {n})") for n in range(3)])
        self.wait_for("pg_sleep(30 + 0)")
        client.close()
        self.assert_reused()

    def test_while_it_waits(self):
        holder, waiter = self.wire(), self.wire()
        holder.ask("BEGIN")
        waiter.send(wire.query("SELECT pg_sleep(60)"))
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        waiter.close()
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 0)
        holder.ask("COMMIT")
        self.assert_reused()

    def test_while_it_waits_with_a_terminate_behind_its_statement(self):
        """What comes before a Terminate runs, as by PostgreSQL."""
        with self.temporary_table("n int") as table:
            statement = wire.query(f"INSERT INTO {table} VALUES (1)")
            for number, parts in enumerate(((statement + wire.TERMINATE,),
                                            (statement, wire.TERMINATE),
                                            (statement, wire.TERMINATE[:2], wire.TERMINATE[2:]),
                                            (statement + wire.TERMINATE[:3], wire.TERMINATE[3:]))):
                holder, waiter = self.wire(), self.wire()
                holder.ask("BEGIN")
                for part in parts:
                    waiter.send(part)
                    self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
                waiter.close()
                # Whoever is heard behind it: its end has been heard as well.
                self.assertEqual([holder.rows("SELECT 1") for _ in range(3)], [[["1"]]] * 3)
                holder.ask("COMMIT")
                self.wait_until(lambda wanted=number + 1: len(self.postgres.run(
                    f"SELECT * FROM users.{table}")) == wanted, f"the statement of {parts}")
                self.assert_reused()

    @harness.full_only
    def test_statement_that_takes_no_cancel_costs_its_backend(self):
        # A handler of query_canceled would not do: a cancel between two of its blocks ends it.
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.wait_for("pg_sleep(60)")
        stubborn = int(self.pid[0][0])
        os.kill(stubborn, signal.SIGSTOP)
        try:
            client.close()
            self.assertNotEqual(self.watcher.rows("SELECT pg_backend_pid()"), self.pid)
        finally:
            os.kill(stubborn, signal.SIGCONT)
        # PostgreSQL does not see that its client has gone before it reads again.
        self.postgres.run("SELECT pg_terminate_backend(%s)", (stubborn,))


class Storm(harness.Case):
    """Hundreds of clients run into their own timeouts at the same moment."""

    config = {"pool": {"max_connections": 10, "acquire_timeout": "60s"}}
    clients = 500

    def test_clients_that_go_at_once_cost_no_connections(self):
        count = 100 if self.lab.smoke else self.clients
        began = self.postgres.run("SELECT now()")[0][0]
        opened = self.schemux.metric("schemux_backend_connections_opened_total")
        for round_number in range(3):
            clients = [self.wire(("users", "orders")[number % 2]) for number in range(count)]
            for client in clients:
                client.send(wire.query("SELECT pg_sleep(30)"))
            self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting")
                            == count - 10, "everybody to run or wait")
            ended = time.monotonic()
            for client in clients:
                client.vanish() if round_number == 1 else client.close()
            self.assertEqual(self.wire().rows("SELECT 'next'"), [["next"]])
            next_seconds = time.monotonic() - ended
            self.wait_for_idle_pool()
            print(f"    {count} clients gone: the next served after {next_seconds:.2f} s, "
                  f"all at rest after {time.monotonic() - ended:.2f} s")
        connects = self.schemux.metric("schemux_backend_connections_opened_total") - opened
        started = self.postgres.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' "
                                    "AND backend_start >= %s", (began,))[0][0]
        print(f"    connects in three storms: {connects:.0f}, with a pool of 10")
        self.assertLessEqual(connects, 10)
        self.assertLessEqual(started, 10)

    def test_random_ends_under_load(self):
        """Whatever clients were doing, the rest of them see right answers."""
        seconds = 3 if self.lab.smoke else 10
        stop = time.monotonic() + seconds
        opened = self.schemux.metric("schemux_backend_connections_opened_total")

        def leave(number):
            dice = random.Random(number)
            count = 0
            while time.monotonic() < stop:
                client = wire.connect(self.schemux.port, "users")
                with contextlib.suppress(OSError, wire.Closed):
                    client.send(dice.choice((
                        wire.query("SELECT pg_sleep(0.01)"), wire.query(BIG_RESULT),
                        wire.query("BEGIN") + wire.query("INSERT INTO ledger VALUES ('gone')"),
                        wire.parse("", "INSERT INTO ledger VALUES ('gone')") + wire.bind()
                        + wire.execute() + (wire.FLUSH if dice.random() < 0.5 else b""),
                        wire.query("COPY ledger FROM STDIN") + wire.copy_data(b"gone\tx\n")[:9],
                        wire.query("COPY (SELECT 'x' FROM generate_series(1, 50000)) TO STDOUT"))))
                    if dice.random() < 0.5:
                        client.read()
                    time.sleep(dice.random() * 0.005)
                client.vanish() if dice.random() < 0.5 else client.close()
                count += 1
            return count

        def stay():
            client, count = wire.connect(self.schemux.port, "orders"), 0
            with contextlib.closing(client):
                while time.monotonic() < stop:
                    nonce = wire.nonce()
                    rows = client.rows(f"SELECT '{nonce}', service FROM who")
                    if rows != [[nonce, "orders"]]:
                        raise AssertionError(f"{rows} for {nonce}")
                    count += 1
            return count

        leaving = [harness.Background(leave, number) for number in range(6)]
        staying = [harness.Background(stay) for _ in range(3)]
        gone = sum(one.result(120) for one in leaving)
        served = sum(one.result(120) for one in staying)
        self.wait_for_idle_pool()
        connects = self.schemux.metric("schemux_backend_connections_opened_total") - opened
        print(f"    {gone} clients gone, {served} statements of those who stayed, "
              f"{connects:.0f} connects")
        self.assertEqual(self.postgres.run("SELECT * FROM users.ledger WHERE nonce = 'gone'"), [])
        self.assertGreater(served, 10)
        self.assertLessEqual(connects, 10 + gone // 50)
