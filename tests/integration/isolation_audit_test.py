"""`schemux isolation sql` and `schemux isolation audit`: what the one gives and takes, the other
proves; and every way around it that somebody could open is found, named and closed again.
"""

import contextlib
import json
import unittest

import psycopg

import harness
import server
import wire

ODD = 'iso "odd" $schemux$ \'role'
ODD_DATABASE = 'iso "odd" \'database\' = $schemux$'
ROLES = ("iso_billing", "iso_orders", "iso_users", "iso_items", "iso_reports", ODD,
         "iso_tenant_a", "iso_tenant_b", "iso_own_a", "iso_own_b")

# (what it is, how it is opened, what kind of finding, in which object's name)
TABLES = "ALTER DEFAULT PRIVILEGES FOR ROLE app"
HOLES = (
    ("usage of a schema", "GRANT USAGE ON SCHEMA billing TO iso_orders", "schema", "billing"),
    ("create in a schema", "GRANT CREATE ON SCHEMA billing TO iso_orders", "schema", "billing"),
    ("a table", "GRANT SELECT ON billing.invoices TO iso_orders", "table", "billing.invoices"),
    ("a view", "GRANT SELECT ON billing.\"All\" TO iso_orders", "table", 'billing."All"'),
    ("a column", "GRANT UPDATE (paid) ON billing.invoices TO iso_orders", "column",
     "billing.invoices.paid"),
    ("a sequence", "GRANT USAGE ON SEQUENCE billing.numbers TO iso_orders", "sequence",
     "billing.numbers"),
    ("a function", "GRANT EXECUTE ON FUNCTION billing.total(int) TO iso_orders", "function",
     "billing.total(integer)"),
    ("a schema of everybody", "GRANT USAGE ON SCHEMA billing TO PUBLIC", "schema", "billing"),
    ("a table of everybody", "GRANT INSERT ON billing.invoices TO PUBLIC", "table",
     "billing.invoices"),
    ("a column of everybody", "GRANT SELECT (paid) ON billing.invoices TO PUBLIC", "column",
     "billing.invoices.paid"),
    ("a function of everybody", "GRANT EXECUTE ON FUNCTION billing.total TO PUBLIC", "function",
     "billing.total(integer)"),
    ("a table through a group", "GRANT SELECT ON billing.invoices TO iso_group; "
     "GRANT iso_group TO iso_orders", "table", "billing.invoices"),
    ("membership", "GRANT iso_billing TO iso_orders", "membership", "iso_billing"),
    ("membership by a group", "GRANT iso_billing TO iso_group; GRANT iso_group TO iso_orders",
     "membership", "iso_billing"),
    ("membership in a guarded role", "GRANT iso_users TO iso_orders", "membership", "iso_users"),
    ("ownership of a table", "ALTER TABLE billing.invoices OWNER TO iso_orders", "owner",
     "billing.invoices"),
    ("ownership of a schema", "ALTER SCHEMA billing OWNER TO iso_orders", "owner", "billing"),
    ("ownership of a function", "ALTER FUNCTION billing.total OWNER TO iso_orders", "owner",
     "billing.total(integer)"),
    ("ownership of the database", "ALTER DATABASE iso_one OWNER TO iso_orders", "owner",
     "iso_one"),
    ("default privileges", f"{TABLES} IN SCHEMA billing GRANT SELECT ON TABLES TO iso_orders",
     "default privileges", "app"),
    ("default privileges of sequences", f"{TABLES} IN SCHEMA billing GRANT USAGE ON SEQUENCES "
     "TO iso_orders", "default privileges", "app"),
    ("default privileges of everybody", f"{TABLES} IN SCHEMA billing GRANT EXECUTE ON FUNCTIONS "
     "TO PUBLIC", "default privileges", "app"),
    ("default privileges everywhere", "ALTER DEFAULT PRIVILEGES FOR ROLE iso_billing "
     "GRANT SELECT ON TABLES TO iso_orders", "default privileges", "iso_billing"),
    ("default privileges of everybody everywhere", "ALTER DEFAULT PRIVILEGES FOR ROLE iso_billing "
     "GRANT SELECT ON TABLES TO PUBLIC", "default privileges", "iso_billing"),
    ("a function with its owner's rights", "ALTER FUNCTION tools.peek RESET search_path; "
     "GRANT USAGE ON SCHEMA tools TO iso_orders; "
     "GRANT EXECUTE ON FUNCTION tools.peek TO iso_orders", "security definer", "tools.peek()"),
    ("a function whose search_path is not safe", "GRANT USAGE ON SCHEMA tools TO iso_orders; "
     "GRANT EXECUTE ON FUNCTION tools.peek TO iso_orders; "
     "ALTER FUNCTION tools.peek SET search_path = orders, pg_temp",
     "security definer", "tools.peek()"),
    ("a foreign server", "GRANT USAGE ON FOREIGN SERVER iso_loop TO iso_orders", "foreign server",
     "iso_loop"),
    ("a foreign server of everybody", "GRANT USAGE ON FOREIGN SERVER iso_loop TO PUBLIC",
     "foreign server", "iso_loop"),
    ("ownership of a foreign server", "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO "
     "iso_orders; ALTER SERVER iso_loop OWNER TO iso_orders; "
     "REVOKE USAGE ON FOREIGN DATA WRAPPER postgres_fdw FROM iso_orders",
     "foreign server", "iso_loop"),
    ("a user mapping", "CREATE USER MAPPING FOR iso_orders SERVER iso_loop "
     "OPTIONS (user 'iso_billing')", "user mapping", "iso_loop"),
    ("a user mapping of everybody", "CREATE USER MAPPING FOR PUBLIC SERVER iso_loop "
     "OPTIONS (user 'iso_billing')", "user mapping", "iso_loop"),
    ("dblink without a password", "GRANT EXECUTE ON FUNCTION public.dblink_connect_u(text) TO "
     "iso_orders", "dblink", "public.dblink_connect_u(text)"),
    ("a view of somebody elses", "CREATE VIEW orders.bills AS SELECT * FROM billing.invoices; "
     "GRANT SELECT ON orders.bills TO iso_orders", "view", "orders.bills"),
    ("a view of a view", "CREATE VIEW tools.bills AS SELECT * FROM billing.\"All\"; CREATE VIEW "
     "orders.more WITH (security_invoker = off) AS SELECT * FROM tools.bills; "
     "GRANT SELECT ON orders.more TO iso_orders", "view", "orders.more"),
    ("a materialized view", "CREATE MATERIALIZED VIEW orders.kept AS TABLE billing.invoices; "
     "GRANT SELECT ON orders.kept TO iso_orders", "view", "orders.kept"),
    ("a table that is inherited", "CREATE TABLE orders.parent (a int); CREATE TABLE "
     "billing.child () INHERITS (orders.parent); GRANT SELECT ON orders.parent TO iso_orders",
     "view", "orders.parent"),
    ("a trigger with its owners rights", "CREATE TABLE orders.watched (); CREATE FUNCTION "
     "tools.watch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NULL; END'; "
     "CREATE TRIGGER watch AFTER INSERT ON orders.watched EXECUTE FUNCTION tools.watch(); "
     "REVOKE ALL ON FUNCTION tools.watch FROM PUBLIC; GRANT INSERT ON orders.watched TO iso_orders",
     "security definer", "tools.watch()"),
    ("an attribute by a group", "ALTER ROLE iso_group CREATEROLE; GRANT iso_group TO iso_orders",
     "role attribute", "iso_group"),
) + tuple((f"attribute {word}", f"ALTER ROLE iso_orders {word}", "role attribute", "iso_orders")
          for word in ("SUPERUSER", "CREATEROLE", "CREATEDB", "REPLICATION", "BYPASSRLS")
          ) + tuple((f"member of {role}", f"GRANT {role} TO iso_orders", "predefined role", role)
                    for role in ("pg_read_all_data", "pg_write_all_data", "pg_signal_backend",
                                 "pg_execute_server_program", "pg_read_server_files",
                                 "pg_write_server_files"))

