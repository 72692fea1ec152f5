"""/metrics, /livez, /readyz: what operators and Prometheus see."""

import glob
import pathlib
import shutil
import socket
import subprocess

import harness
import server
import wire

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_promtool():
    """On the PATH, or where tests/run.sh puts it."""
    found = glob.glob(str(ROOT / "build" / "tools" / "**" / "promtool"), recursive=True)
    return found[0] if found else shutil.which("promtool")


class Http(harness.Case):
    def test_liveness_and_readiness(self):
        self.assertEqual(self.schemux.get("/livez"), (200, "ok\n"))
        self.assertEqual(self.schemux.get("/readyz")[0], 200)
        self.assertEqual(self.schemux.get("/nothing")[0], 404)

    def test_healthcheck_command(self):
        url = f"http://127.0.0.1:{self.schemux.http_port}/readyz"
        command = [self.schemux.binary, "healthcheck", "--url", url]
        self.assert_program(self.run_program(*command))
        bad = [part.replace(str(self.schemux.http_port), str(server.free_port()))
               for part in command]
        self.assertEqual(self.run_program(*bad).returncode, 1)

    def test_not_ready_without_postgres(self):
        away = self.start_schemux({
            "backend": {"dsn": f"host=127.0.0.1 port={server.free_port()} dbname=app user=app"},
            "pool": {"acquire_timeout": "200ms", "min_connections": 1}})
        self.wait_until(lambda: away.get("/readyz")[0] == 503, "readyz to say 503")
        self.assertEqual(away.get("/livez")[0], 200)

    def test_metrics_pass_promtool(self):
        promtool = find_promtool()
        status, text = self.schemux.get("/metrics")
        self.assertEqual(status, 200)
        names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        for name, _ in server.parse_metrics(text):
            base = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
            self.assertTrue(name in names or base in names, f"{name} has no TYPE")
        self.assertTrue(all(name.startswith(("schemux_", "process_")) for name in names), names)
        if promtool is None:
            print("  (promtool is not available: `promtool check metrics` was not run)")
            return
        checked = subprocess.run([promtool, "check", "metrics"], input=text, text=True,
                                 capture_output=True, timeout=30, check=False)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def moved(self, action, **labels):
        """What changed in the counters and histograms that have these labels."""
        before = self.schemux.metrics()
        action()
        after = self.schemux.metrics()
        wanted = set(labels.items())
        return {(name, pairs - wanted): value - before.get((name, pairs), 0)
                for (name, pairs), value in after.items()
                if wanted <= pairs and value != before.get((name, pairs), 0)
                and not name.endswith("_bucket")}

    def test_counters_move_for_their_own_service_only(self):
        client, other = self.wire("users"), self.wire("orders")

        def work():
            for _ in range(3):
                client.rows("SELECT service FROM {{tables.who}}")
            client.send(wire.parse("", "SELECT 1"), wire.bind(), wire.execute(), wire.SYNC)
            client.read_ready()

        moved = self.moved(work, service="users")
        self.assertEqual(moved["schemux_queries_total", frozenset({("protocol", "simple")})], 3)
        self.assertEqual(moved["schemux_queries_total", frozenset({("protocol", "extended")})], 1)
        self.assertEqual(moved["schemux_rewrites_total", frozenset()], 3)
        self.assertEqual(moved["schemux_transactions_total", frozenset()], 4)
        self.assertEqual(moved["schemux_query_duration_seconds_count", frozenset()], 4)
        self.assertEqual(self.moved(lambda: client.rows("SELECT 1"), service="orders"), {})
        other.rows("SELECT 1")

    def test_template_errors_are_counted(self):
        client = self.wire("users")
        moved = self.moved(lambda: client.ask("SELECT {{wrong}}"), service="users")
        self.assertEqual(moved["schemux_template_errors_total", frozenset()], 1)
        self.assertEqual(moved["schemux_errors_total", frozenset({("class", "syntax")})], 1)
        self.assertNotIn(("schemux_queries_total", frozenset({("protocol", "simple")})), moved)

    def test_errors_are_counted_by_class(self):
        client = self.wire("orders")
        cases = {
            "syntax": "SELEC",
            "data": "SELECT 1/0",
            "transaction": "SAVEPOINT x",
            "other": "BEGIN; ROLLBACK TO nobody",
            "access": "SELECT * FROM pg_authid",
            "integrity": "INSERT INTO {{tables.items}} (id, name) VALUES (1, 'twice')",
            "feature": "SELECT 1 UNION SELECT 1 FOR UPDATE",
        }
        for name, sql in cases.items():
            with self.subTest(name):
                states = []
                moved = self.moved(lambda text=sql: states.extend(wire.sqlstates(
                    client.ask(text))), service="orders")
                client.ask("ROLLBACK")
                errors = {dict(pairs)["class"]: value for (metric, pairs), value in moved.items()
                          if metric == "schemux_errors_total"}
                self.assertEqual(errors, {name: 1}, states)

    def test_gauges_of_clients_and_backends(self):
        self.wait_until(lambda: self.schemux.metric("schemux_client_connections") == 0)
        client = self.wire("users")
        client.ask("BEGIN")
        metric = self.schemux.metric
        self.assertEqual(metric("schemux_client_connections", service="users"), 1)
        self.assertEqual(metric("schemux_leases", service="users"), 1)
        self.assertEqual(metric("schemux_backend_connections", state="leased"), 1)
        self.assertEqual(metric("schemux_backend_connections_max"), 5)
        opened = metric("schemux_backend_connections")
        self.assertEqual(opened, len(self.postgres.backends()))
        client.ask("COMMIT")
        self.assertEqual(metric("schemux_leases", service="users"), 0)
        client.send(wire.TERMINATE)
        self.wait_until(lambda: metric("schemux_client_connections") == 0)

    def test_bytes_are_counted(self):
        client = self.wire("users")
        moved = self.moved(lambda: client.rows("SELECT repeat('x', 100000)"), service="users")
        self.assertGreater(moved["schemux_client_sent_bytes_total", frozenset()], 100_000)
        self.assertEqual(moved["schemux_client_received_bytes_total", frozenset()],
                         len(wire.query("SELECT repeat('x', 100000)")))

    def test_broken_requests_do_not_stop_the_endpoint(self):
        for data in (b"\x16\x03\x01" * 50, b"GET /metrics\r\n\r\n", b"GET " + b"x" * 100_000,
                     b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", self.schemux.http_port), 10) as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except ConnectionError:
                    pass
        self.assertEqual(self.schemux.get("/livez")[0], 200)
