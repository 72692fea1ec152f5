"""Tenants told apart by their search_path alone, as Apartment and its like do it: each sets
it once and names tables without a schema from then on. One backend for all of them, in transaction
mode; a row of another tenant's is a failure. (Apartment's PR #470 tells how it goes wrong.)"""

import random

import harness
import wire

TENANTS = ("tenant_a", "tenant_b", "tenant_c")
SCHEMA_SQL = """
CREATE SCHEMA {tenant};
CREATE TABLE {tenant}.users (id serial PRIMARY KEY, email text NOT NULL,
                             tenant text NOT NULL DEFAULT '{tenant}');
CREATE FUNCTION {tenant}.tenant() RETURNS text LANGUAGE sql AS $$ SELECT '{tenant}' $$;
CREATE FUNCTION {tenant}.add_user(email text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO users (email) VALUES (email); RETURN current_schema(); END $$;
"""
# Each way to set it; `{}` is the tenant.
SETS = ("SET search_path TO {}", "SET SESSION search_path = '{}', public", "SET SCHEMA '{}'",
        "SELECT set_config('search_path', '{}', false)", 'SET search_path TO "{}", "$user"',
        "BEGIN; SET search_path TO {}; COMMIT",
        "DO $$ BEGIN PERFORM set_config('search_path', '{}', false); END $$")


class Tenant:
    """One client. `add` and `emails` in each of the ways that drivers have."""

    def __init__(self, case, name):
        self.case = case
        self.name = name
        self.client = case.wire("legacy")
        self.emails = []

    def set(self, text):
        self.case.assertEqual(wire.errors_of(self.client.ask(text.format(self.name))), [])

    def prepare(self):
        self.client.send(wire.parse("add", "INSERT INTO users (email) VALUES ($1)"),
                         wire.parse("all", "SELECT email, tenant, tenant() FROM users ORDER BY id"),
                         wire.SYNC)
        self.case.assertEqual(wire.kinds(self.client.read_ready()), "11Z")

    def _extended(self, sql, parameters=()):
        self.client.send(wire.parse("", sql), wire.bind("", "", parameters), wire.execute(),
                         wire.SYNC)
        return wire.rows_of(self.client.read_ready())

    def _prepared(self, name, parameters=()):
        self.client.send(wire.bind("", name, parameters), wire.execute(), wire.SYNC)
        return wire.rows_of(self.client.read_ready())

    def add(self, way):
        email = f"{len(self.emails)}@{self.name}"
        if way == "simple":
            self.client.rows(f"INSERT INTO users (email) VALUES ('{email}')")
        elif way == "extended":
            self._extended("INSERT INTO users (email) VALUES ($1)", [email])
        elif way == "prepared":
            self._prepared("add", [email])
        elif way == "function":
            self.case.assertEqual(self.client.rows(f"SELECT add_user('{email}')"), [[self.name]])
        elif way == "transaction":
            self.client.rows("BEGIN")
            self.client.rows(f"INSERT INTO users (email) VALUES ('{email}')")
            self.client.rows("COMMIT")
        elif way == "copy":
            self.client.send(wire.query("COPY users (email) FROM STDIN"))
            self.client.read_until("G")
            self.client.send(wire.copy_data(f"{email}\n".encode()), wire.COPY_DONE)
            self.case.assertEqual(wire.errors_of(self.client.read_ready()), [])
        elif way == "undone":
            self.client.rows("BEGIN; SET search_path TO orders")
            self.client.rows("ROLLBACK")
            return
        self.emails.append(email)

    def look(self, way):
        sql = "SELECT email, tenant, tenant() FROM users ORDER BY id"
        found = (self._prepared("all") if way == "prepared" else
                 self._extended(sql) if way == "extended" else self.client.rows(sql))
        self.case.assertEqual(found, [[email, self.name, self.name] for email in self.emails], way)


WAYS = ("simple", "extended", "prepared", "function", "transaction", "copy", "undone")