NOTES = (
    ("GRANT pg_monitor TO iso_orders", "predefined role", "pg_monitor"),
    ("GRANT pg_checkpoint TO iso_orders", "predefined role", "pg_checkpoint"),
    ("GRANT CREATE ON DATABASE iso_one TO iso_orders", "database", "iso_one"),
    ("GRANT CREATE ON SCHEMA public TO iso_orders", "schema public", "public"),
    ("GRANT USAGE ON SCHEMA tools TO iso_orders; "
     "GRANT EXECUTE ON FUNCTION tools.safe TO iso_orders", "security definer", "tools.safe()"),
)

CONTENT = """
CREATE TABLE {schema}.invoices (id serial PRIMARY KEY, paid bool);
CREATE VIEW {schema}."All" AS SELECT * FROM {schema}.invoices;
CREATE SEQUENCE {schema}.numbers;
CREATE FUNCTION {schema}.total(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
"""
TOOLS = """
CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink;
CREATE SERVER iso_loop FOREIGN DATA WRAPPER postgres_fdw;
CREATE SCHEMA tools;
CREATE FUNCTION tools.peek() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
CREATE FUNCTION tools.safe() RETURNS int LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, tools, pg_temp AS 'SELECT 1';
REVOKE ALL ON ALL ROUTINES IN SCHEMA tools FROM PUBLIC;
"""


