"""Times that a client may take, on PostgreSQL itself: what is late ends as PostgreSQL would say it,
and what it held is free. That nothing ends early is seen by what takes longer all the while."""

import time

import harness
import wire

SHORT = "400ms"


class Timeouts(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "20s", "wait_notice": SHORT},
              "services": [
                  {"name": "query", "pool": {"query_timeout": SHORT}},
                  {"name": "transaction", "pool": {"transaction_timeout": SHORT}},
                  {"name": "idle", "pool": {"idle_in_transaction_timeout": SHORT}},
                  {"name": "free"}]}

    def metric(self, name, service):
        return self.schemux.metrics()[name, frozenset({"service": service}.items())]

    def ended(self, client):
        """The FATAL error that it gets in the end."""
        error, = wire.errors_of(client.read_to_end())
        self.assertEqual(error["S"], "FATAL")
        return error

    def test_a_query_is_cancelled_and_its_session_lives(self):
        client = self.wire("query")
        self.assertEqual(wire.sqlstates(client.ask("SELECT pg_sleep(20)")), ["57014"])
        client.send(wire.parse("", "SELECT pg_sleep(20)"), wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["57014"])
        client.ask("BEGIN")
        self.assertEqual(wire.sqlstates(client.ask("SELECT pg_sleep(20)")), ["57014"])
        self.assertEqual(wire.sqlstates(client.ask("SELECT 1")), ["25P02"])
        self.assertEqual(wire.sqlstates(client.ask("ROLLBACK")), [])
        for _ in range(8):
            self.assertEqual(wire.sqlstates(client.ask("SELECT pg_sleep(0.1)")), [])
        self.assertEqual(self.metric("schemux_query_timeouts_total", "query"), 3)

    def test_others_are_not_hit(self):
        free = self.wire("free")
        free.send(wire.query("SELECT pg_sleep(1.5)"))
        client = self.wire("query")
        self.assertEqual(wire.sqlstates(client.ask("SELECT pg_sleep(20)")), ["57014"])
        self.assertEqual(wire.sqlstates(free.read_ready()), [])

    def test_a_transaction_is_ended(self):
        client = self.wire("transaction")
        client.ask("CREATE TABLE late (x int)")
        client.ask("BEGIN; LOCK TABLE late")
        try:
            while True:
                self.assertEqual(wire.errors_of(client.ask("SELECT pg_sleep(0.05)")), [])
        except wire.Closed as closed:
            error, = wire.errors_of(closed.messages)
        self.assertEqual((error["S"], error["C"]), ("FATAL", "25P04"))
        self.assertEqual(wire.errors_of(self.wire("free").ask("DROP TABLE late")), [])

    def test_a_transaction_is_ended_in_the_middle_of_a_query(self):
        client = self.wire("transaction")
        client.send(wire.query("SELECT pg_sleep(20)"))
        self.assertEqual(self.ended(client)["C"], "25P04")
        self.wait_for_idle_pool()

    def test_an_idle_transaction_is_ended(self):
        client = self.wire("idle")
        client.ask("BEGIN")
        for _ in range(3):
            self.assertEqual(wire.errors_of(client.ask("SELECT pg_sleep(0.3)")), [])
        error = self.ended(client)
        self.assertEqual(error["C"], "25P03")
        self.assertIn("idle_in_transaction_timeout", error["H"])
        self.wait_for_idle_pool()
        self.assertEqual(self.metric("schemux_client_timeouts_total", "idle"), 1)

    def test_who_waits_is_told_so(self):
        holders = [self.wire("free") for _ in range(3)]
        for holder in holders:
            holder.ask("BEGIN")
        client = self.wire("free")
        client.send(wire.query("SELECT 1"))
        notice = client.read()
        self.assertEqual((notice.kind, notice.error["S"]), ("N", "NOTICE"))
        self.assertIn("wait_notice", notice.error["H"])
        holders[0].ask("COMMIT")
        self.assertEqual(wire.kinds(client.read_ready()), "TDCZ")


class IdleClients(harness.Case):
    config = {"pool": {"max_connections": 3, "client_idle_timeout": SHORT}, "services": [
        {"name": "users"}, {"name": "kept", "pool": {"mode": "session"}}]}

    def test_who_wants_nothing_is_ended(self):
        for service in ("users", "kept"):
            with self.subTest(service):
                client = self.wire(service)
                for _ in range(8):
                    self.assertEqual(wire.errors_of(client.ask("SELECT 1")), [])
                    time.sleep(0.1)
                client.ask("SELECT pg_sleep(1)")
                error, = wire.errors_of(client.read_to_end())
                self.assertEqual((error["S"], error["C"]), ("FATAL", "57P05"))

    def test_a_transaction_is_not_idle(self):
        client = self.wire()
        client.ask("BEGIN")
        time.sleep(1)
        self.assertEqual(wire.errors_of(client.ask("COMMIT")), [])
