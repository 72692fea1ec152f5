"""create_schema: a schema that is missing is made when the first client of its service logs in."""

import threading

import psycopg

import harness
import server
import wire

ROLES = """
CREATE ROLE maker LOGIN CREATEROLE;
CREATE ROLE made_one LOGIN;
CREATE ROLE made_two LOGIN;
GRANT made_one, made_two TO maker;
GRANT CREATE ON DATABASE app TO maker;
CREATE ROLE stranger LOGIN;
"""
WITHDRAWN = """
DROP OWNED BY maker, made_one, made_two, stranger CASCADE;
DROP ROLE maker, made_one, made_two, stranger;
"""
OWNER = ("SELECT pg_catalog.pg_get_userbyid(nspowner)::text FROM pg_namespace "
         "WHERE nspname = %s")


class Made(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.lab.postgres.run(ROLES)
        cls.addClassCleanup(cls.lab.postgres.run, WITHDRAWN)
        cls.config = {
            "pool": {"max_connections": 4},
            "backend": {"dsn": cls.lab.postgres.dsn("maker")},
            "services": [
                {"name": "plain", "schema": "made_plain", "create_schema": True},
                {"name": "listed", "schema": "made_listed"},
                {"name": "made_*", "schema": "made_*", "role": "made_*", "create_schema": True,
                 "users": ["alice"]},
                {"name": "any_*", "schema": "any_*", "create_schema": True},
                {"name": "pg-*", "schema": "any_*", "role": "stranger", "isolation": "guarded",
                 "create_schema": True}]}
        super().setUpClass()

    def owner(self, schema):
        rows = self.postgres.run(OWNER, (schema,))
        return rows[0][0] if rows else None

    def refusal(self, service, **more):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.psycopg(service, **more)
        return str(caught.exception)

    def test_a_listed_service_has_its_schema_made(self):
        client = self.wire("plain")
        client.rows("CREATE TABLE {{tables.t}} AS SELECT 1 AS a")
        self.assertEqual(client.rows("SELECT a FROM made_plain.t"), [["1"]])
        self.assertEqual(self.owner("made_plain"), "maker")

    def test_without_the_key_none_is_made(self):
        self.assertEqual(self.wire("listed").rows("SELECT 1"), [["1"]])
        self.assertIsNone(self.owner("made_listed"))

    def test_it_is_the_roles(self):
        client = self.wire("made_one")
        client.rows("CREATE TABLE {{tables.t}} (a int)")
        self.assertEqual(self.owner("made_one"), "made_one")
        owners = "SELECT tableowner::text FROM pg_tables WHERE schemaname = 'made_one'"
        self.assertEqual(self.postgres.run(owners), [("made_one",)])

    def test_who_may_not_have_the_service_makes_nothing(self):
        self.assertIn("permission denied for database", self.refusal("made_two", user="bob"))
        self.assertIsNone(self.owner("made_two"))

    def test_many_at_once_and_two_processes_make_it_once(self):
        other = self.start_schemux(self.config)
        for number in range(5):
            name = f"any_race{number}"
            failures = []

            def log_in(port, name=name, failures=failures):
                try:
                    client = wire.connect(port, name)
                    path = client.rows("SHOW search_path")
                    if path != [[f'"{name}", public']]:
                        failures.append(path)
                    client.close()
                except (wire.Closed, OSError) as error:
                    failures.append(error)

            threads = [threading.Thread(target=log_in, args=(one.port,))
                       for one in (self.schemux, other) for _ in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])
            self.assertEqual(self.owner(name), "maker")

    def test_what_postgresql_refuses_is_told(self):
        text = self.refusal("pg-x")
        self.assertIn('schema "any_x" cannot be created: ', text)
        self.assertIn('must be able to SET ROLE "stranger"' if server.major() >= 16 else
                      'must be member of role "stranger"', text)
        self.assertIn("a member of role", text)
        self.assertIsNone(self.owner("any_x"))


class OtherDatabase(harness.Case):
    config = {"pool": {"max_connections": 2}, "services": [
        {"name": "away_*", "database": "away_*", "schema": "away_schema", "create_schema": True}]}

    def test_it_is_made_in_the_services_database(self):
        self.postgres.run("CREATE DATABASE away_one OWNER app")
        self.addCleanup(self.postgres.run, "DROP DATABASE away_one WITH (FORCE)")
        client = self.wire("away_one")
        self.assertEqual(client.rows("SELECT current_database(), current_schema()"),
                         [["away_one", "away_schema"]])
        self.assertEqual(self.postgres.run(OWNER, ("away_schema",)), [])

    def test_a_database_that_is_not_there_is_postgresqls_to_refuse(self):
        with self.assertRaises(psycopg.OperationalError) as caught:
            self.psycopg("away_nowhere")
        self.assertIn('database "away_nowhere" does not exist', str(caught.exception))