def strict(name, role=None, **more):
    return {"name": name, "schema": name, "role": role or f"iso_{name}", **more}


class IsolationCase(harness.Case):
    own_schemux = False
    services = [strict("billing", allow_schemas=["tools", "orders", "gone"]), strict("orders"),
                strict("users", isolation="guarded"), strict("items", isolation="guarded"),
                strict("odd", ODD), strict("reports", database=ODD_DATABASE),
                {"name": "legacy"}, strict("tenant_*", role="iso_tenant_*")]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with cls.postgres.connect() as connection:
            connection.execute("CREATE ROLE iso_login LOGIN; CREATE ROLE iso_group; "
                               "CREATE ROLE iso_admin LOGIN SUPERUSER")
            for database in ("iso_one", ODD_DATABASE):
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(
                    psycopg.sql.Identifier(database)))
        cls.addClassCleanup(cls.forget_everything)
        with cls.postgres.connect("iso_one") as connection:
            for schema in ("billing", "orders", "users"):
                connection.execute(f"CREATE SCHEMA {schema}; " + CONTENT.format(schema=schema))
            connection.execute(TOOLS)
            connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        cls.file = cls.configuration()

    @classmethod
    def forget_everything(cls):
        name = psycopg.sql.Identifier
        with cls.postgres.connect() as connection:
            for database in ("iso_one", "iso_two", ODD_DATABASE):
                connection.execute(psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                                   .format(name(database)))
            for role in (*ROLES, "iso_login", "iso_group", "iso_admin", "iso_owner"):
                with contextlib.suppress(psycopg.errors.UndefinedObject):
                    connection.execute(psycopg.sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}")
                                       .format(name(role)))

    @classmethod
    def configuration(cls, **changes):
        instance = cls.lab.schemux(server.merged({
            "backend": {"dsn": cls.postgres.dsn("iso_login", "iso_one")},
            "pool": {"max_connections": 60}, "services": cls.services}, changes),
            start=False, name="isolation")
        cls.lab.running.remove(instance)
        return instance.config_file

    def isolation(self, command, *more, file=None):
        return self.run_program(self.lab.binary, "isolation", command, "--config",
                                file or self.file, *more, seconds=60)

    def apply(self, *more, file=None, user="iso_admin"):
        """What `isolation sql` says, by psql; twice, since it may be run again."""
        printed = self.isolation("sql", *more, file=file)
        self.assert_program(printed)
        script = self.lab.folder / "isolation.sql"
        script.write_text(printed.stdout)
        for _ in range(2):
            done = self.run_program(
                *server.program("psql"), "-X", "-q", "-h", "127.0.0.1", "-p", self.postgres.port,
                "-U", user, "-d", "postgres", "-v", "VERBOSITY=terse", "-f", script)
            self.assert_program(done)
            self.assertNotIn("ERROR", done.stderr)
            self.assertNotIn("WARNING", done.stderr)
        return printed.stdout

    def audit(self, *more, status=0):
        done = self.isolation("audit", "--json", *more)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def run_sql(self, sql):
        self.postgres.run(sql, dbname="iso_one")

    def holes(self, report):
        return [one for one in report["findings"] if one["severity"] == "hole"]


