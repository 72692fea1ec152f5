"""What a service's mode, `on_connect` and the health check make of a backend: statement mode on
PostgreSQL itself, SQL that runs first on each connection, connections that are silently gone."""

import os
import signal

import harness
import wire

REFUSED = "transactions are not allowed in statement mode"


class StatementMode(harness.Case):
    config = {"pool": {"max_connections": 1, "mode": "statement"},
              "limits": {"max_query_bytes": 2048},
              "services": [{"name": "users", "schema": "users"},
                           {"name": "plain", "templates": {"braces": False, "angles": False}},
                           {"name": "free", "schema": "users", "pool": {"mode": "transaction"}}]}

    def test_statements_run_and_transactions_are_refused(self):
        client, other = self.wire(), self.wire()
        for text in ("BEGIN", "START TRANSACTION READ ONLY", "SELECT 1; BEGIN"):
            error, = wire.errors_of(client.ask(text))
            self.assertEqual((error["S"], error["C"], error["M"]), ("ERROR", "0A000", REFUSED))
            self.assertIn("users", error["H"])
            self.assertEqual(other.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        client.send(wire.parse("", "BEGIN"), wire.bind(), wire.execute(), wire.SYNC)
        self.assertEqual(wire.sqlstates(client.read_ready()), ["0A000"])
        self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [["users"]])

    def test_a_transaction_that_is_too_long_to_be_looked_at_ends_its_client(self):
        client, other = self.wire("plain"), self.wire()
        client.send(wire.query("BEGIN; SELECT '" + "x" * 4096 + "'"))
        error, = wire.errors_of(client.read_to_end())
        self.assertEqual((error["S"], error["C"], error["M"]), ("FATAL", "0A000", REFUSED))
        self.assertEqual(other.rows("SELECT service FROM {{tables.who}}"), [["users"]])

    def test_a_driver_that_begins_transactions_sees_why_it_cannot(self):
        connection = self.psycopg(autocommit=False)
        with self.assertRaisesRegex(Exception, REFUSED):
            connection.execute("SELECT 1")

    def test_another_service_may_have_transactions(self):
        client = self.wire("free")
        self.assertEqual(wire.errors_of(client.ask("BEGIN")), [])
        self.assertEqual(wire.errors_of(client.ask("COMMIT")), [])


class OnConnect(harness.Case):
    config = {"pool": {"max_connections": 2},
              "backend": {"on_connect": "LOAD 'auto_explain'; SET work_mem TO '77MB'; "
                                        "CREATE TEMP TABLE left_over (x int)"}}

    def setUp(self):
        self.postgres.run("ALTER ROLE app SUPERUSER")
        self.addCleanup(self.postgres.run, "ALTER ROLE app NOSUPERUSER")

    def test_it_runs_on_each_connection_and_leaves_no_state(self):
        first, second = self.wire(), self.wire()
        first.ask("BEGIN")
        for client in (first, second):
            self.assertEqual(client.rows("SELECT current_setting('auto_explain.log_min_duration')"),
                             [["-1"]])
            self.assertEqual(client.rows("SHOW work_mem"), [["4MB"]])
            self.assertEqual(client.rows("SELECT to_regclass('left_over') IS NULL"), [["t"]])

    def test_its_error_is_told_to_who_waits(self):
        schemux = self.start_schemux({"backend": {"on_connect": "LOAD 'no_such_library'"}})
        client = self.raw(schemux)
        client.send(wire.startup({"user": "alice", "database": "users"}))
        error, = wire.errors_of(client.read_to_end())
        self.assertEqual((error["S"], error["C"]), ("FATAL", "58P01"))
        self.assertIn("backend.on_connect failed", error["M"])


