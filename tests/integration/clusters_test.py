"""Several clusters of PostgreSQL behind one endpoint: each service is on its own, each cluster has
its own bound, and what happens to one is nothing to the other."""

import signal

import psycopg

import harness
import server
import wire

MOST = 3


class Pair(harness.Case):
    """A second PostgreSQL beside the one of the suite, and a schemux in front of both."""

    own_schemux = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = server.Postgres(cls.lab.folder / f"other-{wire.nonce()}")
        cls.other.create()
        cls.other.start()
        cls.addClassCleanup(cls.other.stop, signal.SIGQUIT)
        for sql in ("CREATE ROLE app LOGIN", "CREATE DATABASE app OWNER app"):
            cls.other.run(sql, dbname="postgres")
        with cls.other.connect(user="app") as connection:
            connection.execute("CREATE SCHEMA reports")
            connection.execute(harness.SCHEMA_SQL.format(schema="reports", service="reports"))

    def setUp(self):
        self.instance = self.start_schemux(self.config_of())

    def config_of(self, **changes):
        other = {"name": "far", "dsn": self.other.dsn(), "max_connections": MOST}
        return server.merged({
            "pool": {"max_connections": 2, "acquire_timeout": "60s"},
            "workers": 2,
            "backends": [other],
            "services": [{"name": "users", "schema": "users"},
                         {"name": "reports", "schema": "reports", "backend": "far"},
                         {"name": "r_*", "schema": "*", "backend": "far"}]}, changes)


class Clusters(Pair):
    def port_of(self, client):
        return int(client.rows("SELECT inet_server_port()")[0][0])

    def test_each_service_is_on_its_own(self):
        for service, port, whose in (("users", self.postgres.port, "users"),
                                     ("reports", self.other.port, "reports"),
                                     ("r_reports", self.other.port, "reports")):
            # More than once: a client begins with either worker of either cluster.
            clients = [self.wire(service, schemux=self.instance) for _ in range(4)]
            for client in clients:
                self.assertEqual(self.port_of(client), port)
                self.assertEqual(client.rows("SELECT service FROM {{tables.who}}"), [[whose]])

    def test_drivers_and_their_prepared_statements_too(self):
        with self.psycopg("reports", schemux=self.instance, prepare_threshold=0) as connection:
            for _ in range(3):
                self.assertEqual(connection.execute("SELECT service FROM {{tables.who}} "
                                                    "WHERE service = %s", ("reports",)).fetchone(),
                                 ("reports",))

    def test_each_has_its_own_bound(self):
        def holders(service, count):
            clients = [self.wire(service, schemux=self.instance) for _ in range(count)]
            for client in clients:
                client.send(wire.query("BEGIN"))
            return clients

        near = holders("users", 3)
        far = holders("reports", 5)
        metric = self.instance.metric
        self.wait_until(lambda: metric("schemux_pool_waiting") == 1 + 2 and
                        metric("schemux_pool_waiting", backend="far") == 2, "the rest to wait")
        self.assertEqual(len(self.postgres.backends()), 2)
        self.assertEqual(len(self.other.backends()), MOST)
        self.assertEqual(metric("schemux_backend_connections_max", backend="far"), MOST)
        for client in near + far:
            client.close()
        self.wait_for_idle_pool(self.instance)

    def test_one_that_is_away_is_nothing_to_the_other(self):
        near = self.wire("users", schemux=self.instance)
        far = self.wire("reports", schemux=self.instance)
        self.assertEqual(self.port_of(far), self.other.port)
        self.other.stop(signal.SIGQUIT)
        metric = self.instance.metric
        self.wait_until(lambda: metric("schemux_backend_up", backend="far") == 0 or
                        metric("schemux_backend_connections", backend="far", state="idle") == 0,
                        "it to be away")
        far = self.wire("r_reports", schemux=self.instance)
        far.send(wire.query("SELECT 1"))
        self.wait_until(lambda: metric("schemux_backend_up", backend="far") == 0, "it to be away")
        self.assertEqual(metric("schemux_backend_up"), 1, "the other one is there")
        self.assertEqual(near.rows("SELECT service FROM {{tables.who}}"), [["users"]])
        self.assertEqual(self.instance.get("/readyz")[0], 200, "users can be served")
        self.other.start()
        self.assertEqual(wire.sqlstates(far.read_ready()), [])
        self.assertEqual(self.port_of(far), self.other.port)

    def test_a_cancel_finds_the_backend_of_either(self):
        for service, postgres in (("users", self.postgres), ("reports", self.other)):
            for _ in range(2):
                with self.psycopg(service, schemux=self.instance) as connection:
                    self.assert_cancelled(connection, postgres)

    def test_notifications_stay_in_their_cluster(self):
        config = self.config_of(services=[
            {"name": name, "schema": name, "backend": backend,
             "session_features": {"listen": "share"}}
            for name, backend in (("users", "near"), ("reports", "far"))])
        config["backends"].append({"name": "near", "dsn": self.postgres.dsn()})
        instance = self.start_schemux(config)
        listeners = {}
        for service in ("users", "reports"):
            listeners[service] = self.wire(service, schemux=instance)
            listeners[service].ask("LISTEN news")
        for service, other in (("users", "reports"), ("reports", "users")):
            self.wire(service, schemux=instance).ask(f"NOTIFY news, 'of {service}'")
            heard = listeners[service].read()
            self.assertEqual(heard.kind, "A")
            self.assertIn(f"of {service}".encode(), heard.body)
        # What comes next is the answer: nothing of the other one came in between.
        for service, client in listeners.items():
            self.assertNotIn("A", wire.kinds(client.ask("SELECT 1")), service)

    def test_a_reload_moves_a_service_and_changes_a_bound(self):
        kept = self.wire("reports", schemux=self.instance)
        self.assertEqual(self.port_of(kept), self.other.port)
        services = [{"name": "users", "schema": "users"}, {"name": "reports", "schema": "orders"}]
        other = {"name": "far", "dsn": self.other.dsn(), "max_connections": 1}
        self.instance.config.update({"services": services, "backends": [other]})
        self.instance.write_config()
        self.instance.reload()
        self.assertEqual(self.instance.metric("schemux_backend_connections_max", backend="far"), 1)
        self.assertEqual(self.port_of(kept), self.other.port, "who is there stays")
        fresh = self.wire("reports", schemux=self.instance)
        self.assertEqual(self.port_of(fresh), self.postgres.port)
        self.assertEqual(fresh.rows("SELECT service FROM {{tables.who}}"), [["orders"]])

    def test_clusters_do_not_come_or_go_with_a_reload(self):
        config = self.instance.config
        config["backends"].append({"name": "third", "dsn": self.postgres.dsn()})
        config["services"].append({"name": "late", "backend": "third"})
        self.instance.write_config()
        self.instance.reload()
        self.assertEqual(self.instance.metric("schemux_config_last_reload_successful"), 0)
        self.assertEqual(self.instance.log_count("restart_needed"), 1)
        with self.assertRaises(psycopg.OperationalError):
            self.psycopg("late", schemux=self.instance)
        self.assertEqual(self.port_of(self.wire("reports", schemux=self.instance)),
                         self.other.port)

    def test_their_order_may_change(self):
        config = self.config_of()
        config["backends"].append({"name": "near", "dsn": self.postgres.dsn()})
        config["services"].append({"name": "orders", "schema": "orders", "backend": "near"})
        instance = self.start_schemux(config)
        instance.config["backends"].reverse()
        instance.write_config()
        instance.reload()
        self.assertEqual(instance.metric("schemux_config_last_reload_successful"), 1)
        self.assertEqual(self.port_of(self.wire("reports", schemux=instance)), self.other.port)
        self.assertEqual(self.port_of(self.wire("orders", schemux=instance)), self.postgres.port)

    def test_schemas_are_made_where_the_service_is(self):
        config = self.config_of(services=[
            {"name": "n_*", "schema": "*", "create_schema": True, "backend": "far"},
            {"name": "r_*", "schema": "*", "backend": "far"}])
        instance = self.start_schemux(config)
        self.wire("n_fresh", schemux=instance).ask("SELECT 1")
        found = "SELECT count(*) FROM pg_namespace WHERE nspname = 'fresh'"
        self.assertEqual(self.other.run(found), [(1,)])
        self.assertEqual(self.postgres.run(found), [(0,)])
        with self.assertRaisesRegex(psycopg.OperationalError, "does not exist"):
            self.psycopg("r_nowhere", schemux=instance)

    def test_it_stops_when_asked(self):
        for service in ("users", "reports"):
            self.wire(service, schemux=self.instance).ask("SELECT 1")
        self.assertEqual(self.instance.stop(), 0)


