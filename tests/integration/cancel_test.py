"""CancelRequests: they end what they are for, and never anything else."""

import threading

import harness
import wire


class Cancel(harness.Case):
    config = {"pool": {"max_connections": 2, "acquire_timeout": "20s"}}

    def sleeping(self, count=1):
        self.wait_until(lambda: self.postgres.run(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND usename = 'app' "
            "AND query LIKE '%pg_sleep(60)%'")[0][0] == count, f"{count} sleeping statements")

    def test_cancel_ends_the_statement_with_57014(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        messages = client.read_ready()
        self.assertEqual(wire.sqlstates(messages), ["57014"])
        self.assertEqual(wire.kinds(messages), "TEZ")
        self.assertEqual(client.rows("SELECT 1"), [["1"]])

    def test_wrong_secret_or_pid_does_nothing(self):
        client = self.wire()
        client.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        before = self.schemux.metric("schemux_backend_cancel_requests_total")
        for pid, secret in ((client.pid, client.secret ^ 1), (client.pid ^ 1, client.secret),
                            (client.pid, 0), (0, 0)):
            self.assertEqual(wire.send_cancel(self.schemux.port, pid, secret), b"")
        self.assertEqual(self.schemux.metric("schemux_backend_cancel_requests_total"), before)
        self.sleeping()
        wire.send_cancel(self.schemux.port, client.pid, client.secret)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])

    def test_cancel_of_an_idle_client_hits_nobody(self):
        idle, busy = self.wire(), self.wire("orders")
        idle.rows("SELECT 1")
        busy.send(wire.query("SELECT pg_sleep(60)"))
        self.sleeping()
        for _ in range(20):
            wire.send_cancel(self.schemux.port, idle.pid, idle.secret)
        self.assertEqual(idle.rows("SELECT 'fine'"), [["fine"]])
        self.sleeping()
        wire.send_cancel(self.schemux.port, busy.pid, busy.secret)
        self.assertEqual(wire.sqlstates(busy.read_ready()), ["57014"])

    def test_cancel_of_a_waiting_client_answers_it_at_once(self):
        holders = [self.wire() for _ in range(2)]
        for holder in holders:
            holder.ask("BEGIN")
        waiter = self.wire()
        waiter.send(wire.query("SELECT 1"))
        self.wait_until(lambda: self.schemux.metric("schemux_clients_waiting") == 1)
        wire.send_cancel(self.schemux.port, waiter.pid, waiter.secret)
        self.assertEqual(wire.sqlstates(waiter.read_ready()), ["57014"])
        for holder in holders:
            self.assertEqual(holder.ask("COMMIT")[-1].body, b"I")
        self.assertEqual(waiter.rows("SELECT 1"), [["1"]])

    def test_cancels_whose_sender_is_gone_at_once(self):
        for _ in range(40):
            client = self.wire()
            client.send(wire.query("SELECT pg_sleep(60)"))
            self.sleeping()
            wire.send_cancel(self.schemux.port, client.pid, client.secret, linger=False)
            self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])
            client.close()

    def test_late_cancels_never_hit_the_next_client(self):
        """Short statements are cancelled when they may already be over, while a victim works on
        the same backends: it must never see 57014."""
        stop = threading.Event()
        victim = self.wire("orders")

        def work():
            count = 0
            while not stop.is_set():
                if victim.rows("SELECT service FROM who") != [["orders"]]:
                    raise AssertionError("a wrong answer")
                count += 1
            return count

        working = harness.Background(work)
        outcomes = set()
        for round_number in range(60 if self.lab.smoke else 200):
            client = self.wire("users")
            client.send(wire.query(f"SELECT pg_sleep({round_number % 4 / 1000})"))
            wire.send_cancel(self.schemux.port, client.pid, client.secret,
                             linger=round_number % 2 == 0)
            outcomes.add(tuple(wire.sqlstates(client.read_ready())))
            client.close()
        stop.set()
        self.assertGreater(working.result(), 0)
        self.assertLessEqual(outcomes, {(), ("57014",)})
