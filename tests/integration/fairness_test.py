"""One pool, several services: guarantees, caps, queues and weights on PostgreSQL itself. Times are
compared with each other, never with a clock's; fair parts exactly: tests/core/fairness_test.cpp."""

import threading
import time

import harness
import wire

LEASE = 0.02


class Load:
    """Clients of one service that each hold a backend again and again."""

    def __init__(self, case, service, clients, text=f"SELECT pg_sleep({LEASE})", think=0.0):
        self.waits, self.errors = [], []
        self.stopping = False
        self.text, self.think = text, think
        self.threads = [threading.Thread(target=self._run, args=(case.wire(service),))
                        for _ in range(clients)]

    def _run(self, client):
        while not self.stopping:
            began = time.monotonic()
            self.errors += wire.sqlstates(client.ask(self.text))
            self.waits.append(time.monotonic() - began)
            time.sleep(self.think)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self.stopping = True
        for thread in self.threads:
            thread.join()


class Fair(harness.Case):
    config = {"workers": 2, "pool": {"max_connections": 4, "acquire_timeout": "20s"}, "services": [
        {"name": "greedy"},
        {"name": "other"},
        {"name": "heavy", "pool": {"weight": 3}},
        {"name": "guaranteed", "pool": {"guarantee": 1}},
        {"name": "capped", "pool": {"max": 2}},
        {"name": "short", "pool": {"queue": 3, "acquire_timeout": "19s"}},
        {"name": "kept", "pool": {"mode": "session"}}]}

    def seconds(self, *services):
        values = self.schemux.metrics()
        return [values["schemux_backend_seconds_total", frozenset({"service": name}.items())]
                for name in services]

    def during(self, seconds, *services):
        before = self.seconds(*services)
        time.sleep(seconds)
        return [after - then for after, then in zip(self.seconds(*services), before)]

    def test_many_clients_are_no_more_than_few(self):
        with Load(self, "greedy", 40), Load(self, "other", 8, "SELECT pg_sleep(0.005)"):
            time.sleep(0.3)
            greedy, other = self.during(2, "greedy", "other")
        self.assertGreater(other / (greedy + other), 0.4)
        self.assertLess(other / (greedy + other), 0.6)

    def test_weights(self):
        with Load(self, "other", 12), Load(self, "heavy", 12):
            time.sleep(0.3)
            other, heavy = self.during(2, "other", "heavy")
        self.assertGreater(heavy / (other + heavy), 0.65)
        self.assertLess(heavy / (other + heavy), 0.85)

    def test_a_guarantee_waits_for_no_queue(self):
        with Load(self, "greedy", 40) as greedy:
            time.sleep(0.3)
            with Load(self, "guaranteed", 1, "SELECT 1", think=0.01) as guaranteed:
                time.sleep(2)
        # Who is greedy waits for ten leases on the average.
        middle = sorted(greedy.waits)[len(greedy.waits) // 2]
        late = sorted(guaranteed.waits)[len(guaranteed.waits) * 9 // 10]
        self.assertGreater(len(guaranteed.waits), 20)
        self.assertLess(late, middle / 2)

    def test_a_cap_leaves_room(self):
        with Load(self, "capped", 10, "SELECT pg_sleep(0.1)") as capped:
            self.wait_until(lambda: self.schemux.metrics()[
                "schemux_backends_held", frozenset({"service": "capped"}.items())] == 2, "its cap")
            client = self.wire("other")
            for _ in range(20):
                self.assertEqual(wire.errors_of(client.ask("SELECT 1")), [])
                held = self.schemux.metrics()[
                    "schemux_backends_held", frozenset({"service": "capped"}.items())]
                self.assertLessEqual(held, 2)
        self.assertEqual(capped.errors, [])

    def test_a_reload_changes_what_a_service_is_entitled_to(self):
        schemux = self.start_schemux({"services": [{"name": "one", "pool": {"max": 1}}]})
        first, second = self.wire("one", schemux), self.wire("one", schemux)
        first.ask("BEGIN")
        second.send(wire.query("SELECT 1"))
        self.wait_until(lambda: schemux.metric("schemux_clients_waiting") == 1)
        schemux.config["services"][0]["pool"] = {"max": 2}
        schemux.write_config()
        schemux.reload()
        self.assertEqual(wire.rows_of(second.read_ready()), [["1"]])
        first.ask("COMMIT")

    def test_a_full_queue_refuses_at_once(self):
        holders = [self.wire("greedy") for _ in range(4)]
        for holder in holders:
            holder.ask("BEGIN")
        waiting = [self.wire("short") for _ in range(3)]
        for client in waiting:
            client.send(wire.query("SELECT 1"))
        self.wait_until(lambda: self.schemux.metrics()[
            "schemux_clients_waiting", frozenset({"service": "short"}.items())] == 3, "the queue")
        error, = wire.errors_of(self.wire("short").ask("SELECT 1"))
        self.assertEqual(error["C"], "53300")
        self.assertIn("queue", error["D"])
        self.assertIn("pool.queue", error["H"])
        # Others of the same pool only wait.
        other = self.wire("other")
        other.send(wire.query("SELECT 1"))
        for holder in holders:
            holder.ask("COMMIT")
        for client in [*waiting, other]:
            self.assertEqual(wire.errors_of(client.read_ready()), [])

    def test_a_session_of_one_service_beside_transactions_of_another(self):
        client = self.wire("kept")
        client.ask("CREATE TEMP TABLE mine (x int)")
        other = self.wire("other")
        self.assertEqual(wire.errors_of(other.ask("SELECT 1")), [])
        self.assertEqual(wire.errors_of(client.ask("SELECT * FROM mine")), [])

    def test_all_is_given_back(self):
        self.wait_for_idle_pool()
        held = [value for (name, _), value in self.schemux.metrics().items()
                if name == "schemux_backends_held"]
        self.assertEqual(set(held), {0})


class Reserved(harness.Case):
    config = {"pool": {"max_connections": 3, "acquire_timeout": "20s"}, "services": [
        {"name": "greedy"}, {"name": "reserved", "pool": {"guarantee": 1, "reserve": True}}]}

    def test_it_is_there_at_once(self):
        holders = [self.wire("greedy") for _ in range(3)]
        for holder in holders[:2]:
            self.assertEqual(wire.errors_of(holder.ask("BEGIN")), [])
        holders[2].send(wire.query("SELECT 1"))
        client = self.wire("reserved")
        for _ in range(10):
            self.assertEqual(wire.errors_of(client.ask("SELECT 1")), [])
        self.assertEqual(self.schemux.metrics()[
            "schemux_clients_waiting", frozenset({"service": "greedy"}.items())], 1)
        holders[0].ask("COMMIT")
        self.assertEqual(wire.errors_of(holders[2].read_ready()), [])