class Audit(Pair):
    """Services of different clusters are never neighbours; each is proved where it is."""

    def config_of(self, **changes):
        if not self.other.run("SELECT 1 FROM pg_roles WHERE rolname = 'far_svc'"):
            self.other.run("CREATE ROLE far_svc LOGIN; CREATE ROLE two_svc LOGIN; "
                           "GRANT USAGE ON SCHEMA reports TO far_svc; "
                           "GRANT SELECT ON reports.who TO far_svc")
        config = super().config_of(**changes)
        config["services"] = [
            {"name": "users", "schema": "users"},
            {"name": "reports", "schema": "reports", "role": "two_svc", "backend": "far"},
            {"name": "far_one", "schema": "far_one", "role": "far_svc", "backend": "far"}]
        return config

    def isolation(self, command, *more):
        return self.run_program(self.lab.binary, "isolation", command, "--config",
                                self.instance.config_file, *more)

    def test_the_commands_are_about_the_one_that_is_named(self):
        near = self.isolation("audit")
        self.assertIn("--backend is for the others: far", near.stderr)
        self.assertNotIn("far_one", near.stdout)
        self.assertIn("far_one", self.isolation("audit", "--backend", "far").stdout)
        self.assertIn("far_svc", self.isolation("sql", "--backend", "far").stdout)
        self.assertNotIn("far_svc", self.isolation("sql").stdout)
        wrong = self.isolation("audit", "--backend", "farr")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("is named farr", wrong.stderr)

    def test_the_one_at_the_start_looks_at_all(self):
        self.wait_until(lambda: self.instance.log_count("isolation_hole"), "the audit")
        holes = [line["msg"] for line in self.instance.log_lines()
                 if line.get("event") == "isolation_hole"]
        self.assertTrue(all(hole.startswith("backend far: ") for hole in holes), holes)
