"""Services that no list names: a pattern fits the database that a client asks for."""

import random

import psycopg

import harness
import wire

SERVICES = [
    {"name": "legacy"},
    {"name": "tenant_*", "schema": "tenant_*", "settings": {"app.tenant": "*"},
     "users": ["alice", "app"], "max_clients": 3},
    {"name": "/([a-z]+)-([0-9]+)", "schema": r"\1_\2", "search_path": [r"\1_\2", "tenant_one"]},
]


class Patterns(harness.Case):
    config = {"pool": {"max_connections": 2}, "services": SERVICES}

    @classmethod
    def setUpClass(cls):
        cls.schemas = ("tenant_one", "tenant_two", "shop_17")
        for schema in cls.schemas:
            cls.lab.postgres.run(f"CREATE SCHEMA {schema} AUTHORIZATION app")
            cls.addClassCleanup(cls.lab.postgres.run, f"DROP SCHEMA {schema} CASCADE")
            cls.lab.postgres.run(f"CREATE TABLE {schema}.t (whose text); "
                                 f"INSERT INTO {schema}.t VALUES ('{schema}'); "
                                 f"GRANT ALL ON {schema}.t TO app")
        super().setUpClass()

    def refused(self, service, code="3D000", schemux=None, **startup):
        client = self.raw(schemux)
        client.send(wire.startup({"user": "app", "database": service, **startup}))
        error = wire.errors_of(client.read_to_end())[0]
        self.assertEqual(error["C"], code, error)
        return error

    def test_each_name_has_its_own_schema(self):
        clients = {name: self.wire(name) for name in ("tenant_one", "tenant_two")}
        for _ in range(3):
            for name, client in clients.items():
                self.assertEqual(client.rows("SELECT whose FROM {{tables.t}}"), [[name]])
                self.assertEqual(client.rows("SELECT whose FROM t"), [[name]])
                self.assertEqual(client.rows("SHOW search_path"), [[f'"{name}", public']])
                self.assertEqual(client.rows("SHOW app.tenant"), [[name[7:]]])

    def test_groups_of_a_regular_expression(self):
        client = self.wire("shop-17")
        self.assertEqual(client.rows("SELECT whose FROM {{tables.t}}"), [["shop_17"]])
        self.assertEqual(client.rows("SHOW search_path"), [['"shop_17", "tenant_one"']])

    def test_a_listed_name_goes_before_a_pattern(self):
        self.assertEqual(self.wire("legacy").rows("SELECT 1"), [["1"]])

    def test_names_that_fit_nothing_are_refused(self):
        for name in ("other", "tenant_", "tenant_*", "Tenant_one", "shop-", "shop-1x", "*",
                     "tenant_pg-x", "tenant_a b", "tenant_é", "tenant_" + "x" * 57,
                     'tenant_x"; DROP', "tenant_x'", "tenant_\\1", "tenant_../x", "/([a-z]+)"):
            self.assertNotIn("whose schema", self.refused(name)["H"])

    def test_names_whose_schema_is_missing_are_refused(self):
        for name in ("tenant_three", "tenant_" + "x" * 56, "shop-18"):
            schema = name.replace("-", "_")
            self.assertIn(f'whose schema "{schema}" does not exist', self.refused(name)["H"])
        # It is nobody's business who may not have the service.
        self.assertEqual(self.refused("tenant_three", "42501", user="nobody").get("H"), None)

    def test_a_service_is_there_as_soon_as_its_schema_is(self):
        self.refused("tenant_late")
        self.postgres.run("CREATE SCHEMA tenant_late AUTHORIZATION app")
        self.addCleanup(self.postgres.run, "DROP SCHEMA tenant_late CASCADE")
        self.wait_until(lambda: self.lets_in("tenant_late"), "the schema to be seen")

    def lets_in(self, name):
        try:
            wire.connect(self.schemux.port, name).close()
        except wire.Closed:
            return False
        return True

    def test_a_fuzz_of_names_never_gets_anywhere_else(self):
        """Whatever the name: refused, or the schema is what stands behind tenant_."""
        schemux = self.start_schemux({**self.config, "services": [
            {**service, "create_schema": True} for service in SERVICES[1:2]]})
        schemas = "SELECT array_agg(nspname::text) FROM pg_namespace"
        before = set(self.postgres.run(schemas)[0][0])
        expected = set()
        chooser = random.Random(9)
        alphabet = ["a", "Z", "_", "0", "-", "\"", "'", "\\", ";", " ", "*", ".", "/", "$", "\t",
                    "é", "select", "public", "pg_", "{{", "}}", "\u202e", "\x7f"]
        for _ in range(300):
            name = "tenant_" + "".join(chooser.choices(alphabet, k=chooser.randint(0, 12)))
            plain = name.isascii() and name.replace("_", "a").isalnum()
            if not plain or name == "tenant_" or len(name) > 63:
                self.refused(name, schemux=schemux)
                continue
            client = wire.connect(schemux.port, name)
            self.assertEqual(client.rows("SHOW search_path"), [[f'"{name}", public']])
            expected.add(name)
            client.close()
        made = set(self.postgres.run(schemas)[0][0]) - before
        for schema in made:
            self.postgres.run(f'DROP SCHEMA "{schema}"')
        self.assertEqual(made, expected - before)
        self.assertGreater(len(made), 5)

    def test_users_and_client_bounds_are_each_tenants(self):
        self.refused("tenant_one", "42501", user="nobody")
        for _ in range(3):
            self.wire("tenant_one")
            self.wire("tenant_two")
        self.refused("tenant_one", "53300")

    def test_fixed_settings_are_the_services(self):
        schemux = self.start_schemux({"services": [
            {"name": "tenant_*", "settings": {"app.tenant": "*", "work_mem": "5MB",
                                              "application_name": "of *"},
             "fixed_settings": ["app.tenant", "work_mem", "application_name"]}]})
        client = self.wire("tenant_one", schemux=schemux, application_name="mine",
                           options="-c work_mem=9MB -c app.tenant=two")
        shown = ("SELECT current_setting('work_mem'), current_setting('app.tenant'), "
                 "current_setting('application_name')")
        self.assertEqual(client.rows(shown), [["5MB", "one", "of one"]])
        for text in ("SET work_mem = '9MB'", "SET LOCAL Work_Mem TO '9MB'",
                     "SELECT set_config('app.tenant', 'two', true)",
                     "BEGIN; SET app.tenant = 'two'",
                     "select SET_CONFIG('work_mem', '9MB', false)", "SET \"work_mem\" = 1024"):
            for _ in range(2):  # the text is known by then
                error = wire.errors_of(client.ask(text))[0]
                self.assertEqual(error["C"], "42501", text)
                self.assertIn("permission denied to set parameter", error["M"])
            with self.psycopg("tenant_one", schemux=schemux) as other:
                with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                    other.execute(text, prepare=True)
        client.rows("RESET ALL; SET work_mem TO DEFAULT; SET lock_timeout = 5")
        self.assertEqual(client.rows(shown), [["5MB", "one", "of one"]])

    def test_a_service_by_options(self):
        for asked, answer in (("legacy", "tenant_two"), ("no such", "tenant_two")):
            client = self.psycopg(asked, options="-c schemux.service=tenant_two")
            self.assertEqual(client.execute("SELECT whose FROM t").fetchone(), (answer,))
        with self.assertRaises(psycopg.OperationalError):
            self.psycopg("legacy", options="-c schemux.service=no_such")

    def test_metrics_count_for_the_pattern(self):
        self.wire("tenant_one").rows("SELECT 1")
        self.wire("tenant_two").rows("SELECT 1")
        services = {dict(labels).get("service") for _, labels in self.schemux.metrics()}
        self.assertEqual(services - {None}, {"legacy", "tenant_*", "/([a-z]+)-([0-9]+)"})