class Audit(IsolationCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("apply").apply()

    def test_what_the_sql_made_is_proved(self):
        report = self.audit()
        self.assertTrue(report["ok"])
        self.assertNotIn("schema public", [one["kind"] for one in report["findings"]])
        self.assertEqual(report["patterns"], ["tenant_*"])
        names = [service["name"] for service in self.services if "*" not in service["name"]]
        self.assertEqual(sorted(report["matrix"]), sorted(names))
        for x in names:
            for y in names:
                wanted = "-" if x == y else "shared" if "legacy" in (x, y) else "ok"
                self.assertEqual(report["matrix"][x][y], wanted, f"{x} to {y}")

    def test_the_matrix_is_printed(self):
        done = self.isolation("audit")
        self.assert_program(done)
        row = next(line for line in done.stdout.splitlines() if line.startswith("orders"))
        self.assertEqual(row.split()[1:], ["ok", "-", "ok", "ok", "ok", "ok", "shared"])
        self.assertIn("0 holes", done.stdout)
        self.assertIn("tenant_* is a pattern", done.stdout)

    def test_services_still_get_at_what_is_theirs(self):
        for role, schema in (("iso_billing", "billing"), ("iso_orders", "orders")):
            with self.postgres.connect("iso_one", role) as connection:
                connection.execute(f"INSERT INTO {schema}.invoices (paid) VALUES (true)")
                connection.execute(f'SELECT {schema}.total(1), count(*) FROM {schema}."All"')
                connection.execute(f"CREATE TABLE {schema}.own (); DROP TABLE {schema}.own")
                connection.execute("CREATE TEMP TABLE mine ()")
        with self.postgres.connect("iso_one", "iso_login") as connection:
            with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM users.invoices")
            connection.execute("SET ROLE iso_users")
            connection.execute("SELECT * FROM users.invoices")

    def test_schemux_serves_them_all(self):
        schemux = self.start_schemux({
            "backend": {"dsn": self.postgres.dsn("iso_login", "iso_one")},
            "pool": {"max_connections": 60}, "services": self.services})
        for name, role in (("billing", "iso_billing"), ("users", "iso_users"),
                           ("odd", ODD), ("reports", "iso_reports"), ("legacy", "iso_login")):
            client = self.wire(name, schemux)
            self.assertEqual(client.rows("SELECT current_user::text"), [[role]])
            if name != "reports":
                denied = wire.errors_of(client.ask("SELECT * FROM orders.invoices"))
                self.assertEqual(denied[0]["C"], "42501")

    def test_what_is_made_later_is_as_private(self):
        self.run_sql("CREATE TABLE orders.later (); DROP TABLE orders.later")
        with self.postgres.connect("iso_one", "iso_orders") as connection:
            connection.execute("CREATE TABLE orders.later (a int); CREATE FUNCTION orders.later() "
                               "RETURNS int LANGUAGE sql AS 'SELECT 1'")
        try:
            self.audit()
        finally:
            self.run_sql("DROP TABLE orders.later; DROP FUNCTION orders.later()")

    def test_the_login_itself_is_enough_to_look(self):
        with self.postgres.connect("iso_one", "iso_login"):
            self.assertTrue(self.audit("--dsn", self.postgres.dsn("iso_login"))["ok"])
        self.assertTrue(self.audit("--dsn", self.postgres.dsn("iso_admin", "postgres"))["ok"])

    def test_a_configuration_that_keeps_nothing_apart(self):
        for change, kind in (({"role": "iso_billing"}, "same role"),
                             ({"schema": "billing"}, "same schema")):
            file = self.configuration(services=[strict("billing"), {**strict("orders"), **change}])
            done = self.isolation("audit", "--json", file=file)
            self.assertEqual(done.returncode, 1, done.stderr)
            report = json.loads(done.stdout)
            self.assertEqual([one["kind"] for one in self.holes(report)], [kind])
            self.assertEqual(report["matrix"]["orders"]["billing"], "HOLE")

    def test_a_role_that_is_not_there_proves_nothing(self):
        file = self.configuration(services=[strict("billing"), strict("orders", "iso_gone")])
        done = self.isolation("audit", file=file)
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is no role iso_gone", done.stdout)

    def test_no_connection_is_a_failure_with_a_hint(self):
        for more in (("--dsn", f"host=127.0.0.1 port={server.free_port()} user=x"),
                     ("--dsn", self.postgres.dsn("iso_nobody"))):
            done = self.isolation("audit", *more)
            self.assertEqual(done.returncode, 1)
            self.assertIn("cannot connect to database", done.stderr)
            self.assertIn("HINT: ", done.stderr)
            self.assertIn("error", self.audit(*more, status=1))

    def test_a_bad_configuration_is_status_78(self):
        file = self.lab.folder / "bad-isolation.yaml"
        file.write_text("services: []\n")
        for command in ("sql", "audit"):
            self.assertEqual(self.isolation(command, file=file).returncode, 78)

    def test_a_service_that_nobody_knows(self):
        for command in ("sql", "audit"):
            done = self.isolation(command, "--service", "nobody")
            self.assertEqual(done.returncode, 1)
            self.assertIn("nobody", done.stderr)

    def test_help_says_what_they_do(self):
        for command, word in (("sql", "psql"), ("audit", "holes")):
            done = self.run_program(self.lab.binary, "isolation", command, "--help")
            self.assert_program(done)
            self.assertIn(word, done.stdout)


class Holes(IsolationCase):
    """One test per hole, made below: opened, named, closed by what the finding suggests."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls("apply").apply()

    def check(self, sql, kind, target):
        self.run_sql(sql)
        report = self.audit(status=1)
        found = [one for one in self.holes(report)
                 if (one["kind"], one["object"]) == (kind, target)]
        self.assertTrue(found, report["findings"])
        for one in found:
            self.assertTrue(one["pairs"], one)
            for x, y in one["pairs"]:
                self.assertEqual(report["matrix"][x][y], "HOLE")
        for fix in dict.fromkeys(one["sql"] for one in self.holes(report)):
            self.run_sql(fix)
        self.assertTrue(self.audit()["ok"])

    def test_what_is_no_hole_is_noted(self):
        for sql, kind, target in NOTES:
            with self.subTest(sql):
                self.run_sql(sql)
                report = self.audit()
                found = [one for one in report["findings"]
                         if (one["kind"], one["object"]) == (kind, target)]
                self.assertTrue(found, report["findings"])
                for one in found:
                    self.run_sql(one["sql"])
                self.assertNotIn((kind, target), [(one["kind"], one["object"])
                                                  for one in self.audit()["findings"]])

    def test_a_view_that_has_its_readers_rights_is_none(self):
        self.run_sql("CREATE VIEW orders.own WITH (security_invoker) AS TABLE billing.invoices; "
                     "GRANT SELECT ON orders.own TO iso_orders")
        self.audit()

    def test_a_login_that_inherits(self):
        if server.major() >= 16:
            self.run_sql("GRANT iso_users TO iso_login WITH INHERIT TRUE")
        else:
            self.run_sql("ALTER ROLE iso_login INHERIT")
        report = self.audit(status=1)
        self.assertEqual({one["kind"] for one in self.holes(report)}, {"login"})
        self.assertEqual(report["matrix"]["items"]["users"], "HOLE")
        self.assertEqual(report["matrix"]["orders"]["users"], "ok")
        for one in self.holes(report):
            self.run_sql(one["sql"])
        self.audit()

    def test_a_login_that_is_a_superuser(self):
        self.run_sql("ALTER ROLE iso_login SUPERUSER")
        report = self.audit(status=1)
        self.assertEqual(report["matrix"]["items"]["orders"], "HOLE")
        self.assertEqual(report["matrix"]["billing"]["orders"], "ok")
        for one in self.holes(report):
            self.run_sql(one["sql"])
        self.audit()

    def test_a_login_that_can_read_all_is_noted(self):
        self.run_sql("GRANT USAGE ON SCHEMA billing TO iso_login")
        notes = [one["message"] for one in self.audit()["findings"] if one["kind"] == "login"]
        self.assertEqual(len(notes), 1, notes)
        self.assertIn("billing", notes[0])
        self.run_sql("REVOKE USAGE ON SCHEMA billing FROM iso_login")

    def test_a_hole_in_another_database(self):
        self.postgres.run("GRANT USAGE ON SCHEMA reports TO iso_orders", dbname=ODD_DATABASE)
        report = self.audit(status=1)
        self.assertEqual([(one["database"], one["pairs"]) for one in self.holes(report)],
                         [(ODD_DATABASE, [["orders", "reports"]])])
        self.postgres.run(self.holes(report)[0]["sql"], dbname=ODD_DATABASE)
        self.audit()


def opened(sql, kind, target):
    return lambda self: self.check(sql, kind, target)


for what, *rest in HOLES:
    setattr(Holes, "test_" + what.replace(" ", "_").replace("'", ""), opened(*rest))


class Patterns(IsolationCase):
    def test_tenants_are_named(self):
        printed = self.apply("--service", "tenant_a", "--service", "tenant_b")
        self.assertIn('CREATE SCHEMA IF NOT EXISTS "tenant_b"', printed)
        self.assertNotIn("iso_orders", printed)
        file = self.configuration(services=[strict("tenant_*", role="iso_tenant_*")])
        names = ("--service", "tenant_a", "--service", "tenant_b")
        done = self.isolation("audit", *names, file=file)
        self.assert_program(done)
        self.run_sql("GRANT USAGE ON SCHEMA tenant_b TO iso_tenant_a")
        done = self.isolation("audit", "--json", *names, file=file)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(json.loads(done.stdout)["matrix"]["tenant_a"]["tenant_b"], "HOLE")

    def test_who_owns_the_database_and_may_create_roles_can_run_it(self):
        with self.postgres.connect() as connection:
            connection.execute("CREATE ROLE iso_owner LOGIN CREATEROLE")
            connection.execute("CREATE DATABASE iso_two OWNER iso_owner")
        file = self.configuration(
            backend={"dsn": self.postgres.dsn("iso_owner", "iso_two")},
            services=[strict("own_a"), strict("own_b", isolation="guarded")])
        self.apply(file=file, user="iso_owner")
        done = self.isolation("audit", file=file)
        self.assert_program(done)
        # As a login of schemux's it is more than it should be, but no service's role is.
        self.assertIn("owner gets at schema own_a", done.stdout)

    def test_without_a_name_a_pattern_is_a_comment(self):
        printed = self.isolation("sql").stdout
        self.assertIn("tenant_* is a pattern: --service NAME", printed)
        self.assertNotIn('"tenant_', printed)


if __name__ == "__main__":
    unittest.main()
