"""The isolation audit that `schemux serve` has run: at its start and at each reload, with `warn`,
`require` and `off`; without holding anybody up.
"""

import contextlib
import json
import socket
import time

import harness
import isolation_audit_test as audit
import server
import wire

OPEN = "GRANT USAGE ON SCHEMA billing TO iso_orders"
CLOSE = "REVOKE USAGE ON SCHEMA billing FROM iso_orders"
METRICS = ("schemux_isolation_audit_ok", "schemux_isolation_audit_holes",
           "schemux_isolation_audit_timestamp_seconds")
APPLICATION = "schemux isolation audit"
LOGGED_HOLES_MAX = 20
# An audit that is waited for, or not given up, takes 10 s here: connecting, or for a lock.
SOON_SECONDS = 5


class AtStart(audit.IsolationCase):
    services = [audit.strict("billing"), audit.strict("orders"),
                {"name": "legacy"}, audit.strict("tenant_*", role="iso_tenant_*")]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("apply").apply()

    def schemux_with(self, mode=None, start=True, **more):
        changes = {"backend": {"dsn": self.postgres.dsn("iso_login", "iso_one")},
                   "services": self.services, **more}
        if mode:
            changes["isolation_audit"] = mode
        return self.start_schemux(changes, start=start)

    def open_hole(self, sql=OPEN, closed_by=CLOSE):
        self.run_sql(sql)
        self.addCleanup(self.run_sql, closed_by)

    def reload(self, instance, **changes):
        instance.config = server.merged(instance.config, changes)
        instance.write_config()
        instance.reload()

    def known(self, instance):
        """What the metrics say; all of them, or none."""
        metrics = instance.metrics()
        values = [metrics[name, frozenset()] for name in METRICS if (name, frozenset()) in metrics]
        self.assertIn(len(values), (0, len(METRICS)))
        return values[:2]

    def wait_known(self, instance, *expected):
        self.wait_until(lambda: self.known(instance) == list(expected), f"{expected} (ok, holes)",
                        seconds=40)

    def events(self, instance, name):
        return [one for one in instance.log_lines() if one.get("event") == name]

    def awaited(self, instance, name, count=1):
        """The log is written a moment later than what it is about happens."""
        self.wait_until(lambda: len(self.events(instance, name)) >= count, name)
        events = self.events(instance, name)
        self.assertEqual(len(events), count, events)
        return events

    def assert_serves(self, instance):
        client = self.wire("billing", instance)
        self.assertEqual(client.rows("SELECT current_user::text"), [["iso_billing"]])

    def refusal(self, instance):
        """Why it does not serve."""
        instance.start(wait=False)
        self.assertEqual(instance.wait(), 1)
        self.assertEqual(self.events(instance, "started"), [])
        error, = self.events(instance, "start_failed")
        self.assertIn("isolation_audit is require", error["msg"])
        self.assertIn("`schemux isolation audit`", error["msg"])
        return error["msg"]

    # ---- warn ------------------------------------------------------------------------------

    def test_a_hole_is_said_and_closed_by_what_is_said(self):
        self.open_hole()
        instance = self.schemux_with()
        self.wait_known(instance, 0, 1)
        self.assert_serves(instance)
        summary, = self.awaited(instance, "isolation_holes")
        hole, = self.events(instance, "isolation_hole")
        self.assertEqual((hole["level"], hole["object"], hole["database"]),
                         ("warning", "billing", "iso_one"))
        self.assertEqual(summary["holes"], 1)
        self.assertIn("schemux isolation audit", summary["hint"])
        then = instance.metric(METRICS[2])
        self.assertLess(abs(then - time.time()), 60)
        self.run_sql(hole["fix"])
        instance.reload()
        self.wait_known(instance, 1, 0)
        self.assertGreater(instance.metric(METRICS[2]), then)
        self.awaited(instance, "isolation_audit_passed")
        self.open_hole()
        instance.reload()
        self.wait_known(instance, 0, 1)

    def test_not_every_hole_is_logged(self):
        tables = [f"billing.many_{number}" for number in range(25)]
        self.run_sql("".join(f"CREATE TABLE {table} (); GRANT SELECT ON {table} TO iso_orders;"
                             for table in tables))
        self.addCleanup(self.run_sql, "DROP TABLE " + ", ".join(tables))
        instance = self.schemux_with("warn")
        self.wait_known(instance, 0, len(tables))
        summary, = self.awaited(instance, "isolation_holes")
        self.assertEqual(summary["holes"], len(tables))
        self.assertEqual(len(self.events(instance, "isolation_hole")), LOGGED_HOLES_MAX)

    def test_a_login_that_may_not_look_yet(self):
        self.run_sql("ALTER ROLE iso_login NOLOGIN")
        self.addCleanup(self.run_sql, "ALTER ROLE iso_login LOGIN")
        instance = self.schemux_with("warn")
        self.wait_until(lambda: self.events(instance, "isolation_audit_failed"))
        failed = self.events(instance, "isolation_audit_failed")[0]
        self.assertEqual(failed["level"], "warning")
        self.assertIn("iso_login", failed["error"])
        self.assertEqual(self.known(instance), [])
        self.assert_serves(instance)
        self.run_sql("ALTER ROLE iso_login LOGIN")
        self.wait_known(instance, 1, 0)

    def test_a_server_that_comes_later(self):
        late = server.Postgres(self.lab.folder / f"late-{wire.nonce()}")
        late.create()
        self.addCleanup(late.stop)
        instance = self.schemux_with("warn", backend={"dsn": late.dsn("postgres", "postgres")})
        self.wait_until(lambda: self.events(instance, "isolation_audit_failed")[1:])
        attempts = self.events(instance, "isolation_audit_failed")[:2]
        self.assertEqual([one["level"] for one in attempts], ["warning", "debug"])
        self.assertEqual(self.known(instance), [])
        late.start()
        self.wait_until(lambda: self.known(instance), "the audit to be run")
        self.awaited(instance, "isolation_holes")
        # Roles that this server has not: nothing is proved of them.
        self.assertEqual({one["kind"] for one in self.events(instance, "isolation_hole")},
                         {"missing role"})

    def test_a_silent_host_in_front_of_the_one_that_serves(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            instance = self.schemux_with("warn", backend={
                "dsn": f"host=127.0.0.1,127.0.0.1 port={port},{self.postgres.port} "
                       "dbname=iso_one user=iso_login"})
            self.wait_known(instance, 1, 0)

    def test_services_of_a_file_that_changes(self):
        self.open_hole()
        file = self.lab.folder / f"services-{wire.nonce()}.json"
        file.write_text(json.dumps({"services": self.services[:1]}))
        instance = self.schemux_with("warn", services=[{"name": "legacy"}],
                                     services_file=str(file))
        self.wait_known(instance, 1, 0)
        file.write_text(json.dumps({"services": self.services[:2]}))
        self.wait_known(instance, 0, 1)

    # ---- off -------------------------------------------------------------------------------

    def test_off_looks_at_nothing(self):
        self.open_hole()
        instance = self.schemux_with("off")
        self.assert_serves(instance)
        instance.reload()
        self.assertEqual(self.known(instance), [])
        self.reload(instance, isolation_audit="warn")
        self.wait_known(instance, 0, 1)
        # Had it looked before, there would be more.
        self.awaited(instance, "isolation_holes")
        self.reload(instance, isolation_audit="off")
        self.assertEqual(self.known(instance), [])

    def test_without_strict_there_is_nothing_to_look_at(self):
        self.open_hole()
        instance = self.schemux_with("require", services=[
            {"name": "legacy"}, {"name": "orders", "schema": "orders"}, self.services[-1]])
        self.assertEqual(self.known(instance), [])
        self.reload(instance, isolation_audit="warn", services=self.services)
        self.wait_known(instance, 0, 1)
        self.reload(instance, services=[{"name": "legacy"}])
        self.assertEqual(self.known(instance), [])

    # ---- require ---------------------------------------------------------------------------

    def test_require_does_not_serve_with_a_hole(self):
        self.open_hole()
        instance = self.schemux_with("require", start=False)
        message = self.refusal(instance)
        self.assertIn("1 hole", message)
        self.assertEqual([one["object"] for one in self.events(instance, "isolation_hole")],
                         ["billing"])
        self.run_sql(CLOSE)
        instance.start()
        self.assertEqual(self.known(instance), [1, 0])
        self.assert_serves(instance)

    def test_require_does_not_serve_without_a_server(self):
        instance = self.schemux_with("require", start=False, backend={
            "dsn": f"host=127.0.0.1 port={server.free_port()} user=x dbname=x"})
        self.assertIn("cannot connect to database", self.refusal(instance))

    def test_require_takes_no_configuration_with_a_hole(self):
        instance = self.schemux_with("require")
        self.open_hole()
        self.reload(instance, pool={"max_connections": 9})
        self.assertEqual(instance.log_count("reload_failed"), 1)
        self.assertEqual(instance.metric("schemux_config_last_reload_successful"), 0)
        self.assertEqual(instance.metric("schemux_backend_connections_max"), 5)
        error, = self.events(instance, "isolation_not_proved")
        self.assertIn("1 hole", error["error"])
        self.wait_known(instance, 0, 1)
        self.assert_serves(instance)
        self.run_sql(CLOSE)
        instance.reload()
        self.assertEqual(instance.metric("schemux_config_last_reload_successful"), 1)
        self.assertEqual(instance.metric("schemux_backend_connections_max"), 9)
        self.assertEqual(self.known(instance), [1, 0])

    def test_require_takes_no_configuration_that_nobody_can_prove(self):
        instance = self.schemux_with("require")
        self.run_sql("ALTER ROLE iso_login NOLOGIN")
        self.addCleanup(self.run_sql, "ALTER ROLE iso_login LOGIN")
        self.reload(instance, pool={"max_connections": 9})
        self.assertEqual(instance.log_count("reload_failed"), 1)
        self.assertEqual(instance.metric("schemux_backend_connections_max"), 5)
        error, = self.events(instance, "isolation_not_proved")
        self.assertIn("iso_login", error["error"])
        self.assertEqual(self.known(instance), [1, 0])
        self.assert_serves(instance)

    # ---- nobody waits for it ---------------------------------------------------------------

    def auditing(self):
        """Sessions of audits that wait for a lock."""
        return self.postgres.run("SELECT pid FROM pg_stat_activity WHERE application_name = %s "
                                 "AND wait_event_type = 'Lock'", (APPLICATION,))

    @contextlib.contextmanager
    def audits_wait(self):
        """What they read is locked, and nothing that a login reads: a backend that has to make its
        cache of catalogs anew opens all that have a system cache, as pg_inherits has none."""
        with self.postgres.connect("iso_one") as connection, connection.transaction():
            connection.execute("LOCK TABLE pg_inherits")
            yield

    def test_a_reload_that_is_audited_holds_nobody_up(self):
        instance = self.schemux_with("require")
        instance.config["pool"]["max_connections"] = 9
        instance.write_config()
        with self.audits_wait():
            instance.signal(server.signal.SIGHUP)
            self.wait_until(self.auditing, "an audit to wait")
            self.assert_serves(instance)
            self.assertEqual(instance.metric("schemux_backend_connections_max"), 5)
            # The second one takes the place of the first one.
            instance.config["pool"]["max_connections"] = 8
            instance.write_config()
            first = self.auditing()
            instance.signal(server.signal.SIGHUP)
            self.wait_until(lambda: self.auditing() not in ([], first), "another audit")
        self.wait_until(lambda: instance.log_count("reloaded"), "the reload")
        self.assertEqual(instance.metric("schemux_backend_connections_max"), 8)
        self.assertEqual((instance.log_count("reloaded"), instance.log_count("reload_failed")),
                         (1, 0))

    def test_stopping_does_not_wait_for_an_audit(self):
        with self.audits_wait():
            instance = self.schemux_with("warn")
            self.wait_until(self.auditing, "an audit to wait")
            began = time.monotonic()
            instance.signal(server.signal.SIGTERM)
            self.assertEqual(instance.wait(), 0)
            self.assertLess(time.monotonic() - began, SOON_SECONDS)
            # PostgreSQL sees that nobody is there before the lock's own timeout.
            self.wait_until(lambda: not self.auditing(), "its session to end", SOON_SECONDS)

    def test_stopping_does_not_wait_for_a_silent_server(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(server.START_SECONDS)
            port = silent.getsockname()[1]
            instance = self.schemux_with("warn", backend={
                "dsn": f"host=127.0.0.1 port={port} user=x dbname=x sslmode=disable"})
            heard = b""
            while APPLICATION.encode() not in heard:
                connection = silent.accept()[0]
                self.addCleanup(connection.close)
                connection.settimeout(server.START_SECONDS)
                heard = connection.recv(4096)
            began = time.monotonic()
            instance.signal(server.signal.SIGTERM)
            self.assertEqual(instance.wait(), 0)
            self.assertLess(time.monotonic() - began, SOON_SECONDS)


if __name__ == "__main__":
    harness.unittest.main()