class TopTenants(harness.Case):
    """Metrics tell of the tenants that matter, and of no more than that."""

    own_schemux = False

    def setUp(self):
        self.schemux = self.start_schemux({
            "http": {"top_tenants": 2}, "services": [{"name": "t_*", "database": "app"}]})

    def tenants(self, name):
        return {dict(labels)["tenant"]: value
                for (series, labels), value in self.schemux.metrics().items() if series == name}

    def test_those_with_the_most_backend_time(self):
        for tenant, seconds in (("t_idle", 0), ("t_some", 0.1), ("t_much", 0.3)):
            self.wire(tenant).ask(f"SELECT pg_sleep({seconds})")
        busy = self.wire("t_much")
        busy.ask("BEGIN")
        self.assertEqual(set(self.tenants("schemux_tenant_backend_seconds_total")),
                         {"t_much", "t_some"})
        # The first client's may still be looked at before it is free.
        self.wait_until(lambda: self.tenants("schemux_tenant_backends_held")["t_much"] == 1)
        busy.ask("ROLLBACK")

    def test_a_name_that_is_no_text_spoils_nothing(self):
        client = self.raw()
        client.send(wire.startup({"user": "alice", "database": b"t_\xff"}))
        client.finish_login()
        client.ask("SELECT 1")
        self.assertIn("t_\N{REPLACEMENT CHARACTER}",
                      self.tenants("schemux_tenant_backend_seconds_total"))


class ManyTenants(harness.Case):
    """More tenants than are remembered, each for a moment: nothing grows with them."""
    config = {"pool": {"max_connections": 2},
              "services": [{"name": "t_*", "settings": {"app.t": "*"}, "pool": {"max": 1}}]}

    def test_tenants_come_and_go(self):
        for number in range(3_000):
            client = wire.connect(self.schemux.port, f"t_{number}")
            if number % 50 == 0:
                self.assertEqual(client.rows("SHOW app.t"), [[str(number)]])
            client.close()
