"""What the tests of failing servers and networks have in common: a schemux with PostgreSQL behind
support/chaos_proxy.py, a count of the server's connections, and what must hold when all is over.
"""

import pathlib
import sys
import threading
import time

import psycopg

import harness
import server
import wire

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import chaos_proxy  # noqa: E402  (found through the path above)

BOUND = 5
# A server that is back is found within 2 s; the rest is for a machine with other work.
SERVED_SECONDS_MAX = 5


class Watch:
    """Counts, all the time, the connections that the server has."""

    def __init__(self, postgres):
        self.most = self.looks = 0
        self._postgres = postgres
        self._over = threading.Event()
        self._running = harness.Background(self._run)

    def _run(self):
        while not self._over.is_set():
            try:
                with self._postgres.connect() as connection:
                    while not self._over.wait(0.005):
                        row = connection.execute(
                            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' "
                            "AND backend_type = 'client backend'").fetchone()
                        self.most = max(self.most, row[0])
                        self.looks += 1
            except psycopg.Error:
                self._over.wait(0.02)  # it is away

    def finish(self):
        self._over.set()
        self._running.result()


class UnderChaos(harness.Case):
    own_schemux = False

    def proxy(self, seed=0):
        proxy = chaos_proxy.ChaosProxy(server.free_port(), self.postgres.port, seed).start()
        self.addCleanup(proxy.stop)
        return proxy

    def behind(self, proxy, workers=2, services=None, **pool):
        """A schemux that has PostgreSQL behind the proxy."""
        return self.start_schemux({
            "workers": workers, **({"services": services} if services else {}),
            "backend": {"dsn": f"host=127.0.0.1 port={proxy.port} dbname=app user=app"},
            "pool": {"max_connections": BOUND, "acquire_timeout": "30s", **pool}})

    def assert_at_rest(self, instance, proxy, clients=(), seconds=60, beyond=0):
        """All clients go: every slot is free, and all of them can be had at once. `beyond`: so many
        connections more than the pool's there may be."""
        for client in clients:
            client.close()

        def rests():
            values = instance.metrics()
            busy = sum(value for (name, labels), value in values.items()
                       if name == "schemux_backend_connections" and ("state", "idle") not in labels)
            rest = [sum(value for (name, _), value in values.items() if name == wanted)
                    for wanted in ("schemux_client_connections", "schemux_clients_waiting",
                                   "schemux_pool_waiting", "schemux_leases",
                                   "schemux_logins_in_progress")]
            return busy == 0 and not any(rest)

        self.wait_until(rests, "the pool to be at rest", seconds)
        values = instance.metrics()
        self.assertEqual(values["schemux_desync_total", frozenset()], 0)
        self.assertEqual([name for name, value in values.items() if value > harness.BELOW_ZERO], [])
        holders = [self.wire("users", instance) for _ in range(BOUND)]
        began = time.monotonic()
        for client in holders:
            client.send(wire.query("BEGIN; SELECT service FROM {{tables.who}}"))
        for client in holders:
            self.assertEqual(wire.rows_of(client.read_ready()), [["users"]])
        took = time.monotonic() - began
        for client in holders:
            client.ask("COMMIT")
            client.close()
        self.assertLess(took, SERVED_SECONDS_MAX, "all slots at once")
        self.assertLessEqual(proxy.most_open, BOUND + beyond)
        self.assertEqual(instance.stop(), 0)
        return took

    def postgres_answers(self):
        try:
            self.postgres.run("SELECT 1")
            return True
        except psycopg.Error:
            return False

    def told(self, load, allowed):
        self.assertLessEqual(set(load.states), allowed,
                             f"seed {load.seed}: {load.states}, such as {load.examples()}")