class Tenants(harness.Case):
    config = {"pool": {"max_connections": 1, "acquire_timeout": "20s"}}

    def setUp(self):
        with self.postgres.connect_as_owner() as owner:
            for name in TENANTS:
                owner.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
                owner.execute(SCHEMA_SQL.format(tenant=name))

    def tenants(self, text):
        made = [Tenant(self, name) for name in TENANTS]
        for one in made:
            one.set(text)
            one.prepare()
        pids = {one.client.rows("SELECT pg_backend_pid()")[0][0] for one in made}
        self.assertEqual(len(pids), 1)
        return made

    def assert_tables(self, tenants):
        """What PostgreSQL has, asked past schemux."""
        for one in tenants:
            rows = self.postgres.run(f"SELECT email, tenant FROM {one.name}.users ORDER BY id")
            self.assertEqual(rows, [(email, one.name) for email in one.emails])

    def test_tenants_in_turns_by_each_way_to_set_a_search_path(self):
        for text in SETS:
            with self.subTest(text):
                self.setUp()
                tenants = self.tenants(text)
                for way in WAYS * 2:
                    for one in tenants:
                        one.add(way)
                        one.look(way)
                self.assert_tables(tenants)

    def test_tenants_at_random_with_many_settings(self):
        tenants = self.tenants("SET search_path TO {}")
        choice = random.Random(470)
        for number in range(400):
            one = choice.choice(tenants)
            if choice.random() < 0.2:
                # From now on by another way; some of them in a transaction with something else.
                one.set(choice.choice(SETS))
                one.set(choice.choice(("SET work_mem = '9MB'", "RESET work_mem", "SELECT 1",
                                       "SET application_name = '{}'", "DEALLOCATE ALL")))
                one.client.ask("DEALLOCATE ALL")
                one.prepare()
            way = choice.choice(WAYS)
            with self.subTest(number, tenant=one.name, way=way):
                one.add(way)
                one.look(choice.choice(WAYS))
        self.assert_tables(tenants)

    def test_search_path_changes_within_a_transaction(self):
        """Each client is every tenant once; what was set last and committed holds."""
        clients = [Tenant(self, name) for name in TENANTS]
        for one in clients:
            one.set("SET search_path TO {}")
            one.prepare()
        for turn in range(12):
            for number, one in enumerate(clients):
                other = TENANTS[(number + turn) % len(TENANTS)]
                ask = (f"SELECT tenant(), current_schema(), count(*) FROM users "
                       f"WHERE tenant <> '{other}'")
                one.client.rows("BEGIN")
                one.client.rows(f"SET search_path TO {other}")
                self.assertEqual(one.client.rows(ask)[0], [other, other, "0"])
                self.assertEqual(one._prepared("all"), [])
                if turn % 3 == 1:
                    one.client.ask("SELECT 1/0")
                one.client.rows("ROLLBACK" if turn % 3 else "COMMIT")
                if turn % 3 == 0:
                    self.assertEqual(one.client.rows("SELECT tenant()"), [[other]])
                    one.set("SET search_path TO {}")
            for one in clients:
                self.assertEqual(one.client.rows("SELECT tenant()"), [[one.name]])

    def test_tenant_that_set_nothing_or_forgot_it(self):
        tenants = self.tenants("SET search_path TO {}")
        stranger = self.wire("legacy")
        for one in tenants:
            one.add("simple")
            self.assertEqual(wire.sqlstates(stranger.ask("SELECT * FROM users")), ["42P01"])
        for text in ("RESET search_path", "RESET ALL", "SET search_path TO DEFAULT", "DISCARD ALL"):
            tenants[0].set("SET search_path TO {}")
            tenants[0].look("simple")
            tenants[0].set(text)
            self.assertEqual(wire.sqlstates(tenants[0].client.ask("TABLE users")), ["42P01"], text)
            tenants[1].look("prepared")

    def test_tenant_that_goes_leaves_nothing(self):
        for text in SETS:
            for way in ("terminate", "vanish"):
                with self.subTest(text, way=way):
                    client = self.wire("legacy")
                    client.send(wire.query(text.format("tenant_a")),
                                *([wire.TERMINATE] if way == "terminate" else []))
                    client.vanish() if way == "vanish" else client.close()
                    answer = self.wire("legacy").ask("SELECT * FROM users")
                    self.assertEqual(wire.sqlstates(answer), ["42P01"])