class HealthCheck(harness.Case):
    """A backend that is stopped answers nobody and closes nothing, as one behind a lost route."""

    config = {"pool": {"max_connections": 3, "health_check_after": "200ms",
                       "acquire_timeout": "30s"}}

    def stop_process(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)

    def test_a_backend_that_does_not_answer_is_replaced_before_anybody_has_it(self):
        clients = [self.wire() for _ in range(2)]
        pids = []
        for client in clients:
            client.ask("BEGIN")
            pids.append(int(client.rows("SELECT pg_backend_pid()")[0][0]))
        for client in clients:
            client.ask("COMMIT")
        self.wait_for_idle_pool()
        for pid in pids:
            self.stop_process(pid)
        self.postgres.run("SELECT pg_sleep(0.5)")
        served = int(clients[0].rows("SELECT pg_backend_pid()")[0][0])
        self.assertNotIn(served, pids)
        # The other one was as silent: it went with the first.
        closed = {line["backend_pid"] for line in self.schemux.log_lines()
                  if line.get("reason") == "unreachable"}
        self.assertEqual(closed, set(pids))

    def test_one_that_answers_is_used_again(self):
        client = self.wire("orders")
        before = client.rows("SELECT pg_backend_pid()")
        for _ in range(3):
            self.postgres.run("SELECT pg_sleep(0.3)")
            self.assertEqual(client.rows("SELECT pg_backend_pid()"), before)


class Memory(harness.Case):
    """No backend is as small as the bound here: each is closed when it is first asked."""

    config = {"pool": {"max_connections": 1, "audit_sample": 0, "max_backend_memory": "64KiB"}}

    def pid(self, client):
        return client.rows("SELECT pg_backend_pid()")[0][0]

    def test_without_the_right_to_know_nothing_is_closed_and_it_is_said(self):
        schemux = self.start_schemux(self.config)
        client = self.wire(schemux=schemux)
        before = self.pid(client)
        self.wait_until(lambda: schemux.log_count("backend_memory_untold") == 1)
        self.assertEqual([self.pid(client) for _ in range(3)], [before] * 3)
        self.assertEqual(schemux.log_count("backend_memory_untold"), 1)
        self.assertEqual(schemux.metric("schemux_backends_outgrown_total"), 0)

    def test_what_has_grown_is_replaced(self):
        self.postgres.run("GRANT pg_read_all_stats TO app")
        self.addCleanup(self.postgres.run, "REVOKE pg_read_all_stats FROM app")
        client = self.wire()
        self.assertEqual(len({self.pid(client) for _ in range(5)}), 5)
        self.assertGreaterEqual(self.schemux.metric("schemux_backends_outgrown_total"), 4)


class Affinity(harness.Case):
    config = {"pool": {"max_connections": 2, "audit_sample": 0}}

    def pid(self, client):
        return client.rows("SELECT pg_backend_pid()")[0][0]

    def backends_of(self, schemux=None, names=("users", "orders", "legacy")):
        """pids for `orders`, before and after others had its backend and then the other one."""
        users = self.wire(names[0], schemux)
        users.ask("BEGIN")
        orders = self.wire(names[1], schemux)
        orders.ask("BEGIN")
        before = self.pid(orders)
        users.ask("COMMIT")
        orders.ask("COMMIT")
        legacy = self.wire(names[2], schemux)
        self.assertEqual(self.pid(legacy), before, "the last one to come back")
        self.assertNotEqual(self.pid(users), before, "whose settings it has")
        return before, self.pid(orders)

    def test_a_service_goes_back_to_where_its_tables_are_known(self):
        before, after = self.backends_of()
        self.assertEqual(before, after)

    def test_so_does_a_tenant_of_a_pattern(self):
        schemux = self.start_schemux({**self.config, "services": [
            {"name": "t_*", "settings": {"app.tenant": "*"}}]})
        before, after = self.backends_of(schemux, ("t_one", "t_two", "t_three"))
        self.assertEqual(before, after)

    def test_without_it_the_last_one_to_come_back_is_taken(self):
        before, after = self.backends_of(self.start_schemux(
            {"pool": {**self.config["pool"], "service_affinity": False}}))
        self.assertNotEqual(before, after)


if __name__ == "__main__":
    import unittest
    unittest.main()
